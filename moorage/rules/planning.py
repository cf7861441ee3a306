"""Plans: the steps from the observed to the wanted state. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from moorage.model.base import Frozen
from moorage.model.definition import Condition, Definition, Service
from moorage.model.lease import Lease
from moorage.model.state import Observed
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules import attachments, composing, graph
from moorage.rules.part import NOTHING, Kept


class ImageNeed(Frozen):
    """How to get the image of a service, as `rules.images` decides."""

    service: str
    reference: str
    image_id: str | None = None
    """None: it does not exist yet, or has to be built again."""
    action: StepKind | None = None
    """BUILD, PULL. None: it exists, or another service's step makes it."""
    why: str = ""
    """Why it changes. Empty: it does not."""
    source_digest: str = ""
    """Of all that it is built from, but the images that it is based on. Empty: it is not built."""
    after: tuple[str, ...] = ()
    """Services whose images have to be made before."""
    bases: tuple[str, ...] = ()
    """Full references of the images that it is based on."""
    bases_known: bool = True
    """False: the builder looks for newer ones itself."""


class Desired(Frozen):
    """The state that a plan leads to."""

    definition: Definition
    leases: tuple[Lease, ...]
    held: tuple[Lease, ...]
    """The leases that the stack already has."""
    images: dict[str, ImageNeed]
    """What each service needs, and each init container with an image of its own; and, of an `up` of some services, what
    others build for these."""
    building: Definition
    """The definition that images are built from: with those others."""
    digests: dict[str, str]
    """Service → the digest it would have; correct only for services whose image exists."""
    force_recreate: bool = False
    notices: tuple[str, ...] = ()
    """What a person should know about its images."""

    kept: Kept = NOTHING
    """What stays as it is: the services of an `up` of some services that were not asked for."""

    def init_images(self, service: str) -> tuple[str, ...]:
        """Keys of the images that its init containers do not have from the service."""
        first = self.definition.services[service].pre_start
        keys = (composing.init_image_key(service, number) for number in range(len(first)))
        return tuple(key for key in keys if key in self.images)

    @property
    def all_services(self) -> dict[str, Service]:
        """The services of the generation that comes of it."""
        return {**self.kept.services, **self.definition.services}

    @property
    def all_digests(self) -> dict[str, str]:
        """Their digests."""
        return {**self.kept.digests, **self.digests}


def make_plan(desired: Desired, observed: Observed, ready: frozenset[str]) -> Plan:
    """The steps of an `up`.

    `ready` are the services that were just found ready. Services that are ready and unchanged get no step.
    """
    services = desired.definition.services
    changes = changes_of(desired, observed)
    changed = {name for name, why in changes.items() if why}
    restarted = graph.restarted_with(services, changed)
    settled = {name for name in services if name not in changed and name not in restarted and name in ready}
    left = attachments.to_restart(services, observed, set(services) - settled - changed) - changed
    restarted, settled = restarted | left, settled - left
    orphans = sorted({c.service for c in observed.containers} - set(desired.all_services))
    leasing = tuple(_lease_steps(desired))
    steps = [*leasing, *_image_steps(desired, tuple(step.id for step in leasing))]
    if changed or orphans:
        steps.append(_create_step(changes, orphans, [step.id for step in steps]))
    before = [step.id for step in steps if step.kind == StepKind.CREATE] or [step.id for step in steps]
    for name in graph.order(services):
        if name not in settled and services[name].replicas:
            why = changes[name] or _why_started(name, restarted, left)
            steps.extend(service_steps(services, name, why, settled, before, restart=name in restarted))
    return Plan(
        stack=desired.definition.name,
        operation=Operation.UP,
        steps=tuple(steps),
        unchanged=tuple(name for name in graph.order(services) if name in settled),
        notices=desired.definition.notices,
    )


def _why_started(name: str, restarted: Collection[str], left: Collection[str]) -> str:
    if name in left:
        return "what it lives in is started again"
    return "its dependency changes" if name in restarted else "it is not ready"


def changes_of(desired: Desired, observed: Observed) -> dict[str, str]:
    """Service → why its containers are created or re-created (empty: they are not), dependencies first.

    With those that Compose re-creates because they share something with what changes.
    """
    own = {name: change_of(name, desired, observed) for name in graph.order(desired.definition.services)}
    also = attachments.recreated_with(desired.definition.config, [name for name, why in own.items() if why])
    return {name: why or (also.get(name, "") if observed.of(name) else "") for name, why in own.items()}


def change_of(name: str, desired: Desired, observed: Observed) -> str:
    """Why the containers of a service have to be created or re-created. Empty: there is nothing to do."""
    need = desired.images.get(name)
    containers = observed.of(name)
    service = desired.definition.services[name]
    if not service.replicas and not containers:
        return ""
    if len(containers) != service.replicas:
        return "it does not exist yet" if not containers else f"{len(containers)} of {service.replicas} replicas exist"
    if desired.force_recreate:
        return "requested"
    if need and need.why:
        return need.why
    if any(desired.images[key].action for key in desired.init_images(name)):
        return "an init container gets a new image"
    stale = [c for c in containers if c.digest != desired.digests.get(name)]
    if stale:
        return "its definition or image changed"
    return attachments.off(desired.definition.config, observed, (name,)).get(name, "")


