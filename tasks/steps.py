"""One task run per step, with a readable name, which waits for its real dependencies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from moorage.model.event import Action
from moorage.model.step import Step
from moorage.work.runs.context import StepRunner
from moorage.work.runs.run import Run
from moorage.work.runs.steps import perform


@task(name="step", task_run_name="{step.id}", cache_policy=NO_CACHE)
async def do_step(step: Step, run: Run) -> str:
    """Do one step of a plan. Retries are the run's own: they are lines of its log."""
    return await perform(step, run)


def as_task_runs(run: Run) -> StepRunner:
    """Runs each step as a task run; edges of the graph in the UI are the dependencies of the steps."""

    async def runner(step: Step, needs: list[Any]) -> State[Any]:
        try:
            asked: Callable[..., Any] = do_step  # Prefect types the call without its options
            state: State[Any] = await asked(step, run, wait_for=needs, return_state=True)
        except Exception as error:  # noqa: BLE001 - Prefect's own: what the step raises is in its state
            run.tell(Action.NOTICE, step.id, f"the history of this run is incomplete: {error}", service=step.service)
            return Completed(message=await perform(step, run))
        await state.aresult()  # raises what the step raised
        return state

    return runner
