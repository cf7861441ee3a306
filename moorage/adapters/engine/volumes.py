"""Volumes of the Docker engine. Their content is read and written with `GET` and `PUT /containers/ID/archive`.

The container that mounts the volume for this is created from one of the stack's own images and never started: no other
image is needed, and no code of the image runs. It has no network and is removed at the end of the call.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from docker.errors import APIError, NotFound

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.conversation import Conversation
from moorage.adapters.framing import every_call
from moorage.errors import EngineError, MoorageError
from moorage.interfaces import Volumes
from moorage.model.state import UP
from moorage.model.volume import ROOT, Volume, VolumeUser
from moorage.rules import labels

_CHUNK = 1 << 18

_MEASURES_ALREADY = "disk usage operation is already running"


@every_call(lambda adapter: adapter._engine.translating(), but=("write", "load"))  # noqa: SLF001 - its own
class DockerVolumes(Volumes):
    """`Volumes` by the Docker SDK, over the connection of an engine."""

    def __init__(self, engine: DockerEngine, home: str) -> None:
        self._engine = engine
        self._home = home

    def all(self, *, sized: bool = False) -> tuple[Volume, ...]:
        with self._engine.speaking() as client:
            listed = client.volumes()["Volumes"] or []
            measured = _measured(client) if sized else []
            users = _users(client.containers(all=True))
        sizes = {one["Name"]: (one.get("UsageData") or {}).get("Size", -1) for one in measured}
        return tuple(_volume(raw, users, sizes) for raw in sorted(listed, key=lambda raw: str(raw["Name"])))

    def find(self, name: str) -> Volume | None:
        with self._engine.speaking() as client:
            raw = next((one for one in client.volumes()["Volumes"] or [] if one["Name"] == name), None)
            return _volume(raw, _users(client.containers(all=True)), {}) if raw else None

    def make(self, volume: Volume) -> None:
        with self._engine.speaking() as client:
            client.create_volume(volume.name, volume.driver, dict(volume.options), dict(volume.labels))

    def read(self, name: str, image: str, stack: str) -> Iterator[bytes]:
        with self._helper(name, image, stack) as helper, self._engine.speaking() as client:
            stream, _ = client.get_archive(helper, f"/{ROOT}", chunk_size=_CHUNK)
            yield from stream

    def write(self, name: str, image: str, stack: str, tar: Iterable[bytes]) -> None:
        """Unpack a tar stream into a volume."""
        with _feeding(tar) as chunks, self._engine.speaking() as client, self._helper(name, image, stack) as helper:
            # At the root, because the engine skips a member `.`: the volume's own owner and mode come with its name.
            if not client.put_archive(helper, "/", _sendable(chunks)):
                raise EngineError(f"volume {name}: the engine did not accept the files")

    def dump(self, container: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[bytes]:
        with self._engine.speaking() as client, closing(Conversation(client, container, command, environment)) as it:
            yield from it.output()
            it.check()

    def load(
        self, container: str, command: Sequence[str], environment: Mapping[str, str], stdin: Iterable[bytes]
    ) -> None:
        """Run a program in a running container on `stdin`. Raises EngineError if it failed, with what it wrote."""
        with (
            _feeding(stdin) as chunks,
            self._engine.speaking() as client,
            closing(Conversation(client, container, command, environment, stdin=True)) as it,
        ):
            it.answer(chunks)
            it.check()

    def helpers(self, stack: str) -> tuple[str, ...]:
        marks = [f"{labels.HELPER}={stack}", f"{labels.HOME}={self._home}"]
        with self._engine.speaking() as client:
            listed = client.containers(all=True, filters={"label": marks})
        return tuple(sorted((one.get("Names") or [one["Id"]])[0].lstrip("/") for one in listed))

    def remove_helpers(self, stack: str) -> None:
        for name in self.helpers(stack):
            self._engine.remove(name, volumes=True)

    def free_bytes(self) -> int | None:
        """None if the engine's volumes are not in a directory of this machine."""
        if not self._engine.address.startswith("unix:"):
            return None
        try:
            with self._engine.speaking() as client:
                root = client.info()["DockerRootDir"]
            found = os.statvfs(root)
        except (MoorageError, OSError, KeyError):
            return None
        return found.f_bavail * found.f_frsize

    @contextmanager
    def _helper(self, volume: str, image: str, stack: str) -> Iterator[str]:
        """Create a container that mounts the volume; it is never started, and removed at the end."""
        with self._engine.speaking() as client:
            host = client.create_host_config(binds={volume: {"bind": f"/{ROOT}", "mode": "rw"}}, network_mode="none")
            marks = {labels.HELPER: stack, labels.HOME: self._home}
            name = f"moorage-volume-{secrets.token_hex(6)}"
        try:
            with self._engine.speaking() as client:
                client.create_container(image, ["-"], host_config=host, labels=marks, name=name)
            yield name
        finally:  # by its name: it is there too where only the answer to its creation was lost
            with suppress(NotFound):
                self._engine.remove(name, volumes=True)


