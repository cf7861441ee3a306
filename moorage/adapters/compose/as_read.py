"""The project as written, where Compose does not read it without replacing variables.

Without their values, Compose checks them as they stand: `pull_policy: ${POLICY}` is none of the policies, `include:
${FILE}` no file. Then the project is read with all variables replaced, what the variables of published ports are is
found out by giving each of them a port of its own, and what secrets of included files are by reading their env files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from moorage import bounded
from moorage.adapters.project_files import text_of
from moorage.errors import DefinitionError
from moorage.interfaces import Compose
from moorage.model.definition import FILE_NAMES, OVERRIDE_NAMES, Config, Source
from moorage.rules import injecting, published
from moorage.rules.variables import names_before_ports

Read = Callable[[Mapping[str, str], str | None], str]
"""Compose's canonical YAML for an environment and a name (None: the project's own)."""
_WORD = re.compile(r"[\w./+-]+")
_ENDING = re.compile(r"\.(?:ya?ml|json)\b")
_NAME = re.compile(r"^[\"']?name[\"']?[ \t]*:", re.MULTILINE)
_TEXTS = frozenset({"timestamp", "value", "merge"})
_OTHERS = re.compile(r"\b(?:include|extends)\b")
_MOST_FILES = 100
_LARGEST_FILE = 16 << 20
"""100 000 services take 3 MiB."""
MOST_LEVELS = 100
"""Deepest that mappings and lists may be in each other; Compose's own keys come to nine."""
_FIRST_PORT = 50_000


def as_read(compose: Compose, source: Source, read: Read) -> Config:
    """The project with variables replaced, but for those that published ports consist of. Raises DefinitionError."""
    own = [path for path in _files(source) if os.path.isfile(path)]
    texts = dict(_texts(own, source.directory))
    named = any(_NAME.search(texts[path]) for path in own)
    name = None if named else "x"  # Compose cannot derive one from a directory called 日本
    try:
        project = parsed(read({}, name))
    except DefinitionError as error:
        raise _with_services(error, compose, source, texts.values()) from None
    if not named:
        del project["name"]
    _mark_ports(project, sorted({one for text in texts.values() for one in names_before_ports(text)}), read, name)
    _add_values(project, compose, source, texts)
    return project


def parsed(text: str) -> Config:
    """Compose's YAML, which quotes the texts that it would itself take for something else, but not `=`."""
    import yaml  # type: ignore[import-untyped]  # costs as much as all else

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] not in _TEXTS]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        found = yaml.load(text, Loader=Loader)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise too_deep() from None
    if not isinstance(found, dict):
        raise TypeError(f"{type(found).__name__}, not a mapping")
    refuse_depth(found)
    return found


def too_deep() -> DefinitionError:
    """The error for a definition that nobody has written by hand."""
    message = f"something in the definition is nested more than {MOST_LEVELS} levels deep"
    return DefinitionError(message, hint="`docker compose config` shows it.")


def refuse_large(source: Source) -> None:
    """Raises DefinitionError for a file that Compose would read into memory as a whole, before it looks at it.

    The limit of its memory does not stop that on every kernel.
    """
    for path in (*_files(source), *source.env_files, source.directory / ".env"):
        with suppress(OSError, ValueError):
            if path.stat().st_size > _LARGEST_FILE:
                message = f"{path}: larger than {bounded.amount(_LARGEST_FILE)}"
                raise DefinitionError(message, file=str(path), hint="Is that the file that was meant?")


def may_name_others(source: Source) -> bool:
    """True if files of a project may include or extend others, which may be far away."""
    texts = (text_of(path) for path in _files(source) if os.path.isfile(path))
    return any(left or _OTHERS.search(text) for text, left in texts)


def refuse_depth(config: Config) -> None:
    """Raises DefinitionError: who walks through it would come to the end of the stack."""
    level: list[Any] = [config]
    for _ in range(MOST_LEVELS):
        level = [one for value in level for one in _within(value)]
        if not level:
            return
    raise too_deep()


def _within(value: Any) -> Iterable[Any]:
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (one for one in inner if isinstance(one, dict | list))


def _files(source: Source) -> tuple[Path, ...]:
    return source.files or tuple(source.directory / name for name in (*FILE_NAMES, *OVERRIDE_NAMES))


def _texts(files: list[Path], directory: Path) -> Iterator[tuple[Path, str]]:
    """The files, and then all whose names stand in them: included, extended, or not at all."""
    waiting, seen = list(files), set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        path = waiting.pop(0)
        if path in seen or not os.path.isfile(path):
            continue
        seen.add(path)
        text, _ = text_of(path)
        yield path, text
        waiting += [folder / name for name in _names_in(text) for folder in (path.parent, directory)]


def _names_in(text: str) -> Iterator[str]:
    """What may be the name of a file with a definition. A word is looked at once, however long it is."""
    for word in _WORD.findall(text):
        if endings := list(_ENDING.finditer(word)):
            yield word[: endings[-1].end()].lstrip("-")


