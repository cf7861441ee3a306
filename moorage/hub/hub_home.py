"""The hub's files: `$MOORAGE_HOME/hub/` with its logs, the records of its processes and Prefect's own home."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from moorage.adapters.files import LocalFiles
from moorage.hub.process import ProcessRecord
from moorage.model.base import Frozen
from moorage.settings import settings

_OWN_FILE = "secret"
_SERVER = "server.json"
_WORKER = "worker.json"
_DEPLOYED = "deployed"
_USER = "moorage"


class ServerRecord(Frozen):
    """The Prefect server that we started, and where it listens."""

    process: ProcessRecord
    host: str
    port: int
    api_url: str
    ui_url: str
    auth: str | None = Field(default=None, repr=False)
    """`user:password`. None: an earlier version of Moorage started it, and anybody may use it."""
    chosen: bool = False
    """True: `auth` is a password that the user has chosen, not our secret."""
    version: str
    """Version of Moorage that started it."""


class WorkerRecord(Frozen):
    """The worker that we started, and for which server."""

    process: ProcessRecord
    api_url: str
    auth_digest: str | None = Field(default=None, repr=False)
    """Of the secret that it was given; see `HubAddress.auth_digest`. None: an earlier version started it."""
    version: str
    engine: dict[str, str] | None = None
    """Its variables that say which engine it uses. None: an earlier version started it."""


@dataclass(frozen=True)
class HubHome:
    """The files below `path`."""

    path: Path

    @property
    def prefect_home(self) -> Path:
        """PREFECT_HOME of the hub: its SQLite database, leases, results."""
        return self.path / "prefect"

    @property
    def results(self) -> Path:
        """Where Prefect keeps results of runs, each in a file of its own."""
        return self.prefect_home / "storage"

    @property
    def pages(self) -> Path:
        """Prefect's pages, of a user who is not the one who has installed it."""
        return self.path / "pages"

    @property
    def server_log(self) -> Path:
        """Output of the server."""
        return self.path / "server.log"

    @property
    def worker_log(self) -> Path:
        """Output of the worker and its flow runs."""
        return self.path / "worker.log"

    @property
    def deploy_log(self) -> Path:
        """Output of the last deploy of the flows."""
        return self.path / "deploy.log"

    @property
    def lock(self) -> Path:
        """Held while a command starts or stops the hub."""
        return self.path / "hub.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the server as long as it lives: no two of them use one database."""
        return self.path / "server.lock"

    @property
    def worker_lock(self) -> Path:
        """Held by the worker as long as it lives."""
        return self.path / "worker.lock"

    @property
    def template_lock(self) -> Path:
        """Held by the template process as long as it lives."""
        return self.path / "template.lock"

    @property
    def template_socket(self) -> Path:
        """Where the template process is asked for runs."""
        return self.path / "template.sock"

    @property
    def template_log(self) -> Path:
        """What the template process says before it has begun."""
        return self.path / "template.log"

    @property
    def runner_folder(self) -> Path:
        """Where the worker keeps what its flow runs are given. Prefect's own is one for all users of the machine."""
        return self.path / "runner"

    def secret(self) -> str:
        """The secret that Moorage made for this hub, `user:password`; made now if there is none. Raises HomeError."""
        found = (self._files.read(_OWN_FILE) or "").strip()
        if not found:
            found = f"{_USER}:{secrets.token_urlsafe(32)}"
            self._files.write(_OWN_FILE, f"{found}\n")
        return found

    def renew_secret(self) -> None:
        """Forget the secret, so that the next one is new. Raises HomeError."""
        self._files.remove(_OWN_FILE)

    def server(self) -> ServerRecord | None:
        """The server that was started last. None: no server was started, or it was stopped."""
        text = self._files.read(_SERVER)
        try:
            return ServerRecord.model_validate_json(text) if text else None
        except ValidationError:
            return None

    def worker(self) -> WorkerRecord | None:
        """The worker that was started last. None: no worker was started, or it was stopped."""
        text = self._files.read(_WORKER)
        try:
            return WorkerRecord.model_validate_json(text) if text else None
        except ValidationError:
            return None

    def deployed(self) -> str:
        """Record of the last deploy. Empty: nothing was deployed."""
        return self._files.read(_DEPLOYED) or ""

    def save_server(self, record: ServerRecord) -> None:
        """Save the record of the running server. Raises HomeError."""
        self._files.write(_SERVER, record.model_dump_json(indent=1))

    def save_worker(self, record: WorkerRecord) -> None:
        """Save the record of the running worker. Raises HomeError."""
        self._files.write(_WORKER, record.model_dump_json(indent=1))

    def save_deployed(self, fingerprint: str) -> None:
        """Save the record of a deploy. Raises HomeError."""
        self._files.write(_DEPLOYED, fingerprint)

    def forget_server(self) -> None:
        """Remove the server's record, because it was stopped."""
        self._files.remove(_SERVER)

    def forget_worker(self) -> None:
        """Remove the worker's record, because it was stopped."""
        self._files.remove(_WORKER)

    @property
    def _files(self) -> LocalFiles:
        return LocalFiles(self.path)


def hub_home() -> HubHome:
    """The hub's folder of this process's `$MOORAGE_HOME`."""
    return HubHome(settings().home.expanduser().absolute() / "hub")
