"""Runs that the worker executes, started and followed from a shell."""

from __future__ import annotations

from typing import Any

from moorage.adapters.docker_context import endpoint
from moorage.cli.output import as_json, remark, say
from moorage.errors import HubError, InterruptedRunError, NotReadyError, OtherEngineError, RunError
from moorage.hub import control, runs
from moorage.hub.hub_home import hub_home
from moorage.hub.runs import FlowRun

_CODES = {"COMPLETED": 0, "CANCELLED": InterruptedRunError.exit_code}


def hand_over(flow: str, parameters: dict[str, Any], about: str, *, json: bool) -> int:
    """Create a flow run for the worker and return; the hub is started if it is not running. Raises HubError."""
    where = control.on_duty(remark)
    _check_engine()
    try:
        made = runs.submit(where, flow, parameters, about)
    except HubError as error:
        if "no deployment" not in str(error):
            raise
        made = runs.submit(control.start(remark), flow, parameters, about)
    if json:
        as_json({"flow_run_id": made.id, "flow_run_url": made.url, "name": made.name, "state": made.state})
    else:
        say(f"{made.id}\n{made.url}")
        remark(f"`moorage wait {made.id}` waits until it ends, `moorage cancel {made.id[:8]}` undoes it")
    return 0


def _check_engine() -> None:
    """Raises OtherEngineError: the worker was started where another engine is named, and would bring it up there."""
    hand = hub_home().worker()
    if hand is None or hand.engine is None:
        return
    ours, its = endpoint(), endpoint(hand.engine)
    if ours.address != its.address:
        message = f"the hub's worker uses the engine at {its.address}, and here {ours.address} is named"
        hint = "`moorage hub stop` and `moorage hub start` start one that uses this engine; or leave out --detach."
        raise OtherEngineError(message, hint=hint, address=its.address)


def follow(run: str, timeout_s: float, *, json: bool) -> int:
    """Wait until a run ends: 0 completed, 5 failed or crashed, 130 cancelled. Raises NotReadyError."""
    where = runs.address()
    said = ""

    def tell(one: FlowRun) -> None:
        nonlocal said
        words = one.doing or one.state
        if words.partition(" after ")[0] != said.partition(" after ")[0]:
            said = words
            remark(f"{one.name}: {words}")

    found = runs.until_ended(where, runs.one(where, run), timeout_s, tell)
    if not found.ended:
        message = f"{found.name}: {found.state} after {timeout_s:g} s"
        raise NotReadyError(message, reason="timeout", hint="`moorage runs` says more.", url=found.url)
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        say(verdict(found))
    return _CODES.get(found.type, RunError.exit_code)


def verdict(found: FlowRun) -> str:
    """How a run ended, in a line."""
    from moorage.show.formatting import one_line, seconds

    took = f" after {seconds(found.duration_s)}" if found.duration_s is not None else ""
    words = f": {one_line(found.message)}" if found.message else ""
    return f"{found.name}: {found.state}{took}{words}\n{found.url}"
