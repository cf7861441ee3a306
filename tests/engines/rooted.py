"""Engines out of roots of their own (`scripts/engine-root`), for who is in namespaces that he has made.

Mounts, network and processes have been left behind: what is mounted here ends with the namespaces.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

from tests.engines.rows import Row
from tests.faults.own_engine import OwnEngine

_USER = 1000
"""Who runs a rootless engine: `scripts/engine-root` has made him."""
_TUN = os.makedev(10, 200)
_OWN_FOLDERS = {"proc": "proc", "run": "tmpfs", "tmp": "tmpfs", "var/tmp": "tmpfs"}


class RootedEngine(OwnEngine):
    """The engine of a row; its paths are the same within the root and outside."""

    def __init__(self, place: Path, root: Path, row: Row) -> None:
        """`place`: on a disk, because no engine can use a file system of layers for its own layers."""
        super().__init__(place, own_network=False)
        self.root, self.row = root, row

    def mount(self) -> None:
        """Make the root habitable; once, before the first start."""
        subprocess.run(["mount", "--bind", self.root, self.root], check=True)  # Podman wants `/` to be a mount
        for name, kind in _OWN_FOLDERS.items():
            subprocess.run(["mount", "-t", kind, kind, self.root / name], check=True)
        for name in ("sys", "dev"):
            subprocess.run(["mount", "--rbind", f"/{name}", self.root / name], check=True)
        if (unified := self.root / "sys/fs/cgroup/unified").exists():  # beside the older kind; crun takes no mixture
            subprocess.run(["umount", unified], check=True)
        inside = self.root / self.place.relative_to("/")
        inside.mkdir(parents=True)
        subprocess.run(["mount", "--bind", self.place, inside], check=True)
        if self.row.is_rootless:
            self._let_in()

    def _let_in(self) -> None:
        """What a user needs besides: the folder of his engine, and the device of user-mode networks, as distributions have
        it."""
        folder = self.root / "dev/net"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
        os.mknod(folder / "tun", stat.S_IFCHR | 0o666, _TUN)
        (folder / "tun").chmod(0o666)
        for path in (self.place, self.place / "runtime"):
            path.mkdir(exist_ok=True)
            os.chown(path, _USER, _USER)

    def command(self) -> list[str]:
        if self.row.is_podman:
            own = self._podman()
        elif self.row.is_rootless:
            own = self._rootless()
        else:
            # Their control groups are the kernel's, not of any namespace: by this name they are found at the end.
            own = [*super().command(), f"--cgroup-parent=/{self.place.parent.name}", *self.row.options]
        return ["unshare", "--mount", sys.executable, "-m", "tests.engines.pivot", str(self.root), *own]

    def _rootless(self) -> list[str]:
        """As its packages start it for a user, who has no service manager here."""
        runtime = self.place / "runtime"
        user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]
        script = ["sh", "/usr/share/docker.io/contrib/dockerd-rootless.sh"]
        folders = [f"--data-root={self.place}/data", f"--exec-root={runtime}/exec", f"--pidfile={runtime}/pid"]
        return [
            *user,
            "env",
            "HOME=/home/engine",
            f"XDG_RUNTIME_DIR={runtime}",
            *script,
            f"--host={self.address}",
            *folders,
        ]

    def _podman(self) -> list[str]:
        """With limits that its builder may set: it would ask for more than this process has, which only some may."""
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        most = {name: resource.getrlimit(kind)[1] for name, kind in limits.items()}
        texts = [f'"{name}={hard}:{hard}"' for name, hard in most.items() if hard != resource.RLIM_INFINITY]
        (self.place / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{', '.join(texts)}]\n")
        folders = {"root": "data", "runroot": "exec", "network-config-dir": "networks", "tmpdir": "tmp"}
        options = [f"--{option}={self.place}/{folder}" for option, folder in folders.items()]
        options += ["--cgroup-manager=cgroupfs", "--events-backend=file"]
        variable = f"CONTAINERS_CONF={self.place}/containers.conf"
        return ["env", variable, "podman", *options, "system", "service", "--time=0", self.address]
