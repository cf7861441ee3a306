"""A network namespace for a session's processes: what they listen on cannot be reached from outside.

Dagger has its tunnels listen on 0.0.0.0 (`bindHost`, a constant in `core/service.py`), in the process of its CLI. In a
network of its own that process has a loopback device and nothing else; we listen on the machine's loopback address for
it (`relay.py`). Root makes such a network; others make it with a user namespace, where the system lets them
(user_namespaces(7), network_namespaces(7)). Nothing else is changed: same user, same files, same processes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_NEW_USER = 0x1000_0000
_NEW_NETWORK = 0x4000_0000
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914
_UP = 0x1
_WORDS = {errno.ENOSPC: "/proc/sys/user/max_user_namespaces allows no more"}
_REQUEST = "16sH14x"
"""`struct ifreq` of netdevice(7): name and flags."""


def enter() -> None:
    """Move this process, which must have one thread only, into a network of its own. Raises OSError."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{sys.platform} has no network namespaces")
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_NEW_NETWORK)
    except PermissionError:
        _unshare(_NEW_USER | _NEW_NETWORK)
        Path("/proc/self/setgroups").write_text("deny")  # the kernel wants this before it takes a group
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _switch_on("lo")


def _unshare(kinds: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds):
        number = ctypes.get_errno()
        raise OSError(number, _WORDS.get(number) or os.strerror(number))


def _switch_on(device: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack(_REQUEST, device.encode(), 0)
        _, flags = struct.unpack(_REQUEST, fcntl.ioctl(any_socket, _GET_FLAGS, asked))
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack(_REQUEST, device.encode(), flags | _UP))


def main() -> None:
    """Try it: exit code 0, or 1 and the reason on stderr."""
    try:
        enter()
    except OSError as error:
        sys.exit(error.strerror or str(error))


if __name__ == "__main__":
    main()
