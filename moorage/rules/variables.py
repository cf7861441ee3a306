"""Variables in port mappings, which must change when a port is moved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

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


class _Written(NamedTuple):
    """A port mapping as written."""

    published: str
    target: str
    protocol: str
    has_address: bool


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
        for port, place in _places(name, (service or {}).get("ports") or (), services[name]):
            variable = _whole_variable(port.published)
            if variable and not _OF_PROGRAMS.fullmatch(variable):
                found.setdefault(variable, (place, port.has_address))
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


def _places(name: str, written: Sequence[Any], service: Service) -> Iterator[tuple[_Written, PortPlace]]:
    """The ports whose target is a number, each with its mapping.

    Where Compose has made several mappings of a range, they are counted as Compose would number them.
    """
    slots: Counter[tuple[int, str]] = Counter()
    one_by_one = len(written) == len(service.ports)
    for number, port in enumerate(map(_raw_port, written)):
        if not port.target.isdigit():
            continue
        target, protocol = int(port.target), port.protocol
        if one_by_one and service.ports[number].target == target:
            typed = service.ports[number]
            yield port, (name, target, typed.protocol, typed.slot)
        elif "$" not in protocol:
            yield port, (name, target, protocol, slots[target, protocol])
        slots[target, protocol] += 1


def _raw_port(port: Any) -> _Written:
    if isinstance(port, dict):
        target, protocol = str(port.get("target", "")), str(port.get("protocol") or "tcp")
        return _Written(str(port.get("published", "")), target, protocol, bool(port.get("host_ip")))
    *before, last = _split_outside_braces(str(port))
    target, _, protocol = last.partition("/")
    return _Written(before[-1] if before else "", target, protocol or "tcp", len(before) > 1)


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
