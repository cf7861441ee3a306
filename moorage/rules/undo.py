"""Undo: which steps bring a stored generation back, and which objects a run has added."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from moorage.model.base import Frozen
from moorage.model.definition import RestartPolicy, Service
from moorage.model.generation import Generation
from moorage.model.lease import Lease
from moorage.model.state import UP, Container, Observed, RunHead, RunRecord
from moorage.model.step import Operation, Step, StepKind
from moorage.rules import composing, endings, graph, labels, planning

LONGEST_GRACE_S = 10.0
"""A worker that is told to stop gives its runs half a minute for their whole undo."""
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


class Placeholder(Frozen):
    """A placeholder container, which returns anonymous volumes to the service that they belong to."""

    name: str
    service: str
    labels: dict[str, str]
    volumes: dict[str, str]
    """Path → volume."""


def snapshot(
    observed: Observed, leases: tuple[Lease, ...], tags: tuple[str, ...], *, on_record: bool
) -> dict[str, Any]:
    """The state that a run finds before its first effect, for its record: `RunRecord.before`."""
    return {
        "containers": {c.name: mark_of(c) for c in observed.containers},
        "networks": list(observed.networks),
        "volumes": list(observed.volumes),
        "tags": list(tags),
        "leases": [lease.model_dump(mode="json") for lease in leases],
        "on_record": on_record,
    }


def mark_of(container: Container) -> dict[str, Any]:
    """Identifies a container and its current start."""
    return {
        "id": container.id,
        "service": container.service,
        "number": container.number,
        "state": container.state,
        "exit_code": container.exit_code,
        "restart_policy": container.restart_policy.value,
        "started_at": container.started_at.isoformat() if container.started_at else None,
        "finished_at": container.finished_at.isoformat() if container.finished_at else None,
        "volumes": anonymous(container),
    }


def had_containers(record: RunRecord) -> frozenset[str]:
    """Services that had containers before the run, running or not."""
    return frozenset(c["service"] for c in record.before.get("containers", {}).values())


def active_before(record: RunRecord, services: Mapping[str, Service], runs: Sequence[RunHead]) -> frozenset[str]:
    """Services that were running before the run, and those that had done their work: what an undo has to restore.

    `runs`: the stack's, to see which end was none by `stop`.
    """
    return frozenset(
        c["service"]
        for c in record.before.get("containers", {}).values()
        if c["state"] in UP or _was_over(services, c, runs)
    )


def _was_over(services: Mapping[str, Service], container: Mapping[str, Any], runs: Sequence[RunHead]) -> bool:
    name = container["service"]
    if name not in services or container.get("exit_code") != endings.good_exit(services[name]):
        return False
    if graph.is_one_shot(services, name):
        return True
    policy = RestartPolicy(container.get("restart_policy", RestartPolicy.NO))
    began, ended = (_instant(container.get(key)) for key in ("started_at", "finished_at"))
    return endings.may_end(services, name, policy) and endings.ended_in_a_run(began, ended, runs)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def reapply_steps(
    stack: str,
    operation: Operation,
    services: Mapping[str, Service],
    active: frozenset[str],
    why: str,
    first: tuple[Step, ...] = (),
) -> tuple[Step, ...]:
    """First `first`; then create from a stored generation, start the active services in order, and wait for them."""
    create = Step(kind=StepKind.CREATE, why=why, needs=tuple(step.id for step in first))
    others = frozenset(services) - active
    started = planning.start_plan(stack, operation, services, graph.order(services), others)
    after = (step.model_copy(update={"needs": (*step.needs, create.id)}) for step in started.steps)
    return (*first, create, *after)


def is_new(container: Container, record: RunRecord, home: str) -> bool:
    """True if it is our container, did not exist before the run, and was not created by an undo."""
    if not labels.ours(container.labels, record.stack, home) or labels.HOLDER in container.labels:
        return False
    return container.id not in {before["id"] for before in record.before.get("containers", {}).values()}


def anonymous(container: Container) -> dict[str, str]:
    """Volumes of a container that the engine has named, by path: they belong to it and to its replacement."""
    return {path: name for path, name in container.volumes.items() if _ANONYMOUS.fullmatch(name)}


def plain_name(name: str, stack: str) -> str:
    """A container's name without the prefix that Compose gives a replacement until the old container is gone."""
    return re.sub(rf"^(?:[0-9a-f]{{12}}_)+(?={stack}[-_])", "", name)


