"""Which stacks a fleet is: directories by name or by pattern, and the stacks on record in them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from moorage import bounded
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.definition import FILE_NAMES
from moorage.model.fleet import FleetMember, FleetVerb


def directories(patterns: Iterable[str], base: Path) -> tuple[Path, ...]:
    """Directories in the order of the patterns, each once. A pattern finds those with a compose file.

    Relative ones count from `base`. Raises DefinitionError: a directory has no compose file, a pattern finds nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = base / Path(pattern).expanduser()
        if glob.has_magic(pattern) and not os.path.exists(path):
            every = sorted(glob.glob(str(path)))  # noqa: PTH207 - Path.glob takes no absolute patterns
            matched = [Path(one) for one in every if _has_file(Path(one))]
        else:
            matched = [_with_file(path)]
        if not matched:
            message = f"{pattern}: no directory with a compose file matches"
            raise DefinitionError(message, hint=f"One of {', '.join(FILE_NAMES)} has to be in it.", path=pattern)
        found |= dict.fromkeys(one.resolve() for one in matched)
    return tuple(found)


def listed(file: Path) -> tuple[str, ...]:
    """Directories or patterns, one a line, relative to the file; `#` begins a comment. Raises DefinitionError."""
    try:
        text = bounded.text_of(file, errors="strict")
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{file}: {error}", file=str(file)) from None
    lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
    place = file.absolute().parent
    return tuple(str(place / Path(line).expanduser()) for line in lines if line and not line.startswith("#"))


def members(world: World, verb: FleetVerb, named: Sequence[tuple[str, Path]]) -> tuple[FleetMember, ...]:
    """One for each stack that is to be brought up, or that is there: a directory may have several.

    `named`: the Stack Source, or an empty name, and the directory.
    """
    there: dict[str, list[str]] = {}
    for record in world.store.stacks():
        there.setdefault(record.path, []).append(record.name)
    found = []
    for source, directory in named:
        known = [] if verb == FleetVerb.UP else sorted(there.get(str(directory), ()))
        found += [FleetMember(directory=directory, source=source, stack=name) for name in known or [""]]
    return tuple(found)


def _has_file(directory: Path) -> bool:
    return any(os.path.isfile(directory / name) for name in FILE_NAMES)


def _with_file(directory: Path) -> Path:
    if not _has_file(directory):
        what = "has no compose file" if os.path.isdir(directory) else "is not a directory"
        hint = f"One of {', '.join(FILE_NAMES)} has to be in it."
        raise DefinitionError(f"{directory} {what}", hint=hint, path=str(directory))
    return directory
