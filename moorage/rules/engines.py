"""Which engine a stack is on, and what an engine on another machine cannot be asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from moorage.errors import DefinitionError, OtherEngineError, UnsupportedByBackendError
from moorage.model.definition import Check, Config, Service
from moorage.model.engine import EnginePlace, EngineRecord

DOCKER = "Docker Engine"
"""What Docker calls itself here; whatever calls itself otherwise speaks Docker's API, with gaps (docs/engines.md)."""
_FOREIGN_NAMES = ("docker.io/library/", "docker.io/", "localhost/")
_OVER_THE_NETWORK = (Check.HTTP, Check.TCP)
_LIMITS = ("cpu_count", "cpu_percent", "cpu_quota", "cpu_shares", "cpus", "cpuset", "mem_limit", "pids_limit")


def is_same(recorded: EngineRecord | None, now: EngineRecord) -> bool:
    """Whether what is on record is on the engine that is used now. None: written by an earlier version; taken for it.

    One engine may be reached by several addresses, and at one address another engine may have taken the place of the
    former, as in a CI job: only where both differ, it is another one.
    """
    if recorded is None or recorded.address == now.address:
        return True
    return bool(recorded.id) and recorded.id == now.id


def other(stack: str, recorded: EngineRecord, now: EnginePlace) -> OtherEngineError:
    """The error for a stack that is on another engine than the one that is used."""
    how = f"DOCKER_CONTEXT={recorded.context}" if recorded.context else f"DOCKER_HOST={recorded.address}"
    return OtherEngineError(
        f"{stack}: it is on the engine at {recorded.address}, and this is the one at {now.words}: nothing was done",
        hint=f"`{how} moorage …` works on that one; `--name` makes a second stack on this one. If that engine is gone "
        "for good, set MOORAGE_FORGET_ENGINE=true once.",
        stack=stack,
        address=recorded.address,
    )


def refuse_far(services: Mapping[str, Service], place: EnginePlace) -> None:
    """Raises DefinitionError if the engine is on another machine and something has to be reached from this one."""
    if place.machine is None:
        return
    for name, service in services.items():
        if not service.replicas:
            continue
        key = "ports" if service.ports else ""
        if service.ready and service.ready.check in _OVER_THE_NETWORK:
            key = f"x-moorage.ready.{service.ready.check}"
        if key:
            raise DefinitionError(
                f"services.{name}.{key}: the engine at {place.words} is on another machine; ports are leased and asked "
                "on this one",
                hint="Leave ports out (`ports: !reset []` in an override file) and use a health check or `x-moorage."
                "ready: {exec: …}`; or run moorage on that machine.",
                service=name,
                key=f"services.{name}.{key}",
            )


def refuse_apart(services: Mapping[str, Service]) -> None:
    """Raises DefinitionError if a port has to be asked that is not published, and so cannot be reached.

    For rootless engines, which have their containers in a network of their own.
    """
    for name, service in services.items():
        ready = service.ready
        if ready is None or ready.check not in _OVER_THE_NETWORK or not service.replicas or not ready.port:
            continue
        if all((port.target, port.protocol) != (ready.port, "tcp") for port in service.ports):
            key = f"services.{name}.x-moorage.ready.{ready.check}"
            raise DefinitionError(
                f"{key}: port {ready.port} is not published, and the addresses of a rootless engine's containers "
                "cannot be reached",
                hint=f"Publish it (`ports: ['{ready.port}']`), or use a health check or `x-moorage.ready: "
                "{exec: …}`.",
                service=name,
                key=key,
            )


def without_limits(product: str, config: Config) -> Iterator[str]:
    """What to say of limits that an engine without control groups does not keep."""
    for name, service in config["services"].items():
        keys = [key for key in _LIMITS if service.get(key)]
        deploy = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        keys += [f"deploy.resources.limits.{key}" for key in deploy]
        if keys:
            yield f"services.{name}: {', '.join(keys)}: no effect: this {product} is rootless and has no control groups"


def refuse_measuring(product: str) -> UnsupportedByBackendError:
    """The error for an engine that measures nothing."""
    return UnsupportedByBackendError(
        f"stats: this {product} is rootless and has no control groups: it does not measure what containers use",
        backend=product,
        key="stats",
        hint="A rootless engine has them where systemd hands control groups of version 2 on to users.",
    )


def refuse_files(product: str, volume: str) -> None:
    """Raises UnsupportedByBackendError if an engine gives out and takes in the files of a volume wrongly.

    Podman's archives have no owners, and what is put into a container that does not run gets lost.
    """
    if product != DOCKER:
        raise UnsupportedByBackendError(
            f"volume {volume}: {product} gives out files without their owners, and takes none in: nothing was done",
            backend=product,
            key=f"volumes.{volume}",
            hint="`podman volume export` and `podman volume import` copy all of it.",
        )


def own_name(product: str, tag: str) -> str:
    """The name that an image was given: Podman puts a registry before it."""
    if product == DOCKER:
        return tag
    return next((tag.removeprefix(one) for one in _FOREIGN_NAMES if tag.startswith(one)), tag)


def as_understood(product: str, config: Config) -> Config:
    """The project as an engine is to be told it: Podman cuts the arguments of a health check at blanks, but no line."""
    if product == DOCKER:
        return config
    services = {name: _with_one_line(service) for name, service in config["services"].items()}
    return {**config, "services": services}


def _with_one_line(service: Config) -> Config:
    check = service.get("healthcheck") or {}
    match check.get("test"):
        case ["CMD", *words] if any(len(word.split()) != 1 for word in words):
            # Its words are escaped for Compose; a shell takes them as they are between single quotes.
            return {**service, "healthcheck": {**check, "test": ["CMD-SHELL", shlex.join(words)]}}
    return service
