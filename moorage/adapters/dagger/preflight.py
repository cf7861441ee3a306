"""Checks whether Dagger can be used, without importing its SDK, starting its engine or downloading its CLI.

The SDK has no time-out for provisioning, and offline it tries for minutes. So everything is checked first.
"""

from __future__ import annotations

import importlib.metadata
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from moorage import bounded
from moorage.adapters.dagger.child import OLDEST_ENGINE
from moorage.adapters.dagger.session import RUNNER
from moorage.errors import MoorageError
from moorage.interfaces import Engine
from moorage.model.image import Availability
from moorage.rules.environments import for_programs
from moorage.rules.versions import at_least
from moorage.settings import Settings

CLI_VARIABLE = "_EXPERIMENTAL_DAGGER_CLI_BIN"
_REGISTRY = "registry.dagger.io"
_REGISTRY_PORT = 443
_LOOK_S = 2.0
_VERSION_S = 8.0
"""`dagger version` took 1.2 s on a machine with two busy processes for each core."""
_WHOLE_LOOK_S = 10.0
_GET_CLI = "Install the CLI (https://docs.dagger.io/install), or name it with MOORAGE_DAGGER_CLI."
_GET_SDK = "Install the SDK with `pip install 'moorage[dagger]'`."
_GET_ENGINE = (
    "Name a running engine with MOORAGE_DAGGER_RUNNER_HOST=unix:///PATH or tcp://HOST:PORT, "
    "or load its image into the Docker engine."
)


class _MissingError(Exception):
    """Something that Dagger needs is missing; the arguments are the reason and a hint."""


