"""`moorage up`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LockTimeout, Selection, request_of
from moorage.cli.output import as_json, remark, say
from moorage.cli.signals import LoopThread
from moorage.cli.target import told_from_stacks
from moorage.cli.world import open_world
from moorage.interfaces import World
from moorage.model.image import BuilderName
from moorage.model.state import StackStatus
from moorage.rules.durations import seconds
from moorage.rules.part import numbers_of
from moorage.settings import Settings
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest, parameters_of
from moorage.work.definitions.resolve import Resolved
from moorage.work.runs.single_flight import single_flight


def up(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    wait_timeout: Annotated[
        float | None, Parameter(help="Longest time for a service to become ready, in seconds.")
    ] = None,
    keep_failed: Annotated[bool, Parameter(help="Keep a failed start for inspection.")] = False,
    strict_ports: Annotated[bool, Parameter(help="Fail if a wanted port is taken.")] = False,
    build: Annotated[bool, Parameter(help="Build images even if nothing changed.")] = False,
    builder: Annotated[
        BuilderName | None,
        Parameter(help="Image builder: auto, compose, dagger. Default: MOORAGE_BUILDER, then the compose file."),
    ] = None,
    force_recreate: Annotated[bool, Parameter(help="Re-create containers even if nothing changed.")] = False,
    ttl: Annotated[str | None, Parameter(help="Time to live of the stack, such as 8h.")] = None,
    registry_credentials: Annotated[
        str | None, Parameter(help="Name of the hub's Docker Registry Credentials block to pull with.")
    ] = None,
    detach: Annotated[
        bool, Parameter(name=["--detach", "-d"], help="Let the hub's worker execute the run, and do not wait.")
    ] = False,
    no_deps: Annotated[bool, Parameter(help="Bring up only the named services, not what they need.")] = False,
    scale: Annotated[
        tuple[str, ...],
        Parameter(help="SERVICE=NUMBER: its number of replicas, until the next `up`; may be given several times."),
    ] = (),
    wait: Annotated[bool, Parameter(show=False)] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Bring the stack of this directory up: either all services become ready, or everything is undone.

    With services, only these and what they need are brought up; the others stay as they are.

    Parameters
    ----------
    services
        Services to bring up (default: all).
    """
    began = time.monotonic()
    request = request_of(selection).model_copy(
        update={
            "services": tuple(dict.fromkeys(services)),
            "no_deps": no_deps,
            "scale": numbers_of(scale, "--scale"),
            "wait_timeout_s": wait_timeout,
            "keep_failed": keep_failed,
            "strict_ports": strict_ports,
            "build": build,
            "builder": builder,
            "force_recreate": force_recreate,
            "ttl_s": seconds(ttl, "--ttl") if ttl else None,
        }
    )
    credentials = {"registry_credentials": registry_credentials} if registry_credentials else {}
    if detach and not wait:  # with `--wait`, as in `docker compose up -d --wait`, it is what `up` always does
        from moorage.cli.detached import hand_over

        asked = parameters_of(request, ttl) | credentials
        return hand_over("up", asked, request.name or request.source.directory.name, json=json)
    found, idle = bring_up(request, patience.settings(), ttl, credentials)
    show(found, began, json=json, idle=idle)
    return 0


def bring_up(
    request: UpRequest, settings: Settings, ttl: str | None = None, more: dict[str, Any] | None = None
) -> tuple[dict[str, Any], bool]:
    """Do an `up` as a flow run of this process; gives what it came to, and whether there was nothing to do.

    `more`: parameters of the flow besides those of the request. Raises MoorageError.
    """
    asked = parameters_of(request, ttl) | (more or {})
    world = open_world(settings=settings)
    with (
        told_from_stacks(world, request.services),
        LoopThread() as loop,
        single_flight(world, request, remark, loop.run) as turn,
    ):
        found = _already(turn.idle) if turn.idle else _now(asked, settings, turn.resolved, loop)
    return found, turn.idle is not None


def replicas_now(world: World, stack: str, services: Iterable[str]) -> dict[str, int]:
    """How many replicas these services have by the current generation: what `scale` has made of them stays."""
    now = generations.current(world, stack)
    return {name: now.services[name].replicas for name in services if now and name in now.services}


def _already(idle: StackStatus) -> dict[str, Any]:
    return {**idle.model_dump(mode="json"), "changed": [], "flow_run_id": None, "flow_run_url": None}


def _now(asked: dict[str, Any], settings: Settings, resolved: Resolved, loop: LoopThread) -> dict[str, Any]:
    from moorage.cli.flow_runner import run_flow

    return run_flow("up", asked, start_hub=True, settings=settings, resolved=resolved, loop=loop)


def show(found: dict[str, Any], began: float, *, json: bool, idle: bool) -> None:
    """Print what an `up` came to; `began`: by the monotonic clock. `idle`: there was nothing to do."""
    from moorage.show.text import summary_text

    found = {**found, "elapsed_s": round(time.monotonic() - began, 3)}
    if json:
        as_json(found)
        return
    status = StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})
    if idle:
        remark(f"{status.stack}: nothing to do, all services are ready")
    say(summary_text(status, found["elapsed_s"], found["flow_run_url"], found["changed"]))
