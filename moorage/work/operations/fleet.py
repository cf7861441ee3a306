"""`fleet`: one verb for many stacks. Each commits, or is undone, by itself; none stops another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from moorage.errors import FleetError, InterruptedRunError, MoorageError, said
from moorage.model.event import Action, Event
from moorage.model.fleet import FleetMember, FleetRow, FleetVerb
from moorage.model.state import StackState
from moorage.rules import fleet as rules
from moorage.work.runs.context import Context

Do = Callable[[FleetMember], Awaitable[Mapping[str, Any]]]
"""Does the verb to one; gives what the verb alone would."""


async def fleet(
    context: Context, verb: FleetVerb, members: Sequence[FleetMember], do: Do, at_once: int
) -> tuple[FleetRow, ...]:
    """Do the verb to each, so many at once; gives a row for each, in their order.

    Raises nothing because of one of them; a cancel ends those that are under way in order, and begins no other.
    """
    room = asyncio.Semaphore(at_once)

    async def one(member: FleetMember) -> FleetRow:
        async with room:
            row = await _row(context, member, do if member.stack or verb == FleetVerb.UP else _absent)
        if row.error:
            context.world.emit(
                Event(at=context.world.clock.now(), stack="", action=Action.NOTICE, message=f"{row.stack}: {row.error}")
            )
        return row

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(member)) for member in members]
    return tuple(task.result() for task in tasks)


def refuse_failures(verb: FleetVerb, rows: Sequence[FleetRow]) -> None:
    """Raises FleetError, with all rows, if something is wrong with one of them."""
    if rules.failed(rows):
        told = [row.model_dump(mode="json") for row in rows]
        hint = f"`moorage {verb} --project-directory DIRECTORY` does one of them again, and shows all that it says."
        raise FleetError(rules.verdict(rows), rows=told, hint=hint)


async def _absent(_member: FleetMember) -> Mapping[str, Any]:
    """There is no stack in the directory: nothing to end, nothing to see."""
    return {"state": StackState.ABSENT}


async def _row(context: Context, member: FleetMember, do: Do) -> FleetRow:
    began = context.world.clock.monotonic()
    row = FleetRow(stack=member.label, directory=str(member.directory), state="")
    try:
        found = await do(member)
    except MoorageError as error:
        state = "interrupted" if isinstance(error, InterruptedRunError) else "failed"
        name = str(error.fields.get("stack") or row.stack)
        facts: dict[str, Any] = {"stack": name, "state": state, "error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
        facts = {"state": "failed", "error": said(error), "exit_code": MoorageError.exit_code}
    else:
        facts = {
            "stack": str(found.get("stack") or row.stack),
            "state": str(found.get("state") or "done"),
            "changed": len(found.get("changed") or ()),
            "flow_run_id": found.get("flow_run_id"),
        }
    return row.model_copy(update={**facts, "elapsed_s": round(context.world.clock.monotonic() - began, 3)})
