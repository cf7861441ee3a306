"""Whether the tunnels of a session can be kept to the machine's loopback address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from moorage import bounded
from moorage.adapters import docker_context
from moorage.adapters.dagger.session import RUNNER
from moorage.errors import MoorageError
from moorage.rules.environments import for_programs

OPEN = "Dagger would open the published ports on every address of this machine (0.0.0.0)"
HINT = (
    "If nobody who must not reach them can, allow it with `--expose`, or `x-moorage: {dagger: {expose: true}}` in the "
    "compose file; or run `moorage ci` without `--engine dagger`."
)
_TRY_S = 5.0
_OVER_DOCKER = frozenset({"", "docker-image", "docker-container", "image", "container"})
"""Engines that the CLI reaches by starting `docker`; the first is the one that it starts itself."""


def why_not(environment: Mapping[str, str]) -> str | None:
    """Why not. None: they can. `environment`: what is set for the session. Takes 5 s at most.

    The session needs a network of its own, and in it a way to its engine: a socket file is one, and an address of TCP
    is led there (`relay.py`).
    """
    if os.environ.get("DAGGER_SESSION_PORT"):
        return "whoever started `dagger run` listens for the session"
    scheme = environment.get(RUNNER, "").partition("://")[0]
    if scheme not in _OVER_DOCKER | {"unix", "tcp"}:
        return f"the engine at {environment[RUNNER]} cannot be reached from a network without any other machine"
    if scheme in _OVER_DOCKER and (address := _docker()) and not address.startswith("unix://"):
        return f"the Docker engine at {address} cannot be reached from a network without any other machine"
    return _untried()


def _docker() -> str:
    """The address of the Docker engine. Empty: there is no such context, which the CLI says better."""
    try:
        return docker_context.endpoint().address
    except MoorageError:
        return ""


def _untried() -> str | None:
    """Why this user cannot make a network, found out by making one, in a process that ends at once."""
    command = [sys.executable, "-P", "-m", "moorage.adapters.dagger.own_network"]
    try:
        done = bounded.run(command, for_programs(os.environ), _TRY_S, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"this user cannot make a network namespace: {error}"
    if done.returncode == 0:
        return None
    said = (done.stdout or done.stderr).strip().splitlines()
    return f"this user cannot make a network namespace: {said[-1] if said else 'no reason given'}"
