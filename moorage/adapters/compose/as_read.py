"""The project as written, where Compose does not read it without replacing variables.

Without their values, Compose checks them as they stand: `pull_policy: ${POLICY}` is none of the policies, `include:
${FILE}` no file. Then the project is read with all variables replaced, and what the variables of published ports are is
found out by giving each of them a port of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moorage.errors import DefinitionError
from moorage.model.definition import FILE_NAMES, OVERRIDE_NAMES, Config, Source
from moorage.rules.variables import names_before_ports

_FILE = re.compile(r"[\w./+][\w./+-]*\.(?:ya?ml|json)\b")
_NAME = re.compile(r"^[\"']?name[\"']?[ \t]*:", re.MULTILINE)
_MOST_FILES = 100
_LONGEST = 1 << 20
_FIRST_PORT = 50_000


def as_read(source: Source, read: Callable[[Mapping[str, str], str | None], str]) -> Config:
    """The project with variables replaced, but for those that published ports consist of.

    `read` gives Compose's canonical YAML for an environment and a name (None: the project's own). Raises
    DefinitionError.
    """
    own = [path for path in _files(source) if path.is_file()]
    texts = list(_texts(own, source.directory))
    named = any(map(_NAME.search, texts[: len(own)]))
    name = None if named else "x"  # Compose cannot derive one from a directory called 日本
    project = _parsed(read({}, name))
    if not named:
        del project["name"]
    names = sorted({name for text in texts for name in names_before_ports(text)})
    if names:
        ports = dict(zip(names, _unused(project), strict=False))
        with suppress(DefinitionError):  # a variable means more than a port: its port moves, its value stays
            _put_back(project, _parsed(read(ports, name)), {port: name for name, port in ports.items()})
    return project


def _parsed(text: str) -> Config:
    import yaml  # type: ignore[import-untyped]  # costs as much as all else

    found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    if not isinstance(found, dict):
        raise TypeError(f"{type(found).__name__}, not a mapping")
    return found


def _files(source: Source) -> tuple[Path, ...]:
    return source.files or tuple(source.directory / name for name in (*FILE_NAMES, *OVERRIDE_NAMES))


def _texts(files: Sequence[Path], directory: Path) -> Iterator[str]:
    """The files, and then all whose names stand in them: included, extended, or not at all."""
    waiting = list(files)
    seen: set[Path] = set()
    while waiting and len(seen) < _MOST_FILES:
        path = waiting.pop(0)
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
        yield text
        waiting += [folder / name for name in _FILE.findall(text) for folder in (path.parent, directory)]


def _ports_of(project: Config) -> Iterator[dict[str, Any]]:
    for service in (project.get("services") or {}).values():
        yield from (service or {}).get("ports") or ()


def _unused(project: Config) -> Iterator[str]:
    used = {str(port.get("published")) for port in _ports_of(project)}
    return (str(port) for port in range(_FIRST_PORT, 1 << 16) if str(port) not in used)


def _put_back(project: Config, marked: Config, names: Mapping[str, str]) -> None:
    """Replace a published port by the variable that it comes from; an address that came with it goes too."""
    for port, other in zip(_ports_of(project), _ports_of(marked), strict=True):
        if name := names.get(str(other.get("published"))):
            port["published"] = f"${{{name}}}"
            if "host_ip" not in other:
                port.pop("host_ip", None)
