"""Options that name a stack or a definition, the same for every verb; they follow `docker compose`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from moorage.cli.completion import stacks
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.rules import naming
from moorage.settings import Settings, settings
from moorage.work.definitions.request import UpRequest, name_of, not_ours, source_of


@Parameter(name="*")
@dataclass(frozen=True)
class Selection:
    """Which definition or stack a command works on."""

    file: Annotated[list[str], Parameter(name=["--file", "-f"], help="Compose file; may be given several times.")] = (
        field(default_factory=list)
    )
    project_directory: Annotated[Path | None, Parameter(help="Directory of the project.")] = None
    profile: Annotated[list[str], Parameter(help="Profile to enable; may be given several times.")] = field(
        default_factory=list
    )
    env_file: Annotated[list[str], Parameter(help="File with variables; may be given several times.")] = field(
        default_factory=list
    )
    name: Annotated[
        str | None, Parameter(name=["--name", "--project-name", "-p"], help="Name of the stack.", completer=stacks)
    ] = None


@Parameter(name="*")
@dataclass(frozen=True)
class LongSelection(Selection):
    """A `Selection` without `-f`, for verbs where `-f` is another option, as in `docker compose logs -f`."""

    file: Annotated[list[str], Parameter(name="--file", help="Compose file; may be given several times.")] = field(
        default_factory=list
    )


@Parameter(name="*")
@dataclass(frozen=True)
class LockTimeout:
    """How long to wait for another run of the same stack."""

    lock_timeout: Annotated[
        float | None,
        Parameter(
            help="Longest wait for another run of the same stack, in seconds (default: MOORAGE_LOCK_TIMEOUT_S, 60).",
            validator=validators.Number(gte=0),
        ),
    ] = None

    def settings(self) -> Settings:
        """The settings of this command."""
        own = settings()
        return own if self.lock_timeout is None else own.model_copy(update={"lock_timeout_s": self.lock_timeout})


def request_of(selection: Selection) -> UpRequest:
    """The request that a selection stands for. Raises DefinitionError."""
    name = naming.validate_name(selection.name) if selection.name is not None else None
    source = source_of(selection.project_directory, selection.file, selection.profile, selection.env_file)
    return UpRequest(source=source, name=name)


def stack_of(world: World, selection: Selection, stack: str | None = None) -> str:
    """Name of the stack that a command works on: the given one, else that of the working directory.

    Raises DefinitionError if no name is given and the directory has several stacks, or neither stack nor compose file.
    """
    named = selection.name if stack is None else stack
    if named is not None:
        return naming.validate_name(named)
    request = request_of(selection)
    names = [record.name for record in world.store.stacks() if record.path == str(request.source.directory)]
    if len(names) > 1:
        message = f"{request.source.directory}: the directory has several stacks: {', '.join(names)}"
        raise DefinitionError(message, hint="Name one with --name.")
    return names[0] if names else name_of(world, request, world.compose.raw_config(request.source))


def known_stack_of(world: World, selection: Selection, stack: str | None = None) -> str:
    """Like `stack_of`, for a stack on record or on the engine with our labels. Raises DefinitionError otherwise."""
    name = stack_of(world, selection, stack)
    if is_known(world, name):
        return name
    raise unknown_stack(world, name)


def is_known(world: World, name: str) -> bool:
    """True: a stack is on record, or was (its runs still are), or something on the engine is its."""
    store = world.store
    on_record = store.stack(name) or store.leases(name) or store.run_heads(name)
    return bool(on_record) or name in world.engine.stacks_of(world.home)


def unknown_stack(world: World, name: str) -> DefinitionError:
    """The error for a stack that is not there: misspelt, or not Moorage's."""
    from moorage.rules.spelling import did_you_mean

    if name in world.engine.stacks():
        return not_ours(world, name)
    known = [record.name for record in world.store.stacks()]
    message = f"there is no stack {name!r}"
    hint = did_you_mean(name, known, "Known stacks") if known else "`moorage up` creates one."
    return DefinitionError(message, hint=hint, stack=name)
