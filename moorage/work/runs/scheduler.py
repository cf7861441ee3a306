"""The scheduler of a run: starts each step as soon as the steps that it needs are done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from moorage.model.event import Action
from moorage.model.step import Plan, Step
from moorage.rules import unforeseen
from moorage.work.runs.context import StepRunner
from moorage.work.runs.run import Run
from moorage.work.runs.steps import perform
from moorage.work.threads import most_telling


async def carry_out(run: Run, plan: Plan) -> None:
    """Do the steps of a plan, each as soon as all it needs is done. The first failure ends the others and is raised.

    What is going to be done is told first, here and nowhere else; told again if the creation of containers has cut off
    services that the plan did not speak of: they are started and waited for like the others.
    """
    run.tell(Action.PLANNED, plan=plan.model_dump(mode="json"))
    runner = (run.context.step_runner or directly)(run)
    doing: dict[str, asyncio.Task[Any]] = {}
    first, planned = unforeseen.parts(plan)
    await _do(first, runner, doing)
    rest = unforeseen.extended(planned, run.services, run.cut_off)
    run.cut_off = frozenset()
    if rest != planned:
        longer = plan.model_copy(update={"steps": (*first, *rest)})
        run.tell(Action.PLANNED, plan=longer.model_dump(mode="json"))
    await _do(rest, runner, doing)


async def _do(steps: Sequence[Step], runner: StepRunner, doing: dict[str, asyncio.Task[Any]]) -> None:
    """Do steps, each when what it needs is done; `doing` has those before them, and then these too."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                needs = [doing[need] for need in step.needs if need in doing]
                doing[step.id] = group.create_task(_after(needs, step, runner), name=step.id)
    except BaseExceptionGroup as errors:
        raise most_telling(errors) from None


async def _after(needs: list[asyncio.Task[Any]], step: Step, runner: StepRunner) -> Any:
    return await runner(step, [await need for need in needs])


def directly(run: Run) -> StepRunner:
    """Steps are run as they are, without Prefect."""

    async def runner(step: Step, _needs: list[Any]) -> str:
        return await perform(step, run)

    return runner
