"""Network ports."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol


class Prober(Protocol):
    """Checks network ports from this machine."""

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """None: a connection is accepted and stays open. Otherwise the reason why not."""

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        """None: answered as expected (`status` None: 200 to 399). Otherwise the reason. Does not follow redirects."""

    def holder_of(self, port: int, protocol: str) -> str | None:
        """The process that holds a port, `python3 (pid 4711)`. None: there is none, or it cannot be read."""

    def hold(self, ports: Collection[tuple[int, str, str]]) -> Callable[[], None]:
        """Take (port, protocol, host address) until the returned function is called, so that nobody else gets them.

        What cannot be taken is somebody's already.
        """

    def routes(self) -> Collection[str]:
        """Subnets that this machine has routes to, such as `10.0.0.0/8`, those of its containers among them."""

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """True if nothing on this machine listens on the port, on IPv4 or IPv6, at any address."""
