"""Attachments: the networks that containers should be on, and what containers share with those of other services.

A network is known by its id: one that was removed and made again under the same name is another one, and a container of
the old one neither starts nor finds anybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from moorage.model.definition import Config, Service
from moorage.model.state import Attachment, Container, Observed
from moorage.rules import graph

_OF_THE_ENGINE = frozenset({"bridge", "host", "none"})
"""Networks on which the engine gives no names."""
_SHARED = {
    "network_mode": "the network of {}",
    "ipc": "the memory of {}",
    "pid": "the processes of {}",
    "volumes_from": "the volumes of {}",
}
_RUNNING = ("running", "paused", "restarting")
NAMESPACES = frozenset({"network_mode", "ipc", "pid"})
"""Keys that let a container live in what ends with the other one, also when that is only started again."""


def missing(config: Config, container: Container, observed: Observed) -> str:
    """What is wrong with a container's networks, in words; empty: it is on all that its service names.

    Further networks, which somebody connected it to, are nobody's business, as with Compose.
    """
    service = config["services"].get(container.service) or {}
    return "; ".join(
        filter(None, (_missing(config, key, container, observed) for key in service.get("networks") or {}))
    )


def _missing(config: Config, key: str, container: Container, observed: Observed) -> str:
    network = (config.get("networks") or {}).get(key) or {}
    name = str(network.get("name") or f"{observed.stack}_{key}")
    ids = ids_of(name, observed)
    place = next((one for on, one in container.networks.items() if _is_there(one, on == name, ids)), None)
    if not ids:
        # A node of a swarm learns of an external network when the first container is started on it.
        unknown = network.get("external") and place is not None
        return "" if unknown else f"network {name} is gone"
    if place is None:
        was = container.networks.get(name)
        return f"network {name} was made anew" if was and was.id else f"it is not on network {name}"
    if name not in _OF_THE_ENGINE and container.service not in place.aliases:
        return f"network {name} does not know it as {container.service}"
    return ""


def _is_there(place: Attachment, is_named: bool, ids: Collection[str]) -> bool:
    return place.id in ids if place.id else is_named


def ids_of(name: str, observed: Observed) -> tuple[str, ...]:
    """Ids of the networks with a name; an external network may be named by its id too. Empty: there is none."""
    every = (one for ids in observed.network_ids.values() for one in ids)
    return observed.network_ids.get(name) or tuple(one for one in every if one == name)


def off(config: Config, observed: Observed, names: Iterable[str] | None = None) -> dict[str, str]:
    """Service → what is wrong with its networks; those with nothing wrong are left out. `names` None: all services."""
    found: dict[str, str] = {}
    chosen = set(config["services"] if names is None else names)
    for container in observed.containers:
        if container.service in chosen and (words := missing(config, container, observed)):
            found.setdefault(container.service, words)
    return dict(sorted(found.items()))


def shared_with(service: Config) -> Iterator[tuple[str, str]]:
    """(other service, what of it is shared): a container refers to the other one by id, and goes when it goes."""
    for key in ("network_mode", "ipc", "pid"):
        kind, _, other = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield other, key
    for one in service.get("volumes_from") or ():
        kind, _, _ = str(one).partition(":")
        if kind != "container":
            yield kind, "volumes_from"


def recreated_with(config: Config, changed: Iterable[str]) -> dict[str, str]:
    """Services whose containers are re-created because those of `changed` are → why. Without `changed` themselves."""
    found: dict[str, str] = {}
    first = frozenset(changed)
    sharers: dict[str, dict[str, str]] = {}
    for other, service in sorted(config["services"].items()):
        for shared, key in shared_with(service or {}):
            sharers.setdefault(shared, {}).setdefault(other, key)
    waiting = deque(sorted(first))
    while waiting:
        name = waiting.popleft()
        for other, how in sharers.get(name, {}).items():
            if other not in found and other not in first:
                found[other] = f"it shares {_SHARED[how].format(name)}, which is re-created"
                waiting.append(other)
    return found


def with_sharers(config: Config, names: Iterable[str]) -> frozenset[str]:
    """The named services and all that share something with their containers."""
    first = frozenset(names)
    return first | frozenset(recreated_with(config, first))


def left_behind(services: Mapping[str, Service], container: Container, observed: Observed) -> str:
    """Why a running container lives in something that has ended; empty: it does not.

    The engine gives a container that is started again a new network; who lives in the old one hears nobody any more.
    """
    known = services.get(container.service)
    if known is None or container.state != "running" or container.started_at is None:
        return ""
    for one in known.depends_on:
        other = next(iter(observed.of(one.service)), None) if one.shares else None
        if other and other.state == "running" and other.started_at and other.started_at > container.started_at:
            return f"it lives in what {one.service} was before that was started again"
    return ""


def to_restart(services: Mapping[str, Service], observed: Observed, starting: Iterable[str]) -> frozenset[str]:
    """Running services that have to be restarted to live in what the others are now, or will be after a start.

    `starting`: the services that will be started unless they run.
    """
    running = frozenset(c.service for c in observed.containers if c.state in _RUNNING)
    left = frozenset(c.service for c in observed.containers if left_behind(services, c, observed))
    ended = {name for name in starting if name not in running and services[name].replicas}
    return (left | graph.living_in(services, left | ended)) & running & set(services)
