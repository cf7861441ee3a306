"""Drift: how a stack differs from what was committed, and when another attempt to repair it makes sense."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from moorage.model.definition import Service
from moorage.model.generation import Generation
from moorage.model.health import CheckResult, Drift, DriftKind, HealState, Treatment
from moorage.model.state import Container, Observed, RunHead, RunOutcome
from moorage.model.step import Operation
from moorage.rules import attachments, graph, labels, readiness, undo
from moorage.rules.readiness import is_crash_loop, life_s

MOST_ATTEMPTS = 5
FIRST_PAUSE_S = 60.0
STABLE_S = 600.0
"""A service that ran this long before it ended is not in a crash loop: it gets all its attempts back."""
FORGOTTEN_S = 86_400.0
"""An attempt to mend a service counts for so long."""
_READY_S = 60.0
"""How long a service may take to become ready if it does not say so itself."""
_RECREATED = frozenset({DriftKind.IMAGE, DriftKind.CONFIG, DriftKind.PORT, DriftKind.NETWORK, DriftKind.FOREIGN})
_BEGINS = (Operation.START, Operation.RESTART)


def resting(runs: Iterable[RunHead], services: Mapping[str, Service]) -> frozenset[str]:
    """Services that were stopped on purpose and not started since. `runs`: newest first."""
    stopped: set[str] = set()
    started: set[str] = set()
    for run in runs:
        names = set(run.services or services)
        if run.outcome in (RunOutcome.UNDONE, RunOutcome.INTERRUPTED) or run.finished_at is None:
            continue
        if run.operation in (Operation.UP, Operation.ROLLBACK) and not run.services:
            break
        if run.operation == Operation.DOWN and not run.services:
            stopped |= set(services) - started
            break
        if run.operation == Operation.UP:  # its services are named with what they need
            started |= (names & set(services)) - stopped
        elif run.operation in _BEGINS:
            started |= set(graph.with_dependencies(services, names & set(services))) - stopped
        elif run.operation in (Operation.STOP, Operation.DOWN):
            stopped |= names - started
    return frozenset(stopped & set(services))


def drifts(
    generation: Generation,
    observed: Observed,
    checks: Iterable[CheckResult],
    asleep: Collection[str],
    *,
    home: str,
    now: datetime,
) -> tuple[Drift, ...]:
    """How a stack differs from its generation. `asleep`: services that were stopped on purpose."""
    failed = {check.service: check for check in checks if not check.ready}
    found: list[Drift] = []
    for name, service in sorted(generation.services.items()):
        containers = observed.of(name)
        if name not in asleep and service.replicas:
            found.extend(_of_service(generation, name, containers, failed.get(name), now))
            found.extend(_off_networks(generation, name, observed))
        found.extend(_of_containers(generation, name, containers, home))
        if containers and len(containers) > service.replicas:
            what = f"{len(containers)} containers instead of {service.replicas}"
            found.append(Drift(service=name, kind=DriftKind.EXTRA, what=what))
    for name in sorted({c.service for c in observed.containers} - set(generation.services)):
        ours = all(labels.ours(c.labels, observed.stack, home) for c in observed.of(name))
        what = "its generation has no such service" + ("" if ours else "; it is not Moorage's")
        found.append(Drift(service=name, kind=DriftKind.EXTRA, what=what, ours=ours))
    return tuple(found)


def _of_service(
    generation: Generation, name: str, containers: tuple[Container, ...], failed: CheckResult | None, now: datetime
) -> Iterator[Drift]:
    service = generation.services[name]
    if len(containers) < service.replicas:
        yield Drift(service=name, kind=DriftKind.DOWN, what=f"{len(containers)} of {service.replicas} containers exist")
        return
    if loop := next((c for c in containers if is_crash_loop(c, now)), None):
        code = "" if loop.exit_code is None else f", last exit code {loop.exit_code}"
        yield Drift(
            service=name, kind=DriftKind.CRASH_LOOP, what=f"the engine restarted it {loop.restarts} times{code}"
        )
    elif failed and (ended := next((c for c in containers if c.state != "running"), None)):
        yield Drift(service=name, kind=DriftKind.DOWN, what=_end_of(ended))
    elif failed and not _may_be_starting(service, generation, containers, now):
        yield Drift(service=name, kind=DriftKind.NOT_READY, what=failed.message)
    yield from _unpublished(generation, name, containers)


def _may_be_starting(
    service: Service, generation: Generation, containers: tuple[Container, ...], now: datetime
) -> bool:
    """True if one of them was started so recently that it need not be ready yet."""
    for container in containers:
        probe = readiness.probe_of(generation.services, service.name, container, _READY_S, 0)
        if life_s(container, now) < probe.deadline_s:
            return True
    return False


def _end_of(container: Container) -> str:
    if container.state == "paused":
        return "it is paused"
    if container.exit_code is None:
        return "it was never started"
    return f"it ended with exit code {container.exit_code}" + (", out of memory" if container.oom_killed else "")


def _unpublished(generation: Generation, name: str, containers: tuple[Container, ...]) -> Iterator[Drift]:
    """Host ports of the generation that no container of the service publishes."""
    bound = {(port.published, port.protocol) for c in containers for port in c.ports}
    for lease in undo.leases_of(generation, generation.created_at, None):
        if lease.key.service == name and generation.services[name].replicas:
            missing = [str(port) for port in lease.ports if (port, lease.key.protocol) not in bound]
            running = any(c.state == "running" for c in containers)
            if missing and running:
                where = f"{', '.join(missing)} -> {lease.key.target}/{lease.key.protocol}"
                yield Drift(service=name, kind=DriftKind.PORT, what=where)


def _off_networks(generation: Generation, name: str, observed: Observed) -> Iterator[Drift]:
    for words in attachments.off(generation.config, observed, (name,)).values():
        yield Drift(service=name, kind=DriftKind.NETWORK, what=words)


def _of_containers(generation: Generation, name: str, containers: tuple[Container, ...], home: str) -> Iterator[Drift]:
    """Drift of the image and definition that the containers were created from."""
    image = generation.images.get(name)
    for container in containers:
        if not labels.ours(container.labels, generation.stack, home):
            yield Drift(service=name, kind=DriftKind.FOREIGN, what=f"{container.name} was not created by Moorage")
        elif image and container.image_id != image.image_id:
            what = f"{container.image_id[:19]} instead of {image.image_id[:19]}"
            yield Drift(service=name, kind=DriftKind.IMAGE, what=what)
        elif container.digest != generation.digests.get(name):
            yield Drift(service=name, kind=DriftKind.CONFIG, what="created from another definition")


def to_recreate(found: Iterable[Drift], services: Mapping[str, Service]) -> frozenset[str]:
    """Services whose containers have to be re-created; the others are only started again."""
    return frozenset(
        one.service
        for one in found
        if one.service in services and (one.kind in _RECREATED or one.kind == DriftKind.EXTRA)
    )


def treat(found: Sequence[Drift], observed: Observed, runs: Sequence[RunHead], now: datetime) -> tuple[Treatment, ...]:
    """What to do about each drifted service: mend it now, wait longer each time, or give up. `runs`: newest first."""
    names = sorted({one.service for one in found if one.ours})
    return tuple(_treat(name, observed.of(name), runs, now) for name in names)


def _treat(name: str, containers: tuple[Container, ...], runs: Sequence[RunHead], now: datetime) -> Treatment:
    tried = attempts(name, runs, now)
    if containers and min(life_s(c, now) for c in containers) >= STABLE_S:
        tried = ()
    if len(tried) >= MOST_ATTEMPTS:
        return Treatment(service=name, state=HealState.GIVEN_UP, attempts=len(tried))
    if tried:
        not_before = tried[0] + timedelta(seconds=FIRST_PAUSE_S * 2 ** (len(tried) - 1))
        if not_before > now:
            return Treatment(service=name, state=HealState.LATER, attempts=len(tried), not_before=not_before)
    return Treatment(service=name, state=HealState.NOW, attempts=len(tried))


def attempts(name: str, runs: Iterable[RunHead], now: datetime) -> tuple[datetime, ...]:
    """When it was tried to mend a service since somebody last started something; newest first."""
    found = []
    for run in runs:
        if run.operation in (Operation.UP, Operation.DOWN) and run.services and name not in run.services:
            continue  # it was about others
        if run.operation in (Operation.UP, Operation.ROLLBACK, Operation.DOWN, *_BEGINS):
            break
        young = (now - run.started_at).total_seconds() < FORGOTTEN_S
        if run.operation == Operation.HEAL and young and name in run.services:
            found.append(run.started_at)
    return tuple(found)
