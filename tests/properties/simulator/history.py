"""Histories: made from a seed, played, shrunk, kept."""

from __future__ import annotations

import json
import random as chance
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.properties.simulator.commands import Command
from tests.properties.simulator.faults import Fault, Kind
from tests.properties.simulator.scheduler import Actor
from tests.properties.simulator.stage import STACKS, Stage, simulated


@dataclass(frozen=True)
class Order:
    """One command of a history."""

    verb: str
    stack: str
    how: dict[str, Any] = field(default_factory=dict)
    faults: tuple[tuple[str, int], ...] = ()
    """(kind, at which effect)."""


@dataclass(frozen=True)
class History:
    """Who does what, and the seed of the order in which their effects come."""

    seed: int
    restless: float
    actors: tuple[tuple[Order, ...], ...]
    begun: tuple[str, ...] = STACKS
    """Stacks that are up before it begins, with data and a snapshot of it."""

    def text(self) -> str:
        """As JSON, in one line."""
        return json.dumps(asdict(self))


def read(text: str) -> History:
    """The same from its text."""
    found = json.loads(text)
    actors = tuple(
        tuple(Order(o["verb"], o["stack"], o["how"], tuple((k, n) for k, n in o["faults"])) for o in orders)
        for orders in found["actors"]
    )
    return History(found["seed"], found["restless"], actors, tuple(found["begun"]))


@dataclass
class Played:
    """What became of a history."""

    wrong: str | None
    effects: int
    faults: Counter[str]
    trace: list[str]


# --- made


VERBS = {
    "up": 30,
    "down": 9,
    "restart": 5,
    "stop": 4,
    "start": 4,
    "rollback": 8,
    "snapshot": 5,
    "restore": 10,
    "sweep": 12,
    "release": 3,
    "prune": 2,
    "heal": 4,
    "foreign": 8,
}
FOREIGN = ("write", "write", "take port", "hide port", "free ports", "end", "remove")


def services_of(random: Random) -> tuple[dict[str, Any], bool]:
    """The services of a definition, and whether it can only fail."""
    images = ("app:1", "app:2", "far:1")
    services: dict[str, Any] = {
        "db": {"image": random.choice(images), "volumes": ["data:/data"]},
        "web": {"image": random.choice(images), "ports": [f"{random.choice((8000, 8001, 9000))}:80"]},
    }
    services["web"]["depends_on"] = ["db"]
    if random.random() < 0.5:
        services["web"]["environment"] = {"A": random.choice("12")}
    if random.random() < 0.3:
        services["db"]["volumes"].append("/scratch")
    if random.random() < 0.4:
        services["api"] = {"image": random.choice(images), "ports": [f"{random.choice((8000, 8100))}:80"]}
        if random.random() < 0.3:
            services["api"]["volumes"] = ["more:/more"]
    if random.random() < 0.15:
        services["web"]["pre_start"] = [{"command": ["true"]}]
    harmful = random.random() < 0.25
    if harmful:
        victim = services[random.choice(("db", "web"))]
        match random.randrange(3):
            case 0:
                victim["image"] = "fails:1"
            case 1:
                victim["healthcheck"] = {"test": ["CMD", "false"], "retries": 1, "interval": "1ms"}
            case _:
                victim["post_start"] = [{"command": ["false"]}]
    return services, harmful


def made(seed: int) -> History:
    """The history of a seed."""
    from tests.properties.simulator.aimed import SEEDS, aimed  # which makes histories as well

    if seed in SEEDS:
        return aimed(seed)
    random = Random(seed)
    actors = tuple(
        tuple(one for _ in range(random.randint(1, 4)) for one in _orders(random))
        for _ in range(random.choice((1, 2, 2, 3, 3, 4)))
    )
    if random.random() < 0.35:
        actors = (_cut_off_twice(random), *actors[:1])
    restless = random.choice((0.02, 0.1, 0.3, 0.7))
    return History(seed, restless, actors, tuple(stack for stack in STACKS if random.random() < 0.7))


def _orders(random: Random) -> Iterator[Order]:
    """A command; before a change perhaps one that leaves something for its undo to leave as it was."""
    order = _order(random)
    if order.verb == "up" and random.random() < 0.25:
        yield Order("stop", order.stack, _some(random))
    yield order


def _cut_off_twice(random: Random) -> tuple[Order, ...]:
    """A command that something happens to, and recoveries that something happens to."""
    verb = random.choice(("restore", "restore", "up", "rollback", "down"))
    orders = [order for _ in range(200) if (order := _order(random)).verb == verb][:1] + [Order("sweep", STACKS[0])] * 2
    return tuple(
        replace(one, stack=STACKS[0], faults=((random.choice(_CUTTING).value, random.randint(1, _MOST[one.verb])),))
        for one in orders
    )


def _some(random: Random) -> dict[str, Any]:
    """All services, or one."""
    return random.choice(({}, {"services": ["web"]}, {"services": ["db"]}))


def _order(random: Random) -> Order:
    verb = random.choices(tuple(VERBS), tuple(VERBS.values()))[0]
    stack = random.choices(STACKS, (3, 1))[0]
    how: dict[str, Any] = {}
    if verb == "foreign":
        return Order(verb, stack, {"what": random.choice(FOREIGN), "after": random.randint(1, 30)})
    if verb == "up":
        services, harmful = services_of(random)
        how = {"services": services, "harmful": harmful, "force_recreate": random.random() < 0.1}
    if verb == "down":
        how = random.choice(({}, _some(random), {"volumes": True}, {"ports": True}, {"volumes": True, "ports": True}))
    if verb in ("stop", "start", "restart"):
        how = _some(random)
    if verb == "restart":
        how = {**how, "recreate": random.random() < 0.3}
    faults: tuple[tuple[str, int], ...] = ()
    if random.random() < 0.55:
        faults = ((random.choices(tuple(Kind), _WEIGHTS)[0].value, random.randint(1, _MOST[verb])),)
        if faults[0][0] not in _DEADLY and random.random() < 0.3:
            second = random.choice((Kind.DIES_BEFORE, Kind.REFUSED, Kind.LOST_ANSWER))
            faults += ((second.value, faults[0][1] + random.randint(1, 8)),)
    return Order(verb, stack, how, faults)


