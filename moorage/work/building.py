"""`build`: make or fetch the images of a definition, and nothing else: what runs is left alone."""

from __future__ import annotations

from moorage.interfaces import World
from moorage.model.step import Operation, StepKind
from moorage.work import images, resolve
from moorage.work.operation import locked
from moorage.work.perform import carry_out
from moorage.work.recovery import recover
from moorage.work.run import Run
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly
from moorage.work.wish import Wish

_MAKES = (StepKind.BUILD, StepKind.PULL)


async def build(
    world: World, wish: Wish, act_of: ActOf = directly, flow_run_id: str | None = None
) -> tuple[str, list[str]]:
    """Build or pull the images that a start would; gives the stack's name and the services whose image was made.

    Images stay, whatever becomes of the others: there is nothing to undo. Raises ImageError.
    """
    definition = await in_thread(lambda: resolve.resolve(world, wish))
    run = Run(world, Operation.UP, definition.name, wish.model_copy(update={"name": definition.name}))
    run.flow_run_id = flow_run_id
    async with locked(run, recover):
        desired, _, plan = await resolve.plan(world, run.wish or wish)
        makes = tuple(step for step in plan.steps if step.kind in _MAKES)
        await images.require_builder(world, run.wish or wish, desired, plan)
        run.adopt(desired, plan.model_copy(update={"steps": makes}))
        await carry_out(makes, act_of(run))
    return definition.name, [step.service or "" for step in makes]
