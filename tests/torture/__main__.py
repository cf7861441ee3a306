"""`python -m tests.torture PLACE SEED SECONDS`: the torture with an engine of its own, in namespaces that `inside` makes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.faults.own_engine import OwnEngine
from tests.torture.arena import Arena
from tests.torture.game import Game

STACKS = ("torture-a", "torture-b", "torture-c")
WANTED_PORT = 8080


def inside(place: Path, seed: int, seconds: float) -> list[str]:
    """The command that runs it: when its first process ends, all others do, and its mounts go."""
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    # A shell comes first: it lets go of the children of killed processes, as the first process has to.
    script = 'ip link set lo up && "$@"; exit $?'
    program = [sys.executable, "-m", "tests.torture", str(place), str(seed), str(seconds)]
    return [*namespaces, "bash", "-c", script, "bash", *program]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of every command: nothing of the user's own settings."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    patient = {"MOORAGE_LOCK_TIMEOUT_S": "90", "MOORAGE_KEEP_GENERATIONS": "1000", "MOORAGE_SETTLE_S": "0.1"}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "COLUMNS": "160"}
    return {**kept, **patient, **quiet, "MOORAGE_HOME": str(home), "MOORAGE_UNDO_GRACE_S": "0", **more}


def main(place: Path, seed: int, seconds: float) -> int:
    """0: no violation. The report is in `report.json`."""
    engine = OwnEngine(place / "engine", own_network=False)
    own = {"DOCKER_HOST": engine.address, "PREFECT_HOME": str(place / "prefect")}
    arena = Arena(place, STACKS, (place / "image").read_text(), WANTED_PORT, engine, environment(place / "home", **own))
    arena.open()
    try:
        report = Game(arena, seed).play(seconds)
        (place / "report.json").write_text(report.as_json())
    finally:
        arena.close()
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
