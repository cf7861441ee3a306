"""The SDK's client as we use it: one version of the API, time limits of a busy machine, TLS and ssh as Docker's own.

The SDK itself would speak whatever version the engine has newest, so that each engine answers in other words. We speak
one that all engines from 25 to 29 know, and to an older one its own newest.
"""

from __future__ import annotations

import math
import ssl
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from docker.utils import version_lt

from moorage.adapters.docker_context import Endpoint
from moorage.adapters.engine.ssh import SshAdapter
from moorage.adapters.patience import patient_s
from moorage.rules import engines

API = "1.44"
"""The oldest version that engine 29 answers; `tests/contract/test_engine_versions.py` has what we take from answers."""
_SSH = "ssh://"
_THROUGH_SSH = "http+docker://by-ssh"


_MOST = 64
"""Connections that are kept for the next calls, of as many threads."""


class _OnePool(UnixHTTPAdapter):
    """The SDK's way to a socket. Its own makes a pool of connections for each URL, and a connection for most calls."""

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        """From the one pool."""
        return super().get_connection("", proxies)


class PatientClient(docker.APIClient):
    """The SDK's client, whose time limit is that of a machine as busy as this one is when a call begins."""

    limit_s: float
    product: str
    """What the engine is, in its own words: `Docker Engine`, `Podman Engine`."""
    is_rootless: bool
    """Whether RootlessKit is among its parts, as in Docker's own way to do without root."""
    _custom_adapter: Any = None
    """Of the SDK: what it has mounted for an engine that is not reached by TCP, where it sets nothing."""
    patient = False
    """Not while it connects: that is tried again."""

    def __init__(self, endpoint: Endpoint, limit_s: float) -> None:
        """Asks the engine for its versions. `limit_s`: how long it may take to answer."""
        far = endpoint.address.startswith(_SSH)
        options: dict[str, Any] = {"base_url": "http://localhost:80" if far else endpoint.address}
        if endpoint.certificates and not far:
            options["tls"] = _tls(endpoint)
        super().__init__(**options, version=API, timeout=math.ceil(limit_s), max_pool_size=_MOST)
        if "tls" in options and endpoint.verified and not endpoint.authority:
            self.verify = _trusted_here()
        if far:
            self._custom_adapter = SshAdapter(endpoint.address)
            self.mount("http+docker://", self._custom_adapter)
            self.base_url = _THROUGH_SSH
        elif isinstance(its := self.get_adapter(self.base_url), UnixHTTPAdapter):
            self._custom_adapter = _OnePool(its.socket_path, math.ceil(limit_s), max_pool_size=_MOST)
            self.mount("http+docker://", self._custom_adapter)
        # Proxies and passwords of `~/.netrc` are for hosts. Looking them up is a fifth of a call to a socket.
        self.trust_env = self._custom_adapter is None
        said = self.version(api_version=False)
        self.product = _product(said)
        self.is_rootless = any(one.get("Name") == "rootlesskit" for one in said.get("Components") or ())
        self._version = _agreed(said)

    def merge_environment_settings(self, *asked: Any) -> Any:
        """Proxies by the environment; but its `REQUESTS_CA_BUNDLE` has certificates of websites, not of engines."""
        return {**super().merge_environment_settings(*asked), "verify": self.verify}

    @property
    def timeout(self) -> int:
        """The limit of the next call, in seconds."""
        return math.ceil(patient_s(self.limit_s) if self.patient else self.limit_s)

    @timeout.setter
    def timeout(self, value: float) -> None:
        self.limit_s = value


def _product(said: dict[str, Any]) -> str:
    """Docker calls itself just `Engine`, and before 18.09 nothing."""
    name = str(next(iter(said.get("Components") or [{}])).get("Name") or "")
    return engines.DOCKER if name in ("", "Engine") else name


def _agreed(said: dict[str, Any]) -> str:
    """The version to speak; with an engine that no longer knows ours, the oldest that it knows."""
    newest, oldest = str(said["ApiVersion"]), str(said.get("MinAPIVersion") or API)
    if version_lt(newest, API):
        return newest
    return oldest if version_lt(API, oldest) else API


def _tls(endpoint: Endpoint) -> TLSConfig:
    """Raises DockerException: the certificate that the engine's is checked against is not there."""
    if not endpoint.verified:
        return TLSConfig(client_cert=endpoint.pair, verify=False)
    authority = endpoint.authority
    if authority and not Path(authority).is_file():
        message = f"no such file: {authority}; DOCKER_CERT_PATH names the folder that it is looked for in"
        raise DockerException(message)
    return TLSConfig(client_cert=endpoint.pair, ca_cert=authority, verify=True)


def _trusted_here() -> str | bool:
    """The certificates that this machine trusts, a file or a folder. True: `requests` has to bring its own."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True
