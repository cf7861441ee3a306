"""The registry in one SQLite file: stacks, generations, leases, runs, timings.

`file.py` handles the file, `rules/ports.py` chooses the ports.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from moorage.adapters.framing import every_call
from moorage.adapters.probes import holder_of
from moorage.adapters.registry import leased, measured, rows
from moorage.adapters.registry.file import SqliteFile
from moorage.adapters.registry.leased import RegistryLeases
from moorage.adapters.registry.rows import Tell
from moorage.errors import HomeError, said
from moorage.interfaces import Store
from moorage.model.generation import GenerationRecord
from moorage.model.image import BuiltRecord
from moorage.model.lease import AddressLease, Lease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunHead, RunOutcome, RunRecord, StackRecord
from moorage.model.unreadable import Unreadable
from moorage.rules import ports
from moorage.rules.ports import LeaseChange, PortView
from moorage.settings import settings

_Read = TypeVar("_Read")

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE stacks (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE generations (stack TEXT, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (stack, number))",
        """CREATE TABLE leases (
            stack TEXT NOT NULL, service TEXT NOT NULL, target INTEGER NOT NULL, protocol TEXT NOT NULL,
            slot INTEGER NOT NULL, port INTEGER NOT NULL, count INTEGER NOT NULL, wanted INTEGER,
            host_ip TEXT NOT NULL, since TEXT NOT NULL,
            run TEXT,       -- the run that has not committed it; NULL: committed
            previous TEXT,  -- the committed lease (JSON) that it replaces until then; NULL: it is new
            PRIMARY KEY (stack, service, target, protocol, slot))""",
        "CREATE UNIQUE INDEX one_lease_a_port ON leases (port, protocol, host_ip)",
        "CREATE INDEX leases_of_run ON leases (run) WHERE run IS NOT NULL",
        "CREATE TABLE runs (id TEXT PRIMARY KEY, stack TEXT NOT NULL, finished_at TEXT, record TEXT NOT NULL)",
        "CREATE INDEX runs_of_stack ON runs (stack)",
        "CREATE INDEX unfinished ON runs (stack) WHERE finished_at IS NULL",
        """CREATE TABLE timings (
            stack TEXT NOT NULL, service TEXT NOT NULL, phase TEXT NOT NULL, generation INTEGER NOT NULL,
            seconds REAL NOT NULL, at TEXT NOT NULL)""",
        "CREATE INDEX timings_of_service ON timings (stack, service, phase)",
    ),
    (
        # What says whether a run is still needed, beside its record: heads are read from the index alone.
        "ALTER TABLE runs ADD COLUMN operation TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN services TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE runs ADD COLUMN outcome TEXT",
        "ALTER TABLE runs ADD COLUMN started_at TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN has_timeline INTEGER NOT NULL DEFAULT 0",
        """UPDATE runs SET
            operation = json_extract(record, '$.operation'),
            services = coalesce(json_extract(record, '$.arguments.services'), '[]'),
            outcome = json_extract(record, '$.outcome'),
            started_at = json_extract(record, '$.started_at'),
            has_timeline = EXISTS (SELECT 1 FROM json_each(record, '$.spans')
                                   WHERE json_extract(value, '$.kind') IN ('start', 'ready'))""",
        """CREATE INDEX run_heads ON runs
            (stack, id, operation, services, outcome, started_at, finished_at, has_timeline)""",
        "CREATE INDEX timings_by_age ON timings (stack, at)",
    ),
    (
        # Ports between the first and the last that are not the lease's own: a JSON list.
        "ALTER TABLE leases ADD COLUMN skipped TEXT NOT NULL DEFAULT '[]'",
    ),
    (
        # Stacks whose directory was not there when `sweep` looked, and since when.
        """CREATE TABLE missing_directories (
            stack TEXT PRIMARY KEY, path TEXT NOT NULL, since TEXT NOT NULL) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE subnets (
            stack TEXT NOT NULL, network TEXT NOT NULL, subnet TEXT NOT NULL UNIQUE, since TEXT NOT NULL,
            PRIMARY KEY (stack, network)) WITHOUT ROWID""",
    ),
    leased.MIGRATION,
    (
        *measured.MIGRATION,
        """CREATE TABLE addresses (
            stack TEXT NOT NULL, service TEXT NOT NULL, network TEXT NOT NULL, subnet TEXT NOT NULL,
            address TEXT NOT NULL, since TEXT NOT NULL,
            PRIMARY KEY (stack, service, network, subnet)) WITHOUT ROWID""",
    ),
)
"""What makes version n of the file out of version n - 1. Only ever add to the end."""
_SAVE_STACK = "INSERT OR REPLACE INTO stacks VALUES (?, ?)"
_SAVE_GENERATION = "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)"
_HEAD = "id, stack, operation, services, outcome, started_at, finished_at, has_timeline"
_SAVE_RUN = (
    f"INSERT INTO runs ({_HEAD}, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608  column names, ours
    f"ON CONFLICT (id) DO UPDATE SET ({_HEAD}, record) = "
    "(excluded.id, excluded.stack, excluded.operation, excluded.services, excluded.outcome, excluded.started_at, "
    "excluded.finished_at, excluded.has_timeline, excluded.record)"
)
# The index by name: to have them in order, SQLite would rather go through the whole table.
_RUN = f"id, stack, {rows.RECORD}"
_UNFINISHED = f"SELECT {_RUN} FROM runs INDEXED BY unfinished WHERE finished_at IS NULL ORDER BY rowid"  # noqa: S608
_UNFINISHED_OF = f"SELECT {_RUN} FROM runs INDEXED BY unfinished WHERE finished_at IS NULL AND stack = ? ORDER BY rowid"  # noqa: S608
_ONE_RUN = f"SELECT {_RUN} FROM runs WHERE id = ?"  # noqa: S608
_STACKS = f"SELECT name, {rows.RECORD} FROM stacks"  # noqa: S608
_GENERATIONS = f"SELECT stack, number, {rows.RECORD} FROM generations"  # noqa: S608
_HEADS = f"SELECT {_HEAD} FROM runs INDEXED BY run_heads WHERE stack = ? ORDER BY rowid DESC"  # noqa: S608
_HEADS_OF_GONE = (
    f"SELECT {_HEAD} FROM runs INDEXED BY run_heads WHERE stack IN "  # noqa: S608
    "(SELECT DISTINCT stack FROM runs INDEXED BY runs_of_stack EXCEPT SELECT name FROM stacks) ORDER BY rowid DESC"
)
_END_UNREADABLE = "UPDATE runs SET outcome = ?, finished_at = ? WHERE id = ?"
_COMMIT_LEASES = "UPDATE leases SET run = NULL, previous = NULL WHERE run = ?"
_FORGET_MISSING = "DELETE FROM missing_directories WHERE stack = ?"
_LEASES_OF_RUN = f"SELECT {rows.LEASE} FROM leases WHERE run = ?"  # noqa: S608  column names, ours
_SUBNETS = "SELECT stack, network, subnet, since FROM subnets"
_ADDRESSES = "SELECT stack, service, network, subnet, address, since FROM addresses"
_RELEASE_ADDRESSES = "DELETE FROM addresses WHERE stack = ?"
_RELEASE_SUBNETS = "DELETE FROM subnets WHERE stack = ?"
_MOST_BUILT = 5000
_MOST_NOTED = 20
"""So many unreadable rows are told of one by one; `sweep` tells of all."""


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    """What SQLite refuses, and a record that makes no sense, become HomeError; the callers' own errors pass."""
    try:
        yield
    except (sqlite3.Error, ValidationError) as error:
        hint = "Was it written by another version? Set MOORAGE_HOME to another folder, or report it."
        raise HomeError(f"{path}: {said(error)}", hint=hint, path=str(path)) from error


