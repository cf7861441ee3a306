"""Resolves a directory to a definition with a name, and that to the desired state."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from moorage.errors import DefinitionError, EngineError, ImageError, MoorageError
from moorage.interfaces import World
from moorage.model.definition import Config, Definition, Hidden, Source
from moorage.model.generation import PinnedImage
from moorage.model.lease import Lease
from moorage.model.step import StepKind
from moorage.rules import composing, labels, part, reading, templates
from moorage.rules.part import Kept
from moorage.rules.planning import Desired, ImageNeed
from moorage.work.definitions import generations, hidden
from moorage.work.definitions.request import UpRequest, name_of

_PROFILES_KEY = "COMPOSE_PROFILES"


@dataclass(frozen=True)
class Resolved:
    """What Compose makes of a request: read once for each start, and handed on."""

    request: UpRequest
    raw: Config
    """The files as written, variables not replaced."""
    definition: Definition
    """Its ports are the wanted ones, not those that were leased."""
    moved: dict[tuple[tuple[str, str], ...], Definition] = field(default_factory=dict)
    """The same as read with leased ports in its variables, by their values: each is read once."""

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.definition.name


def resolve(world: World, request: UpRequest) -> Resolved:
    """Read the definition of a request. Raises DefinitionError, UnsupportedKeyError."""
    with _secrets_hidden(world, request.source):
        raw = world.compose.raw_config(request.source)
        request = _with_profiles(world, request, raw)
        return _resolved(world, request, raw, name_of(world, request, raw))


def resolve_as(world: World, request: UpRequest, name: str) -> Resolved:
    """The same under a name that nobody else has, which no engine has to be asked for."""
    with _secrets_hidden(world, request.source):
        return _resolved(world, request, world.compose.raw_config(request.source), name)


@contextmanager
def _secrets_hidden(world: World, source: Source) -> Iterator[None]:
    """Compose quotes in its errors what it cannot read, and that may be the value of a secret variable."""
    try:
        yield
    except MoorageError as error:
        error.censor(world.censor((), Hidden(secrets=source.secret_values)))
        raise


def _with_profiles(world: World, request: UpRequest, raw: Config) -> UpRequest:
    """The same with the profiles of the named services: as with Compose, naming one switches them on."""
    written = [(raw.get("services") or {}).get(name) or {} for name in request.services]
    active = request.source.profiles
    more = [str(one) for service in written for one in service.get("profiles") or () if one not in active]
    if not more or "*" in active:
        return request
    if not active:  # Compose looks there only as long as nothing is named
        active = tuple(filter(None, world.compose.variables(request.source).get(_PROFILES_KEY, "").split(",")))
    source = request.source.model_copy(update={"profiles": tuple(dict.fromkeys((*active, *more)))})
    return request.model_copy(update={"source": source})


def _resolved(world: World, request: UpRequest, raw: Config, name: str) -> Resolved:
    definition = _read(world, request, raw, name, {}, hide=True)
    return Resolved(request=request.model_copy(update={"name": name}), raw=raw, definition=definition)


def _real(path: Path) -> Path:
    """Where a path leads; `Path.resolve` raises where links go round in a circle."""
    return Path(os.path.realpath(path))


def _read(
    world: World, request: UpRequest, raw: Config, name: str, ports: dict[str, str], *, hide: bool = False
) -> Definition:
    """What is asked for of the definition. `hide`: read also what is to be hidden, which ports have no part in."""
    source = request.source
    config = world.compose.config(source, name, ports)
    part.scaled(config, request.scale)
    templates.fill_in(config, world.contexts.survey)
    extensions = reading.service_extensions(raw)
    if "$" in json.dumps(extensions):  # else there is nothing to interpolate
        extensions = world.compose.interpolate(source, extensions, ports)
    variables = world.compose.variables(source, name) if reading.needs_variables(config) else {}
    definition = reading.read_definition(config, raw, extensions, variables, source, _real)
    if request.services:
        names = part.chosen(definition.services, request.services, alone=request.no_deps)
        definition = part.part_of(definition, names)
    if not hide:
        return definition
    texts, left = hidden.of_definition(world, source, raw, config, variables)
    return definition.model_copy(update={"hidden": texts, "notices": (*definition.notices, *left)})


def desire(world: World, resolved: Resolved, leases: Sequence[Lease]) -> Desired:
    """What a plan is to lead to: with the leased ports, and with the images that are there."""
    definition, request = with_leased_variables(world, resolved, leases), resolved.request
    needs = {need.service: need for need in image_needs(world, definition, request)}
    pins = pins_of(definition, needs)
    config, digests = composing.compose_config(definition, leases, pins, world.home)
    kept = kept_beside(world, definition, request)
    part.joined(config, kept)  # refuses what cannot be
    return Desired(
        definition=definition,
        leases=tuple(leases),
        held=world.store.leases(definition.name),
        images=needs,
        digests=digests,
        force_recreate=request.force_recreate,
        kept=kept,
    )


def kept_beside(world: World, definition: Definition, request: UpRequest) -> Kept:
    """What stays as it is beside the services that are asked for. Nothing, if all are."""
    if not request.services:
        return part.NOTHING
    return part.kept_of(generations.current(world, definition.name), definition.services)


def with_leased_variables(world: World, resolved: Resolved, leases: Sequence[Lease]) -> Definition:
    """The definition, read again if a variable of a port mapping has to have another value.

    The wanted ports stay those of the file: a lease that is kept would else be taken for what was asked for.
    """
    definition = resolved.definition
    variables = composing.leased_variables(definition, leases)
    wanted: dict[tuple[str, int, str, int], int | None] = {
        (p.service, p.target, p.protocol, p.slot): p.wanted for s in definition.services.values() for p in s.ports
    }
    if all(str(wanted.get(place)) == variables.get(name) for name, place in definition.port_variables.items()):
        return definition
    key = tuple(sorted(variables.items()))
    if key not in resolved.moved:
        again = _read(world, resolved.request, resolved.raw, definition.name, variables)
        told = {"hidden": definition.hidden, "notices": definition.notices}
        resolved.moved[key] = composing.with_wanted_ports(again, definition).model_copy(update=told)
    return resolved.moved[key]


def image_needs(world: World, definition: Definition, request: UpRequest) -> tuple[ImageNeed, ...]:
    """What has to be done for the image of each service. An image that two services share is made once."""
    needs: list[ImageNeed] = []
    seen: set[str] = set()
    for name in sorted(definition.services):
        if not definition.services[name].replicas:
            continue
        reference = composing.image_reference(definition, name)
        need = _image_need(world, definition, name, reference, request)
        needs.append(need.model_copy(update={"action": None}) if need.action and reference in seen else need)
        seen.add(reference)
    return tuple(needs)


def _image_need(world: World, definition: Definition, name: str, reference: str, request: UpRequest) -> ImageNeed:
    service = definition.services[name]
    found = _image(world, name, reference)
    image_id = found[0] if found else None
    if service.builds:
        digest = _digest(world, definition, name)
        why = _why_build(found, digest, asked=request.build or service.pull_policy == "build")
        action = StepKind.BUILD if why else None
    else:
        digest = ""
        why = "requested (pull_policy: always)" if service.pull_policy == "always" else "" if found else "not here yet"
        action = StepKind.PULL if why else None
        if action and service.pull_policy == "never":
            message = f"services.{name}: image {reference} does not exist here, and pull_policy is never"
            raise ImageError(message, service=name, image=reference, hint="Build, load or pull it first.")
    return ImageNeed(
        service=name,
        reference=reference,
        image_id=None if action else image_id,
        action=action,
        why=why,
        source_digest=digest,
    )


def _image(world: World, service: str, reference: str) -> tuple[str, dict[str, str]] | None:
    try:
        return world.engine.image(reference)
    except EngineError as error:
        if error.fields.get("status") != HTTPStatus.BAD_REQUEST:
            raise
        where = f"services.{service}.image"  # engines differ in what they take for a name
        raise DefinitionError(f"{where}: {error}", service=service, key=where, hint="Check the spelling.") from None


def _why_build(found: tuple[str, dict[str, str]] | None, digest: str, *, asked: bool) -> str:
    if found is None:
        return "no image yet"
    if found[1].get(labels.BUILD) != digest:
        return "its sources changed"
    return "requested" if asked else ""


def _digest(world: World, definition: Definition, name: str) -> str:
    try:
        return world.contexts.digest(reading.unescaped(definition.config["services"][name]["build"]))
    except DefinitionError as error:
        key = f"services.{name}.{error.fields['key']}"
        raise DefinitionError(
            f"services.{name}.{error}", hint=error.hint, service=name, key=key, file=error.fields["file"]
        ) from None


def pins_of(definition: Definition, needs: dict[str, ImageNeed]) -> dict[str, PinnedImage]:
    """The pinned images of all services whose image is there."""
    return {
        name: PinnedImage(
            service=name,
            reference=need.reference,
            image_id=need.image_id,
            tag=labels.pin_tag(definition.name, name, need.image_id),
        )
        for name, need in needs.items()
        if need.image_id
    }
