"""The registry in one SQLite file: stacks, generations, leases, runs, timings.

Safe across processes and threads: one connection an object, guarded by a mutex; every write is one `BEGIN IMMEDIATE`
transaction. A file that turns out damaged is set aside, never deleted, and a fresh one made.
"""

from __future__ import annotations

import errno
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
_LEASES_OF_RUN = f"SELECT {_LEASE} FROM leases WHERE run = ?"  # noqa: S608  column names, ours
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
        """Give back what an unfinished run acquired, and say what that was; what it moved goes back to its place."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            undone = [_holding(row) for row in connection.execute(_LEASES_OF_RUN, (run,))]
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
        question = (
            "SELECT seconds FROM timings WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT ?"
        )
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
        self._write(lambda connection: connection.execute(statement, values).close())

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
            return home_error(self.path, str(error), errno.ENOSPC if code == sqlite3.SQLITE_FULL else None)
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
        if not _has_content(self.path):
            with home_errors(self.path):
                private_folder(self.path.parent)
                with _alone(self.path, self._timeout_s):
                    self._create()
        self._inode = _inode(self.path)
        connection = _connect(self.path, self._timeout_s)
        try:
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version > LATEST:
            raise HomeError(
                f"{self.path} was written by a newer Moorage (version {version} of the file, this one knows {LATEST})",
                hint="Use the newer Moorage, or another MOORAGE_HOME.",
                path=str(self.path),
            )
        if version < LATEST:
            with home_errors(self.path), _alone(self.path, self._timeout_s):
                _migrate(connection)

    def _create(self) -> None:
        """Make the file, alone. One without content was cut off, or its making was: it is set aside as damaged."""
        if not _has_content(self.path):
            aside = _put_aside(self.path) if self.path.exists() else None
            _make(self.path, self._timeout_s, aside)

    def _replace_damaged(self) -> None:
        """Set the damaged file aside and make a fresh one, unless another process has done so."""
        damaged = self._inode
        with home_errors(self.path), _alone(self.path, self._timeout_s):
            if _inode(self.path) == damaged:
                aside = _put_aside(self.path)
                # Closed only now: SQLite touches nothing when the file is no longer at its path.
                self._disconnect()
                _make(self.path, self._timeout_s, aside)
        self._disconnect()


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    # Never made by SQLite: `_make` does, with the right mode.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    # In WAL mode a crash of the process loses nothing; FULL makes a power cut lose nothing either.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _make(path: Path, timeout_s: float, aside: Path | None) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    try:
        connection = _connect(path, timeout_s)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            _migrate(connection)
            if aside:
                connection.execute("INSERT INTO notes VALUES (?, ?)", (_SET_ASIDE, str(aside)))
        finally:
            connection.close()
    except BaseException:
        for companion in _COMPANIONS:
            with suppress(OSError):
                path.with_name(path.name + companion).unlink()
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    def work(connection: sqlite3.Connection) -> None:
        for script in _MIGRATIONS[_version(connection) :]:
            for statement in script:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {LATEST}")

    _transaction(connection, "BEGIN IMMEDIATE", work)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _put_aside(path: Path) -> Path:
    """Rename the file and what SQLite keeps beside it to `hub.db.corrupt-<time>`; nothing is deleted or replaced."""
    stamp = f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for companion in _COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(aside.with_name(aside.name + companion))
    return aside


@contextmanager
def _alone(path: Path, timeout_s: float) -> Iterator[None]:
    """Only one process at a time makes, migrates or sets aside the file."""
    deadline = time.monotonic() + timeout_s
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing, not even beside the file."""
    waiting = path.with_name(f"{path.name}-wal")
    # What another process has not yet moved from the log into the file can be read only together with it.
    mode = "mode=ro" if _has_content(waiting) else "immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _transaction(connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A full disk makes SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _holdings(connection: sqlite3.Connection, stacks: set[str] | None) -> dict[LeaseKey, Holding]:
    """What is on record for some stacks. None: for all."""
    where, values = "", tuple(stacks or ())
    if stacks is not None:
        where = f" WHERE stack IN ({', '.join('?' * len(values))})"
    rows = connection.execute(f"SELECT {_LEASE} FROM leases{where}", values)  # noqa: S608  only question marks are put in
    return {holding.lease.key: holding for holding in map(_holding, rows)}


def _holding(row: Sequence[Any]) -> Holding:
    stack, service, target, protocol, slot, port, count, wanted, host_ip, since, run, previous = row
    lease = Lease(
        key=LeaseKey(stack=stack, service=service, target=target, protocol=protocol, slot=slot),
        port=port,
        count=count,
        wanted=wanted,
        host_ip=host_ip,
        since=datetime.fromisoformat(since),
        run=run,
    )
    return Holding(lease, Lease.model_validate_json(previous) if previous else None)


def _leased(connection: sqlite3.Connection) -> dict[tuple[int, str], list[Holder]]:
    """`Market.leased`, without making models: this runs for every lease, inside the write transaction."""
    leased: dict[tuple[int, str], list[Holder]] = {}
    question = "SELECT stack, service, target, protocol, slot, host_ip, port, count, previous FROM leases"
    for *holder, port, count, previous in connection.execute(question):
        ports.note(leased, Holder(*holder), range(port, port + count))
        if previous:
            lease = Lease.model_validate_json(previous)
            ports.note(leased, ports.holder(lease), lease.ports)
    return leased


def _write_holdings(connection: sqlite3.Connection, holdings: Sequence[Holding]) -> None:
    _delete_leases(connection, [holding.lease.key for holding in holdings])
    connection.executemany(f"INSERT INTO leases ({_LEASE}) VALUES ({', '.join('?' * 12)})", map(_row, holdings))  # noqa: S608


def _row(holding: Holding) -> tuple[Any, ...]:
    lease, previous = holding.lease, holding.previous
    return (
        *_key(lease.key),
        lease.port,
        lease.count,
        lease.wanted,
        lease.host_ip,
        lease.since.isoformat(),
        lease.run,
        previous.model_dump_json() if previous else None,
    )


def _delete_leases(connection: sqlite3.Connection, keys: Sequence[LeaseKey]) -> None:
    connection.executemany(
        "DELETE FROM leases WHERE stack = ? AND service = ? AND target = ? AND protocol = ? AND slot = ?",
        map(_key, keys),
    )


def _key(key: LeaseKey) -> tuple[str, str, int, str, int]:
    return key.stack, key.service, key.target, key.protocol, key.slot


def _by_port(lease: Lease) -> tuple[int, str, str]:
    return lease.port, lease.key.protocol, lease.host_ip


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for an error that Python's module raised by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _has_content(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size > 0
    return False


def _inode(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
