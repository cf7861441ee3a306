"""Resolving: from a directory to a definition with a name, and from that to what is desired."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moorage.errors import DefinitionError, EngineError, ImageError
from moorage.interfaces import World
from moorage.model.base import Frozen
from moorage.model.definition import FILE_NAMES, Config, Definition, Source
from moorage.model.generation import PinnedImage
from moorage.model.lease import Lease
from moorage.model.state import Observed
from moorage.model.step import Plan, StepKind
from moorage.rules import composing, graph, labels, naming, planning, reading, templates
from moorage.rules.planning import Desired, ImageNeed
from moorage.work.threads import in_thread
from moorage.work.waiting import is_ready

_NAME_KEY = "COMPOSE_PROJECT_NAME"


class Wish(Frozen):
    """What a person asks of `up`."""

    source: Source
    name: str | None = None
    """None: derived from the directory, the file's `name:` or the git worktree."""
    strict_ports: bool = False
    force_recreate: bool = False
    build: bool = False
    """Build images also where their sources have not changed."""
    builder: str | None = None
    """Who builds images. None: the setting, else `x-moorage.builder`, else Compose."""
    wait_timeout_s: float | None = None
    """Longest time for one service to become ready. None: what its check says."""
    keep_failed: bool = False
    """Leave a failed start as it is, for a look."""
    ttl_s: float | None = None
    approve: bool = False
    """Show the plan and wait for somebody's consent before anything is done."""

    def on_record(self) -> dict[str, Any]:
        """As plain data, without the values of its variables: they may be secrets."""
        return self.model_dump(mode="json", exclude={"source": {"environment"}})


def source_of(
    directory: Path | None, files: Sequence[str], profiles: Sequence[str], env_files: Sequence[str]
) -> Source:
    """The source that command-line options mean: paths made absolute, the project's directory found as Compose does."""
    here = Path.cwd()
    if not files and (named := os.environ.get("COMPOSE_FILE")):
        files = named.split(os.environ.get("COMPOSE_PATH_SEPARATOR", os.pathsep))
    paths = tuple((here / file) for file in files)
    if directory is None:
        directory = paths[0].parent if paths else _project_directory(here)
    directory = (here / directory).resolve()
    if not directory.is_dir():
        message = f"{directory}: no such directory"
        raise DefinitionError(message, file=str(directory), hint="Name the project's directory.")
    return Source(
        directory=directory,
        files=paths,
        profiles=tuple(profiles),
        env_files=tuple(here / file for file in env_files),
    )


def _project_directory(here: Path) -> Path:
    """Where the compose file is: the first directory upward that has one."""
    for folder in (here, *here.parents):
        if any((folder / name).is_file() for name in FILE_NAMES):
            return folder
    return here


def resolve(world: World, wish: Wish) -> Definition:
    """The definition of a wish. Raises DefinitionError, UnsupportedKeyError."""
    raw = world.compose.raw_config(wish.source)
    return _read(world, wish.source, raw, name_of(world, wish, raw), {})


def read(world: World, wish: Wish, name: str) -> Definition:
    """The definition of a wish under a name that nobody else has, which no engine has to be asked for."""
    return _read(world, wish.source, world.compose.raw_config(wish.source), name, {})


def _read(world: World, source: Source, raw: Config, name: str, ports: dict[str, str]) -> Definition:
    config = world.compose.config(source, name, ports)
    templates.fill_in(config, world.contexts.survey)
    extensions = reading.service_extensions(raw)
    if extensions:
        extensions = world.compose.interpolate(source, extensions, ports)
    variables = world.compose.variables(source, name) if reading.needs_variables(config) else {}
    return reading.read_definition(config, raw, extensions, variables, source)


def name_of(world: World, wish: Wish, raw: Config) -> str:
    """The stack's name: asked for; else `COMPOSE_PROJECT_NAME`, the file's `name:`, the git worktree, the directory.

    A derived name that belongs to another directory gets a short hash of the path; an explicit one is an error then.
    """
    directory = wish.source.directory
    if wish.name is not None:
        name = naming.validate_name(wish.name)
        if other := owner_elsewhere(world, name, directory):
            message = f"stack {name!r} belongs to {other}"
            raise DefinitionError(
                message, hint="Take another --name, or end that one first: `moorage down`.", stack=name
            )
        return name
    name = _derived_name(world, wish.source, raw)
    return naming.with_path_hash(name, directory) if owner_elsewhere(world, name, directory) else name


def _derived_name(world: World, source: Source, raw: Config) -> str:
    if name := _name_in_environment(world, source):
        return naming.validate_name(name)
    repository, branch, linked = world.place(source.directory)
    written = raw.get("name")
    if written and "$" in str(written):
        written = world.compose.interpolate(source, {"name": written}, {})["name"]
    if linked:
        top = (source.directory / ".git").exists()
        return naming.derived_name(
            source.directory, str(written or (repository if top else source.directory.name)), branch
        )
    return naming.slug(str(written)) if written else naming.derived_name(source.directory, None, None)


def _name_in_environment(world: World, source: Source) -> str | None:
    """`COMPOSE_PROJECT_NAME` of the process, else of the env files; Compose is asked only if one mentions it."""
    if name := {**os.environ, **dict(source.environment)}.get(_NAME_KEY):
        return name
    files = source.env_files or (source.directory / ".env",)
    mentioned = any(file.is_file() and _NAME_KEY in file.read_text(errors="replace") for file in files)
    return world.compose.variables(source).get(_NAME_KEY) if mentioned else None


