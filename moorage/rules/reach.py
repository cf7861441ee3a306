"""What a definition asks for beyond its own directory and its own containers: told in the plan, before it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from posixpath import normpath
from typing import Any

from moorage.model.definition import Config

Real = Callable[[Path], Path]
"""Where a path leads, links followed."""
_ENGINE = ", the socket of an engine: whoever has it is root on this machine"
_ROOT = "privileged: it has the rights of root on this machine"
_SHARED = ("pid", "ipc", "uts", "userns_mode", "cgroup", "network_mode")
_LOCAL_CACHE = re.compile(r"type=local\b.*?\b(?:src|dest)=([^,]+)")
_ON_THE_WIRE = ("macvlan", "ipvlan")
_SOCKET = re.compile(r"/(docker|podman|containerd)\.sock$")


def as_written(path: Path) -> Path:
    """A `Real` that looks at no disk."""
    return path


def notices(config: Config, raw: Config, directory: Path, real: Real) -> tuple[str, ...]:
    """One notice for each place where the definition reaches further. `config` is canonical, with `$` as it is.

    `raw` is the project as written, for the files that Compose has replaced with what is in them.
    """
    place = _Place(directory, real)
    found = chain(
        *(_of_service(key, service or {}, place) for key, service in (config.get("services") or {}).items()),
        *(_of_files(key, service or {}, place) for key, service in (raw.get("services") or {}).items()),
        _of_things(config, place),
    )
    return tuple(dict.fromkeys(found))


class _Place:
    """The project's directory, and what is outside of it."""

    def __init__(self, directory: Path, real: Real) -> None:
        self._directory = directory
        self._inside = real(directory)
        self._real = real

    def outside(self, key: str, path: Any) -> Iterator[str]:
        """Nothing, or a notice that the path is outside, or leads there."""
        if not path:
            return
        written = Path(normpath(self._directory / str(path)))
        real = self._real(written)
        engine = _ENGINE if _SOCKET.search(str(real)) else ""
        if not written.is_relative_to(self._directory):
            yield f"{key}: {path} is outside the project{engine}"
        elif not real.is_relative_to(self._inside):
            yield f"{key}: {path} leads to {real}, outside the project{engine}"


def _of_service(name: str, service: Config, place: _Place) -> Iterator[str]:
    where = f"services.{name}"
    own = tuple(_of_container(where, service, place))
    yield from own
    for number, one in enumerate(service.get("pre_start") or ()):
        inherited = {notice.removeprefix(where) for notice in own}
        here = f"{where}.pre_start[{number}]"
        further = _of_container(here, one, place)
        yield from (notice for notice in further if notice.removeprefix(here) not in inherited)
    yield from _of_build(f"{where}.build", service.get("build") or {}, place)


def _of_container(where: str, service: Config, place: _Place) -> Iterator[str]:
    for mount in service.get("volumes") or ():
        if mount.get("type") == "bind":
            yield from place.outside(f"{where}.volumes", mount.get("source"))
    yield from _of_rights(where, service)
    yield from _of_shared(where, service)


def _of_rights(where: str, service: Config) -> Iterator[str]:
    hooks = (key for key in ("post_start", "pre_stop") if any(h.get("privileged") for h in service.get(key) or ()))
    for key in (*(["privileged"] if service.get("privileged") else []), *hooks):
        yield f"{where}.{key}: {_ROOT}"
    if service.get("use_api_socket"):
        yield f"{where}.use_api_socket: /var/run/docker.sock{_ENGINE}; your logins at registries are not given to it"
    for key in ("cap_add", "device_cgroup_rules"):
        if wanted := service.get(key):
            yield f"{where}.{key}: {', '.join(map(str, wanted))}: more rights than containers have"
    for device in service.get("devices") or ():  # older versions of Compose print the short form
        path = str(device).partition(":")[0] if isinstance(device, str) else device.get("source")
        yield f"{where}.devices: {path} of this machine"
    for option in service.get("security_opt") or ():
        if not str(option).startswith("no-new-privileges"):
            yield f"{where}.security_opt: {option}: less protection than containers have"


def _of_shared(where: str, service: Config) -> Iterator[str]:
    for key in _SHARED:
        value = str(service.get(key) or "")
        if value == "host":
            yield f"{where}.{key}: host: it shares this machine's"
        elif value.startswith("container:"):
            yield f"{where}.{key}: {value}: it joins a container that may be another stack's"
    for other in service.get("volumes_from") or ():
        if str(other).startswith("container:"):
            yield f"{where}.volumes_from: {other}: it mounts what a container has that may be another stack's"


def _of_build(where: str, build: Config, place: _Place) -> Iterator[str]:
    context = build.get("context")
    further = tuple(_of_context(f"{where}.context", context, place))
    yield from further
    if context and not further and not _is_remote(context) and build.get("dockerfile"):
        yield from place.outside(f"{where}.dockerfile", Path(context) / build["dockerfile"])
    for one in (build.get("additional_contexts") or {}).values():
        yield from _of_context(f"{where}.additional_contexts", one, place)
    if build.get("ssh"):
        yield f"{where}.ssh: it can use the keys of your SSH agent"
    for key in ("privileged", "entitlements"):
        if wanted := build.get(key):
            yield f"{where}.{key}: {wanted if wanted is True else ', '.join(wanted)}: more rights than builds have"
    if build.get("network") == "host":
        yield f"{where}.network: host: it shares this machine's"
    for key in ("cache_from", "cache_to"):
        for one in build.get(key) or ():
            if local := _LOCAL_CACHE.search(str(one)):
                yield from place.outside(f"{where}.{key}", local[1])


def _of_context(where: str, context: Any, place: _Place) -> Iterable[str]:
    return () if _is_remote(context) else place.outside(where, context)


def _is_remote(context: Any) -> bool:
    """`https://…`, `docker-image://…`, `service:…`, `git@…:…`: nothing on this machine."""
    return bool(re.match(r"[\w.+-]+://|service:|git@", str(context or "")))


def _of_files(name: str, service: Config, place: _Place) -> Iterator[str]:
    for key in ("env_file", "label_file"):
        given = service.get(key) or ()
        for one in [given] if isinstance(given, str | dict) else given:
            path = str(one.get("path") if isinstance(one, dict) else one)
            if "$" in path:
                yield f"services.{name}.{key}: {path} may be outside the project: a variable names it"
            else:
                yield from place.outside(f"services.{name}.{key}", path)


def _of_things(config: Config, place: _Place) -> Iterator[str]:
    for key, volume in (config.get("volumes") or {}).items():
        device = str(((volume or {}).get("driver_opts") or {}).get("device") or "")
        if device.startswith("/"):
            yield from place.outside(f"volumes.{key}.driver_opts.device", device)
    for key, network in (config.get("networks") or {}).items():
        if (driver := (network or {}).get("driver")) in _ON_THE_WIRE:
            yield f"networks.{key}.driver: {driver}: its containers are in this machine's network"
    for kind in ("secrets", "configs"):
        for key, thing in (config.get(kind) or {}).items():
            yield from place.outside(f"{kind}.{key}.file", (thing or {}).get("file"))
