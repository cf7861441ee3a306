"""`python -m moorage.hub.template_process --folder FOLDER`: has Prefect and our flows imported, and forks processes.

It is the hub's, like server and worker, and knows nothing of runs: for each it forks a guard, which forks the run and
waits for it. So a run has its own signals, streams, environment and directory, and neither the end of the template
nor another run is any affair of its. The protocol is in `warm_start`, which asks. What a run is told is what
`python -m prefect.engine` is told, and that is what it is then; a command is `moorage` with its arguments.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import moorage
from moorage.adapters.compose.program import find_program
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import MoorageError
from moorage.hub import prefect_state, process_attributes, residence
from moorage.hub.address import address_of
from moorage.hub.code_state import code_state
from moorage.hub.hidden_modules import HiddenPrefect, hide
from moorage.hub.hub_home import HubHome, hub_home
from moorage.hub.project import flow_names, load_flow, run_environment
from moorage.hub.warm_start import LENGTH, is_ours
from moorage.settings import settings

_LOOK_S = 5.0
"""How often it is looked whether there is still somebody to serve."""
_DIE_WITH_PARENT = 1
"""prctl(2), PR_SET_PDEATHSIG."""
_IMPORTED_LATE = (
    "fastapi.encoders",
    "prefect.utilities.visualization",
    "anyio._backends._asyncio",
    "tenacity",
    "netrc",
    "psutil",
)
"""What Prefect, the Docker SDK and Moorage itself import in the middle of a run."""
_NOT_OF_A_COMMAND = ("moorage.testing", "moorage.pytest_plugin", "moorage.__main__", "moorage.project")
_STREAMS = 3


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
    made = _made_for_commands(folder)
    request = _requested(folder, lock, state)
    if request is not None and "arguments" in request:
        _be_command(request, made)
        return
    if request is not None:
        _be_run(request, kept)
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
    for name in _IMPORTED_LATE:
        with suppress(ImportError):  # another version has no such module, and does not miss it
            importlib.import_module(name)
    for name in flow_names():
        load_flow(name)
    for found in pkgutil.walk_packages(moorage.__path__, "moorage."):
        if not found.name.startswith(_NOT_OF_A_COMMAND):
            importlib.import_module(found.name)
    _complete_models(BaseModel)
    with suppress(MoorageError):
        find_program(settings().compose)  # whose version commands know then
    gc.collect()
    gc.freeze()  # or each look of the collector would copy pages that runs share


def _complete_models(kind: type[BaseModel]) -> None:
    """What pydantic would do at the first use of a model, in each run anew."""
    for one in kind.__subclasses__():
        if not one.__pydantic_complete__:
            with suppress(Exception):  # not to be completed here: whoever uses it hears of it, as ever
                one.model_rebuild()
        _complete_models(one)


def _kept_settings() -> prefect_state.Sources:
    """What Prefect's settings were made of here. Most runs have the same, and need not read them again.

    The worker tells runs its settings as variables, in Prefect's spelling: `False`, where it was told `false`.
    """
    from prefect.settings import get_current_settings

    os.environ.update(get_current_settings().to_environment_variables(exclude_unset=True))
    return prefect_state.sources()


def _made_for_commands(folder: HubHome) -> prefect_state.Made | None:
    """What Prefect is to have in a command that says nothing of its settings. None: it has to make that itself."""
    record = folder.server()
    if record is None:
        return None
    with prefect_state.environment(prefect_state.without_settings(os.environ)):
        environment = {**os.environ, **run_environment(address_of(record))}
    return prefect_state.made_for(environment)


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
                if is_ours(connection) and os.fork() == 0:
                    listener.close()
                    lock.leave()
                    return _guarded(connection, folder)
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


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _guarded(connection: socket.socket, folder: HubHome) -> dict[str, Any]:
    """Fork what is asked for, and wait for it here; returns in what is forked."""
    head, given, _, _ = socket.recv_fds(connection, LENGTH.size, process_attributes.MOST_DESCRIPTORS + _STREAMS + 1)
    if len(head) < LENGTH.size:
        os._exit(1)  # who asked has gone
    request: dict[str, Any] = json.loads(_read(connection, LENGTH.unpack(head)[0]))
    if not _prepared(request, connection, given, folder):
        connection.sendall(b"-")
        os._exit(0)
    with suppress(OSError):
        connection.sendall(b"+")
    _read(connection, 1)
    guard = os.getpid()
    if pid := os.fork():
        for one in given:
            os.close(one)
        _guard(connection, pid)
    _die_with(guard)
    connection.close()
    for directory in given[_STREAMS : _STREAMS + 1]:
        os.close(directory)
    numbers = [*range(_STREAMS), *request.get("descriptors", ())]
    process_attributes.place([*given[:_STREAMS], *given[_STREAMS + 1 :]], numbers)
    return request


def _prepared(request: dict[str, Any], connection: socket.socket, given: list[int], folder: HubHome) -> bool:
    """Be where it was asked from, with its environment. False: it cannot be forked here."""
    os.umask(request["umask"])
    fixed = json.loads(json.dumps(process_attributes.fixed(moorage.__file__)))
    os.environ.clear()
    os.environ.update(request["environment"])
    settings.cache_clear()
    if "arguments" not in request:
        os.chdir(request["directory"])
        return True
    os.fchdir(given[_STREAMS])
    if request["fixed"] != fixed or not process_attributes.can_take_over(request):
        return False
    if not process_attributes.is_free(request["descriptors"], [*given, connection.fileno()]):
        return False
    try:
        return hub_home().path == folder.path
    except MoorageError:  # it has to be told where the command was called
        return False


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
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            ended.recv(64)
        if connection in ready:
            told = _told(connection)
            for number in told or (signal.SIGKILL,):
                os.kill(pid, signal.SIGSTOP if number == signal.SIGTSTP else number)
            if not told:
                break
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        connection.sendall(f"signal {-code}\n".encode() if code < 0 else f"exit {code}\n".encode())
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


def _be_run(request: dict[str, Any], kept: prefect_state.Sources) -> None:
    """Be `python -m prefect.engine`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _renew_streams()
    sys.argv[1:], sys.path[0] = [], request["directory"]
    if prefect_state.sources() != kept:
        prefect_state.renew()
    sys.modules.pop("prefect.engine", None)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _be_command(request: dict[str, Any], made: prefect_state.Made | None) -> None:
    """Be `moorage`; Prefect is there when the command imports it, with the settings of the command."""
    os.setpgid(0, 0)
    process_attributes.take_over(request)
    sys.meta_path.insert(0, HiddenPrefect(hide("prefect"), hide("flows", "tasks", "blocks"), made))
    importlib.import_module("moorage.cli").run_here()


def _renew_streams() -> None:
    """The interpreter's streams, as they are at its start: other files are behind them now."""
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")


if __name__ == "__main__":
    main()
