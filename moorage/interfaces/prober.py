"""Network ports."""

from __future__ import annotations

from typing import Protocol


class Prober(Protocol):
    """Looks at a network port from this machine."""

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """None: something accepts and keeps the connection. Else why not."""

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        """None: answered as expected (`status` None: 200 to 399). Else why not."""

    def holder_of(self, port: int, protocol: str) -> str | None:
        """Name and pid of the process that holds a port. None: it cannot be read."""

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """True: nothing on this machine listens on the port, on IPv4 or IPv6, at any address."""
