"""Ends a program in a container that nobody listens to any more: the engine has no call for that.

Without it, each look at a check that hangs would leave a process, and its children.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from urllib3.exceptions import HTTPError

from moorage import bounded
from moorage.adapters.engine.exec import exit_code_of, output_of
from moorage.errors import MoorageError

MARK = "MOORAGE_EXEC"
"""Variable of a program that may have to be ended: all that it starts inherit it."""
_ID_LENGTH = 64
"""Of a container's id; a name could be part of anything."""
_END_S = 10.0
_MOST_BYTES = 4096
_END_ALL = """
for time in first again; do
  for one in /proc/[0-9]*; do
    while IFS= read -r text || [ -n "$text" ]; do
      case $text in *MARK=TOKEN*) kill -9 "${one#/proc/}"; ended=1; break;; esac
    done < "$one/environ"
  done
done 2>/dev/null
[ -n "$ended" ]
"""
"""With what every shell has built in: one skips the zero bytes between variables. Twice, for what has just begun."""
_IN_VAIN = (OSError, ValueError, LookupError, DockerException, HTTPError, HTTPException, MoorageError)
"""Whatever it fails by: that a check hangs is what there is to tell."""


def new_mark() -> str:
    """One for one program."""
    return secrets.token_hex(12)


def end_left(client: Any, exec_id: str, container: str, token: str, user: str) -> None:
    """Kill it with all its children, from within the container, by its shell; that also works on another machine.

    Where the image has no shell, the program itself is killed if it is a process of this machine that we may kill.
    What can be ended in neither way stays.
    """
    if not _ended_within(client, container, token, user):
        with suppress(*_IN_VAIN):
            if sys.platform == "linux":
                end_process_of(int(client.exec_inspect(exec_id)["Pid"]), container)


def _ended_within(client: Any, container: str, token: str, user: str) -> bool:
    """By the same user, who alone may see the variables of its processes."""
    script = _END_ALL.replace("MARK", MARK).replace("TOKEN", token)
    with suppress(*_IN_VAIN):
        made = client.exec_create(container, ["sh", "-c", script], user=user)["Id"]
        output_of(client, made, _MOST_BYTES, _END_S)
        return exit_code_of(client, made) == 0
    return False


def end_process_of(pid: int, container: str) -> None:
    """Kill a process if it is one of the container's, by its control group. Raises OSError: it is not to be seen.

    An engine in a machine of its own has other process numbers; there, and for who may not kill it, it stays.
    """
    handle = os.pidfd_open(pid)
    try:
        groups, _ = bounded.beginning_of(Path(f"/proc/{pid}/cgroup"), bounded.TEXT_BYTES)
        if len(container) == _ID_LENGTH and container.encode() in groups:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
