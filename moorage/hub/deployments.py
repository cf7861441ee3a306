"""Keeps the deployments of `prefect.yaml` up to date on the server; does nothing if nothing has changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import moorage
from moorage import bounded
from moorage.adapters.patience import Patience
from moorage.errors import HubError
from moorage.hub import forms
from moorage.hub.api import HubAddress
from moorage.hub.deployed import found_on
from moorage.hub.hub_home import HubHome
from moorage.hub.log_files import tail
from moorage.hub.project import project_directory, whole_environment
from moorage.hub.worker import pool_name
from moorage.settings import settings

_TIMEOUT_S = 120.0
_LOOK_S = 1.0
_LOG_LINES = 20
_CODE = ("flows", "tasks", "blocks")


@contextmanager
def brought_up_to_date(folder: HubHome, address: HubAddress, on_line: Callable[[str], None]) -> Iterator[None]:
    """Deploy in the background while the body runs; ends when both are done. Raises HubError."""
    fingerprint = fingerprint_of(project_directory(), address)
    if is_deployed(folder, address, fingerprint):
        yield
        forms.close_all(address)
        return
    on_line("deploying the flows")
    process = _begin(folder, address)
    try:
        yield
        _finish(process, folder, on_line)
    finally:
        process.kill()
        process.wait()
    forms.close_all(address)
    if address.managed:
        from moorage.hub import automations  # imported here because it needs the deployments' ids

        automations.ensure_own(address)
    record = {
        "fingerprint": fingerprint,
        "deployments": sorted(found_on(address)),
        "schedules": settings().schedules,
    }
    folder.save_deployed(json.dumps(record, indent=1))


def is_deployed(folder: HubHome, address: HubAddress, fingerprint: str) -> bool:
    """True if the last deploy had this fingerprint, and the server still has its deployments."""
    try:
        last = json.loads(folder.deployed())
        return bool(last["fingerprint"] == fingerprint and set(last["deployments"]) <= set(found_on(address)))
    except (ValueError, KeyError, TypeError):
        return False


def fingerprint_of(directory: Path, address: HubAddress) -> str:
    """A digest of the files to deploy, the program that deploys them, and the server.

    Our own server counts as the same server on any port.
    """
    server = "own" if address.managed else address.api_url
    digest = hashlib.sha256(
        repr((moorage.__version__, sys.executable, server, pool_name(), settings().schedules)).encode()
    )
    files = [directory / "prefect.yaml", *(file for folder in _CODE for file in (directory / folder).rglob("*.py"))]
    for file in sorted(files):
        digest.update(f"{file}\0".encode() + bounded.bytes_of(file, bounded.SETTINGS_BYTES))
    return digest.hexdigest()


def _begin(folder: HubHome, address: HubAddress) -> subprocess.Popen[bytes]:
    folder.deploy_log.touch(mode=0o600)
    with folder.deploy_log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "moorage.hub.setup"],
            env=whole_environment(address),
            cwd=project_directory(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _finish(process: subprocess.Popen[bytes], folder: HubHome, on_line: Callable[[str], None]) -> None:
    patience = Patience("the flows have not been deployed", _TIMEOUT_S, on_line)
    while (code := _code_of(process)) is None and patience.lasts():
        pass
    log = "\n".join(tail(folder.deploy_log, _LOG_LINES)) if code != 0 else ""
    if code is None:
        message = f"the flows were not deployed within {patience.waited_s():.0f} s\n{log}"
        raise HubError(message, hint="Run `moorage hub start` again; it carries on from here.", log=log)
    if code:
        raise HubError(f"the flows could not be deployed\n{log}", log=log)


def _code_of(process: subprocess.Popen[bytes]) -> int | None:
    """Waits a moment. None: it has not ended."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_LOOK_S)
    return None
