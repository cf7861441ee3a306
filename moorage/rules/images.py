"""Images of a stack: what has to be built or pulled, by whom, in which order.

One reference is one image for all services: a build by any of them wins over a pull, and who shares it changes with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter

from moorage.errors import DefinitionError, ImageError
from moorage.model.base import Frozen
from moorage.model.definition import Definition, InitContainer, Service
from moorage.model.image import NO_WISH, ImageWish, LocalImage
from moorage.model.step import StepKind
from moorage.rules import composing, graph, labels, part, reading
from moorage.rules.planning import ImageNeed

_HUB = ("docker.io/", "index.docker.io/")
_OFFICIAL = "library/"
_OF_IMAGE = frozenset({"build", "image", "platform"})
"""Keys of a service that its image is made from."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class BuildSource(Frozen):
    """What an image is built from."""

    digest: str
    """Of everything but the images that it is based on."""
    bases: tuple[str, ...] = ()
    """Names of those images; `service:NAME` is the one that a service has."""
    pulls: bool = False
    """`build.pull`: the builder looks for newer ones itself, so their ids are not known beforehand."""


def full(reference: str) -> str:
    """A reference as all spellings of it have it in common: `docker.io/library/redis` → `redis:latest`."""
    for prefix in _HUB:
        reference = reference.removeprefix(prefix)
    reference = reference.removeprefix(_OFFICIAL)
    return reference if "@" in reference or ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def reference_of(definition: Definition, service: str) -> str:
    """The full reference of the image of a service."""
    return full(composing.image_reference(definition, service))


def going_by_time(definition: Definition) -> frozenset[str]:
    """Full references of the images that a service, or an init container, wants pulled every so often."""
    services, first = definition.services.items(), composing.init_images(definition).values()
    timed = [reference_of(definition, name) for name, one in services if one.pull_every_s is not None]
    return frozenset(timed + [full(str(one.image)) for _, one in first if one.pull_every_s is not None])


def makers(definition: Definition) -> dict[str, str]:
    """Full reference → the service that builds it: the first by name that runs, else the first."""
    found: dict[str, str] = {}
    builders = [name for name, service in definition.services.items() if service.builds]
    for name in sorted(builders, key=lambda name: (not definition.services[name].replicas, name)):
        found.setdefault(reference_of(definition, name), name)
    return found


def with_makers(
    definition: Definition, source_of: Callable[[Definition, str], BuildSource]
) -> tuple[Definition, dict[str, BuildSource]]:
    """The definition with all that its images are built from, and the source of each that is built.

    Of an `up` of some services these are others too, as far as one of the images is theirs or is based on theirs: as
    services without replicas, of which there is nothing but an image. Raises DefinitionError: something is missing.
    """
    sources = {name: source_of(definition, name) for name, service in definition.services.items() if service.builds}
    whole = definition.whole
    if whole is None:
        return definition, sources
    by_reference = {**makers(whole), **makers(definition)}
    waiting = [reference_of(definition, name) for name in definition.services]
    waiting += [full(str(one.image)) for _, one in composing.init_images(definition).values()]
    waiting += [one for source in sources.values() for one in base_references(whole, source)]
    while waiting:
        name = by_reference.get(waiting.pop())
        if name and name not in sources:
            sources[name] = source_of(whole, name)
            waiting += base_references(whole, sources[name])
    return _beside(definition, whole, sorted(set(sources) - set(definition.services))), sources


def _beside(definition: Definition, whole: Definition, names: Collection[str]) -> Definition:
    """The definition with the images of other services, and with what these are built with."""
    if not names:
        return definition
    config = part.part_of(whole, {*definition.services, *names}).config
    sections, services = dict(config["services"]), dict(definition.services)
    for name in names:
        sections[name] = {key: one for key, one in sections[name].items() if key in _OF_IMAGE}
        services[name] = Service(name=name, image=whole.services[name].image, builds=True, replicas=0)
    return definition.model_copy(update={"services": services, "config": {**config, "services": sections}})


def base_references(definition: Definition, source: BuildSource) -> tuple[str, ...]:
    """Full references of the images that an image is based on, but for what is no name: the builder will say so.

    Raises DefinitionError: no such service.
    """
    found = (_base_reference(definition, base) for base in source.bases)
    return tuple(sorted({reference for reference in found if reading.is_reference(reference)}))


