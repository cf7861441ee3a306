"""`build`, `pull`: make the images of a definition, without touching running containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from moorage.model.definition import Definition
from moorage.model.step import Operation, Step, StepKind
from moorage.rules import composing, graph, part
from moorage.rules import images as rules
from moorage.rules.planning import Desired
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.queries.plan import plan_up
from moorage.work.runs import images, intermediate
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import locked
from moorage.work.threads import in_thread

_MAKES = (StepKind.BUILD, StepKind.PULL)
Choice = Callable[[Desired, Step], bool]


@foreign_errors_named()
async def build(context: Context, request: UpRequest) -> tuple[str, list[str]]:
    """Build or pull the images that a start would; gives the stack's name and the services whose image was made.

    Images stay, whatever becomes of the others: there is nothing to undo. Raises ImageError.
    """
    return await _make(context, request, (), lambda _desired, _step: True)


@foreign_errors_named()
async def build_services(
    context: Context, request: UpRequest, services: Sequence[str], *, dependencies: bool
) -> tuple[str, list[str]]:
    """Build the images of services (none named: all), even if nothing changed; gives the same.

    What they are based on is built with them if it is not as its sources say; with `dependencies`, so is what they
    depend on. Raises ImageError, DefinitionError: there is no such service.
    """

    def chosen(desired: Desired, step: Step) -> bool:
        if step.kind != StepKind.BUILD:
            return False
        return not services or step.service in _under(desired, services, dependencies=dependencies)

    return await _make(context, request, services, chosen)


@foreign_errors_named()
async def pull_services(
    context: Context, request: UpRequest, services: Sequence[str], *, dependencies: bool
) -> tuple[str, list[str]]:
    """Pull the images of services (none named: all) that no service builds; gives the same.

    With `dependencies`, also those of what they depend on. Raises ImageError, DefinitionError: no such service.
    """

    def chosen(desired: Desired, step: Step) -> bool:
        if step.kind != StepKind.PULL:
            return False
        wanted = _references(desired.building, services, dependencies=dependencies)
        return not services or rules.full(desired.images[step.service or ""].reference) in wanted

    return await _make(context, request, services, chosen)


def _references(definition: Definition, services: Sequence[str], *, dependencies: bool) -> set[str]:
    """The images that services and their init containers run."""
    names = graph.with_dependencies(definition.services, services) if dependencies else services
    first = {rules.full(str(one.image)) for name, one in composing.init_images(definition).values() if name in names}
    return first | {rules.reference_of(definition, name) for name in names}


def _under(desired: Desired, services: Sequence[str], *, dependencies: bool) -> set[str]:
    """The services whose images make up those of the named ones."""
    makers = rules.makers(desired.building)
    waiting = [
        makers[one] for one in _references(desired.building, services, dependencies=dependencies) if one in makers
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        bases = desired.images[name].bases if name in desired.images else ()
        waiting += [makers[one] for one in bases if one in makers and makers[one] not in found]
    return found


async def _make(context: Context, request: UpRequest, services: Sequence[str], chosen: Choice) -> tuple[str, list[str]]:
    resolved = await in_thread(lambda: resolve(context.world, request))
    part.chosen(resolved.definition.services, services, alone=True)  # raises
    run = Run(context, Operation.UP, resolved.name, resolved.request)
    async with locked(run, recover):
        await in_thread(lambda: intermediate.remove_left_behind(run.world, run.stack))
        planned = await plan_up(run.world, resolved, to_start=False)
        steps = [step for step in planned.plan.steps if step.kind in _MAKES]
        makes = tuple(step for step in steps if chosen(planned.desired, step))
        planned = replace(planned, plan=planned.plan.model_copy(update={"steps": makes}))
        await images.require_builder(run.world, planned)
        await in_thread(lambda: run.adopt(planned))
        await carry_out(run, planned.plan)
    return resolved.name, [step.service or "" for step in makes]
