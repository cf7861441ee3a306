"""Artifacts of a test run: addresses, logs and state of all services, the history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moorage import bounded
from moorage.errors import HomeError, MoorageError
from moorage.interfaces import World
from moorage.model.state import Container, StackStatus
from moorage.rules import addresses
from moorage.work.definitions import generations
from moorage.work.queries.last_lines import last_lines as log_of

Write = Callable[[Path, str, str], object]
"""Writes a text into a file below a folder, as `adapters.files.write_beneath` does."""
_MOST_LINES = 100_000
"""Number of log lines per service in the artifacts: the log is held in memory."""


class Artifacts:
    """A directory for the artifacts of a run. None: nothing is written."""

    def __init__(self, directory: Path | None, write: Write) -> None:
        self._write = write
        self.directory = directory.absolute() if directory else None
        if self.directory:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                message = f"{directory}: {error.strerror or error}"
                raise HomeError(message, path=str(directory), hint="Name a writeable directory.") from None

    def write(self, name: str, text: str) -> None:
        """Write a file below the directory, readable only by its owner: logs may contain secrets. Raises OSError."""
        if self.directory:
            self._write(self.directory, name, text)

    def write_json(self, name: str, data: Any) -> None:
        """Write data as JSON."""
        self.write(name, json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def save_addresses(artifacts: Artifacts, status: StackStatus) -> None:
    """`ports.env` and `ports.json`: the addresses of each service."""
    lines = [f"{name}={value}" for name, value in addresses.variables(status).items()]
    artifacts.write("ports.env", "\n".join(lines) + "\n")
    artifacts.write_json("ports.json", addresses.as_data(status))


def save_services(world: World, stack: str, artifacts: Artifacts) -> None:
    """`logs/NAME.log` and `inspect/NAME.json` of each container, and the definition as applied; secrets hidden.

    Raises MoorageError when the engine no longer answers; what was written until then stays.
    """
    if artifacts.directory is None:
        return
    generation = generations.current(world, stack)
    hide = generations.censor(world, stack)
    if generation:
        artifacts.write_json("compose.json", hide(generation.config))
    for container in world.engine.observe(stack).containers:
        name = _file_name(container)
        artifacts.write(f"logs/{name}.log", hide(log_of(world, container.id, _MOST_LINES)))
        artifacts.write_json(f"inspect/{name}.json", hide(container.model_dump(mode="json")))


def save_failure(artifacts: Artifacts, error: MoorageError) -> dict[str, Any] | None:
    """`failure.json` and its logs, of a start that is already undone. None: there is no report."""
    if not (path := error.fields.get("report")):
        return None
    try:
        report: dict[str, Any] = bounded.json_of(Path(path), bounded.REPORT_BYTES)
    except (OSError, ValueError):
        return None
    artifacts.write_json("failure.json", report)
    for service in report.get("services") or ():
        if service.get("container"):
            name = re.sub(r"[^\w.-]", "_", str(service["container"]).removeprefix(f"{report.get('stack')}-"))
            artifacts.write(f"logs/{name}.log", "\n".join(service.get("log") or ()) + "\n")
            facts = {key: value for key, value in service.items() if key != "log"}
            artifacts.write_json(f"inspect/{name}.json", facts)
    return report


def last_lines(world: World, stack: str, lines: int) -> dict[str, str]:
    """The last lines of each service's log, with secrets hidden."""
    hide = generations.censor(world, stack)
    return {f"{c.service}-{c.number}": hide(log_of(world, c.id, lines)) for c in world.engine.observe(stack).containers}


def environment_of(base: Mapping[str, str], status: StackStatus, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command: ours, `more`, and the addresses of each service."""
    return {**base, **more, **addresses.variables(status)}


def _file_name(container: Container) -> str:
    return f"{container.service}-{container.number}"