@every_call(lambda store: _translating(store.path))
class SqliteStore(Store):
    """The registry in the file `path`, which is opened at the first call.

    `any_port`: range for ports if no particular one is wanted (None: the setting `port_range`). `process_at` names the
    process on a port, for errors. Every method raises HomeError if the file cannot be used. If it is read-only, the
    methods that only read still work.
    """

    def __init__(
        self,
        path: Path,
        *,
        any_port: range | None = None,
        process_at: Callable[[int, str], str | None] = holder_of,
        timeout_s: float = 60.0,
    ) -> None:
        self._file = SqliteFile(path, MIGRATIONS, timeout_s)
        self._noted: set[Unreadable] = set()
        self.on_unreadable: Tell = lambda _found: None
        """Is told each row that cannot be read and is passed over, once."""
        self._any_port = any_port
        self._process_at = process_at

    # Leases

    def lease(
        self,
        requests: Sequence[Request],
        *,
        run: str | None,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = self._holdings(connection, {request.key.stack for request in requests})
            market = self._market(connection, taken, bindable, strict=strict)
            holdings = ports.allocate(requests, held, market, run, now, complete=complete)
            changed = [holding for holding in holdings if held.get(holding.lease.key) != holding]
            _write_holdings(connection, changed)
            return tuple(holding.lease for holding in holdings)

        return self._file.write(work)

    def preview(
        self,
        requests: Sequence[Request],
        *,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = self._holdings(connection, {request.key.stack for request in requests})
            market = self._market(connection, taken, bindable, strict=strict)
            return tuple(
                holding.lease for holding in ports.allocate(requests, held, market, None, now, complete=complete)
            )

        return self._file.read(work)

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        found = self._file.read(lambda connection: self._holdings(connection, None if stack is None else {stack}))
        return tuple(sorted((holding.lease for holding in found.values()), key=_by_port))

    def release(self, keys: Sequence[LeaseKey]) -> None:
        self._file.write(lambda connection: _delete_leases(connection, keys))

    def release_all(self, stack: str) -> None:

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM leases WHERE stack = ?", (stack,))
            connection.execute(_RELEASE_SUBNETS, (stack,))
            connection.execute(_RELEASE_ADDRESSES, (stack,))

        self._file.write(work)

    def release_run(self, run: str) -> tuple[Lease, ...]:

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            found = connection.execute(_LEASES_OF_RUN, (run,)).fetchall()
            undone = list(rows.readable(found, rows.holding, rows.named_lease, self._note))
            # Delete all first, then insert the old ones: two leases that swapped their ports would collide.
            connection.execute("DELETE FROM leases WHERE run = ?", (run,))
            _write_holdings(connection, [holding.restored for holding in undone if holding.restored])
            return tuple(sorted((holding.lease for holding in undone if holding.given_back), key=_by_port))

        return self._file.write(work)

    def subnets(self, stack: str | None = None) -> tuple[SubnetLease, ...]:
        where, values = ("", ()) if stack is None else (" WHERE stack = ?", (stack,))
        found = self._rows(f"{_SUBNETS}{where} ORDER BY stack, network", *values)
        return tuple(rows.readable(found, rows.subnet, rows.named_subnet, self._note))

    def settle_subnets(
        self, stack: str, choose: Callable[[Collection[SubnetLease]], Collection[SubnetLease]]
    ) -> tuple[SubnetLease, ...]:
        """Nothing is written where nothing changes."""
        on_record = self.subnets()
        own = tuple(one for one in on_record if one.stack == stack)
        if set(choose(on_record)) == set(own):
            return own

        def work(connection: sqlite3.Connection) -> None:
            found = connection.execute(_SUBNETS).fetchall()
            chosen = choose(tuple(rows.readable(found, rows.subnet, rows.named_subnet, self._note)))
            connection.execute(_RELEASE_SUBNETS, (stack,))
            values = [(one.stack, one.network, one.subnet, one.since.isoformat()) for one in chosen]
            connection.executemany("INSERT OR REPLACE INTO subnets VALUES (?, ?, ?, ?)", values)

        self._file.write(work)
        return self.subnets(stack)

    def addresses(self, stack: str | None = None) -> tuple[AddressLease, ...]:
        where, values = ("", ()) if stack is None else (" WHERE stack = ?", (stack,))
        found = self._rows(f"{_ADDRESSES}{where} ORDER BY stack, network, service, subnet", *values)
        return tuple(rows.readable(found, rows.address, rows.named_address, self._note))

    def save_addresses(self, stack: str, leases: Collection[AddressLease]) -> None:

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_RELEASE_ADDRESSES, (stack,))
            values = [(stack, *rows.of_address(one)) for one in leases]
            connection.executemany("INSERT INTO addresses VALUES (?, ?, ?, ?, ?, ?)", values)

        self._file.write(work)

    def commit_run(self, run: str) -> None:
        self._change(_COMMIT_LEASES, run)

    def commit(
        self,
        run: RunRecord,
        stack: StackRecord,
        generations: Sequence[GenerationRecord],
        released: Sequence[LeaseKey],
    ) -> None:

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SAVE_STACK, (stack.name, stack.model_dump_json()))
            connection.executemany(_SAVE_GENERATION, [(g.stack, g.number, g.model_dump_json()) for g in generations])
            connection.execute(_COMMIT_LEASES, (run.id,))
            connection.execute(_FORGET_MISSING, (stack.name,))
            _delete_leases(connection, released)
            connection.execute(_SAVE_RUN, rows.of_run(run))

        self._file.write(work)

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = self._holdings(connection, None)
            restored = ports.compatible(leases, held.values())
            _write_holdings(connection, [LeaseChange(lease) for lease in restored])
            return restored

        return self._file.write(work)

    def lease_again(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            changed = ports.in_place_of(leases, self._holdings(connection, None))
            _write_holdings(connection, changed)
            return tuple(holding.lease for holding in changed)

        return self._file.write(work)

    def _market(
        self,
        connection: sqlite3.Connection,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        *,
        strict: bool,
    ) -> PortView:
        any_port = ports.port_range(settings().port_range) if self._any_port is None else self._any_port
        return PortView(bindable, RegistryLeases(connection), taken, any_port, strict, self._process_at)

    # Stacks and generations

    def stack(self, name: str) -> StackRecord | None:
        found = self._rows(f"{_STACKS} WHERE name = ?", name)
        return self._one(found, rows.stack, rows.named_stack)

    def stacks(self) -> tuple[StackRecord, ...]:
        found = self._rows(f"{_STACKS} ORDER BY name")
        return tuple(rows.readable(found, rows.stack, rows.named_stack, self._note))

    def names(self) -> frozenset[str]:
        return frozenset(str(name) for (name,) in self._rows("SELECT name FROM stacks"))

    def save_stack(self, record: StackRecord) -> None:
        self._change(_SAVE_STACK, record.name, record.model_dump_json())

    def forget_stack(self, name: str) -> None:

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM stacks WHERE name = ?", (name,))
            connection.execute("DELETE FROM generations WHERE stack = ?", (name,))
            connection.execute("DELETE FROM timings WHERE stack = ?", (name,))
            connection.execute(measured.FORGET_PEAKS, (name,))
            connection.execute(_FORGET_MISSING, (name,))

        self._file.write(work)

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        found = self._rows(f"{_GENERATIONS} WHERE stack = ? ORDER BY number DESC", stack)
        return tuple(rows.readable(found, rows.generation, rows.named_generation, self._note))

    def numbers(self, stack: str) -> frozenset[int]:
        found = self._rows("SELECT number FROM generations WHERE stack = ?", stack)
        return frozenset(number for (number,) in found if isinstance(number, int))

    def save_generation(self, record: GenerationRecord) -> None:
        self._change(_SAVE_GENERATION, record.stack, record.number, record.model_dump_json())

    def forget_generation(self, stack: str, number: int) -> None:
        self._change("DELETE FROM generations WHERE stack = ? AND number = ?", stack, number)

    # Runs and timings

    def open_run(self, record: RunRecord) -> None:
        self.update_run(record)

    def update_run(self, record: RunRecord) -> None:
        self._change(_SAVE_RUN, *rows.of_run(record))

    def close_run(self, run: str, outcome: RunOutcome, now: datetime) -> None:
        """The run has ended; no error if it is not on record."""

        def work(connection: sqlite3.Connection) -> None:
            for row in connection.execute(_ONE_RUN, (run,)).fetchall():
                try:
                    ended = rows.run(row).model_copy(update={"outcome": outcome, "finished_at": now})
                except rows.SENSELESS:  # the record stays as it is, for whoever can read it
                    connection.execute(_END_UNREADABLE, (outcome, now.isoformat(), run))
                else:
                    connection.execute(_SAVE_RUN, rows.of_run(ended))

        self._file.write(work)

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        """Runs without an end, oldest first."""
        return tuple(rows.readable(self._unfinished(stack), rows.run, rows.named_run, self._note))

    def _unfinished(self, stack: str | None) -> list[rows.Row]:
        return self._rows(_UNFINISHED) if stack is None else self._rows(_UNFINISHED_OF, stack)

    def run(self, identifier: str) -> RunRecord | None:
        """One run, by its whole id. None: not on record."""
        return self._one(self._rows(_ONE_RUN, identifier), rows.run, rows.named_run)

    def runs(self, stack: str | None, limit: int | None = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first. `stack` None: of all stacks. `limit` None: all that are kept."""
        most = -1 if limit is None else limit
        if stack is None:
            found = self._rows(f"SELECT {_RUN} FROM runs ORDER BY rowid DESC LIMIT ?", most)  # noqa: S608
        else:
            question = f"SELECT {_RUN} FROM runs WHERE stack = ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608
            found = self._rows(question, stack, most)
        return tuple(rows.readable(found, rows.run, rows.named_run, self._note))

    def run_heads(self, stack: str | None) -> tuple[RunHead, ...]:
        """All runs of a stack, without what they did, newest first. None: of all stacks that are not on record."""
        found = self._rows(_HEADS_OF_GONE) if stack is None else self._rows(_HEADS, stack)
        return tuple(rows.readable(found, rows.head, rows.named_run, self._note))

    def forget_runs(self, runs: Sequence[str]) -> None:
        """Remove runs by id; one that has not ended stays, one that is gone is no error."""
        question = "DELETE FROM runs WHERE id = ? AND finished_at IS NOT NULL"
        self._file.write(lambda connection: connection.executemany(question, [(run,) for run in runs]).close())

    def add_timing(
        self, stack: str, service: str, generation: int, phase: str, seconds: float, now: datetime, *, keep: int = 50
    ) -> None:
        """How long a phase (`create`, `start`, `ready`) of a service took; only the last `keep` of it stay."""

        def work(connection: sqlite3.Connection) -> None:
            values = (stack, service, phase, generation, seconds, now.isoformat())
            connection.execute("INSERT INTO timings VALUES (?, ?, ?, ?, ?, ?)", values)
            connection.execute(
                "DELETE FROM timings WHERE rowid IN (SELECT rowid FROM timings "
                "WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (stack, service, phase, keep),
            )

        self._file.write(work)

    def old_timings(self, stack: str, age: timedelta) -> int:
        """How many timings of a stack are older than its newest one by more than `age`."""
        return self._file.read(lambda connection: _old_timings(connection, "SELECT count(*)", stack, age))

    def forget_timings(self, stack: str, age: timedelta) -> None:
        """Remove those."""
        self._file.write(lambda connection: _old_timings(connection, "DELETE", stack, age))

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        question = (
            "SELECT seconds FROM timings WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT ?"
        )
        found = self._rows(question, stack, service, phase, limit)
        return tuple(rows.readable(found, rows.seconds, rows.named_timing, self._note))

    # Images that were built, and memory that services take

    def note_built(self, image_id: str, stack: str, now: datetime) -> None:

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(measured.NOTE_BUILT, (image_id, stack, now.isoformat()))
            connection.execute(measured.KEEP_BUILT, (_MOST_BUILT - 1,))

        self._file.write(work)

    def built_images(self) -> tuple[BuiltRecord, ...]:
        return tuple(rows.readable(self._rows(measured.BUILT), rows.built, rows.named_built, self._note))

    def forget_built(self, image_ids: Sequence[str]) -> None:
        gone = [(one,) for one in image_ids]
        self._file.write(lambda connection: connection.executemany(measured.FORGET_BUILT, gone).close())

    def note_peaks(self, stack: str, peaks: Mapping[str, int], now: datetime, *, valid: timedelta) -> None:
        since = (now - valid).isoformat()
        values = [(stack, service, found, now.isoformat(), since) for service, found in peaks.items()]
        self._file.write(lambda connection: connection.executemany(measured.NOTE_PEAK, values).close())

    def peaks(self, stack: str) -> dict[str, int]:
        return dict(rows.readable(self._rows(measured.PEAKS, stack), rows.peak, rows.named_peak, self._note))

    # Directories that are missing

    def note_missing(self, stack: str, path: str, now: datetime) -> datetime:

        def work(connection: sqlite3.Connection) -> datetime:
            question = "SELECT since FROM missing_directories WHERE stack = ? AND path = ?"
            found = connection.execute(question, (stack, path)).fetchone()
            since = rows.instant(found[0]) if found else None
            if since is not None and since <= now:
                return since
            values = (stack, path, now.isoformat())
            connection.execute("INSERT OR REPLACE INTO missing_directories VALUES (?, ?, ?)", values)
            return now

        return self._file.write(work)

    def missing_since(self, stack: str, path: str) -> datetime | None:
        question = "SELECT since FROM missing_directories WHERE stack = ? AND path = ?"
        return next((rows.instant(since) for (since,) in self._rows(question, stack, path)), None)

    def forget_missing(self, stack: str) -> None:
        self._change(_FORGET_MISSING, stack)

    # What cannot be read

    def unreadable(self, stack: str | None = None) -> tuple[Unreadable, ...]:
        found: list[Unreadable] = []
        of = "" if stack is None else " WHERE {} = ?"
        values = () if stack is None else (stack,)
        for question, column, read, named in _READ:
            read_rows = self._rows(question + of.format(column), *values)
            for _ in rows.readable(read_rows, read, named, found.append):
                pass
        for row in self._unfinished(stack):
            bad = rows.readable([row], rows.run, rows.named_run, found.append)
            if not tuple(bad):
                found[-1] = found[-1].model_copy(update={"run": str(row[0])})
        return tuple(found)

    # The file

    @property
    def path(self) -> Path:
        """Path of the file; it need not exist yet."""
        return self._file.path

    @property
    def set_aside(self) -> Path | None:
        return self._file.set_aside

    def on_loss(self, rebuild: Callable[[], None]) -> None:
        """Call `rebuild` when the file turns out damaged and has been replaced by an empty one."""
        self._file.on_loss = rebuild

    def rebuilt(self) -> None:
        self._file.forget_set_aside()

    def close(self) -> None:
        self._file.close()

    def _rows(self, question: str, *values: Any) -> list[rows.Row]:
        return self._file.read(lambda connection: connection.execute(question, values).fetchall())

    def _one(self, found: list[rows.Row], read: Callable[[rows.Row], _Read], named: rows.Named) -> _Read | None:
        """What was asked for by its name. None: it is not there. Raises HomeError: it cannot be read."""
        bad: list[Unreadable] = []
        read_rows = list(rows.readable(found, read, named, bad.append))
        for one in bad:
            raise HomeError(f"{self.path}: {one.where}: {one.what}", hint=one.hint, path=str(self.path))
        return read_rows[0] if read_rows else None

    def _holdings(self, connection: sqlite3.Connection, stacks: set[str] | None) -> dict[LeaseKey, LeaseChange]:
        """The leases on record of some stacks. None: of all."""
        where, values = "", tuple(stacks or ())
        if stacks is not None:
            where = f" WHERE stack IN ({', '.join('?' * len(values))})"
        found = connection.execute(f"SELECT {rows.LEASE} FROM leases{where}", values)  # noqa: S608  question marks
        read = rows.readable(found, rows.holding, rows.named_lease, self._note)
        return {holding.lease.key: holding for holding in read}

    def _note(self, found: Unreadable) -> None:
        if found not in self._noted and len(self._noted) < _MOST_NOTED:
            self._noted.add(found)
            self.on_unreadable(found)

    def _change(self, statement: str, *values: Any) -> None:
        self._file.write(lambda connection: connection.execute(statement, values).close())


def _write_holdings(connection: sqlite3.Connection, holdings: Sequence[LeaseChange]) -> None:
    replaced = [lease.key for holding in holdings for lease in holding.leases]
    _delete_leases(connection, replaced)
    values = map(rows.of_lease, holdings)
    connection.executemany(f"INSERT INTO leases ({rows.LEASE}) VALUES ({', '.join('?' * 13)})", values)  # noqa: S608


def _delete_leases(connection: sqlite3.Connection, keys: Sequence[LeaseKey]) -> None:
    connection.executemany(
        "DELETE FROM leases WHERE stack = ? AND service = ? AND target = ? AND protocol = ? AND slot = ?",
        map(rows.key, keys),
    )


def _old_timings(connection: sqlite3.Connection, what: str, stack: str, age: timedelta) -> int:
    """Count or delete timings that are old beside the newest one of their stack."""
    (latest,) = connection.execute("SELECT max(at) FROM timings WHERE stack = ?", (stack,)).fetchone()
    newest = rows.instant(latest)
    if newest is None:
        return 0
    since = (newest - age).isoformat()
    found = connection.execute(f"{what} FROM timings WHERE stack = ? AND at < ?", (stack, since)).fetchone()
    return int(found[0]) if found else 0


_READ: tuple[tuple[str, str, Callable[[rows.Row], object], rows.Named], ...] = (
    (_STACKS, "name", rows.stack, rows.named_stack),
    (_GENERATIONS, "stack", rows.generation, rows.named_generation),
    (f"SELECT {rows.LEASE} FROM leases", "stack", rows.holding, rows.named_lease),  # noqa: S608
    (_SUBNETS, "stack", rows.subnet, rows.named_subnet),
    (_ADDRESSES, "stack", rows.address, rows.named_address),
)
"""What there is besides runs: the question, the column that says of which stack, and how a row is read."""


def _by_port(lease: Lease) -> tuple[int, str, str]:
    return lease.port, lease.key.protocol, lease.host_ip
