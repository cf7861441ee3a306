"""Images of a run: built by the chosen builder, or pulled by Compose."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from moorage.errors import BackendUnavailableError, HomeError
from moorage.interfaces import World
from moorage.model.definition import Config, Definition
from moorage.model.event import Action
from moorage.model.image import Availability, BuilderName, BuildSecret, BuildSpec
from moorage.model.step import Step, StepKind
from moorage.rules import building, composing, injecting, labels, templates
from moorage.rules import images as decide
from moorage.rules.planning import ImageNeed
from moorage.rules.reading import unescaped
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest
from moorage.work.queries.plan import PlannedUp
from moorage.work.runs import intermediate
from moorage.work.runs.run import Run
from moorage.work.threads import in_thread

_NO_FILE = Path()
_OF_COMPOSE = re.compile(r"^\s*Image \S+ \w+\s*$|\bbuildx\b")


def chosen(world: World, request: UpRequest | None, definition: Definition) -> BuilderName:
    """Who builds the images of a definition."""
    return building.chosen(request.builder if request else None, world.settings.builder, definition.builder)


async def require_builder(world: World, planned: PlannedUp) -> None:
    """Look, before anything is touched, whether a builder that was asked for can do what the plan has for it.

    Compose is asked for nothing here: the definition was read by it. Raises BackendUnavailableError,
    UnsupportedByBackendError.
    """
    definition = planned.desired.building
    name = chosen(world, planned.resolved.request, definition)
    building_ = [step.service for step in planned.plan.steps if step.kind == StepKind.BUILD and step.service]
    if name == BuilderName.COMPOSE or not building_:
        return
    for service in building_:
        _refuse_base_of_engine(planned, service, name)
        spec = spec_of(world, definition, service, (_NO_FILE, definition.config), name)
        building.refuse_unhonoured(spec, name)
    found = await in_thread(world.builder(world, name).preflight)
    if not found.usable:
        raise unavailable(found)


def _refuse_base_of_engine(planned: PlannedUp, service: str, builder: BuilderName) -> None:
    """Other builders pull what an image is based on; they do not see what was built for the engine."""
    images = planned.desired.images
    built = {decide.full(need.reference): need.service for need in images.values() if need.source_digest}
    for base in images[service].bases:
        if base in built:
            where = f"services.{service}.build"
            why = f"it does not see {base}, which services.{built[base]} builds"
            raise building.unsupported(builder, where, service, why)


def unavailable(found: Availability) -> BackendUnavailableError:
    """The error of a backend that was asked for by name: what was looked at, why not, what helps."""
    seen = "".join(f"\n  {line}" for line in found.found)
    return BackendUnavailableError(
        f"{found.backend} cannot be used: {found.reason}{seen}",
        backend=found.backend,
        hint=found.hint,
    )


def spec_of(
    world: World, definition: Definition, service: str, file: tuple[Path, Config], builder: BuilderName
) -> BuildSpec:
    """What is to be built for a service. `file`: where it stands, and what stands there.

    Compose gets the variables of the secrets, other builders the secrets themselves.
    """
    path, config = file
    build = unescaped(config["services"][service]["build"])
    secrets, variables = list[BuildSecret](), dict[str, str]()
    if build.get("secrets"):
        wanted = injecting.from_environment(definition.config)
        names = sorted({wanted[key] for use in build["secrets"] if (key := f"secrets.{use['source']}") in wanted})
        variables = world.compose.variables(definition.source, names, definition.name) if names else {}
    if builder != BuilderName.COMPOSE:
        secrets = building.secrets(service, build, unescaped(definition.config), variables.get)
    return BuildSpec(
        stack=definition.name,
        service=service,
        tag=composing.image_reference(definition, service),
        file=path,
        build=build,
        secrets=tuple(secrets),
        variables=variables if builder == BuilderName.COMPOSE else {},
        recipe=templates.recipe_of(config["services"][service], world.contexts.survey),
    )


async def build(step: Step, run: Run) -> str:
    """Build the image of a service; on cancel the build is ended."""
    definition, service = run.desired.building, step.service or ""
    name = chosen(run.world, run.request, definition)
    builder = run.world.builder(run.world, name)

    def call() -> None:
        spec = spec_of(run.world, definition, service, build_file(run, service), name)
        building.refuse_unhonoured(spec, name)
        tell = _teller(step, run)
        with intermediate.removed(run.world, run.stack, service) as look:

            def on_line(line: str) -> None:
                look(line)
                tell(line)

            builder.build(spec, on_line)
        _note(run.world, spec)

    async with run.context.building:
        await in_thread(call, on_cancel=builder.abort)
    return _done("built", step, "" if name == BuilderName.COMPOSE else f"by {name}")


def _note(world: World, spec: BuildSpec) -> None:
    """What stands on record as built, `sweep` may remove."""
    if found := world.engine.image(spec.tag):
        with suppress(HomeError):  # the image is there, which is what was asked for
            world.store.note_built(found[0], spec.stack, world.clock.now())


def build_file(run: Run, service: str) -> tuple[Path, Config]:
    """The file that the image of a service is built or pulled from, and what stands in it.

    Images that it is based on are there by now: their ids become a label of the image.
    """
    desired = run.desired
    marks = {name: _marks(run.world, need) for name, need in desired.images.items() if need.source_digest}
    config = composing.build_config(desired.building, desired.leases, run.world.home, marks)
    return generations.write_build(run.world, run.stack, service, config), config


def _marks(world: World, need: ImageNeed) -> dict[str, str]:
    here = {name: world.engine.image(name) if need.bases_known else None for name in need.bases}
    ids = {name: found[0] if found else "" for name, found in here.items()}
    return {labels.BUILD: need.source_digest, labels.BASES: decide.bases_label(ids)}


async def pull(step: Step, run: Run) -> str:
    """Pull the image of a service; on cancel the pull is ended."""
    world, service = run.world, step.service or ""

    def call() -> None:
        world.compose.pull(run.stack, build_file(run, service)[0], service, _teller(step, run))
        reference = run.desired.images[service].reference
        if decide.full(reference) in decide.going_by_time(run.desired.building):
            _date(world, reference)

    await in_thread(call, on_cancel=world.compose.abort)
    return _done("pulled", step, "")


def _date(world: World, reference: str) -> None:
    """Give the image its name again: the engine dates only that, not a pull that finds it up to date."""
    found = world.engine.image(reference)
    if found and "@" not in reference:
        world.engine.tag(found[0], decide.full(reference))


def _teller(step: Step, run: Run) -> Callable[[str], None]:
    return partial(_tell, step, run, set())


def _tell(step: Step, run: Run, told: set[str], line: str) -> None:
    """What Compose says of itself it says several times: once is enough. A build's own lines are all told."""
    if _OF_COMPOSE.search(line):
        if line in told:
            return
        told.add(line)
    if line.strip():
        run.tell(Action.PROGRESS, step.id, line, service=step.service)


def _done(word: str, step: Step, by: str) -> str:
    return " ".join(part for part in (word, step.detail[0] if step.detail else "", by) if part)