class DaggerLook:
    """Checks everything that a Dagger session needs."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._found: list[str] = []
        self._version = ""

    def preflight(self) -> Availability:
        """Whether a session could be opened; takes at most 10 s, even if name lookups or sockets would take longer."""
        answers: queue.SimpleQueue[Availability] = queue.SimpleQueue()
        threading.Thread(target=lambda: answers.put(self._look()), daemon=True, name="moorage-look").start()
        try:
            return answers.get(timeout=_WHOLE_LOOK_S)
        except queue.Empty:
            return self._answer(f"no answer within {_WHOLE_LOOK_S:g} s", _GET_ENGINE)

    def _look(self) -> Availability:
        try:
            self._sdk()
            if not self._session():
                self._cli()
                self._runner()
        except _MissingError as missing:
            reason, hint = missing.args
            return self._answer(reason, hint)
        return self._answer("", None)

    def environment(self) -> dict[str, str]:
        """Environment for the SDK. Raises nothing: `preflight` has reported what is missing."""
        chosen = {CLI_VARIABLE: next(iter(_clis(self._settings)), None), RUNNER: runner_host(self._settings)}
        return {name: str(value) for name, value in chosen.items() if value}

    def _answer(self, reason: str, hint: str | None) -> Availability:
        return Availability(
            backend="dagger",
            usable=not reason,
            version=self._version,
            found=tuple(self._found),
            reason=reason,
            hint=hint,
        )

    def _sdk(self) -> None:
        if _sdk_version() is None:
            self._found.append("SDK: not installed")
            raise _MissingError("its Python SDK is not installed", _GET_SDK)
        self._found.append(f"SDK: dagger-io {_sdk_version()}")

    def _session(self) -> bool:
        """True if there already is a session, of `dagger run`. Then neither CLI nor engine is needed."""
        port = os.environ.get("DAGGER_SESSION_PORT", "")
        if not port:
            return False
        self._found.append(f"session: DAGGER_SESSION_PORT={port}")
        hint = "Run it inside `dagger run`, or unset DAGGER_SESSION_PORT."
        if not os.environ.get("DAGGER_SESSION_TOKEN"):
            raise _MissingError("DAGGER_SESSION_PORT is set, but DAGGER_SESSION_TOKEN is not", hint)
        if why := _refused(("127.0.0.1", port)):
            raise _MissingError(f"the session of DAGGER_SESSION_PORT={port} does not answer: {why}", hint)
        return True

    def _cli(self) -> None:
        cli = next(iter(_clis(self._settings)), None)
        if cli is None:
            self._found.append(
                f"CLI: none; looked for $MOORAGE_DAGGER_CLI, ${CLI_VARIABLE}, {_cached()}, dagger on PATH"
            )
            raise _MissingError("there is no Dagger CLI", _GET_CLI)
        try:
            environment = {**for_programs(os.environ), "DO_NOT_TRACK": "1", "DAGGER_NO_NAG": "1"}
            # It looks for a project and its git repository where it is started.
            done = bounded.run([str(cli), "version"], environment, _VERSION_S, cwd="/")
        except subprocess.TimeoutExpired:
            self._found.append(f"CLI: {cli}: no answer")
            raise _MissingError(f"{cli} version: no answer within {_VERSION_S:g} s", _GET_CLI) from None
        except OSError as error:
            self._found.append(f"CLI: {cli}: {error.strerror}")
            raise _MissingError(f"{cli}: {error.strerror}", _GET_CLI) from None
        self._version = next(iter(re.findall(r"v?(\d+\.\d+\.\d+\S*)", done.stdout)), "")
        self._found.append(f"CLI: {cli} {self._version or '(version unknown)'}")
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-300:]
            raise _MissingError(f"{cli} version: exit code {done.returncode}: {said}", _GET_CLI)
        if not at_least(self._version, OLDEST_ENGINE):
            oldest = ".".join(map(str, OLDEST_ENGINE))
            raise _MissingError(f"the CLI is {self._version}, but {oldest} or later is needed", _GET_CLI)

    def _runner(self) -> None:
        host = runner_host(self._settings)
        if host is None:
            self._own_runner()
            return
        self._found.append(f"engine: {host}")
        if why := _unreachable(host):
            raise _MissingError(f"the engine at {host} cannot be reached: {why}", _GET_ENGINE)

    def _own_runner(self) -> None:
        """The CLI would start an engine as a container, which needs the Docker client, a Docker engine and an image."""
        image = f"{_REGISTRY}/engine:v{self._version}"
        try:
            version = self._engine.ping()
            there = self._engine.image(image) is not None
        except MoorageError as error:
            self._found.append("engine: none named, and no Docker engine to run one")
            raise _MissingError(str(error), _GET_ENGINE) from None
        if shutil.which("docker") is None:
            self._found.append("engine: none named; the CLI needs the `docker` command to start one")
            raise _MissingError("the CLI cannot start an engine without the `docker` command", _GET_ENGINE)
        if not there and (why := _refused((_REGISTRY, _REGISTRY_PORT))):
            self._found.append(f"engine: none named; there is no image {image}; {_REGISTRY}: {why}")
            raise _MissingError(
                f"the image of its engine is missing, and {_REGISTRY} cannot be reached: {why}", _GET_ENGINE
            )
        self._found.append(f"engine: the CLI starts {image} on Docker Engine {version}")


def runner_host(settings: Settings) -> str | None:
    """The engine that was named. None: no engine was named, so the CLI starts one."""
    return settings.dagger_runner_host or os.environ.get(RUNNER) or None


def _clis(settings: Settings) -> Iterator[str]:
    """Paths of the CLI: the one that was named, even if it is missing; else the SDK's own or that on PATH."""
    if named := str(settings.dagger_cli or os.environ.get(CLI_VARIABLE) or ""):
        yield str(Path(named).absolute()) if os.sep in named else named
        return
    if (cached := _cached()).is_file():
        yield str(cached)
    if on_path := shutil.which("dagger"):
        yield on_path


def _cached() -> Path:
    """Where the SDK stores the CLI that it downloads (dagger/provisioning/_download.py)."""
    named = os.environ.get("XDG_CACHE_HOME", "").strip()
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path()
    return folder / "dagger" / f"dagger-{_sdk_version()}"


def _sdk_version() -> str | None:
    """Version of the installed SDK, from its metadata: a folder called `dagger` is not the SDK. None: not installed."""
    try:
        return importlib.metadata.version("dagger-io")
    except importlib.metadata.PackageNotFoundError:
        return None


def _unreachable(host: str) -> str | None:
    """Why a runner host does not answer. None: it answers, or only the CLI can reach it (`docker-container://`)."""
    parts = urlsplit(host)
    if parts.scheme == "unix":
        return _refused(parts.path)
    if parts.scheme == "tcp":
        try:
            return _refused((parts.hostname or "", parts.port or 0))
        except ValueError as error:
            return str(error)
    return None if parts.scheme and parts.netloc else "it is not an address such as unix:///PATH or tcp://HOST:PORT"


def _refused(place: str | tuple[str, object]) -> str | None:
    """Why no connection can be made there. None: it can."""
    try:
        if isinstance(place, str):
            with socket.socket(socket.AF_UNIX) as looker:
                looker.settimeout(_LOOK_S)
                looker.connect(place)
        else:
            with socket.create_connection((place[0], int(str(place[1]))), timeout=_LOOK_S):
                pass
    except TimeoutError:
        return f"no answer within {_LOOK_S:g} s"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
