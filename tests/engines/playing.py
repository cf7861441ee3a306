"""One row from outside: its root, its images, its namespaces; and nothing is left of it when it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from tests.conftest import ROOT
from tests.engines.__main__ import within
from tests.engines.rows import ENVIRONMENT, NEWEST_BUILDX, Row

BUILDX = "usr/libexec/docker/cli-plugins/docker-buildx"
PLACE_VARIABLE = "ENGINES_PLACE"
"""Where the folders of rows are made, if not in /var/tmp."""
_ENDING_S = 60
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Played:
    """What came of a row."""

    version: dict[str, Any]
    outcomes: dict[str, list[dict[str, Any]]]
    """Verb → an entry for each test: its name, `passed` or not, what it said."""
    output: str
    """All that pytest has printed."""
    log: str

    @property
    def engine(self) -> str:
        """What the engine calls itself."""
        component = (self.version.get("Components") or [{}])[0]
        return f"{component.get('Name', '')} {self.version.get('Version', '')}".strip()


class BrokenOffError(KeyboardInterrupt):
    """Somebody has ended a row before its end."""

    def __init__(self, played: Played) -> None:
        super().__init__()
        self.played = played
        """What had come of it until then."""


def root_of(name: str) -> Path:
    """The root of an engine; made where it is not there yet, which takes minutes."""
    made = subprocess.run([ROOT / "scripts" / "engine-root", name], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


def images(folder: Path, names: Sequence[str]) -> None:
    """Save the images that the tests stand on from the machine's engine, which has them from `scripts/base-images`."""
    client = docker.from_env(timeout=300)
    for number, name in enumerate(names):
        with (folder / f"{number}.image.tar").open("wb") as file:
            file.writelines(client.images.get(name).save(named=True))
    client.close()


@contextmanager
def place() -> Iterator[Path]:
    """A folder for one row, on a disk and short: a unix socket's path may have 107 characters. It is gone at the end."""
    made = Path(tempfile.mkdtemp(prefix="engines-", dir=os.environ.get(PLACE_VARIABLE, "/var/tmp")))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def begin(row: Row, place: Path, root: Path, verbs: Mapping[str, Sequence[str]]) -> subprocess.Popen[bytes]:
    """Start a row; `end` ends it."""
    (place / "verbs.json").write_text(json.dumps({verb: list(tests) for verb, tests in verbs.items()}))
    if (own := root / BUILDX).exists():
        shutil.copyfile(own, place / "own-buildx")
        (place / "own-buildx").chmod(0o755)
    command = [sys.executable, "-m", "tests.engines", row.name, str(place), str(root)]
    with (place / "output").open("wb") as output:
        # A session of its own: Ctrl-C is for who has started it, and he ends all of it at once.
        return subprocess.Popen(
            within(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def end(process: subprocess.Popen[bytes], place: Path) -> None:
    """End it with all its processes; what the kernel keeps of the containers goes too."""
    process.send_signal(signal.SIGKILL)  # `--kill-child`: its first process inside, and with that all of them
    process.wait(_ENDING_S)
    deadline = time.monotonic() + _ENDING_S
    while not _cleared(place.name) and time.monotonic() < deadline:
        time.sleep(0.1)


def _cleared(name: str) -> bool:
    """Remove the control groups of a row. False: processes of it are still about to end."""
    try:
        for top in _CGROUPS.glob(f"*/{name}"):
            for folder, _, _ in os.walk(top, topdown=False):
                Path(folder).rmdir()
    except OSError:
        return False
    return True


def play(row: Row, verbs: Mapping[str, Sequence[str]], names: Sequence[str]) -> Played:
    """Play a row to its end."""
    root = root_of(row.name)
    with place() as folder:
        images(folder, names)
        if "build with RUN --mount" in verbs:
            shutil.copyfile(root_of(NEWEST_BUILDX) / BUILDX, folder / "newest-buildx")
            (folder / "newest-buildx").chmod(0o755)
        process = begin(row, folder, root, verbs)
        try:
            process.wait()
        except KeyboardInterrupt:
            end(process, folder)
            if (folder / "version.json").exists():
                raise BrokenOffError(_read(folder, verbs)) from None
            raise
        finally:
            end(process, folder)
        return _read(folder, verbs)


def _read(folder: Path, verbs: Mapping[str, Sequence[str]]) -> Played:
    log = folder / "engine" / "log"
    version = folder / "version.json"
    words = (folder / "output").read_text() + (log.read_text()[-3000:] if log.exists() else "")
    assert version.exists(), f"the engine did not come up: {words}"
    special = {verb: _of(folder / f"{verb}.outcomes") for verb in verbs if verb in ENVIRONMENT}
    usual = [one for file in folder.glob("*.outcomes") if file.stem not in ENVIRONMENT for one in _of(file)]
    outcomes = {verb: [one for one in special.get(verb, usual) if _is_of(one["test"], verbs[verb])] for verb in verbs}
    outputs = "\n".join(file.read_text(errors="replace") for file in sorted(folder.glob("*.output")))
    return Played(json.loads(version.read_text()), outcomes, outputs or words, words)


def _of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _is_of(test: str, nodes: Sequence[str]) -> bool:
    """Whether a test is one of those that are named: by a file, or with its parameters left out."""
    return any(
        test.removeprefix("tests/engine/").startswith(f"{node}::" if node.endswith(".py") else node) for node in nodes
    )
