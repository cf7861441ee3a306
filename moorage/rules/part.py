"""An `up` of some services: their part of a definition, beside what stays as it is.

The generation that comes of it says what was applied: the services that were asked for, as the definition has them, and
the others as the generation before has them. What neither has is in no generation until somebody asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import Field

from moorage.errors import DefinitionError
from moorage.model.base import Frozen
from moorage.model.definition import Config, Definition, Hidden, Service
from moorage.model.generation import Generation, PinnedImage
from moorage.rules import composing, graph
from moorage.rules.spelling import no_service

_KINDS = ("networks", "volumes", "secrets", "configs")
"""Top-level keys of which only what is used is taken over."""

_DIGITS = 4
"""Of the largest number of replicas: more than an engine takes."""


class Kept(Frozen):
    """What a generation says of the services that are not asked for."""

    services: dict[str, Service] = Field(default_factory=dict)
    config: Config = Field(default_factory=dict)
    images: dict[str, PinnedImage] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)
    named: tuple[str, ...] = ()
    hidden: Hidden = Hidden()


NOTHING = Kept()


def chosen(services: Mapping[str, Service], names: Iterable[str], *, alone: bool) -> frozenset[str]:
    """The named services and, unless they are to be `alone`, all that they need. Raises DefinitionError."""
    names = tuple(names)
    for name in names:
        if name not in services:
            raise no_service(name, services)
    return frozenset(names) if alone else graph.with_dependencies(services, names)


def part_of(definition: Definition, names: Collection[str]) -> Definition:
    """The same with only these services, and only what they use of networks, volumes, secrets and configs."""
    services = {name: service for name, service in definition.services.items() if name in names}
    config = {**definition.config, "services": _chosen(definition.config["services"], names)}
    for kind in _KINDS:
        if kind in config:
            used = set().union(*(_used(config["services"][name], kind, config) for name in services))
            config[kind] = _chosen(config[kind], used)
    there = {f"{kind}.{key}" for kind in _KINDS for key in config.get(kind) or ()}
    variables = {key: place for key, place in definition.port_variables.items() if place[0] in names}
    update: dict[str, Any] = {"services": services, "config": config, "port_variables": variables}
    update["named"] = tuple(name for name in definition.named if name in there)
    return definition.model_copy(update=update)


def kept_of(generation: Generation | None, names: Collection[str]) -> Kept:
    """What stays of a generation beside an `up` of these services."""
    rest = sorted(set(generation.services) - set(names)) if generation else []
    if generation is None or not rest:
        return NOTHING
    return Kept(
        services={name: generation.services[name] for name in rest},
        config=generation.config,
        images={key: image for key, image in generation.images.items() if composing.is_image_of(key, rest)},
        digests={name: digest for name, digest in generation.digests.items() if name in rest},
        named=generation.named,
        hidden=generation.hidden,
    )


def joined(config: Config, kept: Kept) -> Config:
    """The project of the asked services, with the others as they are. Raises DefinitionError: both cannot be.

    A network that has changed would take the containers of the others with it.
    """
    if not kept.services:
        return config
    services = {name: kept.config["services"][name] for name in kept.services}
    whole = {**config, "services": {**config["services"], **services}}
    for kind in _KINDS:
        there, new = kept.config.get(kind) or {}, config.get(kind) or {}
        for name, service in sorted(services.items()):
            for key in sorted(_used(service, kind, kept.config) & set(there)):
                if kind == "networks" and key in new and _differs(new[key], there[key]):
                    raise _changed(key, name)
                new = {key: there[key], **new}
        if new:
            whole[kind] = new
    return whole


def _changed(network: str, service: str) -> DefinitionError:
    message = f"networks.{network} has changed, and services.{service}, which was not asked for, is on it"
    hint = f"Name {service} too, or bring everything up: `moorage up`."
    return DefinitionError(message, key=f"networks.{network}", service=service, hint=hint)


def _differs(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)


def _used(service: Config, kind: str, config: Config) -> set[str]:
    """Keys of the networks (volumes, …) that a service uses, with its init containers."""
    return set().union(*(_used_by(one, kind, config) for one in (service, *(service.get("pre_start") or ()))))


def _used_by(service: Config, kind: str, config: Config) -> set[str]:
    if kind == "networks":
        by_itself = set(service.get("networks") or {})
        return by_itself or (set() if service.get("network_mode") else {"default"} & set(config.get("networks") or {}))
    if kind == "volumes":
        mounts = service.get("volumes") or ()
        return {one["source"] for one in mounts if one.get("type") == "volume" and one.get("source")}
    uses = [*(service.get(kind) or ()), *((service.get("build") or {}).get(kind) or ())]
    return {use["source"] for use in uses}


def _chosen(things: Mapping[str, Any] | None, names: Collection[str]) -> dict[str, Any]:
    return {key: thing for key, thing in (things or {}).items() if key in names}


def scaled(config: Config, scale: Mapping[str, int]) -> None:
    """Set the number of replicas of some services in a project. Raises DefinitionError: there is no such service."""
    for name, number in scale.items():
        service = config["services"].get(name)
        if service is None:
            raise no_service(name, config["services"], f"--scale {name}={number}")
        service["scale"] = number
        if deploy := service.get("deploy"):
            deploy["replicas"] = number


def numbers_of(words: Iterable[str], where: str) -> dict[str, int]:
    """Service → number, of `SERVICE=NUMBER`. Raises DefinitionError that begins with `where`."""
    found = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not (name and equals and number.isascii() and number.isdigit() and len(number) <= _DIGITS):
            message = f"{where}: {word!r} is not SERVICE=NUMBER"
            raise DefinitionError(message, key=where, hint="Such as `worker=3`.")
        found[name] = int(number)
    return found
