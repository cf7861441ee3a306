"""Volumes: to whom they belong, which nobody needs, and which services must stop while one is read or replaced."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath

from moorage.errors import DefinitionError
from moorage.model.definition import Config, Service
from moorage.model.generation import Generation
from moorage.model.state import Observed
from moorage.model.volume import Kind, Volume
from moorage.rules import graph, labels
from moorage.rules.planning import image_kind
from moorage.rules.reading import unescaped

_OF_RESTORE = re.compile(r"\.?before-(?P<run>[0-9a-f]{12})\.tar\.zst(\.sha256|\.(?P=run)\.unfinished)?")


def ours(volume: Volume, home: str) -> bool:
    """True if a stack of this home created it."""
    return bool(volume.stack) and labels.ours(volume.labels, volume.stack, home)


def names_of(generation: Generation) -> dict[str, str]:
    """The volumes of a generation: name in the compose file → name on the engine."""
    found = generation.config.get("volumes") or {}
    return {key: str((thing or {}).get("name") or f"{generation.stack}_{key}") for key, thing in found.items()}


def kept_options(config: Config, observed: Observed) -> tuple[str, ...]:
    """Volumes that keep what they were created with, though the definition says otherwise now: what, and what to do.

    Compose changes no volume: it asks whether to make it anew, without its data, and nobody says yes to that here.
    """
    return tuple(_kept_options(config, observed))


def _kept_options(config: Config, observed: Observed) -> Iterator[str]:
    for key, thing in sorted((config.get("volumes") or {}).items()):
        wanted = unescaped(thing or {})
        name = str(wanted.get("name") or f"{observed.stack}_{key}")
        if wanted.get("external") or name not in observed.volume_options:
            continue
        there = observed.volume_options[name]
        pairs: dict[str, tuple[str | Mapping[str, str], str | Mapping[str, str]]] = {
            "driver": (there.driver, wanted.get("driver") or "local"),
            "driver_opts": (there.options, _texts(wanted.get("driver_opts"))),
            "labels": (_written(there.labels), _written(_texts(wanted.get("labels")))),
        }
        changed = [f"{what} {_words(old)}, not {_words(new)}" for what, (old, new) in pairs.items() if old != new]
        if changed:
            yield (
                f"volumes.{key}: volume {name} stays as it was made: {'; '.join(changed)}. To have it made anew, "
                f"empty: `moorage down`, `docker volume rm {name}`, `moorage up`; `moorage volumes snapshot` "
                "before and `restore` after keep its data"
            )


def _texts(pairs: Mapping[str, object] | None) -> dict[str, str]:
    return {key: "" if value is None else str(value) for key, value in (pairs or {}).items()}


def _written(pairs: Mapping[str, str]) -> dict[str, str]:
    """The labels that a file gave, without those of Compose and Moorage."""
    return {key: value for key, value in pairs.items() if not key.startswith(("com.docker.compose.", "moorage."))}


def _words(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(f"{key}={one}" for key, one in sorted(value.items())) or "none"


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
    return frozenset(c.service for c in observed.containers if c.is_up)


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


def copy_name(run: str) -> str:
    """Name of the file in which a restore keeps what was in the volume."""
    return f"before-{run}.tar.zst"


def restored_by(name: str) -> str | None:
    """The run of a restore that a file belongs to: its copy, that copy's checksum, or what it is written to first.

    None: it is something else, such as a snapshot that somebody asked for.
    """
    found = _OF_RESTORE.fullmatch(PurePosixPath(name).name)
    return found and found["run"]