def owner_elsewhere(world: World, name: str, directory: Path) -> str | None:
    """Who else has the name: another directory or home, or a Compose project that is not ours. None: nobody."""
    record = world.store.stack(name)
    if record and Path(record.path) != directory:
        return record.path
    marks = world.engine.stacks().get(name)
    if marks is None or (marks.get(labels.STACK) == name and marks.get(labels.HOME) == world.home):
        return None
    return marks.get(labels.COMPOSE_DIRECTORY) or "another Compose project"


def desire(world: World, wish: Wish, definition: Definition, leases: Sequence[Lease]) -> Desired:
    """What a plan is to lead to: resolved again with the leased ports, with the images that are there."""
    definition = with_leased_variables(world, wish, definition, leases)
    needs = {need.service: need for need in image_needs(world, definition, wish)}
    pins = pins_of(definition, needs)
    _, digests = composing.compose_config(definition, leases, pins, world.home)
    return Desired(
        definition=definition,
        leases=tuple(leases),
        held=world.store.leases(definition.name),
        images=needs,
        digests=digests,
        force_recreate=wish.force_recreate,
    )


def with_leased_variables(world: World, wish: Wish, definition: Definition, leases: Sequence[Lease]) -> Definition:
    """The definition resolved again, if a variable of a port mapping has to have another value."""
    variables = composing.leased_variables(definition, leases)
    wanted: dict[tuple[str, int, str, int], int | None] = {
        (p.service, p.target, p.protocol, p.slot): p.wanted for s in definition.services.values() for p in s.ports
    }
    if all(str(wanted.get(place)) == variables.get(name) for name, place in definition.port_variables.items()):
        return definition
    raw = world.compose.raw_config(wish.source)
    return _read(world, wish.source, raw, definition.name, variables)


def image_needs(world: World, definition: Definition, wish: Wish) -> tuple[ImageNeed, ...]:
    """What has to be done for the image of each service. An image that two services share is made once."""
    needs: list[ImageNeed] = []
    seen: set[str] = set()
    for name in sorted(definition.services):
        if not definition.services[name].replicas:
            continue
        reference = composing.image_reference(definition, name)
        need = _image_need(world, definition, name, reference, wish)
        needs.append(need.model_copy(update={"action": None}) if need.action and reference in seen else need)
        seen.add(reference)
    return tuple(needs)


def _image_need(world: World, definition: Definition, name: str, reference: str, wish: Wish) -> ImageNeed:
    service = definition.services[name]
    found = _image(world, name, reference)
    image_id = found[0] if found else None
    if service.builds:
        digest = _digest(world, definition, name)
        why = _why_build(found, digest, asked=wish.build or service.pull_policy == "build")
        action = StepKind.BUILD if why else None
    else:
        why = "asked for (pull_policy: always)" if service.pull_policy == "always" else "" if found else "not here yet"
        action = StepKind.PULL if why else None
        if action and service.pull_policy == "never":
            message = f"services.{name}: image {reference} is not here, and pull_policy is never"
            raise ImageError(message, service=name, image=reference, hint="Build, load or pull it first.")
    return ImageNeed(service=name, reference=reference, image_id=None if action else image_id, action=action, why=why)


def _image(world: World, service: str, reference: str) -> tuple[str, dict[str, str]] | None:
    try:
        return world.engine.image(reference)
    except EngineError as error:
        if error.fields.get("status") != HTTPStatus.BAD_REQUEST:
            raise
        where = f"services.{service}.image"  # engines differ in what they take for a name
        raise DefinitionError(f"{where}: {error}", service=service, key=where, hint="Is it spelt right?") from None


def _why_build(found: tuple[str, dict[str, str]] | None, digest: str, *, asked: bool) -> str:
    if found is None:
        return "no image yet"
    if found[1].get(labels.BUILD) != digest:
        return "its sources changed"
    return "asked for" if asked else ""


def source_digests(world: World, definition: Definition) -> dict[str, str]:
    """Of each service that is built: digest of its sources."""
    return {name: _digest(world, definition, name) for name, service in definition.services.items() if service.builds}


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


def preview_leases(
    world: World, wish: Wish, definition: Definition, excluded: frozenset[tuple[int, str]] = frozenset()
) -> tuple[Lease, ...]:
    """The leases that an `up` would have, with nothing stored; `excluded` (port, protocol) are not to be chosen."""
    return world.store.preview(
        composing.requests_of(definition),
        taken=world.engine.published_ports() | excluded,
        bindable=world.prober.bindable,
        strict=wish.strict_ports,
        complete=True,
        now=world.clock.now(),
    )


async def plan(
    world: World, wish: Wish, excluded: frozenset[tuple[int, str]] = frozenset()
) -> tuple[Desired, Observed, Plan]:
    """The plan of an `up` from what is there now. Touches nothing. `excluded` ports are not to be leased."""
    definition = await in_thread(lambda: resolve(world, wish))
    graph.order(definition.services)
    leases = await in_thread(lambda: preview_leases(world, wish, definition, excluded))
    desired, observed = await asyncio.gather(
        in_thread(lambda: desire(world, wish, definition, leases)),
        in_thread(lambda: world.engine.observe(definition.name)),
    )
    ready = await ready_services(world, desired, observed)
    return desired, observed, planning.make_plan(desired, observed, ready)


async def ready_services(world: World, desired: Desired, observed: Observed) -> frozenset[str]:
    """The services that are found ready just now; only those that nothing would change are asked."""
    services = desired.definition.services
    same = [name for name in services if not planning.change_of(name, desired, observed)]
    answers = await asyncio.gather(*(is_ready(world, services, name, observed.of(name)) for name in same))
    return frozenset(name for name, ready in zip(same, answers, strict=True) if ready)
