"""The dependency graph of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from moorage.errors import DefinitionError
from moorage.model.definition import Condition, Dependency, Service


def order(services: Mapping[str, Service]) -> tuple[str, ...]:
    """The services, each after all its dependencies; otherwise in alphabetical order.

    Raises DefinitionError for a cycle. Dependencies that are not part of the definition are left out.
    """
    sorter = TopologicalSorter({name: sorted(dependencies(services, name)) for name in sorted(services)})
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        path = " -> ".join(error.args[1])
        message = f"depends_on: dependency cycle: {path}"
        raise DefinitionError(message, key="depends_on", hint="Remove one of these entries.") from None


def dependencies(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    """Direct dependencies of a service, as far as they are part of the definition."""
    return tuple(d.service for d in services[name].depends_on if d.service in services)


def dependents(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    """Direct dependents of a service."""
    return tuple(other for other in sorted(services) if name in dependencies(services, other))


def restarted_with(services: Mapping[str, Service], changed: Iterable[str]) -> frozenset[str]:
    """Services that have to be restarted with one of `changed`, directly or indirectly.

    Those that ask for it (`depends_on.restart: true`), and those that live in its network, memory or processes.
    """
    return _asking(services, changed, lambda one: one.restart or one.shares)


def living_in(services: Mapping[str, Service], names: Iterable[str]) -> frozenset[str]:
    """Services that live in the network, memory or processes of one of `names`, directly or indirectly."""
    return _asking(services, names, lambda one: one.shares)


def _asking(
    services: Mapping[str, Service], names: Iterable[str], asks: Callable[[Dependency], bool]
) -> frozenset[str]:
    askers: dict[str, list[str]] = {}
    for name, service in services.items():
        for one in service.depends_on:
            if asks(one):
                askers.setdefault(one.service, []).append(name)
    first = frozenset(names)
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        for other in askers.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return frozenset(found - first)


def with_dependencies(services: Mapping[str, Service], names: Iterable[str]) -> frozenset[str]:
    """The named services and all their dependencies, direct and indirect."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(dependencies(services, name))
    return frozenset(found)


def is_optional(services: Mapping[str, Service], name: str) -> bool:
    """True if it has dependents, but none requires it: as with Compose, its failure stops no other service."""
    required = [d.required for service in services.values() for d in service.depends_on if d.service == name]
    return bool(required) and not any(required)


def is_awaited(services: Mapping[str, Service], name: str) -> bool:
    """True if a dependent waits until it is healthy: ended, it never will be."""
    return any(
        d.service == name and d.condition == Condition.HEALTHY
        for service in services.values()
        for d in service.depends_on
    )


def is_one_shot(services: Mapping[str, Service], name: str) -> bool:
    """True if a dependent waits for its successful end, or it is declared to end (`x-moorage.ready.exit`)."""
    ready = services[name].ready
    says_so = ready is not None and ready.check == "exit"
    waited_for = any(
        d.service == name and d.condition == "service_completed_successfully"
        for service in services.values()
        for d in service.depends_on
    )
    return says_so or waited_for
