"""A stack that comes, changes, fails and goes, hundreds of times, on a real engine and a hub of its own.

What grows does so up to a bound, which is set low here so that it is reached. How much there is of each thing is
printed, as it was when the bounds had been reached and at the end.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Project
from tests.counts import COUNTS, NOTES
from tests.orchestrated.conftest import OwnHub, address_in, create_run, wait_for, wait_for_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moorage.hub.api import HubAddress

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.exhaustive, pytest.mark.timeout(7200)]

ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "30"))
ROUND = 10
"""Cycles in a round. One of them is the worker's, two meet a failure, after one nothing is left of the stack."""
SETTLED = max(2, ROUNDS // 3)
"""Rounds after which all bounds are reached: what there is then is compared with what there is at the end."""
BOUNDS = {
    "MOORAGE_KEEP_RUNS": "10",
    "MOORAGE_KEEP_GENERATIONS": "2",
    "MOORAGE_KEEP_FAILURES": "2",
    "MOORAGE_KEEP_TIMINGS": "10",
    "MOORAGE_HUB_LOG_BYTES": "65536",
    "MOORAGE_STOP_GRACE_S": "0",
    "MOORAGE_UNDO_GRACE_S": "0",
    "MOORAGE_SETTLE_S": "0",
}
VACUUM = {"PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "1"}
OF_RUNS = ("flow_run", "flow_run_state", "task_run", "task_run_state", "log", "artifact")
"""Tables of Prefect's with what happened in runs: kept by age."""
BY_AGE = (*OF_RUNS, "events", "KiB of Prefect's database", "KiB of it in use", "exceptions of failed runs")
STACK = """
    services:
      db:
        image: {image}
        command: [sleep, infinity]
        stop_grace_period: 0s
        environment: {{NUMBER: "{number}"}}
        volumes: ["data:/data"]
      web:
        image: {image}
        command: {command}
        stop_grace_period: 0s
        ports: ["{port}:80"]
        depends_on: [db]
    volumes: {{data: }}
"""
SERVES, FAILS = '[httpd, -f, -p, "80"]', '[sh, -c, "exit 3"]'
KIB = 1024


class Cycles:
    """The stack, and the hub that its runs are on."""

    def __init__(self, project: Project, own: OwnHub, client: Any, image: str, port: int) -> None:
        self.project, self.own, self.client, self.image, self.port = project, own, client, image, port
        self.address, self.pids = self.begin()

    def begin(self) -> tuple[HubAddress, dict[str, int]]:
        """The hub, from nothing: its address, and its processes by what they are."""
        status = self.own.start()
        return address_in(status, status["auth"]), {name: status[name]["pid"] for name in ("server", "worker")}

    def define(self, number: int, command: str = SERVES) -> None:
        self.project.compose(STACK.format(image=self.image, number=number, command=command, port=self.port))

    def round(self) -> dict[str, int]:
        """Ten cycles: it comes, changes, and goes. Gives what is there then."""
        for number in range(ROUND):
            self.define(2 * number)
            self.up(by_worker=number == 0)
            if number in (2, 7):
                self.define(-number, FAILS)
                self.project.moorage("up", exit_code=5)
            self.define(2 * number + 1)
            self.up()
            self.down(for_good=number == 4)
        found = self.found()
        print(f"after {ROUND} more:", found, flush=True)
        return found

    def down(self, *, for_good: bool = False) -> None:
        self.project.moorage("down", *(("--volumes", "--release-ports") if for_good else ()))

    def up(self, *, by_worker: bool = False) -> None:
        if by_worker:
            run = create_run(self.address, "up", path=str(self.project.path))
            wait_for_state(self.address, run, "COMPLETED")
        else:
            self.project.moorage("up")

    def found(self) -> dict[str, int]:
        """How much there is of each thing that could grow."""
        home, folder = self.own.home, self.own.folder
        kept = [one for one in home.rglob("*") if one.is_file() and folder.path not in one.parents]
        exceptions = list(folder.results.iterdir())
        of_hub = [one for one in folder.path.rglob("*") if one.is_file() and one.parent != folder.results]
        return {
            **rows(home / "hub.db", ("stacks", "generations", "leases", "runs", "timings")),
            "files of the home": len(kept),
            "KiB of the home": size(kept) // KIB,
            "files of the hub": len(of_hub),
            "exceptions of failed runs": len(exceptions),
            "KiB of the hub's logs": size(one for one in of_hub if ".log" in one.name) // KIB,
            **self._on_engine(),
            **{f"{what} of the {name}": n for name, pid in self.pids.items() for what, n in of_process(pid).items()},
            **rows(self.database, (*OF_RUNS, "events")),
            "KiB of Prefect's database": size(self.database.parent.glob("prefect.db*")) // KIB,
            "KiB of it in use": in_use(self.database) // KIB,
        }

    @property
    def database(self) -> Path:
        """Prefect's."""
        return self.own.folder.prefect_home / "prefect.db"

    def _on_engine(self) -> dict[str, int]:
        name, api = self.project.name, self.client.api
        return {
            "containers": len(api.containers(all=True, filters={"name": name})),
            "networks": len(api.networks(names=[name])),
            "volumes": len(api.volumes(filters={"name": name})["Volumes"] or ()),
            "image tags": sum(name in tag for image in api.images() for tag in image["RepoTags"] or ()),
        }

    def grow_old(self) -> None:
        """A hub whose runs ended long ago, and that looks for such ones all the time."""
        self.own.stop()
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE flow_run SET end_time = datetime(end_time, '-100 days')")
            connection.execute("UPDATE events SET occurred = datetime(occurred, '-100 days')")
        for one in self.own.folder.results.iterdir():
            os.utime(one, times=(0, 0))
        self.own.env |= VACUUM
        self.address, self.pids = self.begin()

    def old(self) -> int:
        """Rows in Prefect's database that belong to runs, old events, and files."""
        with closing(sqlite3.connect(self.database)) as connection:
            asked = "SELECT count(*) FROM events WHERE occurred < datetime('now', '-50 days')"
            events: int = connection.execute(asked).fetchone()[0]
        return events + sum(rows(self.database, OF_RUNS).values()) + len(list(self.own.folder.results.iterdir()))


def rows(database: Path, tables: Iterable[str]) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(database)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def in_use(database: Path) -> int:
    """Bytes of a database without those of pages that are free: it writes there before its file grows."""
    with closing(sqlite3.connect(database)) as connection:
        pages, free, each = (
            connection.execute(f"PRAGMA {one}").fetchone()[0] for one in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * each)


def size(files: Iterable[Path]) -> int:
    """In bytes, of those that are still there: SQLite's files beside a database go when nobody has it open."""
    total = 0
    for one in files:
        with suppress(FileNotFoundError):
            total += one.stat().st_size
    return total


def of_process(pid: int) -> dict[str, int]:
    """What a process holds."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
        "MiB": int(status["VmRSS"].split()[0]) // KIB,
    }


def most(what: str, settled: int) -> int:
    """How much of a thing there may be at the end.

    What stays behind once a round is more than this. Memory and bytes may be a quarter more.
    """
    if what == "KiB of the hub's logs":
        return 2 * 2 * 2 * 64  # two logs and what was before, each twice as long for a moment
    return settled + max((ROUNDS - SETTLED) // 2, settled // 4 if what.startswith(("KiB", "MiB")) else 0)


def test_what_grows(
    tmp_path, stack_prefix, docker_client, tiny_image, wanted_port, own, machine_state, record_property
):
    folder = tmp_path / stack_prefix
    folder.mkdir()
    own.env |= BOUNDS
    project = Project(folder, folder.name, {"MOORAGE_HOME": str(own.home)} | own.env)
    cycles = Cycles(project, own, docker_client, tiny_image, wanted_port)
    try:
        after = [cycles.round() for _ in range(ROUNDS)]
        settled, end = after[SETTLED - 1], after[-1]
        cycles.grow_old()
        wait_for(lambda: cycles.old() == 0)
        again = cycles.round()
    finally:
        cycles.down(for_good=True)
    title = f"cycles of up, change, down: after {SETTLED * ROUND}, at the end, after those grew old and one more round"
    lines = [f"{what:28}{settled[what]:>9}{end[what]:>9}{again[what]:>9}" for what in end]
    record_property(COUNTS, {"of": title, "how": {"cycles": ROUNDS * ROUND}})
    record_property(NOTES, {"of": title, "lines": lines})
    print(title, *lines, sep="\n")
    grown = [what for what in end if what not in BY_AGE and end[what] > most(what, settled[what])]
    assert not grown, "\n".join(lines)
    assert again["KiB of it in use"] < end["KiB of it in use"], "what is forgotten makes room"
