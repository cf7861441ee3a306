"""Variables in port mappings, which must change when a port is moved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from moorage.model.definition import Config, Service

_START = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)(?=:?[-?]|\})|(?P<plain>[A-Za-z_]\w*))", re.ASCII)
"""Where a variable stands for its own value: not `${A:+80}`."""
_BEFORE_A_PORT = re.compile(r":[\d$]")
_AFTER_PUBLISHED = re.compile(r"published[\"']?[ \t]*:[ \t]*[\"']?$")

_OF_PROGRAMS = re.compile(
    r"(?!\w*PORT$)(?:"
    r"(?:AWS|BUILDKIT|BUILDX|COMPOSE|CURL|DAGGER|DBUS|DOCKER|DYLD|GCONV|GIT|GLIBC|GNUPG|GPG|LC|LD|MALLOC|MOORAGE|NODE|"
    r"OPENSSL|OTEL|PREFECT|RES|SSH|SSL|XDG)_\w+|"
    r"(?:GO|PYTHON)[A-Z]+|\w*(?:CONF|CONFIG|COMMAND|DIR|FILE|HOME|PATH|PROXY)|"
    r"HOSTALIASES|IFS|LANG|LOCALDOMAIN|PWD|SHELL|TEMP|TERM|TMP|TZ|USER)",
    re.IGNORECASE,
)
"""Names that mean something to Compose, git, the loader or Go: `DOCKER_CONFIG=20000` is a directory of the project."""

PortPlace = tuple[str, int, str, int]
"""(service, target, protocol, slot)."""


def port_variables(raw: Config, services: Mapping[str, Service]) -> dict[str, PortPlace]:
    """Variables that make up the whole published part of a port mapping, each with its mapping.

    A variable belongs to the first mapping that uses it. A mapping whose target is a variable too is left out, and so
    are names that programs know: Compose gets these variables in its environment.
    """
    return {name: place for name, (place, _) in _found(raw, services).items()}


def address_variables(raw: Config, services: Mapping[str, Service]) -> tuple[str, ...]:
    """Those whose value is an address too: `${WEB:-127.0.0.1:8080}:80` names none, and its mapping has one."""
    found = []
    for name, ((service, target, protocol, slot), has_address) in _found(raw, services).items():
        place = (target, protocol, slot)
        mine = (port for port in services[service].ports if (port.target, port.protocol, port.slot) == place)
        if not has_address and any(port.host_ip for port in mine):
            found.append(name)
    return tuple(found)


def names_before_ports(text: str) -> Iterator[str]:
    """Names of variables in any text that look like published ports: `$WEB:80`, `published: ${WEB}`."""
    for start in _START.finditer(text):
        name, end = start["braced"] or start["plain"], _end_of(text, start)
        line = text[: start.start()].rpartition("\n")[2]
        if _OF_PROGRAMS.fullmatch(name) or end is None:
            continue
        if _BEFORE_A_PORT.match(text, end) or _AFTER_PUBLISHED.search(line):
            yield name


def _found(raw: Config, services: Mapping[str, Service]) -> dict[str, tuple[PortPlace, bool]]:
    """Variable → its mapping, and whether the file names the address of that."""
    found: dict[str, tuple[PortPlace, bool]] = {}
    for name, service in (raw.get("services") or {}).items():
        if name not in services:
            continue
        slots: Counter[tuple[int, str]] = Counter()
        for port in (service or {}).get("ports") or ():
            published, target, protocol, has_address = _raw_port(port)
            if target is None:
                continue
            variable = _whole_variable(published)
            if variable and not _OF_PROGRAMS.fullmatch(variable):
                found.setdefault(variable, ((name, target, protocol, slots[target, protocol]), has_address))
            slots[target, protocol] += 1
    return found


def _whole_variable(text: str) -> str | None:
    """The name of the variable that a text consists of; its default may have variables in it."""
    start = _START.match(text)
    return (start["braced"] or start["plain"]) if start and _end_of(text, start) == len(text) else None


def _end_of(text: str, start: re.Match[str]) -> int | None:
    """Where the variable that begins there ends. None: nowhere."""
    if start["plain"]:
        return start.end()
    depth = 0
    for position in range(start.start(), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if text[position] == "\n":
            return None
        if text[position] == "}" and depth == 0:
            return position + 1
    return None


def _raw_port(port: Any) -> tuple[str, int | None, str, bool]:
    """(published, target, protocol, whether it has an address) of a port as written. target None: no plain number."""
    if isinstance(port, dict):
        target, protocol = str(port.get("target", "")), port.get("protocol") or "tcp"
        published = str(port.get("published", ""))
        return published, int(target) if target.isdigit() else None, protocol, bool(port.get("host_ip"))
    text, slash, protocol = str(port).rpartition("/")
    if not slash or "}" in protocol:
        text, protocol = str(port), "tcp"
    parts = _split_outside_braces(text)
    published = parts[-2] if len(parts) > 1 else ""
    return published, int(parts[-1]) if parts[-1].isdigit() else None, protocol, len(parts) > 2


def _split_outside_braces(text: str) -> list[str]:
    """`${A:-1}:80` → [`${A:-1}`, `80`]."""
    parts, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1, "[": 1, "]": -1}.get(character, 0)
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
