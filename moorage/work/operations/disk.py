"""What `sweep` does where the images that Moorage has built take more of the engine's disk than they may."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial

from moorage.errors import BusyError
from moorage.interfaces import World
from moorage.model.finding import Finding, Leftover
from moorage.model.generation import GenerationOutcome
from moorage.model.request import SweepRequest
from moorage.rules import disk, labels, naming
from moorage.rules.disk import Superfluous, Use
from moorage.work.definitions import generations
from moorage.work.operations.leftovers import Found, Look, Sweep, held
from moorage.work.runs.context import Context
from moorage.work.threads import in_thread

_BUILD_CACHE = "the engine's build cache is not counted, because it does not tell whose it is: `docker builder prune`"


async def _images(asked: Sweep, _stack: str) -> Found:
    """Images that no container uses and no next start needs, longest unused first, until the others fit."""
    limit = _limit_bytes(asked.request, asked.world)
    if limit is None:
        return
    found, above = await in_thread(partial(_surplus, asked.world, limit))
    for one in found:
        lost = "".join(f", and with it generation {number} of {stack}" for stack, number in one.generations)
        what = f"{_named(one)}, last used {one.last_used:%Y-%m-%d %H:%M} UTC{lost}"
        finding = Finding(kind=Leftover.IMAGES, stack=one.stack, what=what, bytes=one.freed_bytes)
        yield finding, partial(_remove, asked.context, one)
    if above:
        left = f"they are in use, or the next start of a stack needs them; {_BUILD_CACHE}"
        yield Finding(kind=Leftover.IMAGES, stack="", what="what is above the limit", bytes=above, left=left), None


def refuse_no_size(request: SweepRequest) -> None:
    """Raises DefinitionError."""
    if request.disk:
        disk.size_bytes(request.disk, "disk")


def _limit_bytes(request: SweepRequest, world: World) -> int | None:
    return disk.size_bytes(request.disk, "disk") if request.disk else world.settings.sweep_disk


LOOK = Look(Leftover.IMAGES, _images)


def _named(one: Superfluous) -> str:
    names = [tag for tag in one.image.tags if not tag.startswith(labels.PINNED)] or [*one.image.tags]
    return ", ".join(names) or one.image.image_id


def _surplus(world: World, limit_bytes: int) -> tuple[tuple[Superfluous, ...], int]:
    """(the images that have to go, bytes above the limit even then)."""
    images = world.engine.stored_images()
    built = {one.image_id: one for one in world.store.built_images() if naming.is_valid(one.stack)}
    uses = _uses(world, [record.name for record in world.store.stacks()])
    found = tuple(disk.superfluous(images, built, uses, limit_bytes))
    left = disk.taken_bytes(images, built) - sum(one.freed_bytes for one in found)
    return found, max(0, left - limit_bytes)


def _uses(world: World, stacks: Iterable[str]) -> dict[str, list[Use]]:
    """Pinned tag → the generations that have it. One that cannot be read is not among them, so its tags stay."""
    found: dict[str, list[Use]] = {}
    for stack in stacks:
        known = generations.known(world, stack)
        for record in world.store.generations(stack):
            current = record.outcome == GenerationOutcome.PENDING or bool(known and known.number == record.number)
            use = Use(stack, record.number, current, record.superseded_at)
            generation = generations.read(world, stack, record.number)
            for image in generation.images.values() if generation else ():
                found.setdefault(image.tag, []).append(use)
    return found


async def _remove(context: Context, one: Superfluous) -> None:
    """Raises BusyError: it is needed after all."""
    stacks = sorted({one.stack, *(stack for stack, _ in one.generations)})
    async with AsyncExitStack() as locks:
        for stack in stacks:
            await locks.enter_async_context(held(context, stack))
        await in_thread(partial(_removed, context.world, one, stacks))


def _removed(world: World, one: Superfluous, stacks: Iterable[str]) -> None:
    """The same, with the locks of all stacks that have it."""
    uses = _uses(world, stacks)
    again = [use.stack for tag in one.image.tags for use in uses.get(tag, ()) if use.current]
    if again:
        raise BusyError(f"{again[0]} uses it again", stack=again[0])
    for stack, number in one.generations:
        generations.forget(world, stack, number)
    for stack in stacks:
        for tag in generations.superfluous_tags(world, stack):
            world.engine.untag(tag)
    world.engine.remove_image(one.image.image_id)
    if world.engine.image(one.image.image_id):
        raise BusyError("the engine keeps it: a container or another image needs it", stack=one.stack)
    world.store.forget_built([one.image.image_id])