def stop_plan(stack: str, operation: Operation, services: Mapping[str, Service], observed: Observed) -> Plan:
    """The steps of `down` and `stop`: dependents first, and for `down` everything removed at the end."""
    present = {c.service for c in observed.containers}
    running = {c.service for c in observed.containers if c.is_up}
    stops = {
        name: Step(
            kind=StepKind.STOP,
            service=name,
            needs=tuple(f"stop {d}" for d in sorted(running) if name in _needs_of(services, d) and d != name),
            why="requested",
        )
        for name in sorted(running)
    }
    steps = list(_in_order(stops))
    if operation == Operation.DOWN and (present or observed.networks or observed.volumes):
        steps.append(Step(kind=StepKind.REMOVE, needs=tuple(step.id for step in steps), why="requested"))
    return Plan(stack=stack, operation=operation, steps=tuple(steps))


def start_plan(
    stack: str,
    operation: Operation,
    services: Mapping[str, Service],
    names: Iterable[str],
    settled: frozenset[str],
    off: Mapping[str, str] | None = None,
    again: Collection[str] = (),
) -> Plan:
    """The steps of `start` (and of the second half of `restart`), in dependency order.

    `off`: service → why its containers cannot be started as they are, and are made again first.
    `again`: those that are stopped before.
    """
    wanted = (set(names) - settled) | set(again)
    made = [_recreation(off)] if off else []
    others = frozenset(services) - wanted
    before = [step.id for step in made]
    steps = [
        step
        for name in graph.order(services)
        if name in wanted and services[name].replicas
        for step in service_steps(services, name, "requested", set(others), before, restart=name in again)
    ]
    unchanged = tuple(sorted(settled - set(again)))
    return Plan(stack=stack, operation=operation, steps=(*made, *steps), unchanged=unchanged)


def _recreation(off: Mapping[str, str]) -> Step:
    lines = tuple(f"{name}: {why}" for name, why in off.items())
    return Step(kind=StepKind.CREATE, why="containers are re-created", detail=lines)


def _needs_of(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    return graph.dependencies(services, name) if name in services else ()


def _in_order(steps: Mapping[str, Step]) -> Iterable[Step]:
    """The steps, each after all that it needs."""
    done: set[str] = set()
    waiting = dict(steps)
    while waiting:
        free = [name for name, step in waiting.items() if set(step.needs) <= done]
        for name in free or list(waiting):
            step = waiting.pop(name)
            done.add(step.id)
            yield step


def _lease_steps(desired: Desired) -> Iterable[Step]:
    held = {(lease.key, lease.ports) for lease in desired.held}
    missing = [lease for lease in desired.leases if (lease.key, lease.ports) not in held]
    if missing:
        yield Step(
            kind=StepKind.LEASE,
            why=f"{len(missing)} port{'s' if len(missing) > 1 else ''} not leased yet",
            undo="release them",
            detail=tuple(_lease_line(lease) for lease in missing),
        )


def _lease_line(lease: Lease) -> str:
    moved = f" (wanted {lease.wanted})" if lease.wanted not in (None, lease.port) else ""
    return f"{lease.key.service} {lease.key.target}/{lease.key.protocol} at {lease.host_ip}:{lease.said}{moved}"


def _image_steps(desired: Desired, needs: tuple[str, ...]) -> Iterable[Step]:
    """Images wait for the leases, because a port may be one of their build arguments, and for those they come from."""
    ids: dict[str, str] = {}
    for name, need in desired.images.items():
        if need.action:
            before = tuple(ids[other] for other in need.after if other in ids)
            step = Step(kind=need.action, service=name, needs=(*needs, *before), why=need.why, detail=(need.reference,))
            ids[name] = step.id
            yield step


def _create_step(changes: Mapping[str, str], orphans: list[str], needs: list[str]) -> Step:
    lines = [f"{name}: {why}" for name, why in changes.items() if why]
    lines += [f"{name}: removed, it is not in the definition" for name in orphans]
    return Step(
        kind=StepKind.CREATE,
        needs=tuple(needs),
        why=f"{len(lines)} service{'s' if len(lines) > 1 else ''}",
        undo="remove what it created",
        detail=tuple(lines),
    )


def service_steps(
    services: Mapping[str, Service],
    name: str,
    why: str,
    settled: set[str],
    before: list[str],
    *,
    restart: bool,
) -> Iterable[Step]:
    """Start a service and wait for it, after `before` and what it depends on; `restart`: stop it first."""
    waits = [
        f"{StepKind.START if d.condition == Condition.STARTED else StepKind.READY} {d.service}"
        for d in services[name].depends_on
        if d.service in services and d.service not in settled and services[d.service].replicas
    ]
    needs = (*before, *waits)
    if restart:
        yield Step(kind=StepKind.STOP, service=name, needs=needs, why=why, undo="start it again")
        needs = (f"{StepKind.STOP} {name}",)
    first = len(services[name].pre_start)
    yield Step(
        kind=StepKind.START,
        service=name,
        needs=needs,
        why=why,
        undo="stop and remove its containers",
        detail=(f"after {first} init container{'s' if first > 1 else ''} (pre_start)",) if first else (),
    )
    yield Step(kind=StepKind.READY, service=name, needs=(f"{StepKind.START} {name}",), why=why)


def image_kind(reference: str) -> str:
    """`postgres`, `redis`, `mysql` or empty: the image-aware check to use, by the last part of the image's name."""
    name = PurePosixPath(reference.split("@", maxsplit=1)[0]).name.split(":")[0]
    kinds = {"postgres": "postgres", "postgis": "postgres", "redis": "redis", "valkey": "redis", "mysql": "mysql"}
    return {**kinds, "mariadb": "mysql"}.get(name, "")
