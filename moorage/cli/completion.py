"""What a shell offers after TAB: services of the project, stacks of this machine.

The engine is not asked: nobody waits at a prompt for one that does not answer. What cannot be read is not offered.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from moorage.errors import MoorageError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.work.definitions.request import source_of


def services(line: Any) -> list[str]:
    """The services that the line may go on with: of the definition, and of what runs of it.

    `line`: cyclopts' `CompletionContext`. With `--name` alone those of that stack.
    """
    from moorage.cli.world import open_world

    world = open_world()
    named = _value(line, "name")
    found = set() if named else _defined(world, line)
    with suppress(MoorageError):
        found |= _on_record(world, named, line)
    return sorted(found - {token.value for token in line.argument.tokens})


def stacks(_line: Any) -> list[tuple[str, str]]:
    """The names of the stacks of this machine, with their directories."""
    from moorage.cli.world import open_world

    return sorted((record.name, record.path) for record in open_world().store.stacks())


ServiceName = Annotated[str, Parameter(completer=services)]
StackName = Annotated[str | None, Parameter(completer=stacks)]


def _defined(world: World, line: Any) -> set[str]:
    with suppress(MoorageError):
        return set(world.compose.raw_config(_source(line)).get("services") or ())
    return set()


def _on_record(world: World, named: str | None, line: Any) -> set[str]:
    from moorage.work.definitions import generations

    directory = "" if named else str(_source(line).directory)
    mine = [record.name for record in world.store.stacks() if record.name == named or record.path == directory]
    known = [generations.known(world, name) for name in mine]
    return {service for generation in known if generation for service in generation.services}


def _source(line: Any) -> Source:
    """What the line is about, with the services of all profiles: naming one switches it on."""
    directory = _value(line, "project-directory")
    return source_of(Path(directory) if directory else None, _values(line, "file"), ["*"], _values(line, "env-file"))


def _value(line: Any, option: str) -> str | None:
    found = line.get(f"--{option}")
    return found.raw if found else None


def _values(line: Any, option: str) -> list[str]:
    found = line.get(f"--{option}")
    return list(found.raw_tokens) if found else []
