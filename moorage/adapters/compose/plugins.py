"""Plugins of the docker client: where they lie, and which buildx there is, which Compose builds with."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from moorage import bounded
from moorage.adapters.docker_context import own_folder
from moorage.rules import engines
from moorage.rules.environments import for_programs

NEEDED = (0, 17)
"""The buildx that Compose has asked for since 2.40.2; with an older one it builds nothing."""
_ASKED_SINCE = (2, 40, 2)
_SAYS_S = 10.0
_NUMBERS = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")
_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
    "/opt/homebrew/lib/docker/cli-plugins",
)


def plugin(name: str) -> Path | None:
    """The plugin `docker-NAME`, where docker and Compose look: looking for the file is faster than running it."""
    own = own_folder()
    folders = [*([own / "cli-plugins"] if own else []), *map(Path, _FOLDERS)]
    return next((folder / f"docker-{name}" for folder in folders if (folder / f"docker-{name}").exists()), None)


def buildx(compose: str, product: str) -> str:
    """What a build is done with, in words, by a Compose of that version on that engine."""
    if product != engines.DOCKER:
        return f"the engine's own builder: buildx cannot use {product}"
    found = plugin("buildx")
    if found is None:
        return "no buildx: the engine's own builder"
    version, numbers = _version_of(found)
    if numbers is None:
        return f"buildx cannot be used: {found}: {version}"
    if numbers[:2] < NEEDED and _numbers(compose) >= _ASKED_SINCE:
        least = ".".join(map(str, NEEDED))
        return (
            f"buildx {version} is too old for Compose {compose}, which asks for {least}: {found}; the engine's own "
            f"builder is used, and what only BuildKit can do is refused"
        )
    return f"buildx {version}: {found}"


def _version_of(program: Path) -> tuple[str, tuple[int, ...] | None]:
    """(version, its numbers) or (why not, None)."""
    try:
        done = bounded.run([str(program), "version"], for_programs(os.environ), _SAYS_S)
    except subprocess.TimeoutExpired as error:
        return f"it did not say its version within {error.timeout:.0f} s", None
    except OSError as error:
        return str(error), None
    found = _NUMBERS.search(done.stdout)
    if done.returncode or found is None:
        return (done.stderr or done.stdout).strip()[:200] or f"exit code {done.returncode}", None
    return found[0].removeprefix("v"), _numbers(found[0])


def _numbers(version: str) -> tuple[int, ...]:
    """(0, 17, 1) for `v0.17.1`; empty for what has no numbers, so that it counts as old."""
    found = _NUMBERS.search(version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()
