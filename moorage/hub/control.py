"""Start, stop and inspect the hub. Its state is looked up on each call; nothing is remembered in between."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

import moorage
from moorage.adapters.files import home_errors, private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.adapters.patience import Patience
from moorage.errors import HubError
from moorage.hub import backup as backups
from moorage.hub import deployments, draining, entrance, process, server, takeover, template, worker
from moorage.hub.address import find, required
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, hub_home
from moorage.hub.log_files import last_lines
from moorage.hub.process import ProcessRecord
from moorage.model.base import Frozen

_LOCK_TIMEOUT_S = server.START_TIMEOUT_S + 60.0
_SILENT_WAIT_S, _LOOK_S = 0.1, 1.0


class ProcessState(StrEnum):
    """State of a hub process."""

    RUNNING = "running"
    STOPPED = "stopped"
    CRASHED = "crashed"
    """It ended without being stopped."""


class ProcessStatus(Frozen):
    """Status of one hub process."""

    state: ProcessState
    pid: int | None = None
    since: datetime | None = None
    memory_bytes: int | None = None


class HubStatus(Frozen):
    """Current state of the hub."""

    server: ProcessStatus
    worker: ProcessStatus
    template: ProcessStatus
    """What the worker's runs, and commands, are forked from. Stopped: they are started anew."""
    api_url: str | None
    """None: no API answers."""
    ui_url: str | None
    managed: bool
    """False: the environment names a server that is not ours."""
    auth: SecretStr | None
    """`user:password`, which the API asks for. None: it asks for none, or none answers."""
    version: str
    """Version of the Moorage that started the server; if none is running, of this one."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, with the password hidden."""
        return self.model_dump(mode="json")


def ensure_server(on_line: Callable[[str], None]) -> HubAddress:
    """Return the API to use; start our own server if none answers. Raises HubError."""
    found = find()
    if found and not takeover.is_open_to_all(found):
        return found
    folder = hub_home()
    with _locked(folder, on_line):
        takeover.take_over(folder, on_line)
        address = find() or server.start(folder, on_line)
        hand = folder.worker()
        if hand and process.alive(hand.process) and address.managed and address.auth:
            worker.start(folder, address, on_line)  # replaces it if it does not know the server's secret
        return address


def start(on_line: Callable[[str], None]) -> HubAddress:
    """Start the whole hub: server, work pool, deployments, worker, as far as they are missing. Raises HubError.

    If the environment names a server, everything except the server is started.
    """
    folder = hub_home()
    with _locked(folder, on_line):
        takeover.take_over(folder, on_line)
        address = find() or server.start(folder, on_line)
        worker.ensure_pool(address)
        with deployments.brought_up_to_date(folder, address, on_line):
            worker.start(folder, address, on_line)
    return address


def on_duty(on_line: Callable[[str], None]) -> HubAddress:
    """Return the API to use, with our worker running; start the hub if needed. Raises HubError."""
    found, hand = find(), hub_home().worker()
    guarded = found and not takeover.is_open_to_all(found)
    if found and guarded and hand and process.alive(hand.process) and worker.serves(hand, found):
        return found
    return start(on_line)


def stop(timeout_s: float = 30.0, on_line: Callable[[str], None] = lambda _: None, *, wait: bool = False) -> None:
    """Stop the worker, then the server; returns when both are gone. Does nothing if they are gone or not ours.

    Flow runs of the worker are named and interrupted, and have `timeout_s` to undo their work. `wait`: wait for them
    to end instead, however long that takes, and start no new ones.
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
    """Current state of the hub. Never raises for a server that does not answer."""
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
        template=_status_of(template.running(folder)),
        api_url=address.api_url if address else None,
        ui_url=address.ui_url if address else None,
        managed=address.managed if address else True,
        auth=SecretStr(address.auth) if address and address.auth else None,
        version=ours.version if ours else moorage.__version__,
    )


def backup(target: Path | None) -> Path:
    """Make a checked copy of the hub's database. `target` None: in its folder. Raises HubError, DefinitionError."""
    return backups.backup(hub_home(), target)


def restore(source: Path) -> Path | None:
    """Restore a backup; returns where the current database was set aside. Raises HubError, DefinitionError."""
    folder = hub_home()
    with _locked(folder, lambda _: None):
        return backups.restore(folder, source)


def open_ui() -> str:
    """Open the UI in a browser, if there is one; returns a link that does it once. Raises HubError: none answers."""
    address = running()
    link = entrance.link(address)
    webbrowser.open(link if link == address.ui_url else entrance.page_of(hub_home(), link))
    return link


def running() -> HubAddress:
    """The API to use. Raises HubError if none answers."""
    return required()


def logs(lines: int = 50) -> dict[str, tuple[str, ...]]:
    """The last lines of the server's and the worker's log."""
    folder = hub_home()
    return {"server": last_lines(folder.server_log, lines), "worker": last_lines(folder.worker_log, lines)}


def _status_of(record: ProcessRecord | None) -> ProcessStatus:
    if record is None or not record.pid:
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
        private_folder(folder.results)  # Prefect would let everybody in
        lock = KernelLock(folder.lock)
        if not lock.take(_SILENT_WAIT_S):
            on_line("another command starts or stops the hub; waiting for it")
            patience = Patience("the other command has not ended", _LOCK_TIMEOUT_S, on_line)
            while not lock.take(_LOOK_S):
                if not patience.lasts():
                    message = f"another command has been starting or stopping the hub for {patience.waited_s():.0f} s"
                    raise HubError(message, hint=f"It holds {folder.lock}: `fuser -v` shows which.")
    try:
        yield
    finally:
        lock.release()