_WEIGHTS = tuple(3 if kind.value.startswith("dies") else 1 for kind in Kind)
_CUTTING = (Kind.DIES_BEFORE, Kind.DIES_AFTER, Kind.DIES_HALFWAY, Kind.REFUSED, Kind.LOST_ANSWER)
_DEADLY = tuple(kind.value for kind in Kind if kind.value.startswith("dies"))
_MOST = {"up": 32, "down": 14, "rollback": 26, "restore": 26, "restart": 14, "sweep": 25} | dict.fromkeys(
    ("stop", "start", "release", "prune", "heal", "snapshot"), 10
)


# --- played


def play(history: History) -> Played:
    """Do it all, then sweep once, and say what was wrong."""
    chance.seed(history.seed)  # of retries' jitter
    stage = Stage(Random(history.seed), history.restless)
    try:
        with simulated():
            for stack in history.begun:
                _alone(stage, *_beginning(stack))
            stage.keep_generations(1 if history.seed % 3 == 0 else 2)
            stage.trace.append("---")
            stage.scheduler.run([_actor(stage, f"p{number}", orders) for number, orders in enumerate(history.actors)])
            stage.machine.busy_ports.clear()
            stage.machine.hidden_ports.clear()
            stage.engine_back_s = 0.0
            if not stage.scheduler.wrong:
                stage.trace.append("---")
                _alone(stage, Order("sweep", STACKS[0]))
                stage.judge.at_the_end()
            return Played(stage.scheduler.wrong, stage.effects, stage.faults, stage.trace)
    finally:
        stage.close()


def definitions() -> tuple[dict[str, Any], dict[str, Any]]:
    """The services that a stack begins with, and those that it is changed to before a history begins."""
    services: dict[str, Any] = {
        "db": {"image": "app:1", "volumes": ["data:/data"]},
        "web": {"image": "app:1", "ports": ["8000:80"], "depends_on": ["db"]},
    }
    changed = {
        "db": {**services["db"], "volumes": ["data:/data", "/scratch"]},
        "web": {**services["web"], "environment": {"A": "0"}, "ports": ["8001:80"]},
    }
    return services, changed


def _beginning(stack: str) -> tuple[Order, ...]:
    services, changed = definitions()
    write = Order("foreign", stack, {"what": "write", "after": 0})
    return (
        Order("up", stack, {"services": services}),
        write,
        Order("snapshot", stack),
        Order("up", stack, {"services": changed}),
        write,
    )


def _alone(stage: Stage, *orders: Order) -> None:
    stage.scheduler.run([Actor("alone", [partial(_process, stage, order, f"alone.{order.verb}") for order in orders])])


def _actor(stage: Stage, name: str, orders: tuple[Order, ...]) -> Actor:
    return Actor(name, [partial(_process, stage, order, f"{name}.{at}") for at, order in enumerate(orders)])


def _process(stage: Stage, order: Order, name: str) -> Any:
    faults = [Fault(Kind(kind), at) for kind, at in order.faults]
    command = Command(stage, f"{name} {order.verb} {order.stack}", order.verb, order.stack, order.how, faults)
    return stage.process_of(command)


# --- shrunk


def shrunk(history: History, is_wrong: Callable[[History], bool], most: int = 300) -> History:
    """A smaller history that is wrong too: fewer processes, commands, faults, changes of turn. Deterministic."""
    tries = 0
    while True:
        for smaller in _smaller(history):
            tries += 1
            if tries > most:
                return history
            if is_wrong(smaller):
                history = smaller
                break
        else:
            return history


def _smaller(history: History) -> Iterator[History]:
    actors = history.actors
    for place in range(len(actors)):
        if len(actors) > 1:
            yield replace(history, actors=(*actors[:place], *actors[place + 1 :]))
    for place, orders in enumerate(actors):
        for at in range(len(orders)):
            if len(orders) > 1:
                fewer = (*orders[:at], *orders[at + 1 :])
                yield replace(history, actors=(*actors[:place], fewer, *actors[place + 1 :]))
    for stack in history.begun:
        yield replace(history, begun=tuple(one for one in history.begun if one != stack))
    for place, orders in enumerate(actors):
        for at, order in enumerate(orders):
            for one in range(len(order.faults)):
                less = replace(order, faults=(*order.faults[:one], *order.faults[one + 1 :]))
                fewer = (*orders[:at], less, *orders[at + 1 :])
                yield replace(history, actors=(*actors[:place], fewer, *actors[place + 1 :]))
    if history.restless:
        yield replace(history, restless=0.0)


def kind_of(wrong: str | None) -> str:
    """The kind of what is wrong: its first word."""
    return (wrong or "").partition(":")[0]


KEPT = Path(__file__).with_name("kept.jsonl")


def kept() -> list[tuple[str, History]]:
    """The histories that were wrong once: (what was wrong then, the history)."""
    lines = [json.loads(line) for line in KEPT.read_text().splitlines()]
    return [(line["was"], read(json.dumps(line["history"]))) for line in lines]