def _base_reference(definition: Definition, base: str) -> str:
    kind, _, name = base.partition(":")
    if kind != "service":
        return full(base)
    if name not in definition.services:
        message = f'build.additional_contexts: no service "{name}"'
        raise DefinitionError(
            message, key="build.additional_contexts", hint=f"Services: {', '.join(sorted(definition.services))}."
        )
    return reference_of(definition, name)


def needed_makers(definition: Definition, sources: Mapping[str, BuildSource]) -> tuple[str, ...]:
    """The services whose images are to be built or to be there, each after those that it is based on.

    A service without replicas is among them if another one needs its image. `depends_on` orders what is free otherwise,
    as with Compose. Raises DefinitionError: images that are based on each other.
    """
    by_reference = makers(definition)
    based = {
        name: {by_reference[one] for one in base_references(definition, sources[name]) if one in by_reference} - {name}
        for name in by_reference.values()
    }
    running = {reference_of(definition, name) for name, service in definition.services.items() if service.replicas}
    running |= {full(str(one.image)) for _, one in composing.init_images(definition).values()}
    wanted = _closure({name for reference, name in by_reference.items() if reference in running}, based)
    return tuple(name for name in _ordered(definition.services, based) if name in wanted)


def _closure(names: Iterable[str], based: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(based[name])
    return found


def _ordered(services: Mapping[str, Service], based: Mapping[str, set[str]]) -> tuple[str, ...]:
    """What an image is based on comes first, whatever `depends_on` says; where it is silent, `depends_on` decides."""
    edges = {name: set(needs) for name, needs in sorted(based.items())}
    _sorted(edges)
    for name, more in _by_dependency(services, based):
        if name not in _closure([more], edges):
            edges[name].add(more)
    return _sorted(edges)


def _by_dependency(services: Mapping[str, Service], based: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """(service, service that its image waits for), through services that are not built too."""
    for name in sorted(based):
        for other in sorted(graph.with_dependencies(services, [name]) - {name}):
            if other in based:
                yield name, other


def _sorted(edges: Mapping[str, set[str]]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: sorted(needs) for name, needs in edges.items()}).static_order())
    except CycleError as error:
        path = " -> ".join(error.args[1])
        message = f"build: images that are based on each other: {path}"
        raise DefinitionError(message, key="build", hint="Let one of them start from an image of its own.") from None


def needs(
    definition: Definition,
    sources: Mapping[str, BuildSource],
    here: Mapping[str, LocalImage | None],
    now: datetime,
    wish: ImageWish = NO_WISH,
) -> tuple[ImageNeed, ...]:
    """What has to be done for the image of each service, each after those that it waits for.

    `sources`: of each service that builds; `here`: full reference → the image that the engine has under it, of all
    services and bases. Raises ImageError: an image is missing and must not be pulled; DefinitionError: images that are
    based on each other.
    """
    made = dict(_pulled(definition, here, now, wish))
    waiting: list[str] = []
    for name in needed_makers(definition, sources):
        need = _built(definition, name, sources[name], here, made, wish)
        waits = [one for one in waiting if one in graph.with_dependencies(definition.services, [name])]
        need = need.model_copy(update={"after": tuple(dict.fromkeys((*need.after, *waits)))})
        made[reference_of(definition, name)] = need
        waiting += [name] if need.action else []
    makes = {need.service for need in made.values()}
    sharers = [name for name, service in sorted(definition.services.items()) if service.replicas and name not in makes]
    return (*made.values(), *(_shared(definition, name, made[reference_of(definition, name)]) for name in sharers))


def _pulled(
    definition: Definition, here: Mapping[str, LocalImage | None], now: datetime, wish: ImageWish
) -> Iterator[tuple[str, ImageNeed]]:
    """Full reference → the need of the first service that wants it pulled, else of the first; of what nobody builds."""
    built, users = makers(definition), dict[str, list[str]]()
    for name, service in sorted(definition.services.items()):
        if service.replicas and (reference := reference_of(definition, name)) not in built:
            users.setdefault(reference, []).append(name)
    for reference, names in users.items():
        found = here[reference]
        why = {name: why_pull(definition.services[name], found, now, wish) for name in names}
        if found is None and wish.complete and not any(why.values()):
            raise _missing(definition, names[0])
        name = next((name for name in names if why[name]), names[0])
        yield reference, _need(definition, name, StepKind.PULL if why[name] else None, why[name], found)


