"""Resource usage, from the engine's counters."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.model.state import Container
from moorage.model.usage import Sample, ServiceUsage, StackUsage, Usage


def usage(before: Sample | None, now: Sample | None, restarts: int) -> Usage:
    """Usage of a container, from two samples of one start. `now` None: it is not running."""
    if now is None:
        return Usage(restarts=restarts)
    passed_ns = (now.at - before.at).total_seconds() * 1e9 if before else 0.0
    used_ns = now.cpu_ns - before.cpu_ns if before else 0
    # Less than before: it was restarted in between.
    percent = round(100 * used_ns / passed_ns, 2) if passed_ns > 0 and used_ns >= 0 else 0.0
    return Usage(
        cpu_percent=percent,
        memory_bytes=now.memory_bytes,
        memory_limit_bytes=now.memory_limit_bytes,
        received_bytes=now.received_bytes,
        sent_bytes=now.sent_bytes,
        processes=now.processes,
        restarts=restarts,
    )


def total(parts: Iterable[Usage], machine_bytes: int | None = None) -> Usage:
    """The sum. `machine_bytes`: upper bound for the limit of several containers (None: not known)."""
    many = list(parts)
    limit = _sum(one.memory_limit_bytes for one in many)
    cpu = _sum(one.cpu_percent for one in many)
    return Usage(
        cpu_percent=None if cpu is None else round(cpu, 2),
        memory_bytes=_whole(one.memory_bytes for one in many),
        memory_limit_bytes=min(int(limit), machine_bytes or int(limit)) if limit is not None else None,
        received_bytes=_whole(one.received_bytes for one in many),
        sent_bytes=_whole(one.sent_bytes for one in many),
        processes=_whole(one.processes for one in many),
        restarts=sum(one.restarts for one in many),
    )


def of_stack(
    stack: str,
    containers: Iterable[Container],
    before: dict[str, Sample | None],
    now: dict[str, Sample | None],
    machine_bytes: int | None,
) -> StackUsage:
    """Usage of a stack, from samples of its containers, by id."""
    by_service: dict[str, dict[str, Usage]] = {}
    states: dict[str, str] = {}
    for one in sorted(containers, key=lambda c: (c.service, c.number)):
        found = usage(before.get(one.id), now.get(one.id), one.restarts)
        by_service.setdefault(one.service, {})[one.name] = found
        if states.get(one.service, "running") == "running":
            states[one.service] = one.state
    services = {
        name: ServiceUsage(state=states[name], total=total(parts.values(), machine_bytes), containers=parts)
        for name, parts in by_service.items()
    }
    every = [part for parts in by_service.values() for part in parts.values()]
    return StackUsage(stack=stack, total=total(every, machine_bytes), services=services)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(values: Iterable[int | None]) -> int | None:
    found = _sum(values)
    return None if found is None else int(found)
