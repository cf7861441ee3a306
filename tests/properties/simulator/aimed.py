"""Histories that are aimed: each meets one place in Moorage that few of the random ones come to.

`made` gives them for the seeds of `SEEDS`, the kinds in turn; all other seeds have random ones.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.properties.simulator.faults import Kind
from tests.properties.simulator.history import History, Order, definitions

SEEDS = range(400, 550)
_LATER = 500
"""From this seed on, kinds that came later: the histories of earlier seeds stay what they were."""
_DEATHS = (Kind.DIES_BEFORE, Kind.DIES_AFTER, Kind.DIES_HALFWAY)
_SWEEP = Order("sweep", "shop")


def aimed(seed: int) -> History:
    """The history of a seed."""
    random = Random(seed)
    kinds = _KINDS if seed < _LATER else _LATER_KINDS
    kind = kinds[seed % len(kinds)]
    return History(seed, random.choice((0.3, 0.7, 1.0)), kind(random), ("shop",))


def _rests(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A start that fails or dies after it has started what was stopped before, as it was."""
    _, services = definitions()
    services["api"] = {"image": random.choice(("fails:1", "app:1"))}
    stopped = random.choice((["web"], ["db", "web"]))
    return ((Order("stop", "shop", {"services": stopped}), _up(services, *_death(random, 4, 14)), _SWEEP),)


def _unknown(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A start that fails or dies while nobody can read what ran before: no generation, so no placeholders."""
    _, services = definitions()
    services["db"]["environment"] = {"A": "3"}
    services["web"]["image"] = "fails:1"
    damage = Order("foreign", "shop", {"what": "damage generation"})
    return ((damage, _up(services, *random.choice(((), _death(random, 6, 20)))), _SWEEP),)


def _cut_off(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A restore that dies, of a volume whose services have no anonymous ones; its recovery, which may die too."""
    death, again = _death(random, 6, 20), _death(random, 1, 12)
    return ((_plain(), Order("restore", "shop", {}, death), Order("sweep", "shop", {}, again), _SWEEP),)


def _written(random: Random) -> tuple[tuple[Order, ...], ...]:
    """Somebody writes into a volume between its copy and its emptying, and that goes wrong when it is written down."""
    kinds = (Kind.REFUSED, Kind.REFUSED, *_DEATHS, Kind.LOST_ANSWER)
    write = Order("foreign", "shop", {"what": "write at rest", "until": "copied"})
    restore = Order("restore", "shop", {}, ((random.choice(kinds).value, random.choice((8, 8, 9))),))
    return ((_plain(), restore, _SWEEP), (write,))


def _damaged(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A restore that dies, and a copy that nobody can read any more."""
    damage = Order("foreign", "shop", {"what": "damage copy"})
    return ((_plain(), Order("restore", "shop", {}, _death(random, 8, 14)), damage, _SWEEP, _SWEEP),)


def _pruned(random: Random) -> tuple[tuple[Order, ...], ...]:
    """Volumes of a stack that is down are pruned, while it may be coming up again."""
    again = random.choice(((), ((_plain(),),)))
    return ((Order("down", "shop"), Order("prune", "shop")), *again)


def _away(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A start while the engine is away for a moment."""
    _, services = definitions()
    services["web"]["environment"] = {"A": "3"}
    return ((_up(services, (Kind.ENGINE_AWAY.value, random.randint(1, 20))), _SWEEP),)


def _unheard(random: Random) -> tuple[tuple[Order, ...], ...]:
    """A command that does not hear the answer to one of its first effects: its run may be on record, or not."""
    services, _ = definitions()
    lost = ((Kind.LOST_ANSWER.value, random.randint(1, 4)),)
    verb = random.choice(("up", "stop", "down", "restart", "restore", "snapshot"))
    how = {"services": services, "harmful": False} if verb == "up" else {}
    return ((Order(verb, "shop", how, lost), _SWEEP),)


def _plain() -> Order:
    """With the definition that a stack begins with: no anonymous volumes, which a restore refuses."""
    return _up(definitions()[0])


def _up(services: dict[str, Any], *faults: tuple[str, int]) -> Order:
    harmful = any(one["image"].startswith("fails") for one in services.values())
    return Order("up", "shop", {"services": services, "harmful": harmful}, faults)


def _death(random: Random, first: int, last: int) -> tuple[tuple[str, int], ...]:
    return ((random.choice(_DEATHS).value, random.randint(first, last)),)


_Kind = Callable[[Random], tuple[tuple[Order, ...], ...]]
_KINDS: tuple[_Kind, ...] = (_rests, _unknown, _cut_off, _written, _damaged)
_LATER_KINDS: tuple[_Kind, ...] = (_pruned, _away, _unheard)
