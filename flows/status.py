"""`status`: check one stack or all stacks, report drift, and repair it if that is wanted."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.errors import InterruptedRunError, MoorageError, said
from moorage.model.event import Action, Event
from moorage.model.request import HealRequest
from moorage.work.operations.heal import heal as bring_back
from moorage.work.operations.heal import wants_healing
from moorage.work.queries.health import health
from moorage.work.queries.status import status as look
from moorage.work.queries.usage import Meter
from moorage.work.runs.context import Context
from moorage.work.runs.memory import learn
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.artifacts import publish
from tasks.drift_events import tell
from tasks.driver import carried_out


@flow(
    name="status", flow_run_name=lambda: f"status {flow_run.parameters.get('stack') or 'of all'}", persist_result=False
)
async def status(
    stack: parameters.SomeStack = "", heal: Annotated[bool | None, parameters.switch("Mend")] = None
) -> list[dict[str, Any]] | State[Any]:
    """Check a stack, publish the table of its services, and report how it differs from its generation.

    Args:
        stack: Name of the stack. Empty: all stacks on record.
        heal: Repair drift. Empty: if the definition says `x-moorage.heal: true`.
    """
    return await carried_out(lambda context: _status(context, stack, heal))


async def _status(context: Context, stack: str, heal: bool | None) -> list[dict[str, Any]]:
    if stack:
        return [await _one(context, stack, heal)]
    records = await in_thread(context.world.store.stacks)
    found = [await _apart(context, record.name, heal) for record in records]
    if found and all(isinstance(one, Exception) for one in found):  # it is not about one of them
        raise next(one for one in found if isinstance(one, Exception))
    return [
        one if isinstance(one, dict) else {"stack": record.name, "error": said(one)}
        for record, one in zip(records, found, strict=True)
    ]


async def _apart(context: Context, stack: str, heal: bool | None) -> dict[str, Any] | Exception:
    """One of all stacks: what it fails by is told, and stops no other."""
    try:
        return await _one(context, stack, heal)
    except InterruptedRunError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is
        message = f"{stack} cannot be checked: {said(error)}"
        context.world.emit(Event(at=context.world.clock.now(), stack="", action=Action.NOTICE, message=message))
        return error


async def _one(context: Context, stack: str, heal: bool | None) -> dict[str, Any]:
    world = context.world
    wanted = await in_thread(lambda: wants_healing(world, stack)) if heal is None else heal
    drifted = await (bring_back(context, HealRequest(stack=stack)) if wanted else health(world, stack))
    tell(drifted)
    found = await look(world, stack)
    with suppress(MoorageError):  # it is known for the next start, and says nothing of this one
        usage = await Meter(world, [stack]).look()
        await in_thread(lambda: learn(world, usage))
    await publish(found)
    facts = drifted.model_dump(mode="json", include={"drift", "healed", "treatments"})
    return {**found.model_dump(mode="json"), **facts}
