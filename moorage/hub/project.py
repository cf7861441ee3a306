"""The project of flows, tasks and blocks that belongs to this Moorage: where it is, how its flows are loaded and run.

Prefect is imported inside functions only, and reads its settings from the environment when it is imported: hence `use`
first, `load_flow` after it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moorage
from moorage.errors import MoorageError
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import hub_home
from moorage.settings import settings

if TYPE_CHECKING:
    from prefect import Flow

_PACKAGES = ("flows", "tasks", "blocks")
_CALM = {
    # What a user may well have set otherwise; then that stands.
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
    # Else an API that has died prints whole events between the lines of our progress.
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}


def project_directory() -> Path:
    """The directory of `flows/`, `tasks/`, `blocks/` and `prefect.yaml`.

    In a wheel `moorage/project/`, in a checkout the root of the repository. Raises MoorageError.
    """
    package = Path(moorage.__file__).resolve().parent
    for directory in (package / "project", package.parent):
        if (directory / "prefect.yaml").is_file() and (directory / "flows").is_dir():
            return directory
    raise MoorageError(
        f"{package}: its flows are missing", hint="Install moorage again: `pip install --force-reinstall`."
    )


def flow_names() -> list[str]:
    """The flows that there are."""
    return sorted(file.stem for file in (project_directory() / "flows").glob("*.py") if not file.stem.startswith("_"))


def load_flow(name: str) -> Flow[..., Any]:
    """The flow `name` of `flows/<name>.py`.

    The project's directory goes first on `sys.path`; a foreign package called `flows`, `tasks` or `blocks` (of another
    library, of the working directory) is refused before any of its code runs. Raises MoorageError.
    """
    directory = project_directory()
    _put_first(directory)
    for package in _PACKAGES:
        _check_ours(package, directory)
    loaded: Flow[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    return loaded


def run_environment(address: HubAddress, *, quiet: bool = True) -> dict[str, str]:
    """The environment variables with which Prefect runs a flow against `address`.

    `quiet`: nothing of Prefect's own log on the console; it still goes to the API. Results and profiles stay in the
    hub's folder when the hub is ours.
    """
    calm = {key: os.environ.get(key, value) for key, value in _CALM.items()}
    places = {"PREFECT_API_URL": address.api_url, "PREFECT_UI_URL": address.ui_url}
    if address.managed:
        home = hub_home().prefect_home
        places |= {"PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    if address.auth:
        places["PREFECT_API_AUTH_STRING"] = address.auth
    ours = {"PREFECT_LOGGING_EXTRA_LOGGERS": _loggers(), "MOORAGE_HOME": str(settings().home.expanduser().absolute())}
    return {**calm, **_FIXED, **places, **ours, **(_QUIET if quiet else {})}


def whole_environment(address: HubAddress) -> dict[str, str]:
    """What a child process that runs flows gets: our environment, `run_environment` over it, our project importable."""
    paths = [str(project_directory()), os.environ.get("PYTHONPATH", "")]
    importable = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**without_foreign(os.environ.copy(), address), **run_environment(address, quiet=False), **importable}


def without_foreign(environment: dict[str, str], address: HubAddress) -> dict[str, str]:
    """Take out what would point a Prefect of our own hub to another server's profile or key."""
    foreign = ("PREFECT_PROFILE", "PREFECT_API_KEY") if address.managed else ()
    return {key: value for key, value in environment.items() if key not in foreign}


def use(address: HubAddress) -> None:
    """Point this process's Prefect to `address`. Call it before Prefect is imported.

    A Prefect that is imported already keeps its settings: no harm if they name the same API, else MoorageError.
    """
    if "prefect" in sys.modules:
        _check_same(address)
    kept = without_foreign(os.environ.copy(), address)
    for key in set(os.environ) - set(kept):
        del os.environ[key]
    os.environ.update(run_environment(address))


def _check_same(address: HubAddress) -> None:
    from prefect.settings import get_current_settings

    current = (get_current_settings().api.url or "").rstrip("/")
    if current != address.api_url:
        raise MoorageError(
            f"Prefect was imported before Moorage could point it to {address.api_url}; it uses {current or 'no API'}",
            hint=f"Set PREFECT_API_URL={address.api_url} before `import prefect`.",
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
        f"the package {package!r} is not Moorage's but that of {origin}",
        hint="Run `moorage` in a process of its own, with nothing else called flows, tasks or blocks imported.",
    )
