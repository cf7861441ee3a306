"""A generation: an immutable, numbered, fully resolved definition with pinned images, which is what gets applied."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from moorage.model.base import Frozen
from moorage.model.definition import Config, Hidden, Service, Source


class PinnedImage(Frozen):
    """The image of a service, by content."""

    service: str
    reference: str
    """The name in the compose file, or the name that Compose gives a built image."""
    image_id: str
    """`sha256:…` of the engine."""
    tag: str
    """Our own tag, `moorage/<stack>-<service>:<start of the id>`: keeps the image alive and names it in containers."""


class Generation(Frozen):
    """A definition that was, or will be, applied."""

    stack: str
    number: int = Field(ge=1)
    source: Source
    config: Config = Field(repr=False)
    """The project that Compose creates, with leased ports, labels and pinned tags."""
    services: dict[str, Service]
    named: tuple[str, ...] = ()
    """Networks and volumes whose name the file gave."""
    images: dict[str, PinnedImage]
    digests: dict[str, str]
    """Service → digest of everything that its containers are created from; if it is equal, nothing is re-created."""
    created_at: datetime
    hidden: Hidden = Hidden()
    """As it was when this was made: files may have changed since, what runs may still have the old values."""

    @property
    def digest(self) -> str:
        """A short name of the content: equal for equal generations, whatever their numbers."""
        from hashlib import sha256

        return sha256("\n".join(f"{k}={v}" for k, v in sorted(self.digests.items())).encode()).hexdigest()[:12]


class GenerationOutcome(StrEnum):
    """How a generation stands. `pending → current → superseded`; `pending → undone` or `kept` if its start fails."""

    PENDING = "pending"
    """Written down, and being applied."""
    CURRENT = "current"
    """Committed last."""
    SUPERSEDED = "superseded"
    """Committed before the current one."""
    UNDONE = "undone"
    """Never committed."""
    KEPT = "kept"
    """It failed, and was left as it is for inspection."""


class GenerationRecord(Frozen):
    """A line of `moorage history`."""

    stack: str
    number: int
    digest: str
    created_at: AwareDatetime
    run: str
    outcome: GenerationOutcome
    changed: tuple[str, ...] = ()
    """Services that differ from the generation before."""
    superseded_at: AwareDatetime | None = None
    """When another one became the current one. None: it is the current one, never was, or it is not known."""
    time_to_ready_s: float | None = None
    """None: it never became ready."""
    flow_run_id: str | None = None
    by: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
