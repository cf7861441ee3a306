"""Generations on disk: written completely before they are applied, pruned together with their image tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from moorage.errors import HomeError, ImageError, MoorageError, PortError
from moorage.interfaces import World
from moorage.interfaces.files import NOT_A_FILE
from moorage.model.definition import Config, Definition, Hidden, Service
from moorage.model.generation import Generation, GenerationOutcome, GenerationRecord, PinnedImage
from moorage.model.lease import Lease
from moorage.model.state import RunOutcome, RunRecord
from moorage.model.step import Operation
from moorage.model.unreadable import Unreadable
from moorage.rules import composing, engines, kept_addresses, labels, part, reading, retention, subnets
from moorage.work.definitions import hidden

if TYPE_CHECKING:
    from moorage.rules.planning import Desired  # those who only read need no planning

_MOST_DIGITS = 9
_ENDINGS = ("json", "compose.json")
"""The files of a generation: itself, and what Compose reads."""


def make(world: World, desired: Desired, run: RunRecord | None) -> Generation:
    """Pin the images and write down the generation; one that equals the current one keeps its number."""
    definition = desired.definition
    own = {*definition.services, *composing.init_images(definition)}
    images = {
        key: _pin(world, definition.name, key, need.reference) for key, need in desired.images.items() if key in own
    }
    config, digests_of_own = composing.compose_config(definition, desired.leases, images, world.home)
    kept = desired.kept
    digests = {**kept.digests, **digests_of_own}
    previous = current(world, definition.name)
    generation = Generation(
        stack=definition.name,
        number=_number(world, definition.name, run),
        source=definition.source,
        config=part.joined(config, kept),
        services=desired.all_services,
        named=tuple(dict.fromkeys((*definition.named, *kept.named))),
        images={**kept.images, **images},
        digests=digests,
        created_at=world.clock.now(),
        hidden=definition.hidden + kept.hidden if kept.services else definition.hidden,
    )
    if previous and previous.digests == digests and previous.services == generation.services:
        generation = generation.model_copy(update={"number": previous.number, "created_at": previous.created_at})
    write(world, generation)
    if previous is None or previous.number != generation.number:
        world.store.save_generation(_record(generation, previous, run))
    return generation


def _pin(world: World, stack: str, service: str, reference: str) -> PinnedImage:
    found = world.engine.image(reference)
    if found is None:
        message = f"services.{service}: image {reference} is gone"
        raise ImageError(message, service=service, image=reference, hint="It was removed by someone else; try again.")
    tag = labels.pin_tag(stack, service, found[0])
    pinned = world.engine.image(tag)
    if pinned is None or pinned[0] != found[0]:  # a tag is dated, and `pull_policy: daily` goes by that
        world.engine.tag(found[0], tag)
    return PinnedImage(service=service, reference=reference, image_id=found[0], tag=tag)


def _number(world: World, stack: str, run: RunRecord | None) -> int:
    """The next free number; a run that pins again, because a port was taken, stays with its own."""
    known = world.store.generations(stack)
    own = [record.number for record in known if run and record.run == run.id]
    return own[0] if own else max(_taken(world, stack), default=0) + 1


def _taken(world: World, stack: str) -> frozenset[int]:
    """Numbers that are in use, also of what cannot be read: its files are not written over."""
    return world.store.numbers(stack) | {number for number, _ in _files(world, stack)}


def _files(world: World, stack: str) -> Iterator[tuple[int, str]]:
    """(number, name) of the files of the generations of a stack."""
    for name in world.files.names(f"generations/{stack}"):
        number, _, ending = PurePosixPath(name).name.partition(".")
        if ending in _ENDINGS and number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS:
            yield int(number), name


def _record(generation: Generation, previous: Generation | None, run: RunRecord | None) -> GenerationRecord:
    before = previous.digests if previous else {}
    names = sorted(set(before) | set(generation.digests))
    return GenerationRecord(
        stack=generation.stack,
        number=generation.number,
        digest=generation.digest,
        created_at=generation.created_at,
        run=run.id if run else "",
        outcome=GenerationOutcome.PENDING,
        changed=tuple(name for name in names if before.get(name) != generation.digests.get(name)),
        flow_run_id=run.flow_run_id if run else None,
        by=run.by if run else "",
    )


def write(world: World, generation: Generation) -> Path:
    """Write the generation, and beside it what Compose reads; gives the latter's path."""
    world.files.write(f"generations/{generation.stack}/{generation.number}.json", generation.model_dump_json())
    return compose_file(world, generation)


