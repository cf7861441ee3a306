"""Commands of another user of this machine, who may use the engine, for tests that run as root.

The user is `nobody`, with the group of the engine's socket: no account has to be made. Everything that users share is
shared: /tmp, /run/lock, ports, processes, engine. Only where checkout and interpreter lie in a folder that is root's alone
(/root), the user sees in its place one in which there is nothing but them.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
MOORAGE = [str(ROOT / ".venv" / "bin" / "python"), "-P", "-m", "moorage"]
_SEEN_AS = r"""
set -eu
stage=$1 count=$2; shift 2
while [ "$count" -gt 0 ]; do
  count=$((count - 1)) blocked=$1 needed=$2; shift 2
  root="$stage/$count"
  mount -t tmpfs -o mode=755 tmpfs "$root"
  printf '%s' "$needed" | while IFS= read -r -d : one || [ -n "$one" ]; do
    mkdir -p "$root/${one#"$blocked"/}"
    mount --rbind "$one" "$root/${one#"$blocked"/}"
  done
  mount --rbind "$root" "$blocked"
done
exec "$@"
"""


class OtherUser:
    """A user with a home of its own; `close` removes it."""

    def __init__(self, socket: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="moorage-other-user-"))
        os.chown(self.home, NOBODY, NOBODY)
        self._stage = Path(tempfile.mkdtemp(prefix="moorage-seen-"))
        self._group = socket.stat().st_gid

    def close(self) -> None:
        """Remove the home."""
        for folder in (self.home, self._stage):
            shutil.rmtree(folder, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """A folder of the user's, made now."""
        made = self.home / name
        made.mkdir()
        os.chown(made, NOBODY, NOBODY)
        return made

    def start(self, command: list[str], directory: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """The command in the user's name, and in an environment that has nothing of ours but `environment` and PATH."""
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        as_user = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--groups", str(self._group), "--"]
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", _SEEN_AS, "bash", *self._seen(), *as_user, *command],
            cwd=directory,
            env={**own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _seen(self) -> list[str]:
        """Where to put what, how many, then each folder that is root's alone with what is needed of it."""
        needed = {ROOT.resolve(), *(Path(one).resolve() for one in (sys.prefix, sys.base_prefix))}
        blocked: dict[Path, list[Path]] = {}
        for one in sorted(needed):
            if closed := next((each for each in reversed(one.parents) if _is_closed(each)), None):
                inside = blocked.setdefault(closed, [])
                if not any(one.is_relative_to(other) for other in inside):
                    inside.append(one)
        for number in range(len(blocked)):
            (self._stage / str(number)).mkdir(exist_ok=True)
        pairs = [[str(closed), ":".join(map(str, inside))] for closed, inside in blocked.items()]
        return [str(self._stage), str(len(blocked)), *(word for pair in pairs for word in pair)]


def _is_closed(folder: Path) -> bool:
    return not folder.stat().st_mode & stat.S_IXOTH
