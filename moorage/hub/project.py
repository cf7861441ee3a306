"""The project of flows, tasks and blocks of this Moorage: finding it, loading and running its flows.

Prefect is imported only inside functions. It reads its settings from the environment, and from `.env`, `prefect.toml`
and `pyproject.toml` in the working directory, whenever it makes a settings object. The environment is the user's; the
working directory may be a project that somebody else wrote, and a logging configuration, for one, runs code. So
everything that imports Prefect runs in a directory of ours: `using` around `load_flow` and what it gives.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import moorage
from moorage.errors import DefinitionError, MoorageError
from moorage.hub.address import is_of
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import hub_home
from moorage.rules.environments import without_project
from moorage.settings import settings

if TYPE_CHECKING:
    from prefect import Flow

_PACKAGES = ("flows", "tasks", "blocks")
_CALM = {
    # Defaults: a user's own setting wins.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
_FIXED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
_QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # Otherwise, if the API dies, Prefect prints whole events between our progress lines.
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}

_AUTHORITIES = "PREFECT_API_SSL_CERT_FILE"
_NOBODY = Path(__file__).with_name("nobody.pem")
_PATHS = (
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "PREFECT_HOME",
    "PREFECT_PROFILES_PATH",
    "PREFECT_LOGGING_SETTINGS_PATH",
    "PREFECT_API_SSL_CERT_FILE",
    "SSL_CERT_FILE",
)
"""Paths that are read later, in another working directory."""


def project_directory() -> Path:
    """The directory with `flows/`, `tasks/`, `blocks/` and `prefect.yaml`.

    In a wheel this is `moorage/project/`, in a checkout the root of the repository. Raises MoorageError.
    """
    package = Path(moorage.__file__).resolve().parent
    for directory in (package / "project", package.parent):
        if (directory / "prefect.yaml").is_file() and (directory / "flows").is_dir():
            return directory
    raise MoorageError(
        f"{package}: the flows are missing", hint="Reinstall moorage: `pip install --force-reinstall moorage`."
    )


def flow_names() -> list[str]:
    """Names of all flows."""
    return sorted(file.stem for file in (project_directory() / "flows").glob("*.py") if not file.stem.startswith("_"))


def load_flow(name: str) -> Flow[..., Any]:
    """Load the flow `name` from `flows/<name>.py`.

    Puts the project's directory first on `sys.path`. A foreign package named `flows`, `tasks` or `blocks` (of another
    library, or in the working directory) is refused before any of its code runs. Raises MoorageError.
    """
    directory = project_directory()
    _put_first(directory)
    for package in _PACKAGES:
        _check_ours(package, directory)
    loaded: Flow[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    return loaded


def run_environment(address: HubAddress, *, quiet: bool = True) -> dict[str, str]:
    """The environment variables for running a flow against `address`.

    `quiet`: keep Prefect's own log off the console; it still goes to the API. If the hub is ours, results and profiles
    are kept in its folder.
    """
    calm = {key: os.environ.get(key, value) for key, value in _CALM.items()}
    places = {"PREFECT_API_URL": address.api_url, "PREFECT_UI_URL": address.ui_url}
    if address.managed:
        home = hub_home().prefect_home
        places |= {"PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    if address.auth:
        places["PREFECT_API_AUTH_STRING"] = address.auth
    places |= past_proxies(address) | _without_authorities(address)
    ours = {"PREFECT_LOGGING_EXTRA_LOGGERS": _loggers(), "MOORAGE_HOME": str(settings().home.expanduser().absolute())}
    # Relative ones count from where the command is called, not from where its flow or the worker runs.
    for name in ("compose", "dagger_cli"):
        if path := getattr(settings(), name):
            ours[f"MOORAGE_{name.upper()}"] = str(path)
    return {**calm, **_FIXED, **places, **ours, **(_QUIET if quiet else {})}


def _without_authorities(address: HubAddress) -> dict[str, str]:
    """Each client of Prefect's reads a file of certificates before it speaks plain HTTP: 150 of them take 15 ms.

    For our own hub, which has no TLS, a file with one, of an authority whose key nobody has.
    """
    plain = address.managed and address.api_url.startswith("http:")
    return {_AUTHORITIES: str(_NOBODY)} if plain and _AUTHORITIES not in os.environ else {}


def past_proxies(address: HubAddress) -> dict[str, str]:
    """Variables that keep requests to our own hub, which carry its secret, from going to a proxy."""
    if not address.managed:
        return {}
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [urlsplit(address.api_url).hostname or "", "127.0.0.1", "localhost", "::1"]
    names = [name.strip() for name in given.split(",")]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(dict.fromkeys(filter(None, [*names, *hosts]))))


def whole_environment(address: HubAddress) -> dict[str, str]:
    """The environment of a child process that runs flows: ours, plus `run_environment`, with our project importable."""
    paths = [str(project_directory()), os.environ.get("PYTHONPATH", "")]
    importable = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    own = without_foreign(without_project(os.environ), address)
    return {**own, **run_environment(address, quiet=False), **importable}


def without_foreign(environment: dict[str, str], address: HubAddress) -> dict[str, str]:
    """Remove variables that would make our own hub's Prefect use another server's profile or key."""
    foreign = ("PREFECT_PROFILE", "PREFECT_API_KEY") if address.managed else ()
    return {key: value for key, value in environment.items() if key not in foreign}


@contextmanager
def using(address: HubAddress) -> Iterator[None]:
    """Point Prefect in this process to `address`, in our own working directory while the block lasts.

    If Prefect is imported already, it keeps its settings. Raises MoorageError if they name another API,
    DefinitionError if a setting of Prefect's has no valid value.
    """
    with _at_home():
        if "prefect" in sys.modules:
            _check_same(address)
        kept = without_foreign(os.environ.copy(), address)
        for key in set(os.environ) - set(kept):
            del os.environ[key]
        os.environ.update(run_environment(address))
        _load_settings()
        yield


@contextmanager
def _at_home() -> Iterator[None]:
    """In the project's directory, as the worker and its runs; back again by descriptor, even if the name is gone."""
    for name in _PATHS:
        if value := os.environ.get(name):
            os.environ[name] = str(Path(value).expanduser().absolute())
    before = os.open(".", os.O_RDONLY | getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    try:
        os.chdir(project_directory())
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _load_settings() -> None:
    """Import Prefect's settings. Raises DefinitionError that names the one that has no valid value."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    hint = "Prefect reads it from the environment, or from a profile: `prefect config view` lists all."
    try:
        importlib.import_module("prefect.context")
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = str(wrong["loc"][-1]).upper() if wrong["loc"] else error.title
        named = [name for name in os.environ if name.startswith("PREFECT_") and name.endswith(f"_{field}")]
        key = named[0] if len(named) == 1 else field
        raise DefinitionError(f"{key}: {wrong['msg']}", key=key, hint=hint) from None
    except SettingsError as error:
        raise DefinitionError(f"a setting of Prefect's cannot be read: {error}", hint=hint) from None


def _check_same(address: HubAddress) -> None:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    current, record = (api.url or "").rstrip("/"), hub_home().server()
    if current != address.api_url and not (address.managed and record and is_of(record, current)):
        raise MoorageError(
            f"Prefect was imported before Moorage could point it to {address.api_url}; it uses {current or 'no API'}",
            hint=f"Set PREFECT_API_URL={address.api_url} before `import prefect`.",
        )
    if address.auth and (api.auth_string is None or api.auth_string.get_secret_value() != address.auth):
        raise MoorageError(
            f"Prefect was imported before Moorage could give it the password of {address.api_url}",
            hint='Call Moorage first, or run `eval "$(moorage hub env)"` before the program.',
        )


def _loggers() -> str:
    names = [name.strip() for name in os.environ.get("PREFECT_LOGGING_EXTRA_LOGGERS", "").split(",")]
    return ",".join(dict.fromkeys([*filter(None, names), "moorage"]))


def _put_first(directory: Path) -> None:
    wanted = str(directory)
    if sys.path[:1] != [wanted]:
        sys.path[:] = [wanted, *(entry for entry in sys.path if entry != wanted)]
        importlib.invalidate_caches()


def _check_ours(package: str, directory: Path) -> None:
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    if places and Path(places[0]).resolve() == directory / package:
        return
    origin = (found.origin or "".join(places[:1])) if found else "nowhere"
    raise MoorageError(
        f"the package {package!r} is not Moorage's; it comes from {origin}",
        hint="Run `moorage` in its own process, where no other package named flows, tasks or blocks is imported.",
    )
