"""`moorage fleet`: one verb for many stacks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from moorage.cli.options import LockTimeout
from moorage.cli.output import as_json, say, say_run
from moorage.cli.world import open_world
from moorage.errors import DefinitionError, FleetError
from moorage.model.fleet import FleetMember, FleetRow, FleetVerb
from moorage.model.request import FleetRequest
from moorage.settings import Settings, settings
from moorage.work.definitions.fleet import directories, listed, members
from moorage.work.operations.fleet import fleet, refuse_failures
from moorage.work.queries.status import status as look
from moorage.work.runs.context import Context

app = App(name="fleet", help="Bring many stacks up, take them down, look at them: one run, one row a stack.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the rows as JSON.")]
Listed = Annotated[
    list[Path] | None,
    Parameter(name=["--list", "-l"], help="File with a directory or pattern a line; may be given several times."),
]
Sources = Annotated[
    list[str] | None, Parameter(name="--source", help="Name of a Stack Source of the hub; may be given several times.")
]
AtOnce = Annotated[
    int | None,
    Parameter(
        help="How many stacks at the same time (default: by cores and free memory).",
        validator=validators.Number(gte=1, lte=1000),
    ),
]
_READS_AT_ONCE = 8


@app.command
def up(
    *directory: str,
    list_: Listed = None,
    source: Sources = None,
    at_once: AtOnce = None,
    build: Annotated[bool, Parameter(negative="", help="Build images even if nothing changed.")] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Json = False,
) -> int:
    """Bring the stacks of these directories up; one that fails is undone, and stops no other. Exit code 5: some failed.

    Parameters
    ----------
    directory
        Directory of a project, or a quoted pattern such as '/srv/*'.
    """
    request = _request(FleetVerb.UP, directory, list_, source).model_copy(update={"at_once": at_once, "build": build})
    return _run(request, patience.settings(), start_hub=True, json=json)


@app.command
def down(
    *directory: str,
    list_: Listed = None,
    source: Sources = None,
    at_once: AtOnce = None,
    volumes: Annotated[
        bool, Parameter(name=["--volumes", "-v"], negative="", help="Remove volumes: data is lost.")
    ] = False,
    release_ports: Annotated[bool, Parameter(negative="", help="Release the leased ports.")] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Json = False,
) -> int:
    """Remove containers and networks of the stacks in these directories. Exit code 5: some failed.

    Parameters
    ----------
    directory
        Directory of a project, or a quoted pattern such as '/srv/*'.
    """
    asked = {"at_once": at_once, "volumes": volumes, "release_ports": release_ports}
    request = _request(FleetVerb.DOWN, directory, list_, source).model_copy(update=asked)
    return _run(request, patience.settings(), start_hub=False, json=json)


@app.command
def status(*directory: str, list_: Listed = None, json: Json = False) -> int:
    """Show the state of the stacks in these directories, as the engine reports it. Exit code 5: one cannot be read.

    Parameters
    ----------
    directory
        Directory of a project, or a quoted pattern such as '/srv/*'.
    """
    request = _request(FleetVerb.STATUS, directory, list_, None)
    context = Context(open_world(settings=settings()))
    named = [("", one) for one in directories(request.paths, Path.cwd())]

    async def of_one(member: FleetMember) -> Mapping[str, Any]:
        return (await look(context.world, member.stack, ask=False)).model_dump(mode="json")

    found = members(context.world, request.verb, named)
    rows = asyncio.run(fleet(context, request.verb, found, of_one, _READS_AT_ONCE))
    _show(rows, json=json)
    refuse_failures(request.verb, rows)
    return 0


def _request(
    verb: FleetVerb, given: Sequence[str], lists: Sequence[Path] | None, sources: Sequence[str] | None
) -> FleetRequest:
    """Raises DefinitionError: nothing is named, or what is named is not there."""
    patterns = [*given, *(line for file in lists or () for line in listed(file))]
    if not patterns and not sources:
        message = f"fleet {verb}: no directory is named"
        raise DefinitionError(message, hint=f"`moorage fleet {verb} 'DIRECTORY/*'`, or --list FILE.")
    paths = tuple(str(one) for one in directories(patterns, Path.cwd()))
    return FleetRequest(verb=verb, paths=paths, sources=tuple(sources or ()))


def _run(request: FleetRequest, chosen: Settings, *, start_hub: bool, json: bool) -> int:
    from moorage.cli.flow_runner import run_flow

    try:
        found = run_flow("fleet", request.model_dump(mode="json"), start_hub=start_hub, settings=chosen)
    except FleetError as error:
        if not json:  # with it, the rows are among the fields of the error
            _show([FleetRow.model_validate(row) for row in error.fields["rows"]], json=False)
        raise
    _show([FleetRow.model_validate(row) for row in found["rows"]], json=json)
    if not json:
        say_run(found)
    return 0


def _show(rows: Sequence[FleetRow], *, json: bool) -> None:
    if json:
        as_json([row.model_dump(mode="json") for row in rows])
        return
    from moorage.show.fleet_text import fleet_text

    say(fleet_text(rows))
