"""Which engine Docker's own programs talk to: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of `config.json`.

Compose looks there by itself, the SDK does not: both are told the same, so that what one creates the other finds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moorage import bounded
from moorage.errors import EngineUnavailableError

DEFAULT = "unix:///var/run/docker.sock"
_NO_CONTEXT = ("", "default")
_CA = "ca.pem"
_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS", "DOCKER_TLS_VERIFY")
_LOCAL = frozenset({"", "unix", "fd", "npipe"})


@dataclass(frozen=True)
class Endpoint:
    """An engine's address, and how to get in."""

    address: str
    context: str | None = None
    """The context that it is taken from. None: from `DOCKER_HOST`, or it is Docker's default."""
    certificates: Path | None = None
    """Folder with `ca.pem`, `cert.pem` and `key.pem`, as far as there are any. None: it is spoken to without TLS."""
    verified: bool = True
    """False: the engine's certificate is not to be checked."""

    @property
    def pair(self) -> tuple[str, str] | None:
        """Certificate and key of the client. None: there are none."""
        found = tuple(str(self.certificates / name) for name in ("cert.pem", "key.pem")) if self.certificates else ()
        return (found[0], found[1]) if found and all(map(os.path.isfile, found)) else None

    @property
    def authority(self) -> str | None:
        """The file of certificates that the engine's own is checked against, if `verified`.

        None: those that the machine trusts, as Docker's programs have it for a context without `ca.pem`.
        """
        if self.certificates is None or (self.context is not None and not self._has_authority):
            return None
        return str(self.certificates / _CA)

    @property
    def _has_authority(self) -> bool:
        return self.certificates is not None and (self.certificates / _CA).is_file()

    def environment(self) -> dict[str, str]:
        """The variables that tell Docker's programs the same. Empty: they have been told.

        What is left in the environment of another engine's TLS is overruled: a context has its own, or none. Variables
        cannot say that there is no `ca.pem`: it is looked for wherever there is TLS.
        """
        if self.context is None:
            return {}
        secure = self.certificates is not None
        if secure and not self._has_authority:
            return {"DOCKER_CONTEXT": self.context, "DOCKER_HOST": ""}
        return {
            "DOCKER_HOST": self.address,
            "DOCKER_CERT_PATH": str(self.certificates or ""),
            "DOCKER_TLS": "1" if secure else "",
            "DOCKER_TLS_VERIFY": "1" if secure and self.verified else "",
        }

    @property
    def machine(self) -> str | None:
        """Name of the machine that the engine is on. None: it is this one."""
        address = urlsplit(self.address)
        host = address.hostname or ""
        return None if address.scheme in _LOCAL or _is_here(host) else host


class ChosenEngine:
    """The engine of one world: found out when it is first asked for, and the same from then on.

    So a context that somebody else switches meanwhile does not lead one half of a run to another engine.
    """

    @cached_property
    def endpoint(self) -> Endpoint:
        """Raises EngineUnavailableError: there is no such context."""
        return endpoint()


def variables() -> dict[str, str]:
    """Those of this process's environment that say which engine it is to use."""
    return {name: value for name in _VARIABLES if (value := os.environ.get(name)) is not None}


def endpoint(given: Mapping[str, str] | None = None) -> Endpoint:
    """The engine that a process with these variables is to use. None: this process.

    Raises EngineUnavailableError: there is no such context.
    """
    told = variables() if given is None else given
    folder = Path(named) if (named := told.get("DOCKER_CONFIG")) else own_folder()
    if host := told.get("DOCKER_HOST"):
        return Endpoint(host, **_tls_of(told, folder))
    if folder is None:
        return Endpoint(DEFAULT)
    name = told.get("DOCKER_CONTEXT") or str(_json(folder / "config.json").get("currentContext") or "")
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


def _tls_of(told: Mapping[str, str], folder: Path | None) -> dict[str, Any]:
    """As Docker's programs take it: a folder of certificates alone does not switch TLS on."""
    verified = bool(told.get("DOCKER_TLS_VERIFY"))
    named = told.get("DOCKER_CERT_PATH")
    certificates = Path(named) if named else folder
    if not (verified or told.get("DOCKER_TLS")) or certificates is None:
        return {}
    return {"certificates": certificates, "verified": verified}


def _of_context(contexts: Path, name: str) -> Endpoint:
    key = sha256(name.encode()).hexdigest()
    found = _json(contexts / "meta" / key / "meta.json").get("Endpoints")
    docker = found.get("docker") if isinstance(found, dict) else None
    if not isinstance(docker, dict):
        message = f"docker context {name!r}: there is no such context in {contexts}"
        raise EngineUnavailableError(message, hint="`docker context ls` lists them, `docker context use` chooses one.")
    certificates, unchecked = contexts / "tls" / key / "docker", bool(docker.get("SkipTLSVerify"))
    secure = certificates.is_dir() or unchecked
    return Endpoint(
        address=str(docker.get("Host") or DEFAULT),
        context=name,
        certificates=certificates if secure else None,
        verified=not unchecked,
    )


def _json(path: Path) -> dict[str, Any]:
    """The content. Empty: there is no such file, or it cannot be read; Docker's programs go on without it too."""
    with suppress(OSError, ValueError):
        found = bounded.json_of(path)
        return found if isinstance(found, dict) else {}
    return {}


def _is_here(host: str) -> bool:
    """Whether a host is this machine: one can bind to its address. A name that nobody knows is another machine's."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind(address)
    except OSError:
        return False
    return True