def kept(observed: Observed, record: RunRecord, home: str, generation: Generation | None = None) -> Observed:
    """Objects that an undo keeps: those from before the run, and those that match the generation before it.

    An interrupted undo may have created the latter. `generation` None: there is none to go back to.
    """
    stays = [
        c
        for c in observed.containers
        if not is_new(c, record, home) or (generation and _is_restored(c, record, generation))
    ]
    return observed.model_copy(update={"containers": tuple(stays)})


def _is_restored(container: Container, record: RunRecord, generation: Generation) -> bool:
    """True if it matches the generation and has the anonymous volumes of the container that it replaces."""
    before = _places(record).get(plain_name(container.name, record.stack))
    same = container.digest == generation.digests.get(container.service)
    return before is not None and same and before.get("volumes", {}) == anonymous(container)


def _places(record: RunRecord) -> dict[str, dict[str, Any]]:
    """The containers from before the run, by the names that they have outside a replacement."""
    return {plain_name(name, record.stack): before for name, before in record.before.get("containers", {}).items()}


def volumes_before(record: RunRecord) -> frozenset[str]:
    """The anonymous volumes that the stack's containers had before the run."""
    found = record.before.get("containers", {}).values()
    return frozenset(volume for one in found for volume in one.get("volumes", {}).values())


def holders(record: RunRecord, kept: Iterable[Container], home: str) -> tuple[Placeholder, ...]:
    """A placeholder for each container that is gone and had anonymous volumes, or a replica number.

    `kept` are the containers that stay: Compose would number new replicas after the highest of them. Placeholders are
    named as Compose names replacements: nobody else uses such names, and they say which container they stand for.
    """
    places = _places(record)
    several = {before["service"] for before in places.values() if before.get("number", 1) > 1}
    there = {value for c in kept for value in (c.id, c.labels.get(labels.HOLDER), plain_name(c.name, record.stack))}
    return tuple(
        Placeholder(
            # Not with the first digits of the id: a replacement left by an interrupted Compose has that name.
            name=f"{before['id'][-12:]}_{name}",
            service=before["service"],
            labels={
                labels.STACK: record.stack,
                labels.HOME: home,
                labels.HOLDER: before["id"],
                labels.COMPOSE_PROJECT: record.stack,
                labels.COMPOSE_SERVICE: before["service"],
                labels.COMPOSE_NUMBER: str(before.get("number", 1)),
                labels.COMPOSE_ONEOFF: "False",
                labels.COMPOSE_HASH: "",
            },
            volumes=before.get("volumes", {}),
        )
        for name, before in places.items()
        if not there & {before["id"], name} and (before.get("volumes") or before["service"] in several)
    )


def to_stop(observed: Observed, active: frozenset[str], home: str) -> Observed:
    """Our containers of services that were not running before."""
    off = [c for c in observed.containers if c.service not in active and labels.ours(c.labels, observed.stack, home)]
    return observed.model_copy(update={"containers": tuple(off)})


def grace_s(services: Mapping[str, Service], name: str, usual_s: float) -> float:
    """Grace period of a container whose work is discarded: short, unless its definition sets one."""
    service = services.get(name)
    asked_s = service.stop_grace_s if service else None
    return usual_s if asked_s is None else min(asked_s, LONGEST_GRACE_S)


def leases_before(record: RunRecord) -> tuple[Lease, ...]:
    """The committed leases that the stack had before the run."""
    found = [Lease.model_validate(lease) for lease in record.before.get("leases", ())]
    return tuple(lease for lease in found if lease.run is None)


def leases_of(generation: Generation, now: datetime, run: str | None) -> tuple[Lease, ...]:
    """The leases of a stored generation: its ports are part of what Compose creates from."""
    return tuple(
        Lease(
            key=composing.lease_key(generation.stack, mapping),
            port=int(str(port["published"]).partition("-")[0]),
            count=mapping.count,
            wanted=mapping.wanted,
            skipped=tuple(port.get(composing.SKIPPED) or ()),
            host_ip=port.get("host_ip") or composing.LOOPBACK,
            since=now,
            run=run,
        )
        for name, service in generation.services.items()
        if service.replicas
        for port, mapping in zip(generation.config["services"][name].get("ports") or (), service.ports, strict=True)
        if port.get("published")
    )
