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
from moorage.model.definition import Config
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
    censor: Callable[[Config, Sequence[str]], Callable[[Any], Any]] = field(
        default=lambda _config, _more: lambda data: data
    )
    """For a definition (and more secret values): a function that hides its secrets in a text, or in data with texts."""
    emit: Callable[[Event], None] = field(default=lambda _event: None)
    """Where events go."""
