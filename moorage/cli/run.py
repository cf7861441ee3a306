"""`moorage run`."""

from __future__ import annotations

import uuid
from typing import Annotated

from cyclopts import Parameter

from moorage.adapters.compose.program import find_program
from moorage.adapters.docker_context import endpoint
from moorage.cli.command_apart import become, options_of
from moorage.cli.completion import ServiceName
from moorage.cli.flow_runner import with_progress
from moorage.cli.options import LockTimeout, Selection, request_of
from moorage.cli.target import told_from_stacks
from moorage.cli.up import bring_up, replicas_now
from moorage.cli.world import open_world
from moorage.rules import labels
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.one_off import OneOff, needed_by, prepare
from moorage.work.runs.context import Context


def run(
    service: ServiceName,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    selection: Selection = Selection(),  # noqa: B008 - frozen
    no_deps: Annotated[bool, Parameter(help="Do not bring up what the service needs.")] = False,
    build: Annotated[bool, Parameter(help="Build the image even if nothing changed.")] = False,
    user: Annotated[str | None, Parameter(name=["--user", "-u"], help="User, or user:group, to run as.")] = None,
    workdir: Annotated[str | None, Parameter(name=["--workdir", "-w"], help="Directory in the container.")] = None,
    entrypoint: Annotated[str | None, Parameter(help="Program in place of the image's entrypoint.")] = None,
    env: Annotated[
        tuple[str, ...],
        Parameter(name=["--env", "-e"], help="Environment variable NAME=VALUE; may be given several times."),
    ] = (),
    volume: Annotated[
        tuple[str, ...], Parameter(name=["--volume", "-v"], help="Mount SOURCE:TARGET; may be given several times.")
    ] = (),
    no_tty: Annotated[bool, Parameter(name=["--no-tty", "-T"], help="Do not allocate a terminal.")] = False,
    rm: Annotated[bool, Parameter(show=False)] = True,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
) -> int:
    """Run a command in a new container of a service, and remove the container afterwards: `moorage run web -- sh`.

    What the service needs is up and ready first. The container is in the stack's networks, with the service's volumes,
    environment and secrets; its ports are not published. On a terminal the command gets one, otherwise its input and
    output are passed on byte for byte. The exit code is the command's own. Its output is not redacted.

    Parameters
    ----------
    service
        Service whose image and settings to use.
    command
        Program and arguments: everything after the service's name (default: the service's own command).
    """
    del rm  # always: it is accepted for those who know `docker compose run --rm`
    settings = patience.settings()
    world = open_world(settings=settings)
    request = request_of(selection).model_copy(update={"services": (service,), "build": build})
    with told_from_stacks(world, (service,)):
        resolved = resolve(world, request)
    if resolved.definition.services[service].replicas == 0:
        resolved = resolve(world, request.model_copy(update={"scale": {service: 1}}))
    if not no_deps and (needed := needed_by(resolved, service)):
        replicas = replicas_now(world, resolved.name, needed)
        bring_up(request.model_copy(update={"services": needed, "build": False, "scale": replicas}), settings)
    alone = resolved.request.model_copy(update={"services": (service,), "no_deps": True})
    made = _prepared(alone, service)
    options = options_of(user, workdir, env, no_tty=no_tty)
    options += [f"--entrypoint={entrypoint}"] if entrypoint is not None else []
    options += [f"--volume={one}" for one in volume]
    program = find_program(settings.compose).program
    called = [*program, *_call(made), *options, "--", service, *command]
    become("run", called, {**endpoint().environment(), **made.environment})
    return 0


def _prepared(request: UpRequest, service: str) -> OneOff:
    """Shows the build or pull that may come first. Raises MoorageError."""
    return with_progress(lambda emit: prepare(Context(open_world(emit)), request, service))


def _call(made: OneOff) -> list[str]:
    """The call of Compose: its label is looked for when it has to be known whether somebody still attends to it."""
    named = ["--progress", "quiet", "-p", made.stack, "-f", str(made.file)]
    return [*named, "run", "--rm", "--no-deps", "--label", f"{labels.RUN}={uuid.uuid4().hex}"]
