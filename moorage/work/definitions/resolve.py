"""Resolves a directory to a definition with a name, and that to the desired state."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path

from moorage.errors import DefinitionError, EngineError, ImageError, MoorageError
from moorage.interfaces import Line, Reading, World
from moorage.model.definition import Config, Definition, Hidden, Source
from moorage.model.generation import PinnedImage
from moorage.model.image import LocalImage
from moorage.model.lease import Lease
from moorage.model.step import StepKind
from moorage.rules import (
    building,
    composing,
    dockerfile,
    images,
    injecting,
    labels,
    part,
    published,
    reading,
    references,
    templates,
)
from moorage.rules.images import BuildSource
from moorage.rules.part import Kept
from moorage.rules.planning import Desired, ImageNeed
from moorage.work.definitions import generations, hidden
from moorage.work.definitions.request import UpRequest, likely_name, name_of


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
        return _resolved(world, request, likely_name(world, request), partial(name_of, world))


def resolve_as(world: World, request: UpRequest, name: str) -> Resolved:
    """The same under a name that nobody else has, which no engine has to be asked for."""
    with _secrets_hidden(world, request.source):
        return _resolved(world, request, name, lambda _request, _raw: name)


@contextmanager
def _secrets_hidden(world: World, source: Source) -> Iterator[None]:
    """Compose quotes in its errors what it cannot read, and that may be the value of a secret variable."""
    try:
        yield
    except MoorageError as error:
        error.censor(world.censor((), Hidden(secrets=source.secret_values)))
        raise


def _with_profiles(request: UpRequest, raw: Config) -> UpRequest:
    """The same with the profiles of the named services: as with Compose, naming one switches them on."""
    written = [(raw.get("services") or {}).get(name) or {} for name in request.services]
    active = request.source.profiles
    more = [str(one) for service in written for one in service.get("profiles") or () if one not in active]
    if not more or "*" in active:
        return request
    source = request.source.model_copy(update={"profiles": tuple(dict.fromkeys((*active, *more)))})
    return request.model_copy(update={"source": source})


def _resolved(
    world: World, request: UpRequest, likely: str | None, named: Callable[[UpRequest, Config], str]
) -> Resolved:
    """Compose reads a definition twice, as it is written and as it is meant: at once, if the `likely` name is right.

    `named` says the name, which may depend on what is written, as profiles may.
    """
    with _read_ahead(world, request.source, likely) as ahead:
        raw = world.compose.raw_config(request.source)
        meant = _with_profiles(request, raw)
        name = named(meant, raw)
        was_right = (name, meant.source) == (likely, request.source)
        if ahead and not was_right:
            ahead.cancel()
        definition = _read(world, meant, raw, name, {}, hide=True, ahead=ahead if was_right else None)
        return Resolved(request=meant.model_copy(update={"name": name}), raw=raw, definition=definition)


@contextmanager
def _read_ahead(world: World, source: Source, name: str | None) -> Iterator[Reading | None]:
    """The definition as it is meant under a name, being read. None: there is no name."""
    if name is None:
        yield None
        return
    ahead = world.compose.begin_config(source, name)
    try:
        yield ahead
    finally:
        ahead.cancel()


def _real(path: Path) -> Path:
    """Where a path leads; `Path.resolve` raises where links go round in a circle. One with a NUL leads nowhere."""
    return path if "\0" in str(path) else Path(os.path.realpath(path))


def _read(
    world: World,
    request: UpRequest,
    raw: Config,
    name: str,
    ports: dict[str, str],
    *,
    hide: bool = False,
    ahead: Reading | None = None,
) -> Definition:
    """What is asked for of the definition. `hide`: read also what is to be hidden, which ports have no part in."""
    source, ignored = request.source, list[str]()
    config = _canonical(world, source, raw, name, ports, ignored.append, ahead)
    part.scaled(config, request.scale)
    references.follow(config, {name, str(raw.get("name") or name)})
    templates.fill_in(config, world.contexts.survey)
    extensions = reading.service_extensions(raw)
    if "$" in json.dumps(extensions):  # else there is nothing to interpolate
        extensions = world.compose.extensions(source, name, ports)
    values = _values(world, source, raw, name, config)
    definition = reading.read_definition(config, raw, extensions, values, source, _real, ignored)
    if request.services:
        names = part.chosen(definition.services, request.services, alone=request.no_deps)
        definition = part.part_of(definition, names).model_copy(update={"whole": definition})
    if not hide:
        return definition
    texts, left = hidden.of_definition(world, source, raw, config, values)
    return definition.model_copy(update={"hidden": texts, "notices": (*definition.notices, *left)})


def _canonical(
    world: World,
    source: Source,
    raw: Config,
    name: str,
    environment: dict[str, str],
    on_warning: Line,
    ahead: Reading | None,
) -> Config:
    """What Compose makes of a definition; where it does not say of which service it complains, we do."""
    try:
        return ahead.result(on_warning) if ahead else world.compose.config(source, name, environment, on_warning)
    except DefinitionError as error:
        if not published.lacks_service(error):
            raise
        ports = {key: (one or {}).get("ports") or () for key, one in (raw.get("services") or {}).items()}
        with suppress(MoorageError):
            ports = world.compose.interpolate(source, {"ports": ports}, environment)["ports"]
        raise published.with_services(error, ports) from None


def _values(world: World, source: Source, raw: Config, name: str, config: Config) -> dict[str, str]:
    """The values of secrets and configs that come from the environment, by `secrets.key`."""
    wanted = injecting.from_environment(config)
    if not wanted:
        return {}
    found = world.compose.variables(source, sorted(set(wanted.values())), name)
    # An included file's own env file says only what the project's environment leaves open.
    return injecting.of_included(raw) | {key: found[name] for key, name in wanted.items() if name in found}


def desire(world: World, resolved: Resolved, leases: Sequence[Lease]) -> Desired:
    """What a plan is to lead to: with the leased ports, and with the images that are there."""
    request = resolved.request
    definition = building.with_wish(with_leased_variables(world, resolved, leases), request.wish)
    made_from, sources = images.with_makers(definition, partial(_source, world))
    needs = {need.service: need for need in image_needs(world, made_from, sources, request)}
    needs |= {need.service: need for need in init_image_needs(world, made_from, needs.values(), request)}
    pins = pins_of(definition, needs)
    config, digests = composing.compose_config(definition, leases, pins, world.home)
    kept = kept_beside(world, definition, request)
    part.joined(config, kept)  # refuses what cannot be
    return Desired(
        definition=definition,
        leases=tuple(leases),
        held=world.store.leases(definition.name),
        images=needs,
        building=made_from,
        digests=digests,
        force_recreate=request.force_recreate,
        notices=tuple(images.disagreements(made_from, sources)),
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
    variables = composing.moved_variables(definition, leases)
    if not variables:
        return definition
    key = tuple(sorted(variables.items()))
    if key not in resolved.moved:
        again = _read(world, resolved.request, resolved.raw, definition.name, variables)
        told = {"hidden": definition.hidden, "notices": definition.notices}
        resolved.moved[key] = composing.with_wanted_ports(again, definition).model_copy(update=told)
    return resolved.moved[key]


def image_needs(
    world: World, definition: Definition, sources: dict[str, BuildSource], request: UpRequest
) -> tuple[ImageNeed, ...]:
    """What has to be done for the image of each service, each after those that it waits for."""
    here = {
        reference: _image(world, where, reference, dated=dated)
        for reference, (where, dated) in _references(definition, sources).items()
    }
    return images.needs(definition, sources, here, world.clock.now(), request.wish)


def init_image_needs(
    world: World, definition: Definition, others: Iterable[ImageNeed], request: UpRequest
) -> Iterator[ImageNeed]:
    """The same for images that init containers do not have from their service. `others`: what services need."""
    seen = {images.full(need.reference) for need in others if need.action}
    built = images.makers(definition)
    for key, (name, one) in composing.init_images(definition).items():
        reference, where = str(one.image), f"services.{name}.pre_start"
        full = images.full(reference)
        found = _image(world, where, reference, dated=one.pull_every_s is not None)
        why = images.why_pull(one, found, world.clock.now(), request.wish)
        if not found and one.pull_policy == "never" and full not in built:
            message = f"{where}: image {reference} does not exist here, and pull_policy is never"
            raise ImageError(message, service=name, image=reference, hint="Build, load or pull it first.")
        made = full in seen or full in built
        yield ImageNeed(
            service=key,
            reference=reference,
            image_id=None if full in seen or (why and not made) or not found else found.image_id,
            action=StepKind.PULL if why and not made else None,
            why=why,
        )
        seen.add(full)


def _references(definition: Definition, sources: dict[str, BuildSource]) -> dict[str, tuple[str, bool]]:
    """Full reference → where it stands, and whether it matters how old it is; of all services and bases."""
    found: dict[str, tuple[str, bool]] = {}
    for name, source in sources.items():
        for reference in images.base_references(definition, source):
            found[reference] = (f"services.{name}.build", False)
    dated = images.going_by_time(definition)
    for name in definition.services:
        reference = images.reference_of(definition, name)
        found[reference] = (f"services.{name}.image", reference in dated)
    return found


def _image(world: World, where: str, reference: str, *, dated: bool) -> LocalImage | None:
    try:
        found = world.engine.image(reference)
        tagged_at = world.engine.tagged_at(reference) if found and dated else None
    except EngineError as error:
        if error.fields.get("status") != HTTPStatus.BAD_REQUEST:
            raise
        if where.endswith(".build"):  # an image that only the builder could make sense of
            return None
        service = where.split(".")[1]  # engines differ in what they take for a name
        raise DefinitionError(f"{where}: {error}", service=service, key=where, hint="Check the spelling.") from None
    return LocalImage(image_id=found[0], labels=found[1], tagged_at=tagged_at) if found else None


def _source(world: World, definition: Definition, name: str) -> BuildSource:
    """What the image of a service is built from. Raises DefinitionError: something is missing."""
    service = reading.unescaped(definition.config["services"][name])
    build = {**service["build"], **({"platform": service["platform"]} if service.get("platform") else {})}
    try:
        digest, text = world.contexts.digest(build), world.contexts.dockerfile(build)
    except DefinitionError as error:
        key = f"services.{name}.{error.fields['key']}"
        raise DefinitionError(
            f"services.{name}.{error}", hint=error.hint, service=name, key=key, file=error.fields["file"]
        ) from None
    contexts = {key: str(value) for key, value in (build.get("additional_contexts") or {}).items()}
    bases = dockerfile.bases(text, building.arguments(build), contexts)
    return BuildSource(digest=digest, bases=bases, pulls=bool(build.get("pull")))


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
