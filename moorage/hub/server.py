"""The hub's Prefect server: start it, wait until it answers, stop it."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import moorage
from moorage.adapters.patience import Patience, patient_s
from moorage.adapters.probes import SocketProber
from moorage.errors import HubError
from moorage.hub import api, process, residence, rest
from moorage.hub.address import address_of, is_everywhere, is_loopback, local_names
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, ServerRecord
from moorage.hub.log_files import tail
from moorage.hub.project import run_environment, without_foreign
from moorage.rules.environments import without_project
from moorage.settings import settings

START_TIMEOUT_S = 90.0
"""On a machine that is not busy."""
_STOP_GRACE_S = 10.0
_POLL_S = 0.1
_PORTS_TRIED = 200
_RACES = 3
"""How often another program may take the port between our check and the server's bind."""
_LOG_LINES = 20
_DAY_S = 86_400
_TUNING = {
    # A lease in memory leaks its slot for ever if the server restarts while it is held.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    **rest.TUNING,
}


def start(folder: HubHome, on_line: Callable[[str], None]) -> HubAddress:
    """Start the server if it is not running. Call this with the hub's lock held.

    Waits until it answers: `START_TIMEOUT_S`, longer on a busy machine. Raises HubError with the end of its log.
    """
    record = folder.server()
    if record and process.alive(record.process):
        return _until_it_answers(folder, record, on_line)
    residence.evict(folder.server_lock, _STOP_GRACE_S)  # its record was lost
    if record and record.process.pid:
        on_line(f"the Prefect server (pid {record.process.pid}) has died; starting it again")
    for _ in range(_RACES):
        record = _launch(folder, on_line)
        try:
            return _until_it_answers(folder, record, on_line)
        except HubError:
            if not _lost_the_port(folder, record):
                raise
            on_line(f"port {record.port} was taken meanwhile")
        except BaseException:
            process.end(record.process, _STOP_GRACE_S)  # interrupted; nobody uses the new server yet
            folder.forget_server()
            raise
    message = f"every port tried from {settings().hub_port} upward was taken by another program"
    raise HubError(message, hint="Set MOORAGE_HUB_PORT to a free port.")


def stop(folder: HubHome, grace_s: float = _STOP_GRACE_S) -> None:
    """Stop the server that we started, if there is one; returns when it is gone."""
    record = folder.server()
    if record:
        process.end(record.process, grace_s)
    folder.forget_server()
    residence.evict(folder.server_lock, grace_s)


def end_to_replace(folder: HubHome, grace_s: float = _STOP_GRACE_S) -> None:
    """Stop the server, if there is one; the next start takes its port, which worker, runs and browsers know."""
    record = folder.server()
    if record:
        process.end(record.process, grace_s)
        folder.save_server(record.model_copy(update={"process": process.NOBODY}))


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next free one above it. Raises HubError."""
    prober = SocketProber()
    for port in range(wanted, min(wanted + _PORTS_TRIED, 65536)):
        if prober.bindable(port, "tcp", host):
            return port
    raise HubError(f"no free port from {wanted} upward", hint="Set MOORAGE_HUB_PORT to a free port.")


def _launch(folder: HubHome, on_line: Callable[[str], None]) -> ServerRecord:
    host, wanted = settings().hub_host, settings().hub_port
    if host == "localhost":  # services are opened under that name, and would be sent the hub's cookie
        host = "127.0.0.1"
    port = _port_of_last_time(folder, host, wanted) or free_port(host, wanted)
    if port != wanted:
        on_line(f"port {wanted} is taken by {_holder(wanted)}; using {port}")
    auth, chosen = _auth(folder, host)
    base = f"http://{_name_for_url(host)}:{port}"
    local = f"http://127.0.0.1:{port}" if is_everywhere(host) else base
    record = ServerRecord(
        process=process.NOBODY,
        host=host,
        port=port,
        api_url=f"{local}/api",
        ui_url=base,
        auth=auth,
        chosen=chosen,
        version=moorage.__version__,
    )
    on_line(f"starting the Prefect server on {base}")
    folder.save_server(record)  # before the server, which reads it and adds itself: see moorage.hub.serve
    started = process.spawn(
        _command(folder, record),
        environment=_environment(folder, record),
        folder=folder.path,
        log=folder.server_log,
        umask=0o077,
    )
    return record.model_copy(update={"process": started})


def _port_of_last_time(folder: HubHome, host: str, wanted: int) -> int | None:
    """After a crash, the previous port: worker, runs and browsers know it. None: there is none, or it is taken."""
    last = folder.server()
    if last and wanted <= last.port < wanted + _PORTS_TRIED and SocketProber().bindable(last.port, "tcp", host):
        return last.port
    return None


def _holder(port: int) -> str:
    return SocketProber().holder_of(port, "tcp") or "another program"


def _command(folder: HubHome, record: ServerRecord) -> list[str]:
    command = [sys.executable, "-m", "moorage.hub.serve", "--host", record.host, "--port", str(record.port)]
    command += ["--folder", str(folder.path), "--log-bytes", str(settings().hub_log_bytes)]
    command += ["--keep-days", str(settings().hub_keep_days)]
    return command if is_loopback(record.host) else [*command, "--any-host"]


def _environment(folder: HubHome, record: ServerRecord) -> dict[str, str]:
    address = address_of(record)
    own = (record.ui_url, *(f"http://{name}:{record.port}" for name in local_names(record.host)))
    origins = dict.fromkeys([*own, *filter(None, settings().hub_origins.replace(" ", "").split(","))])
    fixed = {
        # Pages of any other origin must not call the API from a browser.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "PREFECT_SERVER_UI_API_URL": f"{record.ui_url}/api",
        "PREFECT_SERVER_API_HOST": record.host,
        "PREFECT_SERVER_API_PORT": str(record.port),
    }
    usual = _TUNING | _retention() | _place_of_pages(folder)
    tuning = {key: os.environ.get(key, value) for key, value in usual.items()}
    found = {
        **without_foreign(without_project(os.environ), address),
        **run_environment(address, quiet=False),
        **tuning,
        **fixed,
    }
    # The door asks for the secret; with this variable the UI would ask for it, too.
    found.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    return found


def _place_of_pages(folder: HubHome) -> dict[str, str]:
    """Prefect's setting for where it keeps its pages, which it writes anew for each server.

    By itself it does so where it is installed. That is right for whoever has installed it; for others it may not be
    writable, and if it is (root), what they write there could not be read by its owner any more.
    """
    found = importlib.util.find_spec("prefect")
    if found is None or not found.origin or Path(found.origin).stat().st_uid == os.geteuid():
        return {}
    return {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder.pages)}


def _retention() -> dict[str, str]:
    """Prefect's settings for how long the history of runs is kept."""
    days = settings().hub_keep_days
    if not days:
        return {"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events"}
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(days * _DAY_S),
    }


