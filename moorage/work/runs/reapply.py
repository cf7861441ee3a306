"""Applies a stored generation: for `rollback`, and for the recovery of an interrupted one."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.errors import DefinitionError, ImageError
from moorage.interfaces import World
from moorage.model.generation import Generation, GenerationOutcome
from moorage.model.state import Observed
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules.undo import reapply_steps
from moorage.work.definitions import generations
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread

_APPLICABLE = (GenerationOutcome.CURRENT, GenerationOutcome.SUPERSEDED)


def choose(world: World, stack: str, to: int | None) -> Generation:
    """The generation to go back to. Raises DefinitionError, ImageError.

    `to` None: the newest before the current; the current one, where a failed start was kept in its place.
    """
    record = world.store.stack(stack)
    current = record.generation if record else None
    known = [one.number for one in world.store.generations(stack) if one.outcome in _APPLICABLE]
    if current and generations.was_kept(world, stack):
        current += 1
    earlier = [number for number in known if current is None or number < current]
    number = to if to is not None else max(earlier, default=None)
    chosen = generations.read(world, stack, number) if number in known and number is not None else None
    if chosen is None:
        what = f"no generation {to}" if to is not None else "no earlier generation"
        there = ", ".join(map(str, sorted(known))) or "none"
        raise DefinitionError(f"{stack}: there is {what}", hint=f"`moorage history` lists them: {there}.", stack=stack)
    for image in chosen.images.values():
        if world.engine.image(image.tag) is None:
            message = f"services.{image.service}: image {image.tag} of generation {chosen.number} is gone"
            raise ImageError(
                message, service=image.service, image=image.tag, hint="Choose another generation with --to."
            )
    return chosen


@dataclass(frozen=True)
class PlannedRollback:
    """The generation to go back to, and how."""

    generation: Generation
    observed: Observed
    plan: Plan


async def plan_rollback(run: Run, to: int | None) -> PlannedRollback:
    """What `rollback` does. Raises as `choose`."""
    generation = await in_thread(lambda: choose(run.world, run.stack, to))
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    return PlannedRollback(generation, observed, plan_of(run.stack, generation))


async def apply(run: Run, planned: PlannedRollback) -> None:
    """Bring a stored generation into place: its ports, its containers, all of it ready."""
    run.generation = planned.generation
    await in_thread(lambda: run.know(planned.generation))
    await carry_out(run, planned.plan)


def plan_of(stack: str, generation: Generation) -> Plan:
    """What brings a stored generation into place."""
    lease = Step(kind=StepKind.LEASE, why=f"the ports of generation {generation.number}", undo="release them")
    services = dict(generation.services)
    active = frozenset(name for name, service in services.items() if service.replicas)
    why = f"generation {generation.number}"
    steps = reapply_steps(stack, Operation.ROLLBACK, services, active, why)
    first = steps[0].model_copy(update={"needs": (lease.id,), "undo": "apply the generation before"})
    return Plan(stack=stack, operation=Operation.ROLLBACK, steps=(lease, first, *steps[1:]))
