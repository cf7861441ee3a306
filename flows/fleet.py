"""`fleet`: bring many stacks up, take them down, or look at them; each by itself, so many at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import Flow, State, flow
from prefect.runtime import flow_run

from flows.down import down
from flows.status import status
from flows.up import up
from moorage.errors import DefinitionError
from moorage.model.fleet import FleetMember, FleetVerb
from moorage.model.request import FleetRequest
from moorage.work.definitions.fleet import directories
from tasks import parameters
from tasks.driver import carried_out
from tasks.fleet import carried_out_each

if TYPE_CHECKING:
    from moorage.work.runs.context import Context


@flow(name="fleet", flow_run_name=lambda: f"fleet {flow_run.parameters['verb']}", persist_result=False)
async def fleet(
    verb: Annotated[FleetVerb, parameters.switch("What to do")] = FleetVerb.STATUS,
    paths: parameters.Directories = parameters.NOTHING,
    sources: parameters.SourceNames = parameters.NOTHING,
    at_once: parameters.AtOnce = None,
    build: Annotated[bool, parameters.switch("Build even if nothing changed")] = False,
    volumes: Annotated[bool, parameters.switch("Remove volumes")] = False,
    release_ports: Annotated[bool, parameters.switch("Release ports")] = False,
) -> dict[str, Any] | State[Any]:
    """Do the same to many stacks. Each one commits or is undone by itself; a failure stops no other.

    Args:
        verb: `up`, `down` or `status`.
        paths: Directories of projects on the worker's machine, or patterns such as `/srv/*`.
        sources: Names of Stack Sources (see Blocks), besides the directories.
        at_once: How many stacks at the same time. Empty: by the machine's cores and free memory.
        build: With `up`: build images even if their sources have not changed.
        volumes: With `down`: remove the volumes too: their data is lost.
        release_ports: With `down`: release the host ports; otherwise they are kept for the next start.
    """
    if not paths and not sources:
        raise DefinitionError("name directories or stack sources", key="paths", hint="A pattern is fine: `/srv/*`.")
    request = FleetRequest(
        verb=verb,
        paths=tuple(paths),
        sources=tuple(sources),
        at_once=at_once,
        build=build,
        volumes=volumes,
        release_ports=release_ports,
    )
    return await carried_out(lambda context: _fleet(context, request))


async def _fleet(context: Context, request: FleetRequest) -> dict[str, Any]:
    named = [("", directory) for directory in directories(request.paths, Path.cwd())]
    for name in request.sources:
        source = await parameters.source_named(name)
        named.append((name, source.request().source.directory))
    return await carried_out_each(context, request, named, lambda member: _subflow(request, member))


def _subflow(request: FleetRequest, member: FleetMember) -> tuple[Flow[..., Any], dict[str, Any]]:
    match request.verb:
        case FleetVerb.UP:
            which = {"stack": member.source} if member.source else {"path": str(member.directory)}
            return up, {**which, "build": request.build}
        case FleetVerb.DOWN:
            return down, {
                "stack": member.stack,
                "volumes": request.volumes,
                "release_ports": request.release_ports,
            }
        case FleetVerb.STATUS:
            return status, {"stack": member.stack}
