"""The environment of the programs that we start."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEYS_OF_THE_HUB = re.compile(
    r"(?:PREFECT|MOORAGE|ORION)_(?:\w+_)?"
    r"(?:AUTH|AUTH_STRING|KEY|PASSWORD|TOKEN|SECRET|CONNECTION_URL|CUSTOM_HEADERS)"
)
_CHOICES = frozenset(
    {
        "COMPOSE_DISABLE_ENV_FILE",
        "COMPOSE_ENV_FILES",
        "COMPOSE_FILE",
        "COMPOSE_PATH_SEPARATOR",
        "COMPOSE_PROFILES",
        "COMPOSE_PROJECT_NAME",
    }
)
"""What they choose of a project is part of a `Source`, and so is the same wherever its definition is read."""
_TOLD_TO_COMPOSE = re.compile(r"COMPOSE_(?:PARALLEL_LIMIT|HTTP_TIMEOUT|EXPERIMENTAL_\w+)")
"""Those that change how Compose works, but neither what it does nor what it says."""
_PLAIN = {"COMPOSE_ANSI": "never", "COMPOSE_COMPATIBILITY": "false", "COMPOSE_STATUS_STDOUT": "false"}
"""Set for each call, because Compose takes them from a project's `.env` too."""


def for_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what opens the hub, another Prefect server or its database.

    Compose would put it into any container whose definition asks for it (`${PREFECT_API_AUTH_STRING}`), git hands it
    to hooks, Dagger to its engine: whoever has it can start containers, and so is root on the machine.
    """
    return {name: value for name, value in environment.items() if not _KEYS_OF_THE_HUB.fullmatch(name)}


def without_project(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what chooses a compose project: for processes that work on many."""
    return {name: value for name, value in environment.items() if name not in _CHOICES}


def for_reading(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which Compose reads a definition that a `Source` describes.

    Everything else named `COMPOSE_…` stays: a file may use it as a variable of its own.
    """
    kept = without_project(environment)
    kept.pop("COMPOSE_PROGRESS", None)  # `json` would have errors in JSON
    return {**kept, **_PLAIN}


def for_own_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which Compose creates from a generation or builds: all has been chosen, nothing is left open.

    `COMPOSE_IGNORE_ORPHANS` or `COMPOSE_ENV_FILES` would end the call, `COMPOSE_COMPATIBILITY` name containers
    otherwise.
    """
    kept = {
        name: one
        for name, one in environment.items()
        if not name.startswith("COMPOSE_") or _TOLD_TO_COMPOSE.match(name)
    }
    return {**kept, **_PLAIN}
