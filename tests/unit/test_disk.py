"""Which images go when those that Moorage has built take too much of the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.errors import DefinitionError
from moorage.model.image import BuiltRecord, Layer, StoredImage
from moorage.rules import disk
from moorage.rules.disk import Use

NOW = datetime(2026, 11, 30, tzinfo=UTC)
DAY = timedelta(days=1)
BASE, DEPENDENCIES = Layer(id="base", bytes=1000), Layer(id="dependencies", bytes=100)


def image(name: str, *tags: str, in_use: bool = False, days: int = 0) -> StoredImage:
    own = Layer(id=name, bytes=10)
    layers = (BASE, DEPENDENCIES, own)
    return StoredImage(image_id=name, tags=tags, layers=layers, in_use=in_use, tagged_at=NOW - days * DAY)


def built(*names: str) -> dict[str, BuiltRecord]:
    return {name: BuiltRecord(image_id=name, stack="shop", at=NOW - 100 * DAY) for name in names}


PYTHON = StoredImage(image_id="python", tags=("python:3.11",), layers=(BASE,))


def gone(images, known, uses, limit):
    return [(one.image.image_id, one.freed_bytes) for one in disk.superfluous(images, known, uses, limit)]


def test_shared_layers_count_once_and_those_of_others_not():
    images = [PYTHON, image("a"), image("b")]
    assert disk.taken_bytes(images, built("a", "b")) == 120
    assert disk.taken_bytes(images[1:], built("a", "b")) == 1120
    assert disk.taken_bytes([*images, image("theirs")], built("a", "b")) == 20


def test_longest_unused_first_until_it_fits():
    images = [PYTHON, image("new", days=1), image("old", days=9), image("middle", days=5)]
    known = built("new", "old", "middle")
    assert gone(images, known, {}, 130) == []
    assert gone(images, known, {}, 129) == [("old", 10)]
    assert gone(images, known, {}, 119) == [("old", 10), ("middle", 10)]
    assert gone(images, known, {}, 0) == [("old", 10), ("middle", 10), ("new", 110)]


def test_what_is_needed_stays():
    pinned = "moorage/shop/web:id-1"
    images = [
        PYTHON,
        image("theirs"),
        image("in use", in_use=True),
        image("of the next start", pinned),
        image("of another home", "moorage/blog/web:id-2"),
        image("superseded", "moorage/shop/web:id-3", "shop-web:latest"),
    ]
    uses = {pinned: [Use("shop", 1, False), Use("shop", 2, True)], "moorage/shop/web:id-3": [Use("shop", 1, False)]}
    known = built(*(one.image_id for one in images if one.image_id not in ("python", "theirs")))
    (found,) = disk.superfluous(images, known, uses, 0)
    assert (found.image.image_id, found.generations, found.stack) == ("superseded", (("shop", 1),), "shop")


def test_a_generation_that_was_superseded_lately_has_used_its_image_lately():
    images = [image("a", "moorage/shop/web:id-a", days=50), image("b", days=20)]
    uses = {"moorage/shop/web:id-a": [Use("shop", 1, False, NOW - DAY)]}
    assert [name for name, _ in gone(images, built("a", "b"), uses, 0)] == ["b", "a"]


def test_layers_are_known_by_all_that_is_below_them():
    steps = [("1", "FROM scratch", 5), ("2", "ENV x", 0), ("3", "COPY", 7)]
    first, again = disk.layers(steps), disk.layers([*steps, ("4", "RUN", 9)])
    assert [one.bytes for one in again] == [5, 7, 9]
    assert again[:2] == first
    assert disk.layers([("1", "FROM scratch", 5), ("2", "ENV y", 0), ("3", "COPY", 7)])[1].id != first[1].id


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500", 500), ("20GB", 20 * 10**9), ("1.5 GiB", 3 << 29), ("5m", 5 * 10**6)]
)
def test_sizes(text, size):
    assert disk.size_bytes(text, "--disk") == size


@pytest.mark.parametrize("text", ["", "many", "-5GB", "5 apples", "1e999GB", "nan", "5GB 3"])
def test_what_is_no_size(text):
    with pytest.raises(DefinitionError, match="--disk"):
        disk.size_bytes(text, "--disk")