def _until_it_answers(folder: HubHome, record: ServerRecord, on_line: Callable[[str], None]) -> HubAddress:
    address = address_of(record)
    patience = Patience("the Prefect server has not answered", START_TIMEOUT_S, on_line)
    while patience.lasts():
        if not process.alive(record.process):
            found = folder.server()
            if found is None or not process.alive(found.process):
                break
            # One that a killed command had started was there first: it has entered itself in this very record.
            record, address = found, address_of(found)
        if _entered(folder, record) and api.answers(address, patient_s(1.0)) and process.alive(record.process):
            _say_ready(address, patience.waited_s(), on_line)
            return address
        time.sleep(_POLL_S)
    raise _not_answering(folder, record, patience.waited_s())


def _entered(folder: HubHome, record: ServerRecord) -> bool:
    """True: the server has the port. Before that another program may answer there, which must not be trusted."""
    found = folder.server()
    return found is not None and found.process.pid == record.process.pid


def _say_ready(address: HubAddress, waited_s: float, on_line: Callable[[str], None]) -> None:
    if waited_s > 1.0:
        on_line(f"the Prefect server answers on {address.ui_url} after {waited_s:.1f} s")


def _not_answering(folder: HubHome, record: ServerRecord, waited_s: float) -> HubError:
    log = "\n".join(tail(folder.server_log, _LOG_LINES))
    if process.alive(record.process):
        what = f"does not answer on {record.api_url} after {waited_s:.0f} s"
        hint = "Run `moorage hub stop`, then try again."
    else:
        what, hint = "ended while it was starting", None
    return HubError(f"the Prefect server (pid {record.process.pid}) {what}\n{log}", hint=hint, log=log)


def _lost_the_port(folder: HubHome, record: ServerRecord) -> bool:
    if process.alive(record.process):
        return False
    folder.forget_server()
    return bool(re.search(r"already in use|already running on port", "\n".join(tail(folder.server_log, _LOG_LINES))))


def _auth(folder: HubHome, host: str) -> tuple[str, bool]:
    """What the hub asks for, and whether the user has chosen it: then a password, also after a crash; else a secret.

    Raises HubError: the password is of no use, or there is none and the network can reach the hub.
    """
    # While no server of ours had the port, any program could have it, and be told the last secret by a worker, or a
    # cookie by a page that is still open.
    folder.renew_secret()
    given, last = settings().hub_auth, folder.server()
    if given:
        auth = given.get_secret_value()
        if not re.fullmatch(r"[^:\s]+:\S+", auth):
            raise HubError("MOORAGE_HUB_AUTH must have the form user:password")
        return auth, True
    if last and last.auth and last.chosen:
        return last.auth, True
    if not is_loopback(host):
        raise HubError(
            f"the hub would listen on {host} without a password of yours",
            hint="Set MOORAGE_HUB_AUTH=user:password, or leave MOORAGE_HUB_HOST at 127.0.0.1.",
        )
    return folder.secret(), False


def _name_for_url(host: str) -> str:
    """Host name for a browser: this machine's name if the server listens on all addresses."""
    if is_everywhere(host):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
