"""Approval: a run shows its plan and waits for a person, before it takes the stack's lock or does anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from moorage.errors import RunError
from moorage.model.event import Action
from moorage.model.step import Plan
from moorage.rules import naming
from moorage.work.queries.consent import wants_approval
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
Idle = Callable[[P], Awaitable[bool]]
"""True: nothing comes of it, not even on record."""


async def _no_steps(planned: HasPlan) -> bool:
    return planned.plan.empty


@asynccontextmanager
async def approved_and_locked(
    run: Run, make_plan: MakePlan[P], *, asked: bool = False, idle: Idle[P] = _no_steps
) -> AsyncIterator[P]:
    """Hold the stack's lock, for the plan that is given; before that, have it approved where that is wanted.

    `asked`: what is to be done asks for it, whatever the stack does. The plan is made with the lock held, and is the
    one that was approved. Raises BusyError; InterruptedRunError, RunError: it was not approved, or is another one by
    now; DefinitionError: there is nobody to ask.
    """
    approved = await _approved(run, make_plan, asked=asked, idle=idle)
    async with locked(run, recover):
        planned = await make_plan()
        if approved:
            _check_unchanged(approved, planned.plan)
        else:
            await _check_not_wanted(run, planned, idle)
        await in_thread(lambda: _mark(run))
        yield planned


async def _approved(run: Run, make_plan: MakePlan[P], *, asked: bool, idle: Idle[P]) -> Plan | None:
    """What somebody has agreed to. None: nobody had to."""
    approval = run.context.approval
    if approval is None or not await in_thread(lambda: _is_wanted(run, approval, asked=asked)):
        return None
    planned = await make_plan()
    if await idle(planned):
        return None
    plan = planned.plan
    await approval.ask(plan, lambda words: run.tell(Action.NOTICE, message=words, waiting=words))
    run.tell(Action.NOTICE, message="approved", waiting="")
    return plan


def _is_wanted(run: Run, approval: Approval, *, asked: bool) -> bool:
    """A stack that lives with a process (`moorage ci`) asks nobody: there is no one to answer, and it goes with it."""
    if run.world.lock(naming.owner_lock(run.stack)).held():
        return False
    return approval.production or asked or wants_approval(run.world, run.stack)


async def _check_not_wanted(run: Run, planned: P, idle: Idle[P]) -> None:
    """Raises RunError: while this run waited for the lock, another one has made the stack one that wants approval."""
    approval = run.context.approval
    if approval is None or not await in_thread(lambda: _is_wanted(run, approval, asked=False)):
        return
    if not await idle(planned):
        message = f"{run.stack}: it needs approval since a moment ago; nothing was done"
        raise RunError(message, stack=run.stack, reason="changed", undone=True, hint="Run it again, to be asked.")


def _mark(run: Run) -> None:
    """Write down that a stack is for production; before its first commit there is no record, and the commit does it."""
    if run.context.for_production:
        record = run.world.store.stack(run.stack)
        if record and not record.production:
            run.world.store.save_stack(record.model_copy(update={"production": True}))


def _check_unchanged(approved: Plan, plan: Plan) -> None:
    """Raises RunError: what would be done now is not what somebody has consented to."""
    if plan.steps and plan.steps != approved.steps:
        message = f"{plan.stack}: the plan has changed since it was approved; nothing was done"
        raise RunError(
            message, stack=plan.stack, reason="changed", undone=True, hint="Run it again, and review the new plan."
        )
