"""Ports of a service as Compose prints them: what is none is refused, with the name of its key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

from moorage.errors import DefinitionError
from moorage.model.definition import Config, PortMapping, Protocol

PORTS = range(1, 1 << 16)
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_EXAMPLES = 'Examples: "8080:80", "127.0.0.1:8080:80", "8000-8010:80/udp".'
_PROTOCOLS = get_args(Protocol)
_PORT_COMPLAINT = re.compile(
    r"invalid (?:hostPort|containerPort|proto|IP address|ranges specified for container and host Ports|publish opts|"
    r"start/end range)|no port specified|(?:host|container)Port"
)


def mappings(name: str, service: Config, replicas: int) -> Iterable[PortMapping]:
    """The published ports of a service. Raises DefinitionError."""
    slots: Counter[tuple[int, str]] = Counter()
    where, fixed = f"services.{name}.ports", service.get("network_mode") == "host"
    for port in service.get("ports") or ():
        target, protocol = _target(port.get("target"), where), _protocol(port.get("protocol"), where)
        first, last = _span(port.get("published"), f"{where}: published")
        yield PortMapping(
            service=name,
            target=target,
            protocol=protocol,
            slot=slots[target, protocol],
            host_ip=port.get("host_ip") or None,
            wanted=first,
            wanted_last=last,
            count=max(1, replicas),
            fixed=fixed,
        )
        slots[target, protocol] += 1


def check_exposed(name: str, service: Config) -> None:
    """Raise DefinitionError for an entry of `expose` that is no port: Compose leaves them to the engine."""
    where = f"services.{name}.expose"
    for entry in service.get("expose") or ():
        text, slash, protocol = str(entry).partition("/")
        _bounds(text, where)
        if slash:
            _protocol(protocol, where)


def _target(value: Any, where: str) -> int:
    if value is None:  # Compose prints no 0
        raise _wrong(f"{where}: target: 0 or nothing is not a port", where)
    first, last = _bounds(str(value), f"{where}: target")
    if first != last:
        raise _wrong(f"{where}: target: {value!r} is a range", where)
    return first


def _span(published: Any, where: str) -> tuple[int | None, int | None]:
    """`8000` → (8000, None); `8000-8010` → (8000, 8010); nothing or 0 → (None, None)."""
    text = str("" if published is None else published)
    if text in ("", "0"):
        return None, None
    first, last = _bounds(text, where)
    return first, last if last != first else None


def _bounds(text: str, where: str) -> tuple[int, int]:
    """The first and the last port of `80` or `80-90`. Raises DefinitionError."""
    key = where.partition(":")[0]
    found = _RANGE.fullmatch(text)
    if not found:
        raise _wrong(f"{where}: {text!r} is not a port", key)
    first, last = int(found[1]), int(found[2] or found[1])
    for port in (first, last):
        if port not in PORTS:
            raise _wrong(f"{where}: {port} is not between {PORTS[0]} and {PORTS[-1]}", key)
    if last < first:
        raise _wrong(f"{where}: the range {text} ends before it begins", key)
    return first, last


def _protocol(value: Any, where: str) -> Protocol:
    text = str(value or "tcp").lower()
    for protocol in _PROTOCOLS:
        if text == protocol:
            return protocol  # type: ignore[no-any-return]
    raise _wrong(f"{where}: {value!r} is not a protocol", where, f"Valid values: {', '.join(_PROTOCOLS)}.")


def _wrong(message: str, key: str, hint: str = _EXAMPLES) -> DefinitionError:
    return DefinitionError(message, service=key.split(".")[1], key=key, hint=hint)


def is_about_ports(complaint: str) -> bool:
    """True for what Compose says about a port in short form; it does not name the service."""
    return bool(_PORT_COMPLAINT.search(complaint))


def users_of(complaint: str, ports: Config) -> tuple[str, ...]:
    """The services that have the port of which Compose complains. `ports`: service → its ports in short form."""
    found = _PORT_COMPLAINT.search(complaint)
    said = complaint[found.end() :] if found else ""
    parts = [part.replace("<empty>", "") for part in said.removeprefix(":").strip().split(" and ")]
    return tuple(
        name
        for name, entries in ports.items()
        if any(not isinstance(one, dict) and all(_has(str(one), part) for part in parts) for one in entries)
    )


def with_services(error: DefinitionError, ports: Config) -> DefinitionError:
    """The same error with the services whose port Compose complains of; the error itself, if it can be none of them."""
    users = users_of(str(error), ports)
    if not users:
        return error
    message = f"{', '.join(f'services.{user}.ports' for user in users)}: {error}"
    key, file = f"services.{users[0]}.ports", error.fields.get("file")
    return DefinitionError(message, service=users[0], key=key, hint=error.hint, file=file)


def lacks_service(error: DefinitionError) -> bool:
    """True for a complaint about a port in short form that does not say of which service."""
    return not error.fields.get("service") and is_about_ports(str(error))


def _has(entry: str, part: str) -> bool:
    return part == entry or part in re.split(r"[:/]", entry) or (part not in ("", ":") and part in entry)
