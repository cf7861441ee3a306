"""Credentials of private registries for one call of Compose: a temporary folder replaces the user's `~/.docker`.

The password is in a private file (0600) during the call, never in a command line or an environment variable. The
process holds a kernel lock on the folder: a folder that a killed process has left behind is removed by the next call.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moorage import bounded
from moorage.adapters.docker_context import own_folder
from moorage.adapters.files import PRIVATE_FILE, home_errors, private_folder
from moorage.adapters.locks.kernel import KernelLock, open_existing
from moorage.model.image import RegistryLogin

_FOLDER = "logins"
_CONFIG = "config.json"
_ALIVE = ".alive"
_BEING_MADE = ".alive-unfinished"
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("index.docker.io", "docker.io", "registry-1.docker.io", "hub.docker.com")


@contextmanager
def logged_in(home: Path, logins: Sequence[RegistryLogin]) -> Iterator[dict[str, str]]:
    """Environment variables for a call that uses `logins`; empty if there are no logins. Raises HomeError."""
    if not logins:
        yield {}
        return
    own = own_folder()
    with home_errors(home / _FOLDER):
        private_folder(home / _FOLDER)
        remove_left_behind(home)
        folder = Path(tempfile.mkdtemp(dir=home / _FOLDER))  # 0700
        alive = _alive_lock(folder)
    try:
        with home_errors(folder):
            _fill(folder, own, logins)
        yield {"DOCKER_CONFIG": str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        alive.release()


def _alive_lock(folder: Path) -> KernelLock:
    """The lock that says that the folder is in use; it appears held, else somebody could find it free and tidy up."""
    lock = KernelLock(folder / _BEING_MADE)
    lock.take()
    lock.path.rename(folder / _ALIVE)
    return lock


def remove_left_behind(home: Path) -> None:
    """Remove the folders of processes that were killed."""
    with suppress(OSError):
        for folder in (home / _FOLDER).iterdir():
            _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    alive = KernelLock(folder / _ALIVE, open_existing)
    with suppress(OSError):  # just being made, or just being removed
        if alive.take():
            shutil.rmtree(folder, ignore_errors=True)
    alive.release()


def _fill(folder: Path, own: Path | None, logins: Sequence[RegistryLogin]) -> None:
    """Write the user's configuration with the logins added; link everything else next to it (plugins, contexts)."""
    config: dict[str, Any] = {}
    if own and own.is_dir():
        with suppress(OSError, ValueError):  # the CLI ignores an unreadable file too
            found = bounded.json_of(own / _CONFIG)
            config = found if isinstance(found, dict) else {}
        for entry in own.iterdir():
            if entry.name not in (_CONFIG, _ALIVE):
                (folder / entry.name).symlink_to(entry.absolute())
    file = os.open(folder / _CONFIG, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        json.dump(merged(config, logins), opened)


def merged(own: Mapping[str, Any], logins: Sequence[RegistryLogin]) -> dict[str, Any]:
    """A `config.json` with the logins, without credential helpers for their registries: those would override them."""
    auths, helpers = dict(own.get("auths") or {}), dict(own.get("credHelpers") or {})
    for login in logins:
        key = _HUB_KEY if login.registry in _HUB_HOSTS else login.registry
        auths[key] = {"auth": b64encode(f"{login.username}:{login.password}".encode()).decode()}
        for name in {key, login.registry}:
            if own.get("credsStore") or name in helpers:
                helpers[name] = ""
    return {**own, "auths": auths, **({"credHelpers": helpers} if helpers else {})}
