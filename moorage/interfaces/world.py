"""All protocols together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.interfaces.builder import ImageBuilder
from moorage.interfaces.clock import Clock
from moorage.interfaces.compose import Compose
from moorage.interfaces.contexts import Contexts
from moorage.interfaces.engine import Engine
from moorage.interfaces.files import Files
from moorage.interfaces.lock import Lock
from moorage.interfaces.prober import Prober
from moorage.interfaces.store import Store
from moorage.interfaces.streams import Streams
from moorage.interfaces.volumes import Volumes
from moorage.model.definition import Config, Hidden
from moorage.model.event import Event
from moorage.model.image import BuilderName
from moorage.settings import Settings


@dataclass(frozen=True)
class World:
    """All adapters together. `moorage/world.py` creates one; tests create others."""

    engine: Engine
    streams: Streams
    volumes: Volumes
    compose: Compose
    contexts: Contexts
    store: Store
    files: Files
    prober: Prober
    clock: Clock
    settings: Settings
    home: str
    """Short name of this `$MOORAGE_HOME`, for labels: several homes may share one engine."""
    lock: Callable[[str], Lock]
    place: Callable[[Path], tuple[str | None, str | None, bool]]
    """For a directory: git repository, branch, and whether it is a linked worktree."""
    builder: Callable[[World, BuilderName], ImageBuilder]
    """The builder with this name, using the engine and the Compose of that world."""
    text_of: Callable[[Path], tuple[str, str]]
    """For a file of a project: the beginning of its text, and why that is not all of it. Empty: it is all."""
    censor: Callable[[Sequence[Config], Hidden], Callable[[Any], Any]] = field(
        default=lambda _configs, _hidden: lambda data: data
    )
    """For definitions and more secrets: a function that hides all of these in a text, or in data with texts."""
    free_bytes: Callable[[], int | None] = field(default=lambda: None)
    """Memory that containers could have without swapping. None: not known, as on another machine."""
    emit: Callable[[Event], None] = field(default=lambda _event: None)
    """Where events go."""
