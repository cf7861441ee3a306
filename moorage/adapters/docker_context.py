"""Which engine Docker's own programs talk to: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of `config.json`.

Compose looks there by itself, the SDK does not: both are told the same, so that what one creates the other finds.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from moorage.errors import EngineUnavailableError

DEFAULT = "unix:///var/run/docker.sock"
_NO_CONTEXT = ("", "default")


@dataclass(frozen=True)
class Endpoint:
    """An engine's address, and how to get in."""

    address: str
    context: str | None = None
    """The context that it is taken from. None: from `DOCKER_HOST`, or it is Docker's default."""
    certificates: Path | None = None
    """Folder with `ca.pem`, `cert.pem` and `key.pem`. None: the environment says, or there are none."""
    verified: bool = True
    """False: the context says that the engine's certificate is not to be checked."""

    def environment(self) -> dict[str, str]:
        """The variables that tell Docker's programs the same. Empty: they have been told."""
        if self.context is None:
            return {}
        secure = {"DOCKER_CERT_PATH": str(self.certificates)} if self.certificates else {}
        check = {"DOCKER_TLS_VERIFY": "1" if self.verified else ""} if secure else {}
        return {"DOCKER_HOST": self.address, **secure, **check}


def endpoint() -> Endpoint:
    """The engine that this process is to use. Raises EngineUnavailableError: there is no such context."""
    if host := os.environ.get("DOCKER_HOST"):
        return Endpoint(host)
    folder = own_folder()
    if folder is None:
        return Endpoint(DEFAULT)
    name = os.environ.get("DOCKER_CONTEXT") or str(_json(folder / "config.json").get("currentContext") or "")
    if name in _NO_CONTEXT:
        return Endpoint(DEFAULT)
    return _of_context(folder / "contexts", name)


def own_folder() -> Path | None:
    """The user's folder of Docker's settings. None: there is no home directory."""
    if named := os.environ.get("DOCKER_CONFIG"):
        return Path(named)
    with suppress(RuntimeError):
        return Path.home() / ".docker"
    return None


def _of_context(contexts: Path, name: str) -> Endpoint:
    key = sha256(name.encode()).hexdigest()
    found = _json(contexts / "meta" / key / "meta.json").get("Endpoints")
    docker = found.get("docker") if isinstance(found, dict) else None
    if not isinstance(docker, dict):
        message = f"docker context {name!r}: there is no such context in {contexts}"
        raise EngineUnavailableError(message, hint="`docker context ls` lists them, `docker context use` chooses one.")
    certificates = contexts / "tls" / key / "docker"
    return Endpoint(
        address=str(docker.get("Host") or DEFAULT),
        context=name,
        certificates=certificates if certificates.is_dir() else None,
        verified=not docker.get("SkipTLSVerify"),
    )


def _json(path: Path) -> dict[str, Any]:
    """The content. Empty: there is no such file, or it cannot be read; Docker's programs go on without it too."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