def compose_file(world: World, generation: Generation) -> Path:
    """The file that Compose creates from, with what is leased of subnets and addresses; written again if it is gone."""
    store, stack = world.store, generation.stack
    config = subnets.with_subnets(generation.config, store.subnets(stack))
    config = kept_addresses.with_addresses(config, generation.services, store.addresses(stack))
    config = engines.as_understood(world.engine.product(), config)
    return world.files.write(_compose_name(generation), composing.file_text(config))


def write_build(world: World, stack: str, service: str, config: Config) -> Path:
    """The file that the image of a service is built or pulled from.

    Inline Dockerfiles become files beside it: Compose without BuildKit would build the context's own in silence.
    """
    for name, one in config["services"].items():
        build = one.get("build") or {}
        if inline := build.pop("dockerfile_inline", None):
            text = reading.unescaped(inline)
            build["dockerfile"] = str(world.files.write(f"generations/{stack}/{name}.Dockerfile", text))
    return world.files.write(f"generations/{stack}/{service}.build.json", composing.file_text(config))


def _compose_name(generation: Generation) -> str:
    return f"generations/{generation.stack}/{generation.number}.compose.json"


def read(world: World, stack: str, number: int) -> Generation | None:
    """A generation. None: it is not on disk (pruned, or never there), or its file makes no sense."""
    try:
        text = world.files.read(f"generations/{stack}/{number}.json")
    except HomeError as error:
        if error.fields.get("reason") != NOT_A_FILE:
            raise
        return None
    try:
        return Generation.model_validate_json(text) if text else None
    except (ValueError, RecursionError):  # damaged, or of another version: the stack must not be stuck with it
        return None


def unreadable(world: World, stack: str, only: int | None = None) -> tuple[Unreadable, ...]:
    """The generations on record whose file is there and makes no sense. `only`: this one; None: of all of them."""
    numbers = sorted(world.store.numbers(stack)) if only is None else [only]
    return tuple(_damaged(world, stack, number) for number in numbers if _is_damaged(world, stack, number))


def _is_damaged(world: World, stack: str, number: int) -> bool:
    try:
        text = world.files.read(f"generations/{stack}/{number}.json")
    except MoorageError:
        return True
    return text is not None and read(world, stack, number) is None


def _damaged(world: World, stack: str, number: int) -> Unreadable:
    file = f"{world.settings.home}/generations/{stack}/{number}.json"
    what = "it is damaged, or of another version"
    hint = "Nothing can go back to it; `moorage up` makes a new one."
    return Unreadable(where=f"generation {number} of stack {stack}, {file}", what=what, hint=hint, stack=stack)


def current(world: World, stack: str) -> Generation | None:
    """The generation that was committed last. None: there is none."""
    record = world.store.stack(stack)
    return read(world, stack, record.generation) if record and record.generation else None


def known(world: World, stack: str) -> Generation | None:
    """The current one; before the first commit, that of a start that failed and was kept. None: there is neither."""
    record = world.store.stack(stack)
    if record is None or record.generation:
        return current(world, stack)
    kept = (one.number for one in world.store.generations(stack) if one.outcome == GenerationOutcome.KEPT)
    number = next(kept, None)
    return read(world, stack, number) if number else None


def was_kept(world: World, stack: str, but: str = "") -> bool:
    """True: what is there is a start that failed and was kept for inspection. `but`: a run that does not count."""
    changing = (Operation.UP, Operation.ROLLBACK, Operation.DOWN)
    runs = (one for one in world.store.run_heads(stack) if one.id != but and one.finished_at)
    whole = (one for one in runs if not (one.operation == Operation.DOWN and one.services))
    last = next((one for one in whole if one.operation in changing), None)
    return last is not None and last.outcome == RunOutcome.KEPT


