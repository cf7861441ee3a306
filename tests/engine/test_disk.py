"""`sweep --disk` on the real engine: which images go, and which stay."""

from __future__ import annotations

import io

import pytest

from moorage.errors import DefinitionError
from moorage.model.finding import Leftover
from moorage.model.request import RollbackRequest, SweepRequest
from moorage.rules import labels
from moorage.work.operations import disk
from moorage.work.operations.rollback import rollback
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context

pytestmark = pytest.mark.engine

BUILT = """
services:
  web: {build: ., init: true, command: sleep 600, stop_grace_period: 0s}
"""


@pytest.fixture
def shop(stack, docker_client):
    s = stack(BUILT)
    yield s
    for image in docker_client.api.images():
        names = [name for name in image["RepoTags"] or () if s.name in name]
        for name in names:
            docker_client.api.remove_image(name, force=True)


async def change(s, tiny_image, number: int) -> str:
    """Brings it up from other sources; gives the id of the image."""
    # With its name in it, or the stack of another test has the very same image, from the builder's cache.
    s.write("Dockerfile", f"FROM {tiny_image}\nRUN : {s.name}; head -c {number}000000 /dev/urandom > /made\n")
    await s.up()
    return s.container("web").attrs["Image"]


async def swept(world, limit: int, *, dry_run: bool = False):
    found = await sweep(Context(world), SweepRequest(disk=str(limit), dry_run=dry_run))
    return [one for one in found if one.kind == Leftover.IMAGES]


def there(s, image_id: str) -> bool:
    return s.world.engine.image(image_id) is not None


async def test_longest_unused_first_and_never_what_is_needed(shop, tiny_image, docker_client):
    s = shop
    first, second, third = [await change(s, tiny_image, number) for number in (1, 2, 3)]
    # As it would inherit it from an image of ours.
    text = f"FROM {tiny_image}\nLABEL {labels.BUILD}=1 theirs={s.name}"
    theirs, _ = docker_client.images.build(fileobj=io.BytesIO(text.encode()), tag=f"{s.name}:theirs", rm=True)
    before = s.ids()

    looked = await swept(s.world, 5_500_000, dry_run=True)
    assert [(one.stack, one.swept) for one in looked] == [(s.name, False)]
    assert 900_000 < looked[0].bytes < 1_500_000
    assert "and with it generation 1 of" in looked[0].what
    assert there(s, first)

    assert [one.swept for one in await swept(s.world, 5_500_000)] == [True]
    assert [there(s, one) for one in (first, second, third, theirs.id)] == [False, True, True, True]
    assert [one.number for one in s.world.store.generations(s.name)] == [3, 2]
    with pytest.raises(DefinitionError, match="generation 1"):
        await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))

    *gone, left = await swept(s.world, 0)
    assert [(one.swept, one.error) for one in gone] == [(True, None)], left
    assert (left.swept, left.bytes > 2_900_000) == (False, True)
    assert "the next start of a stack needs them" in left.left
    assert [there(s, one) for one in (second, third, theirs.id)] == [False, True, True]
    assert s.ids() == before

    await s.down()
    assert [one.swept for one in await swept(s.world, 0)] == [False], "the next start would have to build it again"
    assert await swept(s.world, 20_000_000) == []
    await s.up()
    assert s.container("web").attrs["Image"] == third
    docker_client.images.remove(f"{s.name}:theirs")
    await s.down(volumes=True, release_ports=True)


async def test_an_image_that_is_needed_again_meanwhile_stays(shop, tiny_image, monkeypatch):
    s = shop
    first, _ = [await change(s, tiny_image, number) for number in (1, 2)]
    held = disk.held

    def meanwhile(context, name):
        async def back() -> None:
            monkeypatch.setattr(disk, "held", held)
            await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))

        return Meanwhile(back, held(context, name))

    monkeypatch.setattr(disk, "held", meanwhile)
    (found,) = [one for one in await swept(s.world, 0) if one.stack]
    assert "uses it again" in found.left
    assert there(s, first)
    assert s.container("web").attrs["Image"] == first
    await s.down(volumes=True, release_ports=True)


class Meanwhile:
    """A lock that is taken after something else has happened."""

    def __init__(self, before, lock) -> None:
        self.before = before
        self.lock = lock

    async def __aenter__(self):
        await self.before()
        return await self.lock.__aenter__()

    async def __aexit__(self, *of):
        return await self.lock.__aexit__(*of)


async def test_the_images_of_a_stack_that_is_busy_stay(shop, tiny_image):
    s = shop
    first, _ = [await change(s, tiny_image, number) for number in (1, 2)]
    lock = s.world.lock(s.name)
    lock.acquire("up", 0)
    try:
        (found,) = [one for one in await swept(s.world, 0) if one.stack]
        assert (found.swept, found.error) == (False, None)
        assert "up" in found.left
    finally:
        lock.release()
    assert there(s, first)
    await s.down(volumes=True, release_ports=True)
