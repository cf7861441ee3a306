"""Whether the memory that is free is enough for the services that are about to start.

What a replica needs is its limit, as the definition says; without one, the most that one was seen to take. Of a service
that has neither, nothing is known, and it counts for nothing. A replica that runs already, and is made again, counts
with what it needs more than before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import ByteSize

from moorage.errors import MemoryShortageError
from moorage.model.base import Frozen
from moorage.model.definition import Config, Service
from moorage.model.state import Observed
from moorage.model.step import Plan, StepKind
from moorage.model.usage import StackUsage

_NAMED = 3


class Need(Frozen):
    """Memory of the replicas of a service that are about to start."""

    service: str
    bytes: int
    limited: bool
    """True: by its limit; False: as it was seen."""


class Shortage(Frozen):
    """More is needed than is free."""

    stack: str
    needs: tuple[Need, ...]
    """The largest first."""
    free_bytes: int

    @property
    def bytes(self) -> int:
        """What is missing."""
        return sum(need.bytes for need in self.needs) - self.free_bytes


class Idle(Frozen):
    """A stack that could be stopped to make room."""

    stack: str
    bytes: int
    cpu_percent: float


class Starting(Frozen):
    """A service that is about to start."""

    replicas: int
    running: int
    """How many run already."""


def starting(plan: Plan, services: Mapping[str, Service], observed: Observed) -> dict[str, Starting]:
    """The services that a plan starts."""
    begun = (step.service for step in plan.steps if step.kind == StepKind.START and step.service in services)
    return {
        name: Starting(replicas=services[name].replicas, running=sum(c.is_up for c in observed.of(name)))
        for name in begun
        if name
    }


def needs(begun: Mapping[str, Starting], config: Config, before: Config, peaks: Mapping[str, int]) -> tuple[Need, ...]:
    """What services need, as far as is known, the largest first. `before`: what those that run were made from."""
    found = sorted(_needs(begun, config, before, peaks), key=lambda need: (-need.bytes, need.service))
    return tuple(found)


def _needs(begun: Mapping[str, Starting], config: Config, before: Config, peaks: Mapping[str, int]) -> Iterator[Need]:
    for name, one in begun.items():
        limit, seen = limit_of(config, name), peaks.get(name, 0)
        more = (limit or seen) * one.replicas - (limit_of(before, name) or seen) * one.running
        if more > 0:
            yield Need(service=name, bytes=more, limited=bool(limit))


def shortage(stack: str, needs: tuple[Need, ...], free_bytes: int) -> Shortage | None:
    """What is missing. None: it is enough."""
    found = Shortage(stack=stack, needs=needs, free_bytes=free_bytes)
    return found if found.bytes > 0 else None


def limit_of(config: Config, name: str) -> int:
    """The limit of a replica in bytes, as Compose prints it. 0: there is none."""
    service = (config.get("services") or {}).get(name) or {}
    deployed = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return int(service.get("mem_limit") or deployed.get("memory") or 0)


def peaks_of(usage: StackUsage) -> dict[str, int]:
    """Service → what the largest of its replicas takes now; of those that run."""
    parts = {name: [one.memory_bytes for one in of.containers.values()] for name, of in usage.services.items()}
    return {name: most for name, many in parts.items() if (most := max((one for one in many if one), default=0))}


def idlest(usages: Iterable[StackUsage], missing: int) -> tuple[Idle, ...]:
    """Stacks whose end would make room, the idlest first, and of those the largest; no more than are needed."""
    running = (
        Idle(stack=one.stack, bytes=one.total.memory_bytes, cpu_percent=one.total.cpu_percent or 0.0)
        for one in usages
        if one.total.memory_bytes
    )
    found: list[Idle] = []
    for one in sorted(running, key=lambda idle: (round(idle.cpu_percent), -idle.bytes, idle.stack)):
        if sum(idle.bytes for idle in found) >= missing or len(found) == _NAMED:
            break
        found.append(one)
    return tuple(found)


def words(found: Shortage) -> str:
    """`it needs 1.5GB of memory (web 1.0GB by its limit, …), and 800.0MB is free`."""
    shown = [f"{need.service} {size(need.bytes)} {_why(need)}" for need in found.needs[:_NAMED]]
    more = [f"{len(found.needs) - _NAMED} more"] if len(found.needs) > _NAMED else []
    needed = size(sum(need.bytes for need in found.needs))
    return f"it needs {needed} of memory ({', '.join([*shown, *more])}), and {size(found.free_bytes)} is free"


def _why(need: Need) -> str:
    return "by its limit" if need.limited else "as was seen"


def advice(idle: Sequence[Idle]) -> str:
    """Which commands make room."""
    if not idle:
        return "Stop what is not needed, or set MOORAGE_MEMORY=ignore."
    parts = [f"`moorage stop --name {one.stack}` frees {size(one.bytes)} (CPU {one.cpu_percent:.0f} %)" for one in idle]
    return f"{', '.join(parts)}."


def refusal(found: Shortage, idle: Sequence[Idle]) -> MemoryShortageError:
    """The error where a start is not to begin without enough memory."""
    return MemoryShortageError(
        f"{found.stack}: {words(found)}; nothing was started",
        hint=advice(idle),
        stack=found.stack,
        missing_bytes=found.bytes,
        free_bytes=found.free_bytes,
        idlest=[one.stack for one in idle],
    )


def size(number: int) -> str:
    """`1.5GB`, in powers of ten like `docker stats`."""
    return ByteSize(number).human_readable(decimal=True)
