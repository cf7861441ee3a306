"""What Prefect makes of the environment when it is imported: its settings, and its logging.

Making it takes longer than most else of a command. Where the environment is known before, it is made before. Prefect
is imported only inside functions: this module does not bring it along.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FRESH = "prefect.main"
"""Its code sets up logging from the settings: it is run anew."""
_SETTING = re.compile("PREFECT_(?!_)")
"""With two underscores it is something that Prefect tells one process."""
_SETTINGS_FILES = ("prefect.toml", "pyproject.toml", ".env")
"""In the directory of a process: https://docs.prefect.io/v3/concepts/settings-and-profiles."""


@dataclass(frozen=True)
class Sources:
    """What settings come from. Where it is the same, they are the same."""

    variables: dict[str, str]
    files: dict[str, tuple[int, int, int]]
    """Path → size, time and inode."""


def sources() -> Sources:
    """Those of this process, in its directory."""
    from prefect.settings import get_current_settings

    now = get_current_settings()
    files = {}
    for path in (now.profiles_path, now.logging.config_path, *map(Path, _SETTINGS_FILES)):
        with suppress(OSError):
            found = Path(path).stat()
            files[str(path)] = (found.st_size, found.st_mtime_ns, found.st_ino)
    return Sources({key: value for key, value in os.environ.items() if key == "HOME" or _SETTING.match(key)}, files)


def renew() -> None:
    """Make settings and logging of the environment as it is now."""
    from prefect import context

    context.refresh_global_settings_context()
    _take_down_logging()
    sys.modules.pop(_FRESH, None)
    importlib.import_module(_FRESH)


@dataclass(frozen=True)
class Made:
    """What was made of one environment before somebody came who has it."""

    sources: Sources
    settings: Any
    """Prefect's context of settings."""
    logging: dict[str, Any]
    """The configuration of the logging, which has not been set up."""

    def take(self) -> bool:
        """Use it here. False: the environment is another one, and nothing has been done."""
        from prefect import context

        before = context.GLOBAL_SETTINGS_CONTEXT
        context.GLOBAL_SETTINGS_CONTEXT = self.settings
        if sources() != self.sources:
            context.GLOBAL_SETTINGS_CONTEXT = before
            return False
        _set_up_logging(self.logging)
        return True


def made_for(variables: Mapping[str, str]) -> Made:
    """Make it for an environment of such variables; this process keeps what it has. Raises what Prefect raises."""
    from prefect import context
    from prefect.logging import configuration

    kept = context.GLOBAL_SETTINGS_CONTEXT
    with environment(variables):
        try:
            context.refresh_global_settings_context()
            path = Path(context.GLOBAL_SETTINGS_CONTEXT.settings.logging.config_path)
            config = configuration.load_logging_config(
                path if path.exists() else configuration.DEFAULT_LOGGING_SETTINGS_PATH
            )
            return Made(sources(), context.GLOBAL_SETTINGS_CONTEXT, config)
        finally:
            context.GLOBAL_SETTINGS_CONTEXT = kept


def without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that say nothing of Prefect's settings."""
    return {key: value for key, value in variables.items() if not _SETTING.match(key)}


def _set_up_logging(config: dict[str, Any]) -> None:
    """As Prefect does, with a configuration that has been read: reading it takes Prefect a third of a second."""
    from prefect.logging import configuration

    _take_down_logging()
    reading = configuration.load_logging_config
    configuration.load_logging_config = lambda path: deepcopy(config)  # noqa: ARG005
    try:
        configuration.setup_logging()
    finally:
        configuration.load_logging_config = reading


def _take_down_logging() -> None:
    """Loggers that Prefect's settings name beside its own would keep the handlers that it gave them, and log twice."""
    from prefect.logging import configuration

    given = tuple(logging.getLogger("prefect.extra").handlers)
    for logger in logging.getLogger().manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = [handler for handler in logger.handlers if handler not in given]
    configuration.PROCESS_LOGGING_CONFIG.clear()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process has another environment while the block lasts."""
    before = os.environ.copy()
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
