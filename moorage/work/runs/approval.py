"""Approval: a run shows its plan and waits for a person, before it takes the stack's lock or does anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from moorage.errors import RunError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.step import Operation, Plan
from moorage.rules import naming
from moorage.work.definitions import generations
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.transaction import locked
from moorage.work.threads import in_thread

_RUNS = 200
"""How many of the last runs of a stack are looked at for the one that made it what it is."""

Preview = Callable[[], Awaitable[Plan]]
"""What would be done now; touches nothing."""


class Approval:
    """Who is asked, and when."""

    def __init__(self, ask: Callable[[Plan, Callable[[str], None]], Awaitable[None]], *, always: bool = False) -> None:
        self.ask = ask
        """Returns when somebody has consented to the plan, raises InterruptedRunError if nobody does. It is given what
        tells people that it waits."""
        self.always = always
        """Whatever the stack's definition says: the run's deployment is tagged."""


@asynccontextmanager
async def approved_and_locked(
    run: Run, approval: Approval | None, preview: Preview, *, wanted: bool | None = None
) -> AsyncIterator[None]:
    """Hold the stack's lock; before that, ask for consent where it is wanted.

    `approval` None: nobody is asked. `wanted` None: the stack's committed definition says so, or the source it came
    from. What would be done is looked at again with the lock held. Raises BusyError; InterruptedRunError, RunError: it
    was not consented to, or not to this.
    """
    approved = await _approved(run, approval, preview, wanted)
    async with locked(run, recover):
        if approved:
            _check_unchanged(approved, await preview())
        yield


async def _approved(run: Run, approval: Approval | None, preview: Preview, wanted: bool | None) -> Plan | None:
    """What somebody has consented to. None: nobody had to."""
    if approval is None or not await in_thread(lambda: _is_wanted(run, approval, wanted)):
        return None
    plan = await preview()
    if plan.empty:
        return None
    await approval.ask(plan, lambda words: run.tell(Action.NOTICE, message=words, waiting=words))
    run.tell(Action.NOTICE, message="approved", waiting="")
    return plan


def _is_wanted(run: Run, approval: Approval, wanted: bool | None) -> bool:
    """A stack that lives with a process (`moorage ci`) asks nobody: there is no one to answer, and it goes with it."""
    if run.world.lock(naming.owner_lock(run.stack)).held():
        return False
    return approval.always or (wants_approval(run.world, run.stack) if wanted is None else wanted)


def wants_approval(world: World, stack: str) -> bool:
    """True: the committed definition says `x-moorage.approve: true`, or the source that it came from did."""
    generation = generations.current(world, stack)
    if generation and (generation.config.get("x-moorage") or {}).get("approve") is True:
        return True
    starts = (one for one in world.store.runs(stack, _RUNS) if one.operation == Operation.UP)
    made_it = next((one for one in starts if one.outcome == "committed"), None)
    if made_it is None:
        return False
    # Versions before 0.2 wrote it down as `wish`.
    asked = made_it.arguments.get("request") or made_it.arguments.get("wish") or {}
    return bool(asked.get("approve"))


def _check_unchanged(approved: Plan, plan: Plan) -> None:
    """Raises RunError: what would be done now is not what somebody has consented to."""
    if plan.steps and plan.steps != approved.steps:
        message = f"{plan.stack}: the plan has changed since it was approved; nothing was done"
        raise RunError(
            message, stack=plan.stack, reason="changed", undone=True, hint="Run it again, and review the new plan."
        )
