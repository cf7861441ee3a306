"""One task run per step, with a readable name, which waits for its real dependencies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import TaskRun
from prefect.states import Completed

from moorage.errors import MoorageError
from moorage.model.event import Action
from moorage.model.step import Step, StepKind
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import StepRunner
from moorage.work.runs.steps import perform


def may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Retry only if another attempt may succeed. Prefect 3.8 accepts only plain functions here."""
    del task, task_run
    return isinstance(state.data, MoorageError) and state.data.retryable


@task(
    name="image",
    task_run_name="{step.id}",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[1, 2, 4],
    retry_jitter_factor=0.2,
    retry_condition_fn=may_pass,
)
async def make_image(step: Step, run: Run) -> str:
    """Build or pull the image of a service."""
    return await perform(step, run)


@task(
    name="step",
    task_run_name="{step.id}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[1, 2],
    retry_condition_fn=may_pass,
)
async def do_step(step: Step, run: Run) -> str:
    """Do one step of a plan."""
    return await perform(step, run)


def as_task_runs(run: Run) -> StepRunner:
    """Runs each step as a task run; edges of the graph in the UI are the dependencies of the steps."""

    async def act(step: Step, needs: list[Any]) -> State[Any]:
        policy: Callable[..., Any] = make_image if step.kind in (StepKind.BUILD, StepKind.PULL) else do_step
        try:
            state: State[Any] = await policy(step, run, wait_for=needs, return_state=True)
        except Exception as error:  # noqa: BLE001 - errors of the step are in its state, so this one is Prefect's
            run.tell(Action.NOTICE, step.id, f"the history of this run is incomplete: {error}", service=step.service)
            return Completed(message=await perform(step, run))
        await state.aresult()  # raises what the step raised
        return state

    return act
