"""`python -m moorage.hub.template_process --folder FOLDER`: has Prefect and our flows imported, and forks flow runs.

It is the hub's, like server and worker, and knows nothing of runs: for each it forks a guard, which forks the run and
waits for it. So a run has its own signals, streams, environment and directory, and neither the end of the template
nor another run is any affair of its. The protocol is in `warm_start`, which asks. What a run is told is what
`python -m prefect.engine` is told, and that is what it is then.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import re
import runpy
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from moorage.adapters.locks.kernel import KernelLock
from moorage.hub import residence
from moorage.hub.code_state import code_state
from moorage.hub.hub_home import HubHome
from moorage.hub.project import flow_names, load_flow
from moorage.hub.warm_start import LENGTH
from moorage.settings import settings

Sources = tuple[dict[str, str], dict[str, tuple[int, int, int]]]

_LOOK_S = 5.0
"""How often it is looked whether there is still somebody to serve."""
_CREDENTIALS = struct.Struct("3i")
"""Of a peer, as Linux tells them: pid, user, group (unix(7), SO_PEERCRED)."""
_SETTING = re.compile("PREFECT_(?!_)")
"""With two underscores it is something that Prefect tells one process."""
_SETTINGS_FILES = ("prefect.toml", "pyproject.toml", ".env")
"""In the directory of a process: https://docs.prefect.io/v3/concepts/settings-and-profiles."""
_DIE_WITH_PARENT = 1
"""prctl(2), PR_SET_PDEATHSIG."""


def main() -> None:
    """Serve until SIGTERM, or until the folder is gone; a forked run leaves this as a run does.

    With other code it begins anew, in the same process.
    """
    parser = argparse.ArgumentParser(prog="python -m moorage.hub.template_process")
    parser.add_argument("--folder", required=True, type=Path, help="the hub's folder, whose template this is")
    folder = HubHome(parser.parse_args().folder)
    _detach()
    lock = residence.move_in(folder.template_lock)
    if lock is None:
        return  # another one is there
    state = code_state()
    _import_all()
    kept = _kept_settings()
    request = _requested(folder, lock, state)
    if request is not None:
        _run(request, kept)
        return
    lock.release()
    if state != code_state():
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same, of the new code


def _detach() -> None:
    """Away from the worker, whose children are its runs."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _import_all() -> None:
    from prefect import flow_engine, task_engine  # noqa: F401 - to have them imported

    for name in ("prefect.engine", "prefect.main", "prefect._internal.metrics", "prefect.client.orchestration"):
        importlib.import_module(name)
    for name in flow_names():
        load_flow(name)
    gc.collect()
    gc.freeze()  # or each look of the collector would copy pages that runs share


def _kept_settings() -> Sources:
    """What Prefect's settings were made of here. Most runs have the same, and need not read them again.

    The worker tells runs its settings as variables, in Prefect's spelling: `False`, where it was told `false`.
    """
    from prefect.settings import get_current_settings

    os.environ.update(get_current_settings().to_environment_variables(exclude_unset=True))
    return _sources(os.environ)


def _sources(environment: Mapping[str, str]) -> Sources:
    """Variables and files that Prefect's settings come from, for who is in this directory."""
    from prefect.settings import get_current_settings

    named = {key: value for key, value in environment.items() if key == "HOME" or _SETTING.match(key)}
    files = {}
    for path in (get_current_settings().profiles_path, *map(Path, _SETTINGS_FILES)):
        with suppress(OSError):
            found = path.stat()
            files[str(path)] = (found.st_size, found.st_mtime_ns, found.st_ino)
    return named, files


def _requested(folder: HubHome, lock: KernelLock, state: str) -> dict[str, Any] | None:
    """In a forked run: what is asked of it. In the template: None, when it is over."""
    path, inode = folder.template_socket, folder.template_lock.stat().st_ino
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        listener.bind(str(path))
        os.umask(before)
        listener.listen(64)
        while _is_there(folder, inode):
            _reap()
            if not select.select([listener], [], [], _LOOK_S)[0]:
                continue
            connection, _ = listener.accept()
            with connection:
                if state != code_state():
                    break  # whoever asked starts as Prefect does
                if _is_ours(connection) and os.fork() == 0:
                    listener.close()
                    lock.leave()
                    return _guarded(connection)
        path.unlink(missing_ok=True)
    return None


def _is_there(folder: HubHome, inode: int) -> bool:
    """Whether the hub's folder, and a worker that could ask, are still there."""
    if not residence.is_taken(folder.worker_lock):
        return False
    try:
        return folder.template_lock.stat().st_ino == inode
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _is_ours(connection: socket.socket) -> bool:
    """Whether this user asks. The socket lets nobody else in; where nobody can be asked who it is, that has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.getuid())


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _guarded(connection: socket.socket) -> dict[str, Any]:
    """Fork the run, and wait for it here; returns in the run."""
    head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    body = _read(connection, LENGTH.unpack(head)[0])
    guard = os.getpid()
    if pid := os.fork():
        for stream in streams:
            os.close(stream)
        _guard(connection, pid)
    _die_with(guard)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request: dict[str, Any] = json.loads(body)
    return request


def _read(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(length)
        if not part:
            os._exit(1)  # who asked has gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _guard(connection: socket.socket, pid: int) -> None:
    """Pass on signals, kill the run when who asked is gone, say how it ended. Does not return."""
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    with suppress(OSError):
        connection.send(b"+")
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            ended.recv(64)
        if connection in ready:
            told = _told(connection)
            for number in told or (signal.SIGKILL,):
                os.kill(pid, number)
            if not told:
                break
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        connection.sendall(f"signal {-code}".encode() if code < 0 else f"exit {code}".encode())
    os._exit(0)


def _told(connection: socket.socket) -> bytes:
    """Numbers of signals. Empty: who asked has gone."""
    try:
        return connection.recv(64)
    except OSError:
        return b""


def _die_with(guard: int) -> None:
    """Not to outlive the one who says how it ended, as far as the kernel has that (Linux)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)


def _run(request: dict[str, Any], kept: Sources) -> None:
    """Be `python -m prefect.engine` in that directory, with that environment."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["directory"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    settings.cache_clear()
    _renew_streams()
    sys.argv[1:], sys.path[0] = [], request["directory"]
    if _sources(os.environ) != kept:
        _renew_settings()
    sys.modules.pop("prefect.engine", None)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _renew_streams() -> None:
    """The interpreter's streams, as they are at its start: other files are behind them now."""
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")


def _renew_settings() -> None:
    """Prefect's, and its logging, of the environment as it is now."""
    from prefect import context
    from prefect.logging import configuration

    context.refresh_global_settings_context()
    configuration.PROCESS_LOGGING_CONFIG.clear()
    sys.modules.pop("prefect.main", None)
    importlib.import_module("prefect.main")


if __name__ == "__main__":
    main()
