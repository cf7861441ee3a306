"""Plans of `restart`: which services are stopped and started, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moorage.model.base import Frozen
from moorage.model.definition import Service
from moorage.model.state import Observed
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules import attachments, graph, planning


class Restart(Frozen):
    """The services that a restart affects."""

    again: frozenset[str]
    """Stopped if they are running, then started: named ones, those that ask for it, dependents that are not ready."""
    needed: frozenset[str]
    """Those and their dependencies: all of them must be ready at the end."""
    create: frozenset[str] = frozenset()
    """Their containers are re-created in between."""


def choose(
    services: Mapping[str, Service],
    observed: Observed,
    names: Iterable[str],
    ready: frozenset[str],
    *,
    done: frozenset[str] = frozenset(),
    asleep: frozenset[str] = frozenset(),
    recreate: bool = False,
) -> Restart:
    """The services that a restart of `names` (none: all) affects.

    `ready`: the services that were just found ready. `done`: those that this restart had already started again before
    it was interrupted. `asleep`: those that were stopped on purpose: they stay stopped unless they are named, and so do
    their dependents. What has ended, and is ready, runs again only if they are named, or ask for it.
    """
    there = {name for name, service in services.items() if service.replicas}
    ended = {name for name in there & ready if all(c.state == "exited" for c in observed.of(name))}
    named = (set(names) or there - ended) & there
    left = attachments.to_restart(services, observed, graph.with_dependencies(services, named) - ready)
    asking = (graph.restarted_with(services, named) | left) & there - asleep
    broken = _dependents(services, named | asking) & there - ready - asleep - _dependents(services, asleep - named)
    again = frozenset((named | asking | broken) - done)
    needed = graph.with_dependencies(services, again | (named | asking | broken)) & there
    missing = {name for name in needed if len(observed.of(name)) < services[name].replicas}
    return Restart(again=again, needed=frozenset(needed), create=frozenset(again if recreate else missing))


def restart_plan(
    stack: str, services: Mapping[str, Service], observed: Observed, chosen: Restart, ready: frozenset[str]
) -> Plan:
    """Dependents stop first; then each service starts when its dependencies are ready."""
    mine = tuple(c for c in observed.containers if c.service in chosen.again)
    alone = observed.model_copy(update={"containers": mine})
    stops = planning.stop_plan(stack, Operation.RESTART, services, alone).steps
    steps = list(stops)
    if chosen.create:
        needs = tuple(step.id for step in stops)
        detail = tuple(sorted(chosen.create))
        steps.append(Step(kind=StepKind.CREATE, needs=needs, why="containers are re-created", detail=detail))
    created = ("create",) if chosen.create else ()
    settled = (chosen.needed - chosen.again - chosen.create) & ready
    started = planning.start_plan(stack, Operation.RESTART, services, chosen.needed, settled)
    stopped = {step.id for step in stops}
    for step in started.steps:
        own = (f"{StepKind.STOP} {step.service}",) if f"{StepKind.STOP} {step.service}" in stopped else ()
        needs = (*own, *created, *step.needs) if step.kind == StepKind.START else step.needs
        steps.append(step.model_copy(update={"needs": needs}))
    return started.model_copy(update={"steps": tuple(steps)})


def _dependents(services: Mapping[str, Service], names: Iterable[str]) -> set[str]:
    """Direct and indirect dependents of these."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        more = set(graph.dependents(services, waiting.pop())) - found
        found |= more
        waiting.extend(more)
    return found
