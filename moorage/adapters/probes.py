"""Checks network ports from this machine, as their users would."""

from __future__ import annotations

import errno
import http.client
import io
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moorage import bounded
from moorage.adapters.patience import patient_s
from moorage.interfaces import Prober

_PEEK_S = 0.1
"""How long a connection must stay open to count; more on a busy machine. Docker's userland proxy accepts connections
for a container that does not listen, and closes them as soon as it notices."""
_CONNECT_S = 0.5
_SUCCESS = range(200, 400)
_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (include/net/tcp_states.h)."""
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOPROTOOPT)
"""This machine has no such address family, address or protocol: nothing can listen there, so nothing is in the way."""
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_ADDRESSES = ("0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104  bound for an instant, to see whether that works
"""On Linux, binding a wildcard detects a listener at any address; on macOS only the address itself does."""


class SocketProber(Prober):
    """Checks ports with plain sockets."""

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """An open connection is watched for 100 ms, on a busy machine longer, to see that it is not closed at once."""
        try:
            connection = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as error:
            return f"{_at(host, port)}: {_reason(error, timeout_s)}"
        with connection:
            return _closed_at_once(connection, host, port)

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        try:
            answered = _status(url, timeout_s)
        except ValueError:
            return f"{url}: not an http:// URL"
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {_reason(error, timeout_s)}"
        expected = answered in _SUCCESS if status is None else answered == status
        return None if expected else f"{url} answered {answered}, not {status or '200 to 399'}"

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """A port below 1024 that we may not bind counts as free if nothing answers on it.

        A protocol, address or address family that this machine does not have is not in the way.
        """
        addresses = dict.fromkeys((*_ADDRESSES, host_ip or _ADDRESSES[0]))
        return all(_can_bind(address, port, protocol) for address in addresses)

    def hold(self, ports: Collection[tuple[int, str, str]]) -> Callable[[], None]:
        with ExitStack() as held:
            for port, protocol, host_ip in ports:
                with suppress(OSError):
                    taken = held.enter_context(_socket(host_ip or _ADDRESSES[0], protocol))
                    taken.bind((host_ip or _ADDRESSES[0], port))
                    if protocol == "tcp":  # else who binds with SO_REUSEADDR, as the engine does, would get it too
                        taken.listen(1)
            return held.pop_all().close

    def holder_of(self, port: int, protocol: str) -> str | None:
        return holder_of(port, protocol)

    def routes(self) -> Collection[str]:
        """Those of IPv4, where there is `/proc/net/route`; elsewhere none are known."""
        return _routes(Path("/proc/net/route"))


def _routes(table: Path) -> tuple[str, ...]:
    """The destinations of a routing table in the form of Linux: address and mask in hexadecimal, least byte first."""
    found = []
    with suppress(OSError):
        for line in bounded.text_of(table).splitlines()[1:]:
            fields = line.split()
            with suppress(ValueError, IndexError):
                address, mask = (IPv4Address(bytes.fromhex(fields[number])[::-1]) for number in (1, 7))
                found.append(str(IPv4Network(f"{address}/{mask}", strict=False)))
    return tuple(found)


def holder_of(port: int, protocol: str) -> str | None:
    """The process that has the port, `python3 (pid 4711)`. None: none, or it cannot be read (not ours, no /proc)."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, protocol)}
    if sockets:
        for pid in _processes():
            if _has_any(pid, sockets):
                return f"{_process_name(pid)} (pid {pid})"
    return None


def _status(url: str, timeout_s: float) -> int:
    """The status of one GET. Raises ValueError if it is not an http URL, OSError, HTTPException."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(url)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    connection = _Connection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", target, headers={"User-Agent": "moorage", "Connection": "close"})
        return connection.getresponse().status
    except http.client.InvalidURL as error:
        raise ValueError(url) from error
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """One whose whole answer comes within the timeout: Python's counts anew for each byte, and a header has many."""

    def connect(self) -> None:
        """Connect. Raises OSError."""
        until = time.monotonic() + (self.timeout or 0)
        super().connect()
        self.sock = _Until(self.sock, until)


class _Until:
    """What `http.client` needs of a socket, until a moment of the monotonic clock."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until
        self.sendall = connection.sendall
        self.close = connection.close

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Answer(self._connection, self._until))


class _Answer(io.RawIOBase):
    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As usual. Raises TimeoutError after the moment."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


def _closed_at_once(connection: socket.socket, host: str, port: int) -> str | None:
    connection.settimeout(patient_s(_PEEK_S))  # on a busy machine the proxy, too, notices later
    try:
        silent_end = connection.recv(1, socket.MSG_PEEK) == b""
    except TimeoutError:
        return None  # in most protocols the server says nothing at first
    except OSError as error:
        return f"{_at(host, port)}: {_reason(error, _PEEK_S)}"
    return f"{_at(host, port)} closes connections at once" if silent_end else None


def _can_bind(address: str, port: int, protocol: str) -> bool:
    try:
        with _socket(address, protocol) as probe:
            # On Linux, reuse lets us bind despite connections in TIME_WAIT, but never despite a listener. Not for
            # datagram sockets, which would share the port.
            if protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
            if protocol == "tcp":
                probe.listen(1)
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            return not _in_use(address, port, protocol)
        return error.errno in _NOT_HERE
    return True


def _socket(address: str, protocol: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if protocol == "udp":
        return socket.socket(family, socket.SOCK_DGRAM)
    if protocol == "sctp":
        return socket.socket(family, socket.SOCK_STREAM, getattr(socket, "IPPROTO_SCTP", 132))
    return socket.socket(family, socket.SOCK_STREAM)


def _in_use(address: str, port: int, protocol: str) -> bool:
    """For a port that we may not bind: whether the kernel lists it as in use, or something answers."""
    if any(_inodes(port, protocol)):
        return True
    if protocol != "tcp":
        return False
    with suppress(OSError), socket.create_connection((address, port), timeout=_CONNECT_S):
        return True
    return False


def _inodes(port: int, protocol: str) -> Iterator[str]:
    """Inodes of the sockets that have the port: only listening ones for tcp (proc_net_tcp.txt in the kernel's docs)."""
    for table in (Path(f"/proc/net/{protocol}"), Path(f"/proc/net/{protocol}6")):
        with suppress(OSError):
            for line in bounded.text_of(table, bounded.REPORT_BYTES).splitlines()[1:]:
                fields = line.split()
                in_state = protocol != "tcp" or fields[3] == _LISTEN
                if in_state and fields[1].endswith(f":{port:04X}"):
                    yield fields[9]


def _processes() -> list[int]:
    with suppress(OSError):
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return []


def _has_any(pid: int, sockets: set[str]) -> bool:
    # Plain strings, because a Path for each of thousands of descriptors is slow.
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in sockets:
                    return True
    return False


def _process_name(pid: int) -> str:
    try:
        return bounded.text_of(Path(f"/proc/{pid}/comm")).strip()
    except OSError:
        return "a process"


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {timeout_s:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"invalid answer ({type(error).__name__})"