def why_pull(service: Service | InitContainer, found: LocalImage | None, now: datetime, wish: ImageWish) -> str:
    """Why a service, or its init container, wants its image pulled. Empty: it does not."""
    policy = service.pull_policy
    if policy == "never":
        return ""
    if found is None:
        return "not here yet"
    if wish.pull == "always":
        return "requested"
    if policy == "always":
        return "requested (pull_policy: always)"
    if service.pull_every_s is None or wish.pull is not None:
        return ""
    age_s = (now - (found.tagged_at or _NEVER)).total_seconds()
    return "due (pull_policy)" if age_s > service.pull_every_s else ""


def _missing(definition: Definition, name: str) -> ImageError:
    reference = composing.image_reference(definition, name)
    message = f"services.{name}: image {reference} does not exist here, and pull_policy is never"
    return ImageError(message, service=name, image=reference, hint="Build, load or pull it first.")


def _built(
    definition: Definition,
    name: str,
    source: BuildSource,
    here: Mapping[str, LocalImage | None],
    made: Mapping[str, ImageNeed],
    wish: ImageWish,
) -> ImageNeed:
    own = reference_of(definition, name)  # built upon itself, it would be another one each time
    bases = tuple(one for one in base_references(definition, source) if one != own)
    under = [made[one] for one in bases if one in made and made[one].action]
    found = here[own]
    asked = wish.build is None or name in wish.build or definition.services[name].pull_policy == "build"
    rebuilt = [one.service for one in under if one.action == StepKind.BUILD]
    why = _why_build(found, source, {one: here[one] for one in bases}, rebuilt)
    why = why or ("requested" if asked else "")
    need = _need(definition, name, StepKind.BUILD if why else None, why, found)
    more = {"source_digest": source.digest, "after": tuple(one.service for one in under), "bases": bases}
    return need.model_copy(update={**more, "bases_known": not source.pulls})


def _why_build(
    found: LocalImage | None, source: BuildSource, bases: Mapping[str, LocalImage | None], rebuilt: Iterable[str]
) -> str:
    """Why an image has to be built. Empty: it is what its sources say."""
    if found is None:
        return "no image yet"
    if found.labels.get(labels.BUILD) != source.digest:
        return "its sources changed"
    if services := sorted(rebuilt):
        return f"it is based on the image of {', '.join(services)}"
    was = recorded_bases(found.labels)
    moved = [name for name, base in bases.items() if base and was.get(name) and was[name] != base.image_id]
    return f"its base image changed: {', '.join(moved)}" if moved else ""


def recorded_bases(marks: Mapping[str, str]) -> dict[str, str]:
    """Full reference → id of the images that an image was built on. Those whose id was not known are left out."""
    try:
        found = json.loads(marks.get(labels.BASES, "{}"))
    except ValueError:
        return {}
    return {str(name): str(image_id) for name, image_id in found.items() if image_id} if isinstance(found, dict) else {}


def bases_label(ids: Mapping[str, str]) -> str:
    """The label that `recorded_bases` reads."""
    return json.dumps(dict(sorted(ids.items())))


def _shared(definition: Definition, name: str, maker: ImageNeed) -> ImageNeed:
    """The need of a service whose image another one's step makes, or that is there."""
    done = "built" if maker.action == StepKind.BUILD else "pulled"
    why = f"its image is {done} for {maker.service}" if maker.action else ""
    return ImageNeed(
        service=name, reference=composing.image_reference(definition, name), image_id=maker.image_id, why=why
    )


def _need(definition: Definition, name: str, action: StepKind | None, why: str, found: LocalImage | None) -> ImageNeed:
    image_id = found.image_id if found and not action else None
    reference = composing.image_reference(definition, name)
    return ImageNeed(service=name, reference=reference, image_id=image_id, action=action, why=why)


def disagreements(definition: Definition, sources: Mapping[str, BuildSource]) -> Iterator[str]:
    """Notices: services that build one reference from different sources, of which only one can win."""
    by_reference = makers(definition)
    for name, source in sorted(sources.items()):
        maker = by_reference[reference_of(definition, name)]
        if source.digest != sources[maker].digest:
            reference = composing.image_reference(definition, name)
            yield f"services.{name}.build: {reference} is built as services.{maker} says, which differs"
