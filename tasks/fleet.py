"""A fleet as Prefect shows it: a subflow a stack, and a table of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import Flow, State
from prefect.artifacts import acreate_table_artifact

from moorage.adapters import machine
from moorage.errors import InterruptedRunError
from moorage.hub.outcome import CALLER, Caller, Outcome
from moorage.model.fleet import FleetMember, FleetRow
from moorage.model.request import FleetRequest
from moorage.rules import fleet as rules
from moorage.show.formatting import seconds
from moorage.work.definitions.fleet import members
from moorage.work.operations.fleet import fleet, refuse_failures
from moorage.work.runs.context import Context
from moorage.work.threads import in_thread
from tasks.artifacts import briefly

Subflow = Callable[[FleetMember], tuple[Flow[..., Any], dict[str, Any]]]
"""The flow that does it to one, and its parameters."""


async def carried_out_each(
    context: Context, request: FleetRequest, named: Sequence[tuple[str, Any]], subflow: Subflow
) -> dict[str, Any]:
    """Do the verb to all of them; the table of what came of each is published. Raises FleetError: some failed."""
    found = await in_thread(lambda: members(context.world, request.verb, named))
    cores = machine.cores()
    caller = CALLER.get() or Caller(Outcome(), lambda _event: None)
    inner = replace(caller, resolved=None, is_flow=True, building=asyncio.Semaphore(rules.builds_at_once(cores)))
    at_once = request.at_once or rules.at_once(cores, machine.free_bytes())
    rows = await fleet(context, request.verb, found, partial(_as_subflow, inner, subflow), at_once)
    await briefly(_published(request, rows))
    refuse_failures(request.verb, rows)
    return {"rows": [row.model_dump(mode="json") for row in rows], "flow_run_id": context.flow_run_id}


async def _as_subflow(inner: Caller, subflow: Subflow, member: FleetMember) -> Mapping[str, Any]:
    flow, parameters = subflow(member)
    CALLER.set(replace(inner, outcome=Outcome()))  # of this task alone: it has a context of its own
    called: Callable[..., Awaitable[State[Any]]] = flow  # Prefect types the call without its options
    state = await called(**parameters, return_state=True)
    found = await state.aresult(raise_on_failure=False)
    if isinstance(found, BaseException):
        raise found
    if state.is_cancelled():
        raise InterruptedRunError(state.message or "cancelled")
    given: Mapping[str, Any] = found[0] if isinstance(found, list) else found
    return given


async def _published(request: FleetRequest, rows: Sequence[FleetRow]) -> None:
    wrong = len(rules.failed(rows))
    table = [
        {
            "stack": row.stack,
            "state": row.state,
            "started": row.changed or "",
            "took": seconds(row.elapsed_s),
            "error": row.error or "",
            "directory": row.directory,
        }
        for row in rows
    ]
    said = f"{len(rows)} stacks, {wrong} failed" if wrong else f"{len(rows)} stacks, none failed"
    await acreate_table_artifact(table=table, key="moorage-fleet", description=f"fleet {request.verb}: {said}")
