"""Start, stop and look at the hub. What runs is looked up anew each time; nothing is remembered between calls."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import moorage
from moorage.adapters.files import home_errors, private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import HubError
from moorage.hub import backup as backups
from moorage.hub import deployments, draining, process, server, worker
from moorage.hub.address import find
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, hub_home
from moorage.hub.log_files import last_lines
from moorage.hub.process import ProcessRecord
from moorage.model.base import Frozen

_LOCK_TIMEOUT_S = server.START_TIMEOUT_S + 60.0
_SILENT_WAIT_S = 0.1


class ProcessState(StrEnum):
    """How a process of the hub is."""

    RUNNING = "running"
    STOPPED = "stopped"
    CRASHED = "crashed"
    """It ended, and nobody stopped it."""


class ProcessStatus(Frozen):
    """One process of the hub."""

    state: ProcessState
    pid: int | None = None
    since: datetime | None = None
    memory_bytes: int | None = None


class HubStatus(Frozen):
    """The hub as it is now."""

    server: ProcessStatus
    worker: ProcessStatus
    api_url: str | None
    """None: no API answers."""
    ui_url: str | None
    managed: bool
    """False: the environment names a server that is not ours."""
    version: str
    """Version of Moorage that started the server; of this one if none runs."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return self.model_dump(mode="json")


def ensure_server(on_line: Callable[[str], None]) -> HubAddress:
    """The API to use; our own server is started if none answers. Returns at once if one does. Raises HubError."""
    found = find()
    if found:
        return found
    folder = hub_home()
    with _locked(folder, on_line):
        return find() or server.start(folder, on_line)


def start(on_line: Callable[[str], None]) -> HubAddress:
    """The whole hub: server, work pool, deployments, worker; what is there already stays. Raises HubError.

    With a server that the environment names, all but the server: it is not ours, the worker is.
    """
    folder = hub_home()
    with _locked(folder, on_line):
        address = find() or server.start(folder, on_line)
        worker.ensure_pool(address)
        with deployments.brought_up_to_date(folder, address, on_line):
            worker.start(folder, address, on_line)
    return address


def on_duty(on_line: Callable[[str], None]) -> HubAddress:
    """The API to use, with a worker of ours behind it; the hub is started if it is not so. Raises HubError."""
    found, hand = find(), hub_home().worker()
    if found and hand and process.alive(hand.process) and hand.api_url == found.api_url:
        return found
    return start(on_line)


def stop(timeout_s: float = 30.0, on_line: Callable[[str], None] = lambda _: None, *, wait: bool = False) -> None:
    """Stop the worker, then the server; returns when both are gone. No effect if they are, or are not ours.

    Flow runs that the worker executes are told of and interrupted, which makes them undo; `timeout_s` is what they have
    for it. `wait`: they are waited for, however long they take, and nothing new is begun.
    """
    folder = hub_home()
    address = None
    with suppress(HubError):
        address = find()
    with draining.waited_for(folder, address, on_line) if wait else nullcontext(), _locked(folder, on_line):
        draining.tell(folder, address, timeout_s, on_line)
        worker.stop(folder, timeout_s)
    with _locked(folder, on_line):
        server.stop(folder)


def status() -> HubStatus:
    """The hub as it is now. Never raises for a server that does not answer."""
    folder = hub_home()
    ours = folder.server()
    hand = folder.worker()
    try:
        address = find()
    except HubError:
        address = None
    return HubStatus(
        server=_status_of(ours.process if ours else None),
        worker=_status_of(hand.process if hand else None),
        api_url=address.api_url if address else None,
        ui_url=address.ui_url if address else None,
        managed=address.managed if address else True,
        version=ours.version if ours else moorage.__version__,
    )


def backup(target: Path | None) -> Path:
    """A checked copy of the hub's database. `target` None: among the hub's files. Raises HubError, DefinitionError."""
    return backups.backup(hub_home(), target)


def restore(source: Path) -> Path | None:
    """Bring a backup back; gives where the present database was set aside. Raises HubError, DefinitionError."""
    folder = hub_home()
    with _locked(folder, lambda _: None):
        return backups.restore(folder, source)


def open_ui() -> str:
    """Open the UI in a browser, where there is one; gives its URL. Raises HubError if no server answers."""
    address = find()
    if not address:
        raise HubError("the hub does not run", hint="`moorage hub start`")
    webbrowser.open(address.ui_url)
    return address.ui_url


def logs(lines: int = 50) -> dict[str, tuple[str, ...]]:
    """The last lines of the server's and the worker's log."""
    folder = hub_home()
    return {"server": last_lines(folder.server_log, lines), "worker": last_lines(folder.worker_log, lines)}


def _status_of(record: ProcessRecord | None) -> ProcessStatus:
    if record is None:
        return ProcessStatus(state=ProcessState.STOPPED)
    if not process.alive(record):
        return ProcessStatus(state=ProcessState.CRASHED, pid=record.pid, since=record.since)
    return ProcessStatus(
        state=ProcessState.RUNNING, pid=record.pid, since=record.since, memory_bytes=process.memory_bytes(record.pid)
    )


@contextmanager
def _locked(folder: HubHome, on_line: Callable[[str], None]) -> Iterator[None]:
    """The hub to ourselves: two starts at once must make one server. Raises HubError, HomeError."""
    with home_errors(folder.lock):
        private_folder(folder.path)
        private_folder(folder.prefect_home / "storage")  # results: Prefect would let everybody in
        lock = KernelLock(folder.lock)
        if not lock.take(_SILENT_WAIT_S):
            on_line("another command starts or stops the hub; waiting for it")
            if not lock.take(_LOCK_TIMEOUT_S):
                raise HubError("another command has been starting or stopping the hub for minutes")
    try:
        yield
    finally:
        lock.release()
