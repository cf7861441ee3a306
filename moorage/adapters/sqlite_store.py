"""The registry in one SQLite file: stacks, generations, leases, runs, timings.

Safe across processes and threads: one connection an object, guarded by a mutex; every write is one `BEGIN IMMEDIATE`
transaction. A file that turns out damaged is set aside, never deleted, and a fresh one made.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from moorage.adapters.local_files import PRIVATE_FILE, home_error, home_errors, private_folder
from moorage.adapters.probes import holder_of
from moorage.errors import HomeError
from moorage.model.generation import GenerationRecord
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.model.state import RunRecord, StackRecord
from moorage.rules import ports
from moorage.rules.ports import Holder, Holding, Market
from moorage.settings import settings

_Result = TypeVar("_Result")

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
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
        "CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)
"""What makes version n of the file out of version n - 1. Only ever add to the end."""
LATEST = len(_MIGRATIONS)
_SET_ASIDE = "set_aside"
_TIMINGS_KEPT = 50
_LEASE = "stack, service, target, protocol, slot, port, count, wanted, host_ip, since, run, previous"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNUSABLE = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
)
_COMPANIONS = ("", "-wal", "-shm")
_POLL_S = 0.01


class SqliteStore:
    """Implements `interfaces.Store` in the file `path`; it is opened at the first call.

    `any_port`: where ports come from when none is wanted (None: the setting `port_range`). `process_at` names the
    process on a port in errors. Every method raises HomeError when the file cannot be used. When it can only be read,
    the methods that only read still answer.
    """

    def __init__(
        self,
        path: Path,
        *,
        any_port: range | None = None,
        process_at: Callable[[int, str], str | None] = holder_of,
        timeout_s: float = 60.0,
    ) -> None:
        self.path = path
        self._any_port = any_port
        self._process_at = process_at
        self._timeout_s = timeout_s
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._pid = 0
        self._left_behind: list[sqlite3.Connection] = []

    # Leases

    def lease(
        self,
        requests: Sequence[Request],
        *,
        run: str | None,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        """Lease a port for each request, in one write transaction. Raises PortError, and then nothing is leased."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, {request.key.stack for request in requests})
            market = self._market(connection, taken, bindable, strict=strict)
            holdings = ports.allot(requests, held, market, run, now)
            changed = [holding for holding in holdings if held.get(holding.lease.key) != holding]
            _write_holdings(connection, changed)
            return tuple(holding.lease for holding in holdings)

        return self._write(work)

    def preview(
        self,
        requests: Sequence[Request],
        *,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        """What `lease` would answer, with nothing stored."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, {request.key.stack for request in requests})
            market = self._market(connection, taken, bindable, strict=strict)
            return tuple(holding.lease for holding in ports.allot(requests, held, market, None, now))

        return self._read(work)

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        """The leases of a stack, by port. None: of all stacks."""
        found = self._read(lambda connection: _holdings(connection, None if stack is None else {stack}))
        return tuple(sorted((holding.lease for holding in found.values()), key=_by_port))

    def release(self, keys: Sequence[LeaseKey]) -> None:
        """Give ports back; a key without a lease is no error."""
        self._write(lambda connection: _delete_leases(connection, keys))

    def release_run(self, run: str) -> tuple[Lease, ...]:
        """Give back what an unfinished run acquired, and say what that was; what it only moved goes back to its place."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            undone = [_holding(row) for row in connection.execute(f"SELECT {_LEASE} FROM leases WHERE run = ?", (run,))]
            # First all out, then the old ones in: two that swapped their ports would be in each other's way.
            _delete_leases(connection, [holding.lease.key for holding in undone])
            _write_holdings(connection, [holding.restored for holding in undone if holding.restored])
            return tuple(sorted((holding.lease for holding in undone if holding.given_back), key=_by_port))

        return self._write(work)

    def commit_run(self, run: str) -> None:
        """What the run acquired is held from now on (until released)."""
        self._change("UPDATE leases SET run = NULL, previous = NULL WHERE run = ?", run)

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Put leases on record as they are, for a registry that was lost, and give those that could be.

        Left out is one whose key has a lease already, or whose port another has.
        """

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, None)
            restored = ports.compatible(leases, held.values())
            _write_holdings(connection, [Holding(lease) for lease in restored])
            return restored

        return self._write(work)

    def _market(
        self,
        connection: sqlite3.Connection,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        *,
        strict: bool,
    ) -> Market:
        any_port = ports.port_range(settings().port_range) if self._any_port is None else self._any_port
        return Market(bindable, _leased(connection), taken, any_port, strict, self._process_at)

    # Stacks and generations

    def stack(self, name: str) -> StackRecord | None:
        """One stack. None: not on record."""
        found = self._texts("SELECT record FROM stacks WHERE name = ?", name)
        return StackRecord.model_validate_json(found[0]) if found else None

    def stacks(self) -> tuple[StackRecord, ...]:
        """All stacks, by name."""
        return tuple(map(StackRecord.model_validate_json, self._texts("SELECT record FROM stacks ORDER BY name")))

    def save_stack(self, record: StackRecord) -> None:
        """Add or replace."""
        self._change("INSERT OR REPLACE INTO stacks VALUES (?, ?)", record.name, record.model_dump_json())

    def forget_stack(self, name: str) -> None:
        """Remove the stack with its generations and timings; leases stay until they are released."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM stacks WHERE name = ?", (name,))
            connection.execute("DELETE FROM generations WHERE stack = ?", (name,))
            connection.execute("DELETE FROM timings WHERE stack = ?", (name,))

        self._write(work)

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        """All on record, newest first."""
        found = self._texts("SELECT record FROM generations WHERE stack = ? ORDER BY number DESC", stack)
        return tuple(map(GenerationRecord.model_validate_json, found))

    def save_generation(self, record: GenerationRecord) -> None:
        """Add or replace by (stack, number)."""
        self._change(
            "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)", record.stack, record.number, record.model_dump_json()
        )

    def forget_generation(self, stack: str, number: int) -> None:
        """Remove one; no error if it is gone."""
        self._change("DELETE FROM generations WHERE stack = ? AND number = ?", stack, number)

    # Runs and timings

    def open_run(self, record: RunRecord) -> None:
        """Write a run down before its first effect."""
        self.update_run(record)

    def update_run(self, record: RunRecord) -> None:
        """Replace the record of a run."""
        finished_at = record.finished_at.isoformat() if record.finished_at else None
        self._change(
            "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "stack = excluded.stack, finished_at = excluded.finished_at, record = excluded.record",
            *(record.id, record.stack, finished_at, record.model_dump_json()),
        )

    def close_run(self, run: str, outcome: str, now: datetime) -> None:
        """The run has ended; no error if it is not on record."""

        def work(connection: sqlite3.Connection) -> None:
            for (text,) in connection.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchall():
                ended = RunRecord.model_validate_json(text).model_copy(update={"outcome": outcome, "finished_at": now})
                values = (now.isoformat(), ended.model_dump_json(), run)
                connection.execute("UPDATE runs SET finished_at = ?, record = ? WHERE id = ?", values)

        self._write(work)

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        """Runs without an end, oldest first."""
        found = self._texts(
            "SELECT record FROM runs WHERE finished_at IS NULL AND (?1 IS NULL OR stack = ?1) ORDER BY rowid", stack
        )
        return tuple(map(RunRecord.model_validate_json, found))

    def runs(self, stack: str, limit: int = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first."""
        found = self._texts("SELECT record FROM runs WHERE stack = ? ORDER BY rowid DESC LIMIT ?", stack, limit)
        return tuple(map(RunRecord.model_validate_json, found))

    def add_timing(self, stack: str, service: str, generation: int, phase: str, seconds: float, now: datetime) -> None:
        """How long a phase (`create`, `start`, `ready`) of a service took; old ones are dropped."""

        def work(connection: sqlite3.Connection) -> None:
            values = (stack, service, phase, generation, seconds, now.isoformat())
            connection.execute("INSERT INTO timings VALUES (?, ?, ?, ?, ?, ?)", values)
            connection.execute(
                "DELETE FROM timings WHERE rowid IN (SELECT rowid FROM timings "
                "WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (stack, service, phase, _TIMINGS_KEPT),
            )

        self._write(work)

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        """The last ones, newest first."""
        question = "SELECT seconds FROM timings WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT ?"
        found = self._read(lambda connection: connection.execute(question, (stack, service, phase, limit)).fetchall())
        return tuple(seconds for (seconds,) in found)

    # The file

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was put, until `rebuilt` is called, by whichever process. None: nothing was lost."""
        found = self._texts("SELECT value FROM notes WHERE key = ?", _SET_ASIDE)
        return Path(found[0]) if found else None

    def rebuilt(self) -> None:
        """What was lost with the file set aside is on record again."""
        self._change("DELETE FROM notes WHERE key = ?", _SET_ASIDE)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._mutex:
            self._disconnect()

    def _texts(self, question: str, *values: Any) -> list[str]:
        return self._read(lambda connection: [text for (text,) in connection.execute(question, values)])

    def _change(self, statement: str, *values: Any) -> None:
        self._write(lambda connection: connection.execute(statement, values) and None)

    def _write(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return self._answer(lambda: _transaction(self._connected(), "BEGIN IMMEDIATE", work))

    def _read(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        def once() -> _Result:
            try:
                return _transaction(self._connected(), "BEGIN", work)
            except (sqlite3.DatabaseError, HomeError) as error:
                if not self._unwritable(error):
                    raise
                with _read_only(self.path) as connection:
                    return _transaction(connection, "BEGIN", work)

        return self._answer(once)

    def _answer(self, once: Callable[[], _Result]) -> _Result:
        """Do it, again with a fresh file when this one is damaged; errors of the file become HomeError."""
        with self._mutex:
            try:
                try:
                    return once()
                except sqlite3.DatabaseError as error:
                    if _code(error) not in _DAMAGED:
                        raise
                    self._replace_damaged()
                    return once()
            except sqlite3.DatabaseError as error:
                raise self._explained(error) from error

    def _unwritable(self, error: Exception) -> bool:
        cause = error.__cause__ if isinstance(error, HomeError) else error
        in_file = isinstance(cause, OSError) or (isinstance(cause, sqlite3.DatabaseError) and _code(cause) in _UNUSABLE)
        return in_file and self.path.is_file()

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        code = _code(error)
        if code in _BUSY:
            return HomeError(
                f"{self.path} has been locked by another process for {self._timeout_s:g} s",
                hint="Look for a moorage process that hangs, or move MOORAGE_HOME to a local disk.",
                path=str(self.path),
            )
        if code in (*_UNUSABLE, *_DAMAGED):
            return home_error(self.path, str(error), errno_of(code))
        return error

    def _connected(self) -> sqlite3.Connection:
        """The connection of this process to the file that is at the path now."""
        if self._pid != os.getpid():
            self._leave_behind()
        inode = _inode(self.path)
        if self._connection is None or inode != self._inode:
            self._disconnect()
            self._open()
        if self._connection is None:
            raise HomeError(f"{self.path} was removed while it was opened", path=str(self.path))
        return self._connection

    def _leave_behind(self) -> None:
        """After a fork: the connection is the parent's. Closing it here would take its locks and files away."""
        if self._connection is not None:
            self._left_behind.append(self._connection)
        self._connection, self._pid = None, os.getpid()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _open(self) -> None:
        with home_errors(self.path):
            if not _has_content(self.path):
                private_folder(self.path.parent)
                with self._alone():
                    self._create()
        connection = _connect(self.path, self._timeout_s)
        try:
            if self._check_version(connection) < LATEST:
                with home_errors(self.path), self._alone():
                    _migrate(connection)
        except BaseException:
            self._inode = _inode(self.path)
            # Not closed but kept: closing the last connection would write to a file that we must not touch.
            connection.close()
            raise
        self._connection, self._inode = connection, _inode(self.path)