def censor(world: World, stack: str, new: Definition | Generation | None = None) -> Callable[[Any], Any]:
    """What hides the secrets of a stack in a text or in data made of texts. `new`: of this one too.

    Of all its generations: what runs, or ran, need not be of the last. Reads files: not for the event loop.
    """
    known: list[Definition | Generation] = [new] if new else []
    with suppress(MoorageError):  # an undo must go on where the registry cannot be read
        found = (read(world, stack, one.number) for one in world.store.generations(stack))
        known += [generation for generation in found if generation]
    texts = Hidden()
    for one in known:
        texts += one.hidden + Hidden(secrets=one.source.secret_values) + _injected(one.services)
        texts += hidden.of_files(world, one.config)[0]  # as they are now: a password may have been changed in place
    return world.censor([one.config for one in known], texts)


def _injected(services: Mapping[str, Service]) -> Hidden:
    """The contents of secrets and configs that are written into containers."""
    files = [file for service in services.values() for file in service.inject]
    return Hidden(
        secrets=tuple(file.content for file in files if file.secret),
        configs=tuple(file.content for file in files if not file.secret),
    )


def is_current(world: World, desired: Desired) -> bool:
    """True: what is desired is the current generation, down to what makes no difference to a container."""
    found = current(world, desired.definition.name)
    return found is not None and found.digests == desired.all_digests and found.services == desired.all_services


def forget(world: World, stack: str, number: int) -> None:
    """Remove a generation that is not current, with its files."""
    # First the record: one without its file would promise a rollback that cannot be made.
    world.store.forget_generation(stack, number)
    for ending in _ENDINGS:
        world.files.remove(f"generations/{stack}/{number}.{ending}")


def strays(world: World, stack: str) -> dict[str, int]:
    """Files of generations that are not on record, with their numbers: a process died over them."""
    known = world.store.numbers(stack)
    return {name: number for number, name in _files(world, stack) if number not in known}


def remove_strays(world: World, stack: str) -> None:
    """Remove them."""
    for name in strays(world, stack):
        world.files.remove(name)


def prune(world: World, stack: str) -> None:
    """Remove the surplus generations of a stack, and the image tags that only they use."""
    for number in surplus(world, stack):
        forget(world, stack, number)
    remove_strays(world, stack)
    for tag in superfluous_tags(world, stack):
        world.engine.untag(tag)


def surplus(world: World, stack: str) -> tuple[int, ...]:
    """Numbers of the generations of a stack that can go."""
    record, settings = world.store.stack(stack), world.settings
    since = retention.before(world.clock.now(), settings.keep_days)
    known = world.store.generations(stack)
    return retention.surplus_generations(known, record.generation if record else None, settings.keep_generations, since)


def superfluous_tags(world: World, stack: str) -> tuple[str, ...]:
    """Image tags of a stack that none of its generations uses."""
    if unreadable(world, stack):  # nobody knows what it uses
        return ()
    stored = (read(world, stack, number) for number in world.store.numbers(stack))
    used = {image.tag for generation in stored if generation for image in generation.images.values()}
    return tuple(tag for tag in world.engine.tags(labels.pin_prefix(stack)) if tag not in used)


def lease_again(world: World, generation: Generation, run: str) -> tuple[Lease, ...]:
    """Lease for a run the very ports that a stored generation is made with. Raises PortError: another stack has one.

    Undone with the leases that stand in the run's record.
    """
    from moorage.rules import undo  # planning, which those who only read do not need

    wanted = undo.leases_of(generation, world.clock.now(), run)
    held = {lease.key: lease for lease in world.store.leases(generation.stack)}
    missing = [one for one in wanted if one.key not in held or held[one.key].ports != one.ports]
    leased = world.store.lease_again(missing) if missing else ()
    for lost in (one for one in missing if one not in leased):
        others = [one for one in world.store.leases() if set(one.ports) & set(lost.ports) and one.key != lost.key]
        holder = f"stack {others[0].key.stack!r}" if others else "another stack"
        raise PortError(
            f"services.{lost.key.service}: port {lost.port} of generation {generation.number} is leased by {holder}",
            hint="`moorage down --release-ports` on that stack releases it.",
            service=lost.key.service,
            port=lost.port,
            holder=holder,
        )
    return wanted


def forget_all(world: World, stack: str) -> None:
    """Remove all generations of a stack, their files and image tags."""
    for record in world.store.generations(stack):
        forget(world, stack, record.number)
    world.files.drop(f"generations/{stack}")
    for tag in world.engine.tags(labels.pin_prefix(stack)):
        world.engine.untag(tag)
