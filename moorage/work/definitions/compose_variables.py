"""What `COMPOSE_…` variables choose of a project, where options do not: files, profiles, env files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import NamedTuple

from moorage import bounded
from moorage.errors import DefinitionError
from moorage.rules.secret_files import assigned

_FILE, _SEPARATOR, _PROFILES = "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES"
_ENV_FILES, _NO_ENV_FILE = "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE"
_YES, _NO = frozenset({"1", "t", "true"}), frozenset({"", "0", "f", "false"})
ENV_FILE = ".env"


class Choices(NamedTuple):
    """Paths are as written: relative to the working directory."""

    files: tuple[str, ...]
    profiles: tuple[str, ...]
    env_files: tuple[str, ...]


def choices(
    environment: Mapping[str, str],
    directory: Path,
    files: Sequence[str],
    profiles: Sequence[str],
    env_files: Sequence[str],
) -> Choices:
    """Options, completed by the environment, and that by the env files; `directory` is where `.env` is looked for.

    Profiles that an env file names are left to Compose, which reads it anyway. Raises DefinitionError.
    """
    env_files = tuple(env_files) or _listed(environment.get(_ENV_FILES, ""), ",") or _none_wanted(environment)
    if not files:
        read = (directory / file for file in env_files or (ENV_FILE,))
        variables = {**_set_in(read, environment), **environment}
        files = _listed(variables.get(_FILE, ""), variables.get(_SEPARATOR) or os.pathsep)
    profiles = tuple(profiles) or _listed(environment.get(_PROFILES, ""), ",")
    return Choices(tuple(files), profiles, env_files)


def env_files_from(folders: Sequence[Path], project: Path) -> tuple[str, ...]:
    """The env files of a project that was found from other folders: its own, then theirs, the last one first in rank.

    Empty: only the project's own can be there, and Compose finds it.
    """
    known = [folder / ENV_FILE for folder in dict.fromkeys((project, *folders))]
    there = tuple(str(file) for file in known if os.path.isfile(file))
    return there if any(Path(file).parent != project for file in there) else ()


def _none_wanted(environment: Mapping[str, str]) -> tuple[str, ...]:
    """An empty env file in place of `.env`, if that is switched off."""
    value = environment.get(_NO_ENV_FILE, "").lower()
    if value not in _YES | _NO:
        message = f"{_NO_ENV_FILE}: {value!r} is neither true nor false"
        raise DefinitionError(message, key=_NO_ENV_FILE, hint="This is an environment variable.")
    return (os.devnull,) if value in _YES else ()


def _listed(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def beginning(file: Path) -> str:
    """What an env file says, as far as it is read; nothing of one that is not there."""
    with suppress(OSError):
        return bounded.beginning_of(file, bounded.TEXT_BYTES)[0].decode(errors="replace")
    return ""


def _set_in(files: Iterable[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """The two variables that say which files to read, so that Compose cannot be asked for them."""
    found: dict[str, str] = {}
    for file in files:
        text = beginning(file)
        if _FILE not in text:
            continue
        for name, value in assigned(text):
            found[name] = Template(value).safe_substitute({**found, **environment})
    return {name: value for name, value in found.items() if name in (_FILE, _SEPARATOR)}
