"""Engines out of roots of their own (`scripts/engine-root`), for who is in namespaces that he has made.

Mounts, network and processes have been left behind: what is mounted here ends with the namespaces.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.engines.rows import Row
from tests.faults.own_engine import OwnEngine

_OWN_FOLDERS = {"proc": ("-t", "proc", "proc"), "run": ("-t", "tmpfs", "tmpfs"), "tmp": ("-t", "tmpfs", "tmpfs")}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class RootedEngine(OwnEngine):
    """The engine of a row; its paths are the same within the root and outside."""

    def __init__(self, place: Path, root: Path, row: Row) -> None:
        """`place`: on a disk, because no engine can use a file system of layers for its own layers."""
        super().__init__(place, own_network=False)
        self.root, self.row = root, row

    def mount(self) -> None:
        """Make the root habitable; once, before the first start."""
        subprocess.run(["mount", "--bind", self.root, self.root], check=True)  # Podman wants `/` to be a mount
        for name, what in _OWN_FOLDERS.items():
            subprocess.run(["mount", *what, self.root / name], check=True)
        for name in ("sys", "dev"):
            subprocess.run(["mount", "--rbind", f"/{name}", self.root / name], check=True)
        if (unified := self.root / "sys/fs/cgroup/unified").exists():  # beside the older kind; crun takes no mixture
            subprocess.run(["umount", unified], check=True)
        inside = self.root / self.place.relative_to("/")
        inside.mkdir(parents=True)
        subprocess.run(["mount", "--bind", self.place, inside], check=True)

    def command(self) -> list[str]:
        within = ["chroot", str(self.root), "env", "-i", f"PATH={_PATH}", "HOME=/root"]
        if self.row.is_podman:
            return [*within, *self._podman()]
        # Their control groups are the kernel's, not of any namespace: by this name they are found at the end.
        return [*within, *super().command(), f"--cgroup-parent=/{self.place.parent.name}", *self.row.options]

    def _podman(self) -> list[str]:
        folders = {"root": "data", "runroot": "exec", "network-config-dir": "networks", "tmpdir": "tmp"}
        options = [f"--{option}={self.place}/{folder}" for option, folder in folders.items()]
        # Podman 5 goes on with the older kind of control groups if it is told that they are known to be old.
        command = ["PODMAN_IGNORE_CGROUPSV1_WARNING=true", "podman", *options]
        return [
            *command,
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            "system",
            "service",
            "--time=0",
            self.address,
        ]
