"""A stack on a machine in memory: what its definition is changed by, and a look at everything there is."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st

from moorage.interfaces import World
from moorage.model.lease import LeaseKey, Request
from moorage.model.state import StackRecord
from moorage.rules import labels
from moorage.testing import (
    FakeMachine,
    Fault,
    ManualClock,
    MemoryStore,
    faulty,
)

STACK = "shop"
HOME = "memory"
SERVICES = ("db", "web", "api")
GOOD_IMAGES = ("app:1", "app:2", "far:1")
BAD_IMAGES = ("fails:1", "nowhere:1")
ENDINGS = ("down", "down volumes", "down volumes ports", "stop")
PORTS = (8000, 8001, 9000)
SLEEP = ["sleep", "600"]

CLOCK = ManualClock()
"""What all processes look at; only who waits lets time pass."""
Change = Callable[[dict[str, Any]], None]
Operate = Callable[[World], Coroutine[Any, Any, Any]]


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
first = st.sampled_from(
    [None, [{"command": ["true"]}], [{"command": ["true"]}, {"command": ["echo", "hi"], "image": "far:1"}]]
)
harmless = st.one_of(
    st.builds(_set, names, st.just("pre_start"), first),
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
    st.builds(_set, names, st.just("pre_start"), st.just([{"command": ["true"]}, {"command": ["false"]}])),
    st.builds(
        _set, names, st.just("healthcheck"), st.just({"test": ["CMD", "false"], "retries": 1, "interval": "1ms"})
    ),
    st.just(lambda services: services.update(late={"image": "fails:1", "volumes": ["more:/data", "/scratch"]})),
)


def say(text: str) -> None:
    """What a failing example needs to be understood."""
    if currently_in_test_context():
        note(text)


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
    anonymous: Any
    """Tokens of all anonymous volumes of the machine, in use or not."""
    init_containers: Any
    """Names of those that have begun, or whose service has no container: neither may be left."""


def _plain(name: str) -> str:
    return re.sub(r"^([0-9a-f]{12}_)+", "", name)


def condition(box: Any) -> str:
    """A container that was created and one that was stopped are the same to a person: not running."""
    return "ended" if (box.state, box.exit_code) == ("exited", 0) else "runs" if box.running else "off"


def look(machine: FakeMachine, store: MemoryStore, stack: str = STACK) -> Look:
    def content(volume: str) -> tuple[int, tuple[tuple[str, str], ...]]:
        found = machine.volumes[volume]
        return found.token, tuple(sorted(found.files.items()))

    boxes = sorted(machine.of_project(stack), key=lambda box: box.name)
    there = {box.labels[labels.COMPOSE_SERVICE] for box in boxes}
    record = store.stack(stack)
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
                tuple(box.networks),
            )
            for box in boxes
        ],
        networks=sorted(n for n, one in machine.networks.items() if one.labels.get(labels.STACK) == stack),
        volumes={n: content(n) for n, v in machine.volumes.items() if v.labels.get(labels.STACK) == stack},
        tags=sorted(tag for tag in machine.tags if tag.startswith(labels.pin_prefix(stack))),
        leases=[(lease.key, lease.port, lease.count, lease.run) for lease in store.leases(stack)],
        generation=(record and record.generation, sorted(g.number for g in store.generations(stack))),
        init_containers=sorted(
            box.name
            for box in machine.init_boxes(stack)
            if box.state != "created" or box.labels[labels.COMPOSE_SERVICE] not in there
        ),
        anonymous=sorted(volume.token for name, volume in machine.volumes.items() if machine.is_anonymous(name)),
    )


async def cancelled_at(n: int, act: Operate, world: World) -> None:
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
    machine.add_network("other_default", project)
    machine.add_volume("other_data", project)
    machine.add_network("unrelated")
    machine.add_volume("unrelated")
    # Of plain `docker compose -p shop`: they bear the project's name and not our labels.
    machine.add_network("shop_old", {labels.COMPOSE_PROJECT: STACK})
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
    mine = set(map(id, [*machine.of_project(STACK), *machine.init_boxes(STACK)]))
    foreign = [box for box in machine.boxes.values() if id(box) not in mine]
    anonymous = {volume for box in foreign for volume in box.mounts.values()}
    return (
        [(box.id, box.name, box.state, box.bound, box.started_at) for box in foreign],
        sorted(name for name, one in machine.networks.items() if not labels.ours(one.labels, STACK, HOME)),
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
