"""`moorage exec`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.adapters.compose.program import find_program
from moorage.adapters.docker_context import endpoint
from moorage.cli.command_apart import become, options_of
from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection, known_stack_of
from moorage.cli.world import open_world
from moorage.errors import DefinitionError, MoorageError
from moorage.interfaces import World
from moorage.work.definitions import generations
from moorage.work.queries.logs import chosen


def exec(  # noqa: A001 - the verb's name
    service: ServiceName,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    selection: Selection = Selection(),  # noqa: B008 - frozen
    index: Annotated[int, Parameter(help="Number of the replica.", show_default=True)] = 1,
    user: Annotated[str | None, Parameter(name=["--user", "-u"], help="User, or user:group, to run as.")] = None,
    workdir: Annotated[str | None, Parameter(name=["--workdir", "-w"], help="Directory in the container.")] = None,
    env: Annotated[
        tuple[str, ...],
        Parameter(name=["--env", "-e"], help="Environment variable NAME=VALUE; may be given several times."),
    ] = (),
    no_tty: Annotated[bool, Parameter(name=["--no-tty", "-T"], help="Do not allocate a terminal.")] = False,
    privileged: Annotated[bool, Parameter(help="Run with extended privileges on the machine.")] = False,
) -> int:
    """Run a command in a running service: `moorage exec web -- sh`.

    The command is an argument list; no shell is involved. On a terminal the command gets one, otherwise its input and
    output are passed on byte for byte. The exit code is the command's own; 126 or 127 if there is no such command,
    1 if the service is not running. Its output is not redacted.

    Parameters
    ----------
    service
        Service to run the command in.
    command
        Program and arguments: everything after the service's name.
    """
    if not command:
        raise DefinitionError("exec: no command given", hint="Run `moorage exec SERVICE -- COMMAND`.")
    world = open_world()
    name = known_stack_of(world, selection)
    _check_running(world, name, service, index)
    options = ["--index", str(index), *(["--privileged"] if privileged else [])]
    options += options_of(user, workdir, env, no_tty=no_tty)
    program = find_program(world.settings.compose).program
    called = [*program, "-p", name, *_file(world, name), "exec", *options, "--", service, *command]
    become("exec", called, endpoint().environment())
    return 0


def _check_running(world: World, stack: str, service: str, index: int) -> None:
    """Raises DefinitionError if there is no such service or replica, MoorageError if it is not running."""
    observed = world.engine.observe(stack)
    generation = generations.current(world, stack)
    chosen(
        stack,
        [service],
        sorted({c.service for c in observed.containers} | set(generation.services if generation else ())),
    )
    numbers = {container.number: container.state for container in observed.of(service)}
    if index not in numbers and numbers:
        there = ", ".join(map(str, sorted(numbers)))
        raise DefinitionError(f"{stack}: {service} has no replica {index}", service=service, hint=f"Replicas: {there}.")
    if numbers.get(index) != "running":
        state = numbers.get(index, "not created")
        hint = f"`moorage start {service}` starts it." if numbers else "`moorage up` creates it."
        raise MoorageError(f"{stack}: {service} is not running, it is {state}", hint=hint, service=service, state=state)


def _file(world: World, stack: str) -> list[str]:
    """Options that name the stack's own definition, so that Compose reads no other one from the directory."""
    generation = generations.current(world, stack)
    newest = next(iter(world.store.generations(stack)), None)
    if generation is None and newest:
        generation = generations.read(world, stack, newest.number)
    return ["-f", str(generations.compose_file(world, generation))] if generation else []
