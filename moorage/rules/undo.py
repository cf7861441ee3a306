"""Undoing and going back: which steps bring a stored generation into place, and what of a stack a run has added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from moorage.model.definition import Service
from moorage.model.generation import Generation
from moorage.model.lease import Lease
from moorage.model.state import Container, Observed, RunRecord
from moorage.model.step import Operation, Step, StepKind
from moorage.rules import composing, graph, labels, planning

LONGEST_GRACE_S = 10.0
"""A worker that is told to stop gives its runs half a minute, for the whole of their undo."""
_RUNNING = ("running", "restarting", "paused")


def snapshot(
    observed: Observed, leases: tuple[Lease, ...], tags: tuple[str, ...], *, on_record: bool
) -> dict[str, Any]:
    """What a run finds before its first effect, for its record: `RunRecord.before`."""
    return {
        "containers": {c.name: mark_of(c) for c in observed.containers},
        "networks": list(observed.networks),
        "volumes": list(observed.volumes),
        "tags": list(tags),
        "leases": [lease.model_dump(mode="json") for lease in leases],
        "on_record": on_record,
    }


def mark_of(container: Container) -> dict[str, Any]:
    """What tells a container, and its running, from later ones."""
    return {
        "id": container.id,
        "service": container.service,
        "state": container.state,
        "exit_code": container.exit_code,
        "started_at": container.started_at.isoformat() if container.started_at else None,
    }


def active_before(record: RunRecord, services: Mapping[str, Service]) -> frozenset[str]:
    """The services that ran before the run, and the one-shots that had ended well: what has to be so again."""
    return frozenset(
        c["service"]
        for c in record.before.get("containers", {}).values()
        if c["state"] in _RUNNING or _ended_well(services, c)
    )


def _ended_well(services: Mapping[str, Service], container: Mapping[str, Any]) -> bool:
    name = container["service"]
    one_shot = name in services and graph.is_one_shot(services, name)
    return one_shot and container.get("exit_code") == planning.good_exit(services[name])


def reapply_steps(
    stack: str, operation: Operation, services: Mapping[str, Service], active: frozenset[str], why: str
) -> tuple[Step, ...]:
    """Create from a stored generation, then start what is to be active, in order, and wait for it."""
    create = Step(kind=StepKind.CREATE, why=why)
    others = frozenset(services) - active
    started = planning.start_plan(stack, operation, services, graph.order(services), others)
    return (create, *(step.model_copy(update={"needs": (*step.needs, create.id)}) for step in started.steps))


def is_new(container: Container, record: RunRecord, home: str) -> bool:
    """True: our container, and it was not there before the run."""
    if not labels.ours(container.labels, record.stack, home):
        return False
    before = record.before.get("containers", {}).get(container.name)
    return before is None or before.get("id", container.id) != container.id


def grace_s(services: Mapping[str, Service], name: str, usual_s: float) -> float:
    """Grace period of a container whose work is thrown away: short, unless its definition asks for a certain one."""
    service = services.get(name)
    asked_s = service.stop_grace_s if service else None
    return usual_s if asked_s is None else min(asked_s, LONGEST_GRACE_S)


def leases_before(record: RunRecord) -> tuple[Lease, ...]:
    """The committed leases that the stack had before the run."""
    found = [Lease.model_validate(lease) for lease in record.before.get("leases", ())]
    return tuple(lease for lease in found if lease.run is None)


def leases_of(generation: Generation, now: datetime, run: str | None) -> tuple[Lease, ...]:
    """The leases that a stored generation is made with: its ports are part of what Compose creates from."""
    return tuple(
        Lease(
            key=composing.lease_key(generation.stack, mapping),
            port=int(str(port["published"]).partition("-")[0]),
            count=mapping.count,
            wanted=mapping.wanted,
            host_ip=port.get("host_ip") or composing.LOOPBACK,
            since=now,
            run=run,
        )
        for name, service in generation.services.items()
        if service.replicas
        for port, mapping in zip(generation.config["services"][name].get("ports") or (), service.ports, strict=True)
        if port.get("published")
    )
