"""Copies volumes into snapshots, and back. The caller holds the stack's lock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

from moorage.interfaces import World
from moorage.model.volume import ROOT, Contents
from moorage.work.threads import in_thread
from moorage.work.volumes import tar
from moorage.work.volumes.tar import Tally

T = TypeVar("T")


class _Stopped(Exception):  # noqa: N818 - not an error, only a way out
    """A copy was asked to stop."""


def until(stop: threading.Event, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, until the copy is asked to end."""
    for chunk in chunks:
        if stop.is_set():
            raise _Stopped
        yield chunk


async def interruptible(copy: Callable[[threading.Event], T]) -> T:
    """Run a long copy in a thread; on cancel, ask it to stop and wait until it has."""
    stop = threading.Event()
    try:
        return await in_thread(lambda: copy(stop), on_cancel=stop.set)
    except _Stopped:
        raise asyncio.CancelledError from None


def read(world: World, volume: str, image: str, stack: str) -> Generator[bytes, None, None]:
    """A volume as a tar stream. To be closed: a reader may stop before its end, and what it opened has to go."""
    yield from world.volumes.read(volume, image, stack)


def content_of(world: World, volume: str, image: str, stack: str) -> Contents:
    """Content of a volume, to compare with a snapshot."""
    tally = Tally()
    with closing(read(world, volume, image, stack)) as stream:
        for info, content in tar.members(tar.stream_of(stream)):
            tally.check(info)
            for _ in tally.watch(info, content):
                pass
    return tally.contents()


def is_empty(world: World, volume: str, image: str, stack: str) -> bool:
    """True if the volume is empty."""
    with closing(read(world, volume, image, stack)) as stream:
        return all(info.name == ROOT for info, _ in tar.members(tar.stream_of(stream)))
