"""Variables in port mappings, which must change when a port is moved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from moorage.model.definition import Config, Service

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)(?::?[-?+][^}]*)?\}|(?P<plain>[A-Za-z_]\w*))")

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
    found: dict[str, PortPlace] = {}
    for name, service in (raw.get("services") or {}).items():
        if name not in services:
            continue
        slots: Counter[tuple[int, str]] = Counter()
        for port in (service or {}).get("ports") or ():
            published, target, protocol = _raw_port(port)
            if target is None:
                continue
            variable = _VARIABLE.fullmatch(published)
            name_of_it = (variable["braced"] or variable["plain"]) if variable else ""
            if name_of_it and not _OF_PROGRAMS.fullmatch(name_of_it):
                found.setdefault(name_of_it, (name, target, protocol, slots[target, protocol]))
            slots[target, protocol] += 1
    return found


def _raw_port(port: Any) -> tuple[str, int | None, str]:
    """(published, target, protocol) of a port as written. target None: not a plain number."""
    if isinstance(port, dict):
        target = str(port.get("target", ""))
        return str(port.get("published", "")), int(target) if target.isdigit() else None, port.get("protocol") or "tcp"
    text, slash, protocol = str(port).rpartition("/")
    if not slash or "}" in protocol:
        text, protocol = str(port), "tcp"
    parts = _split_outside_braces(text)
    published = parts[-2] if len(parts) > 1 else ""
    return published, int(parts[-1]) if parts[-1].isdigit() else None, protocol


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
