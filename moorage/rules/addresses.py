"""Addresses of services, as URLs and environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from moorage.model.state import BoundPort, StackStatus

STACK = "MOORAGE_STACK"
"""The variable with the stack's name."""
_SCHEMES = {
    443: "https",
    1883: "mqtt",
    3306: "mysql",
    4222: "nats",
    5432: "postgresql",
    5671: "amqps",
    5672: "amqp",
    6379: "redis",
    8443: "https",
    9443: "https",
    27017: "mongodb",
}
_ALL_ADDRESSES = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def host_of(port: BoundPort) -> str:
    """The address at which this machine reaches a published port."""
    return _ALL_ADDRESSES.get(port.host_ip, port.host_ip)


def url_of(port: BoundPort, scheme: str | None = None) -> str:
    """The URL of a published port, without credentials.

    `scheme` None: the usual one for the container port (`postgresql` for 5432), else `http`; `udp` for UDP.
    """
    usual = _SCHEMES.get(port.target, "http") if port.protocol == "tcp" else port.protocol
    host = host_of(port)
    return f"{scheme or usual}://{f'[{host}]' if ':' in host else host}:{port.published}"


def published(status: StackStatus) -> Iterator[tuple[str, BoundPort]]:
    """(service, port) of all published ports; if a container port has several replicas or addresses, the first one."""
    for service, found in status.services.items():
        seen = set()
        for port in sorted(found.ports, key=lambda p: (p.target, p.protocol, ":" in p.host_ip, p.published)):
            if (port.target, port.protocol) not in seen:
                seen.add((port.target, port.protocol))
                yield service, port


def variables(status: StackStatus) -> dict[str, str]:
    """MOORAGE_STACK, and MOORAGE_URL_BACKEND_8000, MOORAGE_HOST_…, MOORAGE_PORT_… of each published port.

    Characters other than letters and digits become `_`. A UDP port next to a TCP port of that number ends in `_UDP`.
    """
    found = {STACK: status.stack}
    for service, port in published(status):
        name = f"{_upper(service)}_{port.target}"
        if f"MOORAGE_PORT_{name}" in found:
            name += f"_{port.protocol.upper()}"
        found[f"MOORAGE_URL_{name}"] = url_of(port)
        found[f"MOORAGE_HOST_{name}"] = host_of(port)
        found[f"MOORAGE_PORT_{name}"] = str(port.published)
    return found


def as_data(status: StackStatus) -> dict[str, Any]:
    """The addresses as data: services → `8000/tcp` → host, port, url; and all variables."""
    services: dict[str, dict[str, Any]] = {name: {} for name in status.services}
    for service, port in published(status):
        facts = {"host": host_of(port), "port": port.published, "url": url_of(port)}
        services[service][f"{port.target}/{port.protocol}"] = facts
    return {"stack": status.stack, "services": services, "environment": variables(status)}


def line_of_service(text: str, service: str) -> int | None:
    """The line, from 1, where a compose file defines a service. None: it does not, or in flow style."""
    inside, indent = False, None
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"""(\s*)["']?([^\s"'#:][^"':]*)["']?\s*:(?:\s|$)""", line)
        if not found:
            continue
        depth = len(found[1])
        if depth == 0:
            inside, indent = found[2] == "services", None
        elif inside:
            indent = depth if indent is None else indent
            if depth == indent and found[2] == service:
                return number
    return None


def _upper(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
