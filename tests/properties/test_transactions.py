"""Whatever is done to a stack, and whenever it is cut off: the machine is as before, or as committed.

A machine in memory, on which the real functions of `moorage/work` bring a stack up, change it, stop it, take it down,
and go back. Some operations fail by their definition, some because an effect fails, some because the process dies
just before an effect; the next process then finds what is left.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.errors import InterruptedRunError, MoorageError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.lease import LeaseKey, Request
from moorage.model.state import StackRecord
from moorage.rules import labels
from moorage.testing import (
    FakeMachine,
    Fault,
    Killed,
    MemoryFiles,
    MemoryLocks,
    MemoryStore,
    fail_at,
    fake_world,
    faulty,
)
from moorage.work import down as endings
from moorage.work import generations
from moorage.work.resolve import Wish
from moorage.work.rollback import rollback
from moorage.work.sweep import Sweep, sweep
from moorage.work.up import up

STACK = "shop"
HOME = "memory"
SERVICES = ("db", "web", "api")
GOOD_IMAGES = ("app:1", "app:2", "far:1")
BAD_IMAGES = ("fails:1", "nowhere:1")
PORTS = (8000, 8001, 9000)
SLEEP = ["sleep", "600"]

Change = Callable[[dict[str, Any]], None]
Act = Callable[[World], Coroutine[Any, Any, Any]]


# --- what a definition is changed by -------------------------------------------------------------------------


def service(**more: Any) -> dict[str, Any]:
    return {"image": "app:1", **more}


def _set(name: str, key: str, value: Any) -> Change:
    def change(services: dict[str, Any]) -> None:
        if name in services:
            services[name] = {**services[name], key: value}
            if value is None:
                del services[name][key]

    return change


def _add(name: str, made: dict[str, Any]) -> Change:
    return lambda services: services.update({name: made}) if name not in services else None


def _drop(name: str) -> Change:
    def change(services: dict[str, Any]) -> None:
        if len(services) > 1:
            services.pop(name, None)

    return change


names = st.sampled_from(SERVICES)
mounts = st.sampled_from([None, ["data:/data"], ["/scratch"], ["data:/data", "/scratch"]])
harmless = st.one_of(
    st.builds(_set, names, st.just("environment"), st.sampled_from([{"A": "1"}, {"A": "2"}, None])),
    st.builds(_set, names, st.just("image"), st.sampled_from(GOOD_IMAGES)),
    st.builds(_set, names, st.just("ports"), st.sampled_from([None, *([f"{port}:80"] for port in PORTS)])),
    st.builds(_set, names, st.just("volumes"), mounts),
    st.builds(_set, names, st.just("healthcheck"), st.sampled_from([None, {"test": ["CMD", "true"]}])),
    st.builds(_set, st.just("web"), st.just("deploy"), st.sampled_from([None, {"replicas": 2}, {"replicas": 0}])),
    st.builds(_add, names, st.builds(lambda ports: service(ports=ports), st.just(["8000:80"]))),
    st.builds(_add, names, st.builds(lambda volumes: service(volumes=volumes), mounts.filter(bool))),
    st.builds(_drop, names),
    st.just(lambda services: services.update(job={"image": "ends:1"})),
    st.builds(_drop, st.just("job")),
)
harmful = st.one_of(
    st.builds(_set, names, st.just("image"), st.sampled_from(BAD_IMAGES)),
    st.builds(_set, names, st.just("depends_on"), st.just(["nobody"])),
    st.builds(_set, names, st.just("post_start"), st.just([{"command": ["false"]}])),
    st.builds(
        _set, names, st.just("healthcheck"), st.just({"test": ["CMD", "false"], "retries": 1, "interval": "1ms"})
    ),
    st.just(lambda services: services.update(late={"image": "fails:1", "volumes": ["more:/data", "/scratch"]})),
)


# --- a look at everything ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """All there is of a stack, so that two looks are equal when nothing that matters differs."""

    containers: Any
    """(name, service, number, condition, image, environment, ports, volumes with the tokens of their contents)."""
    networks: Any
    volumes: Any
    """Name → token of the content, and the files in it."""
    tags: Any
    leases: Any
    generation: Any
    """Number of the current one, and of those that are kept."""


def _plain(name: str) -> str:
    return re.sub(r"^([0-9a-f]{12}_)+", "", name)


def condition(box: Any) -> str:
    """A container that was created and one that was stopped are the same to a person: not running."""
    return "ended" if (box.state, box.exit_code) == ("exited", 0) else "runs" if box.running else "off"


def look(machine: FakeMachine, store: MemoryStore) -> Look:
    def content(volume: str) -> tuple[int, tuple[tuple[str, str], ...]]:
        found = machine.volumes[volume]
        return found.token, tuple(sorted(found.files.items()))

    boxes = sorted(machine.of_project(STACK), key=lambda box: box.name)
    record = store.stack(STACK)
    return Look(
        containers=[
            (
                *(
                    _plain(box.name),
                    box.labels[labels.COMPOSE_SERVICE],
                    box.labels[labels.COMPOSE_NUMBER],
                    condition(box),
                ),
                *(box.image_id, sorted(box.environment.items()), [p.published for p in box.bound]),
                {path: content(volume) for path, volume in sorted(box.mounts.items())},
                box.networks,
            )
            for box in boxes
        ],
        networks=sorted(n for n, marks in machine.networks.items() if marks.get(labels.STACK) == STACK),
        volumes={n: content(n) for n, v in machine.volumes.items() if v.labels.get(labels.STACK) == STACK},
        tags=sorted(tag for tag in machine.tags if tag.startswith(labels.pin_prefix(STACK))),
        leases=[(lease.key, lease.port, lease.count, lease.run) for lease in store.leases(STACK)],
        generation=(record and record.generation, sorted(g.number for g in store.generations(STACK))),
    )


async def cancelled_at(n: int, act: Act, world: World) -> None:
    """Do it; Ctrl-C comes just before the n-th effect."""
    loop, counted = asyncio.get_running_loop(), Fault(None)

    def press(effect: str) -> None:
        counted(effect)
        if len(counted.effects) == n:
            loop.call_soon_threadsafe(task.cancel)

    task = asyncio.ensure_future(act(faulty(world, press)))
    await task


# --- strangers -----------------------------------------------------------------------------------------------


def plant_strangers(machine: FakeMachine, store: MemoryStore, world: World, directory: Path) -> None:
    """Another project, another stack of another home, things of the same project that are not ours, their leases."""
    project = {labels.COMPOSE_PROJECT: "other"}
    machine.networks["other_default"] = project
    machine.add_volume("other_data", project)
    machine.networks["unrelated"] = {}
    machine.add_volume("unrelated")
    # Of plain `docker compose -p shop`: they bear the project's name and not our labels.
    machine.networks["shop_old"] = {labels.COMPOSE_PROJECT: STACK}
    machine.add_volume("shop_old", {labels.COMPOSE_PROJECT: STACK})
    # A stack of the same name of another home may have left a volume.
    elsewhere = {labels.COMPOSE_PROJECT: STACK, labels.STACK: STACK, labels.HOME: "elsewhere"}
    machine.add_volume("shop_elsewhere", elsewhere)
    machine.add_image("stranger:1", SLEEP, volumes=["/anon"])
    machine.tags["moorage/shop2/web:id-1"] = machine.tags["stranger:1"]
    folder = Path(tempfile.mkdtemp(prefix="moorage-stranger-"))
    try:
        file = folder / "compose.json"
        text = {"name": "other", "services": {"web": {"image": "stranger:1", "ports": ["9000:80"]}}}
        file.write_text(json.dumps(text))
        world.compose.create("other", file, (), False, lambda _line: None)
    finally:
        shutil.rmtree(folder)
    world.engine.start("other-web-1")
    store.save_stack(StackRecord(name="neighbour", path=str(directory), created_at=world.clock.now()))
    key = LeaseKey(stack="neighbour", service="web", target=80)
    store.lease(
        [Request(key=key, wanted=8001)],
        run=None,
        taken=frozenset(),
        bindable=lambda *_: True,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def look_at_strangers(machine: FakeMachine, store: MemoryStore) -> Any:
    mine = set(map(id, machine.of_project(STACK)))
    foreign = [box for box in machine.boxes.values() if id(box) not in mine]
    anonymous = {volume for box in foreign for volume in box.mounts.values()}
    return (
        [(box.id, box.name, box.state, box.bound, box.started_at) for box in foreign],
        sorted(name for name, marks in machine.networks.items() if not labels.ours(marks, STACK, HOME)),
        sorted(
            (name, volume.token)
            for name, volume in machine.volumes.items()
            if name in anonymous or not (labels.ours(volume.labels, STACK, HOME) or machine.is_anonymous(name))
        ),
        sorted((tag, image) for tag, image in machine.tags.items() if not _comes_and_goes(tag)),
        [lease for lease in store.leases() if lease.key.stack != STACK],
    )


def _comes_and_goes(tag: str) -> bool:
    """Our own tags, and the one image that is pulled: pulled images stay, as with Compose."""
    return tag.startswith((labels.pin_prefix(STACK), "far:"))


# --- the machine of states -----------------------------------------------------------------------------------


class Transactions(RuleBasedStateMachine):
    """One stack, one machine, many processes one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-stack-"))
        self.machine = FakeMachine()
        self.store = MemoryStore()
        self.files = MemoryFiles()
        self.services: dict[str, Any] = {}
        self.applied: dict[str, Any] | None = None
        """Services of the definition that was brought up last. None: never, or its containers are gone."""

    @initialize()
    def begin(self) -> None:
        self.machine.add_image("app:1", SLEEP)
        self.machine.add_image("app:2", SLEEP, volumes=["/cache"])
        self.machine.add_image("far:1", SLEEP, pulled=False)
        self.machine.add_image("fails:1", ["sh", "-c", "echo no; exit 3"])
        self.machine.add_image("ends:1", ["true"])
        plant_strangers(self.machine, self.store, self.world(), self.folder)
        self.strangers = look_at_strangers(self.machine, self.store)
        self.write({"db": service(volumes=["data:/data"]), "web": service(ports=["8000:80"], depends_on=["db"])})

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what a person does

    def world(self, fault: Fault | None = None) -> World:
        """What a new process sees."""
        world = fake_world(self.machine, self.store, self.files)
        return faulty(world, fault) if fault else world

    def write(self, services: dict[str, Any]) -> None:
        """Write the compose file; dependencies on what is gone are left out, unless they are the point."""
        self.services = {}
        for name, one in services.items():
            depends = [other for other in one.get("depends_on", ()) if other in services or other == "nobody"]
            self.services[name] = {**one, "depends_on": depends}
        if "job" in self.services and "web" in self.services:
            waits = dict.fromkeys(self.services["web"]["depends_on"])
            waits["job"] = {"condition": "service_completed_successfully"}
            self.services["web"] = {**self.services["web"], "depends_on": waits}
        elif "job" in self.services:
            self.services["job"]["x-moorage"] = {"ready": {"exit": 0}}
        volumes = {m.split(":")[0] for s in self.services.values() for m in s.get("volumes") or () if ":" in m}
        text = {"name": STACK, "services": self.services, "volumes": dict.fromkeys(sorted(volumes))}
        (self.folder / "compose.yaml").write_text(json.dumps(text))

    def edited(self, changes: list[Change]) -> dict[str, Any]:
        services = {name: dict(one) for name, one in self.services.items()}
        for one in services.values():
            one["depends_on"] = [other for other in one.get("depends_on", ()) if other != "job"]
        for change in changes:
            change(services)
        return services

    def look(self) -> Look:
        return look(self.machine, self.store)

    def up(self, world: World) -> Coroutine[Any, Any, Any]:
        return up(world, Wish(source=Source(directory=self.folder)))

    def ending(self, kind: str) -> Act:
        """An operation that rolls forward, by name."""
        if kind == "stop":
            return lambda world: endings.stop(world, STACK, (), None)
        if kind == "start":
            return lambda world: endings.start(world, STACK, ())
        ending = endings.Ending(volumes="volumes" in kind, release_ports="ports" in kind)
        return lambda world: endings.down(world, STACK, ending)

    def is_stopped(self) -> bool:
        """True: some of it does not run. An undo starts it (see `test_what_was_stopped_is_stopped_after_an_undo`)."""
        return any(container[3] == "off" for container in self.look().containers)

    # --- rules

    @rule()
    def bring_up(self) -> None:
        asyncio.run(self.up(self.world()))
        self.check_up()

    @rule(changes=st.lists(harmless, min_size=1, max_size=3))
    def change_and_bring_up(self, changes: list[Change]) -> None:
        self.write(self.edited(changes))
        asyncio.run(self.up(self.world()))
        self.check_up()

    @precondition(lambda self: not self.is_stopped())
    @rule(changes=st.lists(harmless, max_size=2), harm=harmful)
    def change_to_what_fails(self, changes: list[Change], harm: Change) -> None:
        before, services = self.look(), self.services
        kept = {name: {k: v for k, v in one.items() if k != "depends_on"} for name, one in services.items()}
        edited = self.edited([*changes, harm])
        if {name: {k: v for k, v in one.items() if k != "depends_on"} for name, one in edited.items()} == kept:
            return
        self.write(edited)
        try:
            asyncio.run(self.up(self.world()))
        except MoorageError as error:
            note(f"{type(error).__name__}: {error}")
            self.same(before, f"after {error}")
            self.write(services)
        else:  # the harm was in a service that is not there, has no replicas, or runs already
            self.write(services)
            asyncio.run(self.up(self.world()))
            self.check_up()

    @precondition(lambda self: not self.is_stopped())
    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2), again=st.integers(0, 30))
    def die_while_bringing_up(self, n: int, changes: list[Change], again: int) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        if not self.dies(self.up, n):
            self.check_up()
            return
        self.recover(again)
        if self.look() == before:
            self.write(services)
        else:
            self.check_up(tidy=False)

    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2))
    def die_and_bring_up_again(self, n: int, changes: list[Change]) -> None:
        self.write(self.edited(changes))
        self.dies(self.up, n)
        asyncio.run(self.up(self.world()))
        self.check_up()

    @precondition(lambda self: not self.is_stopped())
    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2))
    def one_effect_fails(self, n: int, changes: list[Change]) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        fault = fail_at(n)
        try:
            asyncio.run(self.up(self.world(fault)))
        except MoorageError as error:
            note(f"{type(error).__name__}: {error}; at {fault.effects[n - 1]}")
            self.recover(0)  # an undo whose own effect failed leaves the rest to it
            if self.look() == before:
                self.write(services)
                return
        self.check_up(tidy=not fault.struck)

    @precondition(lambda self: not self.is_stopped())
    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2))
    def cancel_while_bringing_up(self, n: int, changes: list[Change]) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        try:
            asyncio.run(cancelled_at(n, self.up, self.world()))
        except InterruptedRunError:
            self.same(before, "after a cancel")
            self.write(services)
        except asyncio.CancelledError:  # nothing had begun, or all was committed
            if self.look() == before:
                self.write(services)
            else:
                self.check_up()
        else:
            self.check_up()

    @rule(changes=st.lists(harmless, max_size=2))
    def bring_up_twice_at_once(self, changes: list[Change]) -> None:
        self.write(self.edited(changes))

        async def both() -> None:
            locks = MemoryLocks(self.machine.clock)
            await asyncio.gather(*(self.up(self.neighbour(locks)) for _ in range(2)))

        asyncio.run(both())
        self.check_up()

    def neighbour(self, locks: MemoryLocks) -> World:
        """A process beside others: they have one set of locks, and wait for each other."""
        world = self.world()
        return replace(world, lock=locks, settings=world.settings.model_copy(update={"lock_timeout_s": 10}))

    @rule(kind=st.sampled_from(["down", "down volumes", "down volumes ports", "stop"]))
    def end(self, kind: str) -> None:
        before = self.look()
        asyncio.run(self.ending(kind)(self.world()))
        self.check_ended(kind, before)

    @rule(n=st.integers(1, 12), kind=st.sampled_from(["down", "down volumes", "down volumes ports", "stop"]))
    def die_while_ending(self, n: int, kind: str) -> None:
        before = self.look()
        self.dies(self.ending(kind), n)
        self.recover(0)
        if self.look() != before:
            self.check_ended(kind, before)

    @precondition(lambda self: self.machine.of_project(STACK))
    @rule(n=st.integers(0, 12))
    def start(self, n: int) -> None:
        before = self.look()
        if not self.dies(self.ending("start"), n):
            assert all(container[3] != "off" for container in self.look().containers)
        self.recover(0)
        after = self.look()
        if after != before:
            assert all(container[3] != "off" for container in after.containers)

    @precondition(lambda self: not self.is_stopped())
    @rule(n=st.integers(0, 20), again=st.integers(0, 20))
    def go_back(self, n: int, again: int) -> None:
        before = self.look()
        try:
            died = self.dies(lambda world: rollback(world, STACK, None), n)
        except MoorageError as error:
            note(f"{type(error).__name__}: {error}")
            self.same(before, f"after {error}")
            return
        if died:
            self.recover(again)
        after = self.look()
        if after != before:
            self.check_current(after)
            self.applied = None
            assert after.generation[0] != before.generation[0]

    @rule()
    def sweep_finds_nothing(self) -> None:
        before = self.look()
        asyncio.run(sweep(Sweep(self.world())))
        self.same(before, "after a sweep")

    @precondition(lambda self: any(box.mounts and box.running for box in self.machine.of_project(STACK)))
    @rule(text=st.sampled_from(["one", "two"]))
    def write_data(self, text: str) -> None:
        for box in self.machine.of_project(STACK):
            for path in box.mounts:
                self.machine.put(box, f"{path}/kept", text)

    @rule(port=st.sampled_from(PORTS), hidden=st.booleans())
    def somebody_takes_a_port(self, port: int, hidden: bool) -> None:
        if (port, "tcp") not in self.machine.published():
            (self.machine.hidden_ports if hidden else self.machine.busy_ports).add((port, "tcp"))

    @rule()
    def ports_are_free_again(self) -> None:
        self.machine.hidden_ports.clear()
        self.machine.busy_ports.clear()

    # --- how it goes on

    def dies(self, act: Act, n: int) -> bool:
        """Do it in a process that dies before its n-th effect (0: it lives). False: it was done before that."""
        fault = fail_at(n, kill=True)
        try:
            asyncio.run(act(self.world(fault)))  # type: ignore[arg-type]
        except Killed as killed:
            note(f"killed at {n}: {killed}")
            return True
        assert not fault.struck, f"it went on after its death: {fault.effects[-1]}"
        return False

    def recover(self, again: int) -> None:
        """A sweep by the next process; `again`: that one dies as well, and the one after it finishes."""
        self.dies(lambda world: sweep(Sweep(world)), again)
        asyncio.run(sweep(Sweep(self.world())))

    # --- what has to be so

    def same(self, before: Look, when: str) -> None:
        after = self.look()
        for part in ("containers", "networks", "volumes", "tags", "leases", "generation"):
            assert getattr(after, part) == getattr(before, part), f"{part} {when}"

    def check_up(self, *, tidy: bool = True) -> None:
        """The stack is what its definition says, and the current generation says the same."""
        after = self.look()
        self.applied = self.services
        wanted = {
            (f"{STACK}-{name}-{number}", self.services[name]["image"])
            for name in self.services
            for number in range(1, _replicas(self.services[name]) + 1)
        }
        images = {name: self.machine.tags.get(f"{name}", "") for name in (*GOOD_IMAGES, *BAD_IMAGES, "ends:1")}
        found = {(c[0], next(k for k, image_id in images.items() if image_id == c[4])) for c in after.containers}
        assert found == wanted
        for name, service_name, _, state, _, environment, ports, volumes, _ in after.containers:
            one = self.services[service_name]
            assert state == ("ended" if service_name == "job" else "runs"), name
            assert dict(environment) == (one.get("environment") or {}), name
            assert len(ports) == (1 if one.get("ports") else 0), name
            assert {m.split(":")[-1] for m in one.get("volumes") or ()} <= set(volumes), name
        self.check_current(after, tidy=tidy)

    def check_current(self, after: Look, *, tidy: bool = True) -> None:
        """What is there is the current generation: nothing more, nothing less, all leases held for good."""
        world = self.world()
        generation = generations.current(world, STACK)
        assert generation is not None
        assert generation.number == after.generation[0]
        digests = {
            box.labels[labels.COMPOSE_SERVICE]: box.labels[labels.DIGEST] for box in self.machine.of_project(STACK)
        }
        with_replicas = {name: d for name, d in generation.digests.items() if generation.services[name].replicas}
        assert digests == with_replicas
        assert after.networks == [f"{STACK}_default"] or not with_replicas
        ports = {port for service in generation.services.values() if service.replicas for port in service.ports}
        assert {(key.service, key.target) for key, *_ in after.leases} == {(p.service, p.target) for p in ports}
        assert all(run is None for *_, run in after.leases)
        leased = {number for lease in self.store.leases(STACK) for number in lease.ports}
        assert {number for container in after.containers for number in container[6]} == leased
        kept = [generations.read(world, STACK, number) for number in after.generation[1]]
        assert all(kept)
        used = {image.tag for one in kept if one for image in one.images.values()}
        assert used <= set(after.tags)
        assert not tidy or used == set(after.tags)

    def check_ended(self, kind: str, before: Look) -> None:
        after = self.look()
        if kind == "stop":
            assert all(container[3] != "runs" for container in after.containers)
            assert [c[0] for c in after.containers] == [c[0] for c in before.containers]
            assert (after.volumes, after.networks, after.leases) == (before.volumes, before.networks, before.leases)
            return
        assert (after.containers, after.networks) == ([], [])
        assert after.volumes == (_elsewhere(before) if "volumes" in kind else before.volumes)
        assert after.leases == ([] if "ports" in kind else before.leases)
        if kind == "down volumes ports":
            assert (after.tags, after.generation) == ([], (None, []))
        else:
            assert (after.tags, after.generation) == (before.tags, before.generation)

    @invariant()
    def strangers_are_left_alone(self) -> None:
        if hasattr(self, "strangers"):
            assert look_at_strangers(self.machine, self.store) == self.strangers

    @invariant()
    def leases_are_unique(self) -> None:
        held = [(number, lease.key.protocol) for lease in self.store.leases() for number in lease.ports]
        assert len(held) == len(set(held))

    @invariant()
    def nothing_is_unfinished(self) -> None:
        assert self.store.unfinished_runs() == ()


def _replicas(one: dict[str, Any]) -> int:
    return int((one.get("deploy") or {}).get("replicas", 1))


def _elsewhere(before: Look) -> Any:
    return {name: content for name, content in before.volumes.items() if name == "shop_elsewhere"}


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
