"""Volumes: to whom they belong, which nobody needs, and which services must stop while one is read or replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from moorage.errors import DefinitionError
from moorage.model.definition import Service
from moorage.model.generation import Generation
from moorage.model.state import Observed
from moorage.model.volume import Kind, Volume
from moorage.rules import graph, labels
from moorage.rules.planning import image_kind

_RUNNING = ("running", "paused", "restarting")


def ours(volume: Volume, home: str) -> bool:
    """True if a stack of this home created it."""
    return bool(volume.stack) and labels.ours(volume.labels, volume.stack, home)


def names_of(generation: Generation) -> dict[str, str]:
    """The volumes of a generation: name in the compose file → name on the engine."""
    found = generation.config.get("volumes") or {}
    return {key: str((thing or {}).get("name") or f"{generation.stack}_{key}") for key, thing in found.items()}


def services_on(generation: Generation, key: str) -> tuple[str, ...]:
    """The services of a generation that mount a volume."""
    return tuple(
        name
        for name, service in sorted(generation.config["services"].items())
        if any(m.get("type") == "volume" and m.get("source") == key for m in service.get("volumes") or ())
    )


def choose(stack: str, wanted: str, known: Mapping[str, str]) -> tuple[str, str]:
    """(key, name) of a volume, given by either. Raises DefinitionError, which lists the volumes."""
    for key, name in known.items():
        if wanted in (key, name):
            return key, name
    there = ", ".join(sorted(known)) or "none"
    raise DefinitionError(f"{stack}: no volume {wanted!r}", hint=f"Volumes: {there}.", stack=stack, volume=wanted)


def unneeded(volumes: Iterable[Volume], home: str, on_record: Collection[str], *, all_: bool) -> tuple[Volume, ...]:
    """Our volumes that no container mounts. Without `all_`: only those of stacks that are no longer on record."""
    return tuple(v for v in volumes if ours(v, home) and not v.users and (all_ or v.stack not in on_record))


def way(services: Mapping[str, Service], users: Iterable[str], *, running: bool) -> Kind:
    """How a volume is read: with pg_dump if only a running PostgreSQL uses it, else as files."""
    names = sorted(set(users))
    is_postgres = len(names) == 1 and names[0] in services and image_kind(services[names[0]].image or "") == "postgres"
    return Kind.POSTGRES if is_postgres and running else Kind.FILES


def running_services(observed: Observed) -> frozenset[str]:
    """Services that have a running container."""
    return frozenset(c.service for c in observed.containers if c.state in _RUNNING)


def with_dependents(services: Mapping[str, Service], names: Iterable[str]) -> frozenset[str]:
    """The named services and all their dependents, direct and indirect."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph.dependents(services, name))
    return frozenset(found)


def file_name(key: str, at: datetime) -> str:
    """Default file name of a snapshot."""
    return f"{key}-{at:%Y%m%dT%H%M%S}.tar.zst"