def _measured(client: Any) -> list[dict[str, Any]]:
    """`client.df()` measures images and containers too, which takes long. Empty: the engine measures for another.

    From API 1.42 on, engines compute only what is asked for, and once for all who ask; older ones ignore `type`, and
    refuse a second one who asks. A size is only told, so nothing fails for it.
    """
    answer = client._get(client._url("/system/df"), params={"type": "volume"})  # noqa: SLF001
    try:
        return client._result(answer, json=True)["Volumes"] or []  # noqa: SLF001
    except APIError as error:
        if _MEASURES_ALREADY not in str(error):
            raise
        return []


@contextmanager
def _feeding(chunks: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
    """The chunks, for the engine. What their source itself raises comes out as it is, not as an error of the engine."""
    own: list[Exception] = []
    try:
        yield _remembering(chunks, own)
    except Exception:
        if own:
            raise own[0] from None
        raise


def _remembering(tar: Iterable[bytes], own: list[Exception]) -> Iterator[bytes]:
    try:
        yield from tar
    except Exception as error:
        own.append(error)
        raise


def _sendable(tar: Iterable[bytes]) -> Iterator[bytes]:
    """Collect small chunks into larger ones: each becomes an HTTP chunk, and an empty one would end the request."""
    pool = bytearray()
    for chunk in tar:
        pool += chunk
        if len(pool) >= _CHUNK:
            yield bytes(pool)
            pool.clear()
    if pool:
        yield bytes(pool)


def _users(containers: Iterable[Mapping[str, Any]]) -> dict[str, list[VolumeUser]]:
    """Volume → the containers that mount it, without helper containers."""
    found: dict[str, list[VolumeUser]] = {}
    for one in containers:
        marks = one.get("Labels") or {}
        for mount in () if labels.HELPER in marks else one.get("Mounts") or ():
            if mount.get("Type") == "volume" and mount.get("Name"):
                user = VolumeUser(
                    container=one["Id"],
                    name=(one.get("Names") or ["?"])[0].lstrip("/"),
                    stack=marks.get(labels.COMPOSE_PROJECT, ""),
                    service=marks.get(labels.COMPOSE_SERVICE, ""),
                    running=one.get("State") in UP,
                )
                found.setdefault(mount["Name"], []).append(user)
    return found


def _volume(raw: Mapping[str, Any], users: Mapping[str, list[VolumeUser]], sizes: Mapping[str, int]) -> Volume:
    marks, name = raw.get("Labels") or {}, str(raw["Name"])
    size = sizes.get(name, -1)
    return Volume(
        name=name,
        stack=marks.get(labels.STACK, ""),
        key=marks.get(labels.COMPOSE_VOLUME, ""),
        driver=raw.get("Driver") or "local",
        options=raw.get("Options") or {},
        labels=marks,
        size_bytes=None if size < 0 else size,
        users=tuple(sorted(users.get(name, ()), key=lambda user: user.name)),
    )
