"""`build`: build or pull the images of a definition, without touching running containers."""

from __future__ import annotations

from dataclasses import replace

from moorage.model.step import Operation, StepKind
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.queries.plan import plan_up
from moorage.work.runs import images
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import locked
from moorage.work.threads import in_thread

_MAKES = (StepKind.BUILD, StepKind.PULL)


@foreign_errors_named()
async def build(context: Context, request: UpRequest) -> tuple[str, list[str]]:
    """Build or pull the images that a start would; gives the stack's name and the services whose image was made.

    Images stay, whatever becomes of the others: there is nothing to undo. Raises ImageError.
    """
    resolved = await in_thread(lambda: resolve(context.world, request))
    run = Run(context, Operation.UP, resolved.name, resolved.request)
    async with locked(run, recover):
        planned = await plan_up(run.world, resolved)
        makes = tuple(step for step in planned.plan.steps if step.kind in _MAKES)
        planned = replace(planned, plan=planned.plan.model_copy(update={"steps": makes}))
        await images.require_builder(run.world, planned)
        await in_thread(lambda: run.adopt(planned))
        await carry_out(run, planned.plan)
    return resolved.name, [step.service or "" for step in makes]