def _with_services(error: DefinitionError, compose: Compose, source: Source, texts: Iterable[str]) -> DefinitionError:
    """The same with the services that a wrong port belongs to, which Compose does not name."""
    if not published.lacks_service(error):
        return error
    ports: Config = {}
    for text in texts:
        for service, entries in _short_ports(text):
            ports.setdefault(service, []).extend(entries)
    with suppress(DefinitionError):
        ports = compose.interpolate(source, {"ports": ports}, {})["ports"]
    return published.with_services(error, ports)


def _short_ports(text: str) -> Iterator[tuple[str, list[str]]]:
    """Service → its ports in short form, as one file has them. Nothing else of it is looked at."""
    import yaml

    with suppress(yaml.YAMLError):
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for service, body in _pairs(_at(root, "services")):
            entries = _at(body, "ports")
            if isinstance(entries, yaml.SequenceNode):
                yield service, [one.value for one in entries.value if isinstance(one, yaml.ScalarNode)]


def _pairs(node: Any) -> list[tuple[str, Any]]:
    """Keys and nodes of a mapping node; of any other, none."""
    entries = node.value if node is not None and node.id == "mapping" else ()
    return [(str(key.value), value) for key, value in entries]


def _at(node: Any, key: str) -> Any:
    """The node under a key. None: there is none."""
    return dict(_pairs(node)).get(key)


# --- variables of published ports ------------------------------------------------------------------------------


def _mark_ports(project: Config, names: list[str], read: Read, name: str | None) -> None:
    """Replace published ports by the variables that they come from; an address that came with one goes too."""
    ports = dict(zip(names, _unused(project), strict=False))
    of_port = {port: variable for variable, port in ports.items()}
    with suppress(DefinitionError):  # a variable means more than a port: its port moves, its value stays
        marked = parsed(read(ports, name)) if ports else project
        for port, other in zip(_ports_of(project), _ports_of(marked), strict=True):
            if variable := of_port.get(str(other.get("published"))):
                port["published"] = f"${{{variable}}}"
                if "host_ip" not in other:
                    port.pop("host_ip", None)


def _ports_of(project: Config) -> Iterator[dict[str, Any]]:
    for service in (project.get("services") or {}).values():
        yield from (service or {}).get("ports") or ()


def _unused(project: Config) -> Iterator[str]:
    used = {str(port.get("published")) for port in _ports_of(project)}
    return (str(port) for port in range(_FIRST_PORT, 1 << 16) if str(port) not in used)


# --- values of secrets -----------------------------------------------------------------------------------------


def _add_values(project: Config, compose: Compose, source: Source, texts: Mapping[Path, str]) -> None:
    """Give secrets that come from the environment the value that an included file's own has for them."""
    wanted = injecting.from_environment(project)
    entries = [(path.parent, entry) for path, text in texts.items() for entry in _includes(text)] if wanted else []
    if not entries:
        return
    written = compose.interpolate(source, {"entries": [entry for _, entry in entries]}, {})["entries"]
    folders = [(folder, source.directory) for folder, _ in entries]
    found = [path for bases, entry in zip(folders, written, strict=True) for path in _env_files(bases, entry)]
    own = source.env_files or tuple(path for path in (source.directory / ".env",) if os.path.isfile(path))
    there = source.model_copy(update={"env_files": (*own, *found)})
    values = compose.variables(there, sorted(set(wanted.values()))) if found else {}
    for key, variable in wanted.items():
        kind, _, name = key.partition(".")
        if variable in values:
            project[kind][name][injecting.VALUE] = values[variable]


def _includes(text: str) -> list[Any]:
    """The entries of `include`. Only these are looked at: merges may make much of little."""
    import yaml

    with suppress(yaml.YAMLError):
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if key.value == "include" and isinstance(value, yaml.SequenceNode):
                return [_plain(entry) for entry in value.value]
    return []


def _plain(node: Any) -> Any:
    """An entry of `include`: a text, or a mapping of texts and lists of texts."""
    if isinstance(node.value, str):
        return node.value
    if not node.value or not isinstance(node.value[0], tuple):
        return [str(one.value) for one in node.value]
    return {str(key.value): _plain(one) if not isinstance(one.value, dict) else "" for key, one in node.value}


def _env_files(bases: tuple[Path, ...], entry: Any) -> list[Path]:
    """The env files of an included file: those that it names, else `.env` in its project's directory."""
    entry = entry if isinstance(entry, dict) else {"path": entry}
    files = _listed(entry.get("env_file"))
    if not files:
        folder = entry.get("project_directory") or str(Path((_listed(entry.get("path")) or ["."])[0]).parent)
        files = [f"{folder}/.env"]
    candidates = [[base / file for base in bases] for file in files]
    return [found for paths in candidates for found in [path for path in paths if os.path.isfile(path)][:1]]


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]
