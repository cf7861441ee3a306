"""Which of the images that Moorage has built can go when they take more of the engine's disk than they may.

Never: one that a container was made from, running or not; one that the current generation of a stack needs, because its
next start would have to build it again; one of whose names nobody knows what needs it. Others go longest unused first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from pydantic import ByteSize, TypeAdapter, ValidationError

from moorage.errors import DefinitionError
from moorage.model.image import BuiltRecord, Layer, StoredImage
from moorage.rules import labels

SIZE = r"[0-9]+(?:\.[0-9]+)? ?(?:[kmgtpKMGTP]?[iI]?[bB]|[kmgtpKMGTP])?"


class Use(NamedTuple):
    """A generation that has an image pinned."""

    stack: str
    generation: int
    current: bool
    superseded_at: datetime | None = None


class Superfluous(NamedTuple):
    """An image that can go."""

    image: StoredImage
    stack: str
    """For which it was built."""
    last_used: datetime
    generations: tuple[tuple[str, int], ...]
    """(stack, number) of those that cannot be gone back to without it."""
    freed_bytes: int
    """When all before it have gone."""


def size_bytes(text: str, where: str) -> int:
    """`20GB`, `512MiB` or a number of bytes. Raises DefinitionError that names `where`."""
    try:
        found = int(TypeAdapter(ByteSize).validate_python(text)) if re.fullmatch(SIZE, text) else -1
    except ValidationError:
        found = -1
    if found < 0:
        raise DefinitionError(f"{where}: {text!r} is not a size", key=where, hint="Examples: 500MB, 20GB, 8GiB.")
    return found


def layers(history: Iterable[tuple[object, str, int]]) -> tuple[Layer, ...]:
    """Layers by an image's history, (when, by what, bytes) from the bottom.

    Engines do not say which layers have which size. What has the same history up to a layer shares that layer.
    """
    below, found = "", []
    for step in history:
        below = sha256(repr((below, *step)).encode()).hexdigest()
        if step[-1] > 0:
            found.append(Layer(id=below, bytes=step[-1]))
    return tuple(found)


def taken_bytes(images: Iterable[StoredImage], built: Collection[str]) -> int:
    """What the images that Moorage has built take of the disk; layers of others, such as their bases, do not count."""
    own: dict[str, int] = {}
    others: set[str] = set()
    for one in images:
        if one.image_id in built:
            own.update((layer.id, layer.bytes) for layer in one.layers)
        else:
            others.update(layer.id for layer in one.layers)
    return sum(size for layer, size in own.items() if layer not in others)


def superfluous(
    images: Sequence[StoredImage],
    built: Mapping[str, BuiltRecord],
    uses: Mapping[str, Sequence[Use]],
    limit_bytes: int,
) -> Iterator[Superfluous]:
    """What has to go, in this order, until those that stay take no more than the limit, or none is left that can go.

    `built`: by id, those that Moorage has built. `uses`: pinned tag → the generations that have it; one that is not
    among them is not ours to remove.
    """
    left, taken = list(images), taken_bytes(images, built)
    removable = (one for one in images if one.image_id in built and _can_go(one, uses))
    found = ((_last_used(one, built[one.image_id], uses), one) for one in removable)
    for last_used, image in sorted(found, key=lambda pair: (pair[0], pair[1].image_id)):
        if taken <= limit_bytes:
            return
        left.remove(image)
        rest = taken_bytes(left, built)
        known = {(use.stack, use.generation) for tag in image.tags for use in uses.get(tag, ())}
        yield Superfluous(image, built[image.image_id].stack, last_used, tuple(sorted(known)), taken - rest)
        taken = rest


def _can_go(image: StoredImage, uses: Mapping[str, Sequence[Use]]) -> bool:
    return not image.in_use and not any(_is_needed(tag, uses) for tag in image.tags)


def _is_needed(tag: str, uses: Mapping[str, Sequence[Use]]) -> bool:
    if not tag.startswith(labels.PINNED):
        return False
    return tag not in uses or any(use.current for use in uses[tag])


def _last_used(image: StoredImage, record: BuiltRecord, uses: Mapping[str, Sequence[Use]]) -> datetime:
    """When a generation with it was superseded, it was given a name, or it was built: the last of these."""
    ends = (use.superseded_at for tag in image.tags for use in uses.get(tag, ()))
    return max(at for at in (record.at, image.tagged_at, *ends) if at)
