"""Faults: the n-th effect of a world fails, its process dies just before it, or a call raises what nobody expects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from moorage.errors import EngineError, HomeError
from moorage.interfaces import Engine, Files, Store, Volumes, World
from moorage.testing.compose import FakeCompose

ENGINE_EFFECTS = (
    *("start", "stop", "kill", "remove", "rename", "hold", "remove_network", "remove_volume", "load", "tag", "untag"),
    "remove_image",
    "put_file",
)
STORE_EFFECTS = (
    *(
        "lease",
        "release",
        "release_all",
        "release_run",
        "restore",
        "lease_again",
        "commit_run",
        "settle_subnets",
        "commit",
        "save_stack",
        "forget_stack",
        "save_generation",
    ),
    *("forget_generation", "open_run", "update_run", "close_run", "add_timing", "forget_runs", "forget_timings"),
    *("save_addresses", "note_built", "forget_built", "note_peaks"),
)
FILES_EFFECTS = ("write", "remove", "drop")
VOLUMES_EFFECTS = ("make", "write", "load", "remove_helpers")


class Killed(BaseException):
    """The process is dead: it has no more effects. No code of Moorage catches this and goes on."""


class Fault:
    """Counts effects; at the n-th something happens instead of it."""

    def __init__(self, at: int | None, *, kill: bool = False) -> None:
        self.at = at
        """None: nothing ever happens; for counting."""
        self.kill = kill
        self.effects: list[str] = []
        """All so far, in words, with the one that failed."""
        self.dead = False
        self._mutex = threading.Lock()

    def __call__(self, effect: str) -> None:
        """Call just before an effect."""
        with self._mutex:
            if self.dead:
                raise Killed(effect)
            self.effects.append(effect)
            if len(self.effects) != self.at:
                return
            self.dead = self.kill
        if self.kill:
            raise Killed(effect)
        kind = HomeError if effect.startswith(("store", "files")) else EngineError
        raise kind(f"made to fail: {effect}")

    @property
    def struck(self) -> bool:
        """True: it has happened."""
        return self.at is not None and 0 < self.at <= len(self.effects)


def fail_at(n: int, *, kill: bool = False) -> Fault:
    """The n-th effect (from 1) raises; with `kill` it raises `Killed`, and so does every effect after it.

    After a kill, open another world on the same machine, store and files, as a new process would.
    """
    return Fault(n, kill=kill)


def faulty(world: World, fault: Callable[[str], None]) -> World:
    """A world that calls `fault` before every effect on engine, Compose (if fake), volumes, store and files."""
    compose = world.compose
    if isinstance(compose, FakeCompose):
        compose = compose.seen_by(fault)
    return replace(
        world,
        engine=cast("Engine", _Seen(world.engine, "engine", ENGINE_EFFECTS, fault)),
        compose=compose,
        volumes=cast("Volumes", _Seen(world.volumes, "volumes", VOLUMES_EFFECTS, fault)),
        store=cast("Store", _Seen(world.store, "store", STORE_EFFECTS, fault)),
        files=cast("Files", _Seen(world.files, "files", FILES_EFFECTS, fault)),
    )


class _Seen:
    """An adapter that announces each effect first."""

    def __init__(self, adapter: object, name: str, effects: Sequence[str], on_effect: Callable[[str], None]) -> None:
        self._adapter = adapter
        self._name = name
        self._effects = effects
        self._on_effect = on_effect

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._adapter, attribute)
        if attribute not in self._effects:
            return found

        def announced(*args: Any, **options: Any) -> Any:
            self._on_effect(" ".join([self._name, attribute, *(str(one)[:80] for one in args[:1])]))
            return found(*args, **options)

        return announced


class ForeignFault:
    """Counts the calls of a world's adapters, looks too; out of the n-th comes an exception that is not Moorage's.

    `after`: when the call has been done, as where only its answer is lost; of a stream, in its midst.
    """

    def __init__(self, at: int | None, error: Callable[[], Exception], *, after: bool = False) -> None:
        self.at = at
        """None: nothing ever happens; for counting."""
        self.error = error
        self.after = after
        self.calls: list[str] = []
        """All so far, in words, with the one that failed."""
        self._mutex = threading.Lock()

    def __call__(self, words: str, call: Callable[[], Any]) -> Any:
        """Make a call, or fail."""
        with self._mutex:
            self.calls.append(words)
            mine = len(self.calls) == self.at
        if not mine:
            return call()
        if not self.after:
            raise self.error()
        result = call()
        if isinstance(result, Iterator):
            return self._cut_off(result)
        raise self.error()

    def _cut_off(self, stream: Iterator[Any]) -> Iterator[Any]:
        yield from islice(stream, 1)
        raise self.error()

    @property
    def struck(self) -> bool:
        """True: it has happened."""
        return self.at is not None and self.at <= len(self.calls)


def around_every_call(world: World, around: Callable[[str, Callable[[], Any]], Any]) -> World:
    """The same world, each call of each of its adapters made by `around`, which is given the call and words for it."""

    def seen(adapter: object, name: str) -> Any:
        return _Around(adapter, name, around)

    return replace(
        world,
        engine=seen(world.engine, "engine"),
        streams=seen(world.streams, "streams"),
        volumes=seen(world.volumes, "volumes"),
        compose=seen(world.compose, "compose"),
        contexts=seen(world.contexts, "contexts"),
        store=seen(world.store, "store"),
        files=seen(world.files, "files"),
        prober=seen(world.prober, "prober"),
        lock=lambda name: seen(world.lock(name), f"lock {name}"),
        place=lambda directory: around("place", lambda: world.place(directory)),
        builder=lambda of, name: seen(world.builder(of, name), "builder"),
    )


class _Around:
    """An adapter whose calls are made by another."""

    def __init__(self, adapter: object, name: str, around: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._adapter = adapter
        self._name = name
        self._around = around

    def __getattr__(self, attribute: str) -> Any:
        if isinstance(getattr(type(self._adapter), attribute, None), property):  # a look in disguise
            return self._around(f"{self._name} {attribute}", lambda: getattr(self._adapter, attribute))
        found = getattr(self._adapter, attribute)
        if not callable(found):
            return found

        def called(*args: Any, **options: Any) -> Any:
            words = " ".join([self._name, attribute, *(str(one)[:80] for one in args[:1])])
            return self._around(words, lambda: found(*args, **options))

        return called
