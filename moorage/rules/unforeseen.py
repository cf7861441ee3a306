"""What a plan did not foresee: containers that Compose replaced or stopped, found by looking at what it left."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.model.step import Plan, Step, StepKind
from moorage.rules import endings, graph, planning

WHY = "Compose replaced or stopped it"


def cut_off(services: Mapping[str, Service], before: Observed, after: Observed) -> frozenset[str]:
    """Services that were up before, running or completed, and that are not any more: replaced, or stopped.

    Compose does so on its own account too: when a network changes, when a service shares something with one that it
    replaces, when its own hash of a definition differs because another version of it made the container.
    """
    was_up = {c.id: c.service for c in before.containers if _is_up(services, c)}
    still = {c.id for c in after.containers if _is_up(services, c)}
    there = {c.service for c in after.containers}
    return frozenset(name for one, name in was_up.items() if one not in still and name in there and name in services)


def _is_up(services: Mapping[str, Service], container: Container) -> bool:
    if container.is_up:
        return True
    return container.service in services and endings.ended_well(services, container)


def parts(plan: Plan) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps up to the creation of containers, and those that wait for it. Without a creation: all, and none."""
    after = {str(StepKind.CREATE)} & {step.id for step in plan.steps}
    rest: list[Step] = []
    for step in plan.steps:
        if after & set(step.needs):
            after.add(step.id)
            rest.append(step)
    return tuple(step for step in plan.steps if step not in rest), tuple(rest)


def extended(rest: tuple[Step, ...], services: Mapping[str, Service], names: Collection[str]) -> tuple[Step, ...]:
    """The steps after the creation, with those that start what it cut off, each where its dependencies say.

    Services that ask to be restarted with one of them (`depends_on.restart`) are restarted too.
    """
    planned = {step.service: step for step in rest if step.kind == StepKind.START}
    more = {name for name in names if services[name].replicas} - set(planned)
    if not more:
        return rest
    restarted = graph.restarted_with(services, more) - set(planned)
    asked = {step.service for step in rest if step.kind == StepKind.STOP} | restarted
    wanted = {name for name in services if name in planned or name in more or name in restarted}
    steps = [
        step
        for name in graph.order(services)
        if name in wanted and services[name].replicas
        for step in planning.service_steps(
            services,
            name,
            _why(name, planned, more),
            set(services) - wanted,
            [str(StepKind.CREATE)],
            restart=name in asked,
        )
    ]
    known = {step.id for step in steps}
    return (*(step for step in rest if step.id not in known), *steps)


def _why(name: str, planned: Mapping[str | None, Step], more: Collection[str]) -> str:
    if name in planned:
        return planned[name].why
    return WHY if name in more else "its dependency changes"
