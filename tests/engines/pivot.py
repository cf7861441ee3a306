"""`python -m tests.engines.pivot ROOT COMMAND...`: a command for which ROOT is all there is, in a mount namespace of its own.

Not `chroot`: what is run in a container later would come out at the root of its namespace, which is the machine's.
"""

from __future__ import annotations

import ctypes
import os
import sys

_DETACH = 2
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "true",  # it goes on with the older kind of control groups if that is known
}


def main(root: str, command: list[str]) -> None:
    """Does not return. `root` is a mount."""
    system = ctypes.CDLL(None, use_errno=True)
    os.chdir(root)
    for done in (system.pivot_root(b".", b"."), system.umount2(b".", _DETACH)):  # the old root lies upon the new one
        if done:
            raise OSError(ctypes.get_errno(), f"{root}: {os.strerror(ctypes.get_errno())}")
    os.chdir("/")
    os.execvpe(command[0], command, _ENVIRONMENT)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
