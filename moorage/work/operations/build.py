"""`build`: build or pull the images of a definition, without touching running containers."""

from __future__ import annotations

from moorage.interfaces import World
from moorage.model.step import Operation, StepKind
from moorage.work.definitions import resolve
from moorage.work.definitions.request import UpRequest
from moorage.work.queries.plan import plan_up
from moorage.work.runs import images
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import locked
from moorage.work.threads import in_thread

_MAKES = (StepKind.BUILD, StepKind.PULL)


async def build(
    world: World, request: UpRequest, act_of: StepRunnerFor = directly, flow_run_id: str | None = None
) -> tuple[str, list[str]]:
    """Build or pull the images that a start would; gives the stack's name and the services whose image was made.

    Images stay, whatever becomes of the others: there is nothing to undo. Raises ImageError.
    """
    definition = await in_thread(lambda: resolve.resolve(world, request))
    run = Run(world, Operation.UP, definition.name, request.model_copy(update={"name": definition.name}))
    run.flow_run_id = flow_run_id
    async with locked(run, recover):
        desired, _, plan = await plan_up(world, run.request or request)
        makes = tuple(step for step in plan.steps if step.kind in _MAKES)
        await images.require_builder(world, run.request or request, desired, plan)
        run.adopt(desired, plan.model_copy(update={"steps": makes}))
        await carry_out(makes, act_of(run))
    return definition.name, [step.service or "" for step in makes]
