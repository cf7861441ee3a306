"""What must not be shown of a definition although Compose's JSON does not hold it: files, and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from moorage.interfaces import World
from moorage.model.definition import Config, Hidden, Source
from moorage.rules import injecting, reading, secret_files

_NOT_SHOWN = "so its content cannot be hidden where a service prints it"


def of_definition(
    world: World, source: Source, raw: Config, config: Config, values: Mapping[str, str]
) -> tuple[Hidden, tuple[str, ...]]:
    """The texts to hide, and notices about files that cannot be read or not as a whole.

    `values`: those that secrets and configs have from the environment, by `secrets.key`. Reads files: not for the
    event loop.
    """
    texts, why = of_files(world, config)
    of_environment = {
        kind: tuple(value for key, value in values.items() if key.startswith(f"{kind}.")) for kind in injecting.KINDS
    }
    marked, left = _of_marked(world, source, raw, config)
    return texts + Hidden(**of_environment) + Hidden(secrets=marked), (*why, *left)


def of_files(world: World, config: Config) -> tuple[Hidden, list[str]]:
    """What the files of Compose secrets and configs hold now, and why that is not all."""
    texts: dict[str, list[str]] = {"secrets": [], "configs": []}
    notices = []
    for kind, found in texts.items():
        for name, path in secret_files.with_files(config, kind).items():
            text, why = world.text_of(Path(path))
            found.append(text)
            if why:
                notices.append(f"{kind}.{name}.file: {path}: {why}, {_NOT_SHOWN}")
    return Hidden(secrets=tuple(texts["secrets"]), configs=tuple(texts["configs"])), notices


def _of_marked(world: World, source: Source, raw: Config, config: Config) -> tuple[tuple[str, ...], list[str]]:
    """All values of files that are secret as a whole: env files by name, and what `x-moorage.secret_files` names."""
    values: list[str] = []
    notices: list[str] = []
    users = _users_of_env_files(world, source, raw)
    named = {source.directory / path for path in reading.secret_files(config)}
    by_name = {path for path in (*users, *source.env_files) if _says_secret(path, source.directory)}
    for path in sorted(named | by_name):
        text, why = world.text_of(path)
        if why and (path in named or os.path.exists(path)):  # one that is not `required` need not be there
            notices.append(f"{path}: {why}, {_NOT_SHOWN}")
        assigned = list(secret_files.assigned(text))
        values += [value for _, value in assigned]
        values += _as_resolved(config, users.get(path, ()), {name for name, _ in assigned})
        if path not in users and path not in source.env_files:
            values += [text, *secret_files.values_within(text)]
    return tuple(dict.fromkeys(values)), notices


def _says_secret(path: Path, directory: Path) -> bool:
    """Where the project itself lies says nothing."""
    inside = path.relative_to(directory) if path.is_relative_to(directory) else PurePath(path.name)
    return secret_files.says_secret(inside)


def _users_of_env_files(world: World, source: Source, raw: Config) -> dict[Path, list[str]]:
    """Env file → the services that read it."""
    written = secret_files.env_files(raw)
    paths = list(written)
    if any("$" in path for path in paths):
        paths = reading.unescaped(world.compose.interpolate(source, {"paths": paths}, {})["paths"])
    return {source.directory / path: users for path, users in zip(paths, written.values(), strict=True)}


def _as_resolved(config: Config, services: Iterable[str], names: set[str]) -> list[str]:
    """What Compose has made of variables: quotes and escapes undone, other variables replaced."""
    found = []
    for service in services:
        environment = ((config.get("services") or {}).get(service) or {}).get("environment") or {}
        found += [str(value) for name, value in environment.items() if name in names and value is not None]
    return reading.unescaped(found)  # type: ignore[no-any-return]
