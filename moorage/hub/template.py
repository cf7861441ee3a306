"""The template process of a hub: started when it is missing, ended with the hub."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping

from moorage.adapters.files import PRIVATE_FILE
from moorage.hub import process, residence, warm_start
from moorage.hub.hub_home import HubHome
from moorage.hub.process import ProcessRecord
from moorage.hub.project import project_directory

_SOCKET_PATH_BYTES = 107
"""The longest path of a Unix socket (unix(7)); macOS has three bytes less."""


def why_not(folder: HubHome) -> str:
    """Why runs cannot be forked here. Empty: they can."""
    if not hasattr(os, "fork"):
        return "this system does not fork"
    if len(os.fsencode(folder.template_socket)) > _SOCKET_PATH_BYTES - 3:
        return f"{folder.template_socket} is too long for a socket"
    return ""


def command(folder: HubHome) -> str:
    """What the worker starts for a run: it takes the template, or, if there is none, `python -m prefect.engine`."""
    words = [sys.executable, "-I", "-S", warm_start.__file__, str(folder.template_socket)]
    return shlex.join(words)


def running(folder: HubHome) -> ProcessRecord | None:
    """The template. None: there is none now."""
    return residence.resident(folder.template_lock)


def ensure(folder: HubHome, environment: Mapping[str, str]) -> None:
    """Start it unless it is there; returns before it can be used. Raises OSError."""
    if residence.is_taken(folder.template_lock):
        return
    words = [sys.executable, "-m", "moorage.hub.template_process", "--folder", str(folder.path)]
    log = os.open(folder.template_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        # Waited for, because it ends soon: what stays is a process of its own, and no child of the worker's.
        subprocess.Popen(
            words,
            env=dict(environment),
            cwd=project_directory(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ).wait()
    finally:
        os.close(log)


def stop(folder: HubHome, grace_s: float) -> None:
    """End it; runs go on."""
    if found := running(folder):
        process.end(found, grace_s)
