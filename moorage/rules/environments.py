"""The environment of the programs that we start."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEYS_OF_THE_HUB = re.compile(
    r"(?:PREFECT|MOORAGE|ORION)_(?:\w+_)?"
    r"(?:AUTH|AUTH_STRING|KEY|PASSWORD|TOKEN|SECRET|CONNECTION_URL|CUSTOM_HEADERS)"
)


def for_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what opens the hub, another Prefect server or its database.

    Compose would put it into any container whose definition asks for it (`${PREFECT_API_AUTH_STRING}`), git hands it
    to hooks, Dagger to its engine: whoever has it can start containers, and so is root on the machine.
    """
    return {name: value for name, value in environment.items() if not _KEYS_OF_THE_HUB.fullmatch(name)}
