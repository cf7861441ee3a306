"""The one place where adapters are chosen and wired."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from moorage.adapters.build_context import BuildContexts
from moorage.adapters.clock import SystemClock
from moorage.adapters.compose.builder import ComposeBuilder
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.docker_context import ChosenEngine
from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.streams import DockerStreams
from moorage.adapters.engine.volumes import DockerVolumes
from moorage.adapters.files import LocalFiles
from moorage.adapters.git import repository_and_branch, worktree_of
from moorage.adapters.locks.machine import MachineLock
from moorage.adapters.locks.stack import StackLock
from moorage.adapters.machine import free_bytes
from moorage.adapters.probes import SocketProber
from moorage.adapters.project_files import text_of
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import HomeError
from moorage.interfaces import ImageBuilder, World
from moorage.model.definition import Config, Hidden
from moorage.model.event import Action, Event
from moorage.model.image import BuilderName, RegistryLogin
from moorage.rules.ports import port_range
from moorage.settings import Settings
from moorage.settings import settings as of_process
from moorage.work.operations.rebuild import rebuild

_HUB_AUTH = "PREFECT_API_AUTH_STRING"
"""The hub's password, as processes of the hub are told it: `user:password`."""


def ignore(_event: Event) -> None:
    """Nobody listens."""


def open_world(
    emit: Callable[[Event], None] = ignore,
    settings: Settings | None = None,
    logins: tuple[RegistryLogin, ...] = (),
    auth_of_hub: Callable[[], str | None] = lambda: None,
) -> World:
    """The world of this process. `emit`: where events go.

    `settings` None: the process's own. `logins`: for builds and pulls. `auth_of_hub`: `user:password` of the hub,
    to be hidden even if the environment does not name it.

    Connects to nothing before it is needed, except that a damaged or lost registry is rebuilt first.
    """
    chosen = settings or of_process()
    home = chosen.home.expanduser().absolute()
    store = SqliteStore(home / "hub.db", any_port=port_range(chosen.port_range))
    said = partial(_said, emit)
    one_engine = ChosenEngine()
    engine, home_name = DockerEngine(chosen, said, one_engine), sha256(str(home.resolve()).encode()).hexdigest()[:12]
    world = World(
        engine=engine,
        streams=DockerStreams(engine),
        volumes=DockerVolumes(engine, home_name),
        compose=ComposeCli(chosen, logins, said, one_engine),
        contexts=BuildContexts(chosen.context_limit_bytes),
        store=store,
        files=LocalFiles(home),
        prober=SocketProber(),
        clock=SystemClock(),
        settings=chosen,
        home=home_name,
        lock=partial(_lock, home / "locks", engine.address),
        place=_place,
        text_of=text_of,
        builder=partial(_builder, logins),
        censor=partial(_censor, partial(_passwords, chosen, logins, auth_of_hub)),
        emit=emit,
        free_bytes=partial(_free_bytes, engine),
    )
    store.on_loss(lambda: rebuild(world))
    store.on_unreadable = lambda found: said(found.said)
    with suppress(HomeError):  # the first use of the registry reports it
        missing = any(world.files.folders("generations")) and not store.path.exists()
        if missing or store.set_aside:
            rebuild(world)
    return world


def _free_bytes(engine: DockerEngine) -> int | None:
    """None: containers have another machine, or a virtual one (Docker Desktop), whose memory nobody tells from here."""
    here = sys.platform == "linux" and engine.place().machine is None and "desktop" not in engine.place().address
    return free_bytes() if here else None


def _said(emit: Callable[[Event], None], words: str) -> None:
    """A notice of no stack, such as what an adapter waits for or passes over. Whoever listens cannot fail the call."""
    with suppress(Exception):
        emit(Event(at=SystemClock().now(), stack="", action=Action.NOTICE, message=words))


def _lock(folder: Path, address: str, name: str) -> StackLock:
    """Protected against other homes too, unless the name has a dot: then it is not a stack, and only of this home."""
    return StackLock(folder, name, MachineLock(address, name) if "." not in name else None)


def _builder(logins: tuple[RegistryLogin, ...], world: World, name: BuilderName) -> ImageBuilder:
    """The builder with this name; Dagger's adapter is loaded only when it is used."""
    if name == BuilderName.DAGGER:
        from moorage.adapters.dagger.builder import DaggerBuilder

        return DaggerBuilder(world.settings, world.engine, logins)
    return ComposeBuilder(world.compose, world.engine)


def _censor(
    passwords: Callable[[], tuple[str, ...]], configs: Sequence[Config], hidden: Hidden
) -> Callable[[Any], Any]:
    """Hides passwords of registries and the hub, secrets of definitions (the newest first), and those in `hidden`."""
    from moorage.show.redaction import redact_data, secret_values

    newest, *older = configs or ({},)
    values = secret_values(newest, (*passwords(), *hidden.secrets), hidden.configs)
    values = values.union(*(secret_values(config) for config in older))
    return lambda data: redact_data(data, values)


def _passwords(
    settings: Settings, logins: tuple[RegistryLogin, ...], auth_of_hub: Callable[[], str | None]
) -> tuple[str, ...]:
    """Those of registries and of the hub, and how programs are told the latter: they may print their environment."""
    own = settings.hub_auth.get_secret_value() if settings.hub_auth else None
    auths = filter(None, (own, os.environ.get(_HUB_AUTH), auth_of_hub()))
    of_hub = (part for auth in auths for part in (auth, auth.partition(":")[2]))
    return (*(login.password for login in logins), *of_hub)


def _place(directory: Path) -> tuple[str | None, str | None, bool]:
    """(repository, branch, linked worktree) of a directory; (None, None, False) outside git."""
    repository, branch = repository_and_branch(directory) or (None, None)
    return repository, branch, worktree_of(directory) is not None
