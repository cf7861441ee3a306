"""Approval: a run shows its plan and waits for a person, before it takes the stack's lock or does anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from moorage.errors import RunError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.state import RunOutcome
from moorage.model.step import Operation, Plan
from moorage.rules import naming
from moorage.work.definitions import generations
from moorage.work.runs.context import Approval
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.transaction import locked
from moorage.work.threads import in_thread


class HasPlan(Protocol):
    """What is to be done, and whatever it was made from."""

    @property
    def plan(self) -> Plan:
        """The steps."""


P = TypeVar("P", bound=HasPlan)
MakePlan = Callable[[], Awaitable[P]]
"""What would be done now; touches nothing."""


@asynccontextmanager
async def approved_and_locked(run: Run, make_plan: MakePlan[P], *, wanted: bool | None = None) -> AsyncIterator[P]:
    """Hold the stack's lock, for the plan that is given; before that, have it approved where that is wanted.

    `wanted` None: the stack's committed definition says so, or the source it came from. The plan is made with the lock
    held, and is the one that was approved. Raises BusyError; InterruptedRunError, RunError: it was not approved, or is
    another one by now.
    """
    approved = await _approved(run, make_plan, wanted)
    async with locked(run, recover):
        planned = await make_plan()
        if approved:
            _check_unchanged(approved, planned.plan)
        yield planned


async def _approved(run: Run, make_plan: MakePlan[P], wanted: bool | None) -> Plan | None:
    """What somebody has agreed to. None: nobody had to."""
    approval = run.context.approval
    if approval is None or not await in_thread(lambda: _is_wanted(run, approval, wanted)):
        return None
    plan = (await make_plan()).plan
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
    starts = (one for one in world.store.run_heads(stack) if one.operation == Operation.UP)
    committed = next((one for one in starts if one.outcome == RunOutcome.COMMITTED), None)
    made_it = world.store.run(committed.id) if committed else None
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
