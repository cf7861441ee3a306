"""Leases: a host port held for one container port of one service of one stack, a subnet for one of its networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from moorage.model.base import Frozen
from moorage.model.definition import Protocol

_HIGHEST = 65535
_WIDEST_PREFIX = 8


class LeaseKey(Frozen):
    """The holder of a port."""

    stack: str
    service: str
    target: int = Field(ge=1, le=65535)
    protocol: Protocol = "tcp"
    slot: int = Field(default=0, ge=0)


class Lease(Frozen):
    """`count` host ports, the first of them `port`, held until released. Consecutive ones, but for `skipped`."""

    key: LeaseKey
    port: int = Field(ge=1, le=65535)
    count: int = Field(default=1, ge=1, le=65535)
    wanted: int | None = None
    """The port that the compose file asked for. None: any."""
    host_ip: str = "127.0.0.1"
    since: AwareDatetime
    run: str | None = None
    """The run that acquired it and has not committed yet. None: committed."""

    skipped: tuple[int, ...] = ()
    """Ports between the first and the last that are not its own: of a published range, those that others have."""

    @model_validator(mode="after")
    def _within_all_ports(self) -> Self:
        if self.port + self.count + len(self.skipped) - 1 > _HIGHEST:
            message = f"ports {self.port} and {self.count - 1} more end above {_HIGHEST}"
            raise ValueError(message)
        return self

    @property
    def ports(self) -> tuple[int, ...]:
        """All host ports of the lease, in order."""
        every = range(self.port, self.port + self.count + len(self.skipped))
        return tuple(port for port in every if port not in self.skipped)

    @property
    def said(self) -> str:
        """Its ports in words: `8000`, `8000-8002`, `8000-8003 but 8001`."""
        last = f"-{self.ports[-1]}" if self.count > 1 else ""
        but = f" but {', '.join(map(str, self.skipped))}" if self.skipped else ""
        return f"{self.port}{last}{but}"


class SubnetLease(Frozen):
    """A subnet held for one network of one stack until released."""

    stack: str
    network: str
    """Its name on the engine."""
    subnet: str
    """`10.201.0.64/26`."""
    since: AwareDatetime

    @field_validator("subnet")
    @classmethod
    def _one_of_ipv4(cls, subnet: str) -> str:
        found = IPv4Network(subnet)
        if found.prefixlen < _WIDEST_PREFIX:
            message = f"{subnet} is wider than /{_WIDEST_PREFIX}"
            raise ValueError(message)
        return str(found)


class AddressLease(Frozen):
    """An address held for a service on one network of its stack until released."""

    stack: str
    service: str
    network: str
    """Its name on the engine."""
    subnet: str
    """The network's, when it was leased."""
    address: str
    since: AwareDatetime

    @field_validator("address")
    @classmethod
    def _of_ipv4(cls, address: str) -> str:
        return str(IPv4Address(address))


class Request(Frozen):
    """A request for a lease."""

    key: LeaseKey
    wanted: int | None = None
    """None: any port of the setting `port_range`."""
    wanted_last: int | None = None
    """Last port of a wanted range. None: no range, the search continues upward without limit."""
    count: int = Field(default=1, ge=1)
    host_ip: str | None = None
    """None: 127.0.0.1."""
    fixed: bool = False
    """True: this port or an error, even without `--strict-ports`."""
