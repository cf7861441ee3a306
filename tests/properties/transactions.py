"""Whatever is done to a stack, and whenever it is cut off: the machine is as before, or as committed.

A machine in memory, on which the real functions of `moorage/work` bring a stack up, change it, stop it, take it down,
and go back. Some operations fail by their definition, some because an effect fails, some because the process dies
just before an effect; the next process then finds what is left.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.errors import InterruptedRunError, MoorageError, PortError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import DownRequest, RestartRequest, RollbackRequest, StartRequest, StopRequest, SweepRequest
from moorage.rules import attachments, labels
from moorage.testing import (
    FakeMachine,
    Fault,
    ForeignFault,
    Killed,
    MemoryFiles,
    MemoryLocks,
    MemoryStore,
    around_every_call,
    fail_at,
    fake_world,
    faulty,
)
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.rollback import rollback
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.properties.memory import (
    BAD_IMAGES,
    CLOCK,
    ENDINGS,
    GOOD_IMAGES,
    PORTS,
    SLEEP,
    STACK,
    Change,
    Look,
    Operate,
    cancelled_at,
    harmful,
    harmless,
    look,
    look_at_strangers,
    plant_strangers,
    say,
    service,
)


class Transactions(RuleBasedStateMachine):
    """One stack, one machine, many processes one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-stack-"))
        self.machine = FakeMachine(CLOCK)
        self.store = MemoryStore()
        self.files: Any = MemoryFiles()
        self.services: dict[str, Any] = {}

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
        return up(Context(world), UpRequest(source=Source(directory=self.folder)))

    def ending(self, kind: str) -> Operate:
        """An operation that rolls forward, by name."""
        if kind == "stop":
            return lambda world: stop(Context(world), StopRequest(stack=STACK))
        if kind == "restart":
            return lambda world: restart(Context(world), RestartRequest(stack=STACK))
        if kind == "start":
            return lambda world: start(Context(world), StartRequest(stack=STACK))
        request = DownRequest(stack=STACK, volumes="volumes" in kind, release_ports="ports" in kind)
        return lambda world: down(Context(world), request)

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
            say(f"{type(error).__name__}: {error}")
            self.same(before, f"after {error}")
            self.write(services)
        else:  # the harm was in a service that is not there, has no replicas, or runs already
            self.write(services)
            asyncio.run(self.up(self.world()))
            self.check_up()

    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2), again=st.integers(0, 30))
    def die_while_bringing_up(self, n: int, changes: list[Change], again: int) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        if not self.dies(self.up, n):
            self.check_up()
            return
        self.recover(again)
        if self.unchanged(before):
            self.write(services)
        else:
            self.check_up(tidy=False)

    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2))
    def die_and_bring_up_again(self, n: int, changes: list[Change]) -> None:
        self.write(self.edited(changes))
        died = self.dies(self.up, n)
        asyncio.run(self.up(self.world()))
        if died:
            self.recover(0)  # it may have died tidying up after its commit
        self.check_up()

    @rule(n=st.integers(1, 25), changes=st.lists(harmless, max_size=2))
    def one_effect_fails(self, n: int, changes: list[Change]) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        fault = fail_at(n)
        try:
            asyncio.run(self.up(self.world(fault)))
        except MoorageError as error:
            say(f"{type(error).__name__}: {error}; at {fault.effects[n - 1]}")
            self.recover(0)  # an undo whose own effect failed leaves the rest to it
            if self.unchanged(before):
                self.write(services)
                return
        if fault.struck:
            self.recover(0)  # what failed came after the commit: tidying up
        self.check_up()

    @rule(n=st.integers(1, 120), after=st.booleans(), changes=st.lists(harmless, max_size=2))
    def one_call_raises_what_nobody_expects(self, n: int, after: bool, changes: list[Change]) -> None:
        before, services = self.look(), self.services
        self.write(self.edited(changes))
        fault = ForeignFault(n, lambda: RuntimeError("foreign"), after=after)
        try:
            asyncio.run(self.up(around_every_call(self.world(), fault)))
        except MoorageError as error:
            say(f"{type(error).__name__}: {error}; at {fault.calls[n - 1]}")
            self.recover(0)  # an undo that met it leaves the rest to it
            self.same(before, f"after {error}")
            self.write(services)
            return
        if fault.struck:
            self.recover(0)  # it came after the commit: tidying up
        self.check_up()

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
            if self.unchanged(before):
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

    @rule(kind=st.sampled_from(ENDINGS))
    def end(self, kind: str) -> None:
        before = self.look()
        asyncio.run(self.ending(kind)(self.world()))
        self.check_ended(kind, before)

    @rule(n=st.integers(1, 12), kind=st.sampled_from(ENDINGS))
    def die_while_ending(self, n: int, kind: str) -> None:
        before = self.look()
        self.dies(self.ending(kind), n)
        self.recover(0)
        if not self.unchanged(before):
            self.check_ended(kind, before)

    @precondition(lambda self: self.machine.of_project(STACK))
    @rule(n=st.integers(0, 12), verb=st.sampled_from(["start", "restart"]))
    def start(self, n: int, verb: str) -> None:
        """It has to have the very ports that it was created with: where somebody has taken one, it fails."""
        before = self.look()
        try:
            died = self.dies(self.ending(verb), n)
        except PortError as error:
            say(f"{type(error).__name__}: {error}")
            if verb == "start":
                self.same(before, f"after {error}")
            assert self.store.unfinished_runs(STACK) == ()
            return
        self.recover(0)
        after = self.look()
        if not (died and self.unchanged(before)) and (verb == "start" or not self.taken()):
            assert all(container[3] != "off" for container in after.containers)

    def taken(self) -> bool:
        return bool(self.machine.hidden_ports | self.machine.busy_ports)

    @rule(n=st.integers(0, 20), again=st.integers(0, 20))
    def go_back(self, n: int, again: int) -> None:
        before = self.look()
        try:
            died = self.dies(lambda world: rollback(Context(world), RollbackRequest(stack=STACK)), n)
        except MoorageError as error:
            say(f"{type(error).__name__}: {error}")
            self.same(before, f"after {error}")
            return
        if died:
            self.recover(again)
        after = self.look()
        if after.generation[0] == before.generation[0]:
            self.same(before, "after the recovery")
        else:
            self.check_current(after)

    @rule()
    def sweep_finds_nothing(self) -> None:
        before = self.look()
        asyncio.run(sweep(Context(self.world()), SweepRequest()))
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

    def dies(self, act: Operate, n: int) -> bool:
        """Do it in a process that dies before its n-th effect (0: it lives). False: it was done before that."""
        fault = fail_at(n, kill=True)
        try:
            asyncio.run(act(self.world(fault)))  # type: ignore[arg-type]
        except Killed as killed:
            say(f"killed at {n}: {killed}")
            return True
        assert not fault.struck, f"it went on after its death: {fault.effects[-1]}"
        return False

    def recover(self, again: int) -> None:
        """A sweep by the next process; `again`: that one dies as well, and the one after it finishes."""
        self.dies(lambda world: sweep(Context(world), SweepRequest()), again)
        asyncio.run(sweep(Context(self.world()), SweepRequest()))

    # --- what has to be so

    def unchanged(self, before: Look) -> bool:
        return self.look() == before

    def same(self, before: Look, when: str) -> None:
        after = self.look()
        for part in ("containers", "networks", "volumes", "tags", "leases", "generation", "anonymous"):
            assert getattr(after, part) == getattr(before, part), f"{part} {when}"

    def check_up(self, *, tidy: bool = True) -> None:
        """The stack is what its definition says, and the current generation says the same."""
        after = self.look()
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
        assert after.init_containers == []
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
        assert attachments.off(generation.config, world.engine.observe(STACK)) == {}
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
        assert (after.containers, after.networks, after.init_containers) == ([], [], [])
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
