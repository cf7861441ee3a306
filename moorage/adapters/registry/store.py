"""The registry in one SQLite file: stacks, generations, leases, runs, timings.

`sqlite_file.py` takes care of the file, `rules/ports.py` chooses the ports.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moorage.adapters.framing import every_call
from moorage.adapters.probes import holder_of
from moorage.adapters.registry.file import SqliteFile
from moorage.errors import HomeError, said
from moorage.model.generation import GenerationRecord
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.model.state import RunRecord, StackRecord
from moorage.rules import ports
from moorage.rules.ports import Holder, LeaseChange, PortView
from moorage.settings import settings

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
)
"""What makes version n of the file out of version n - 1. Only ever add to the end."""
_TIMINGS_KEPT = 50
_LEASE = "stack, service, target, protocol, slot, port, count, wanted, host_ip, since, run, previous"
_SAVE_STACK = "INSERT OR REPLACE INTO stacks VALUES (?, ?)"
_SAVE_GENERATION = "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)"
_SAVE_RUN = (
    "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "stack = excluded.stack, finished_at = excluded.finished_at, record = excluded.record"
)
_COMMIT_LEASES = "UPDATE leases SET run = NULL, previous = NULL WHERE run = ?"
_LEASES_OF_RUN = f"SELECT {_LEASE} FROM leases WHERE run = ?"  # noqa: S608  column names, ours


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    """What SQLite refuses, and a record that makes no sense, become HomeError; the callers' own errors pass."""
    try:
        yield
    except (sqlite3.Error, ValidationError) as error:
        hint = "Was it written by another version? Set MOORAGE_HOME to another folder, or report it."
        raise HomeError(f"{path}: {said(error)}", hint=hint, path=str(path)) from error


@every_call(lambda store: _translating(store.path))
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
        self._file = SqliteFile(path, MIGRATIONS, timeout_s)
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
        """Lease a port for each request, in one write transaction. Raises PortError, and then nothing is leased."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, {request.key.stack for request in requests})
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
        """What `lease` would answer, with nothing stored."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, {request.key.stack for request in requests})
            market = self._market(connection, taken, bindable, strict=strict)
            return tuple(
                holding.lease for holding in ports.allocate(requests, held, market, None, now, complete=complete)
            )

        return self._file.read(work)

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        """The leases of a stack, by port. None: of all stacks."""
        found = self._file.read(lambda connection: _holdings(connection, None if stack is None else {stack}))
        return tuple(sorted((holding.lease for holding in found.values()), key=_by_port))

    def release(self, keys: Sequence[LeaseKey]) -> None:
        """Give ports back; a key without a lease is no error."""
        self._file.write(lambda connection: _delete_leases(connection, keys))

    def release_run(self, run: str) -> tuple[Lease, ...]:
        """Give back what an unfinished run acquired, and say what that was; what it moved goes back to its place."""

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            undone = [_holding(row) for row in connection.execute(_LEASES_OF_RUN, (run,))]
            # First all out, then the old ones in: two that swapped their ports would be in each other's way.
            _delete_leases(connection, [holding.lease.key for holding in undone])
            _write_holdings(connection, [holding.restored for holding in undone if holding.restored])
            return tuple(sorted((holding.lease for holding in undone if holding.given_back), key=_by_port))

        return self._file.write(work)

    def commit_run(self, run: str) -> None:
        """What the run acquired is held from now on (until released)."""
        self._change(_COMMIT_LEASES, run)

    def commit(
        self,
        run: RunRecord,
        stack: StackRecord,
        generations: Sequence[GenerationRecord],
        released: Sequence[LeaseKey],
    ) -> None:
        """End a run well, in one write transaction: all of it is on record afterwards, or nothing."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SAVE_STACK, (stack.name, stack.model_dump_json()))
            connection.executemany(_SAVE_GENERATION, [(g.stack, g.number, g.model_dump_json()) for g in generations])
            connection.execute(_COMMIT_LEASES, (run.id,))
            _delete_leases(connection, released)
            connection.execute(_SAVE_RUN, _run_row(run))

        self._file.write(work)

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Put leases on record as they are, for a registry that was lost, and give those that could be.

        Left out is one whose key has a lease already, or whose port another has.
        """

        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            held = _holdings(connection, None)
            restored = ports.compatible(leases, held.values())
            _write_holdings(connection, [LeaseChange(lease) for lease in restored])
            return restored

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
        return PortView(bindable, _leased(connection), taken, any_port, strict, self._process_at)

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
        self._change(_SAVE_STACK, record.name, record.model_dump_json())

    def forget_stack(self, name: str) -> None:
        """Remove the stack with its generations and timings; leases stay until they are released."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM stacks WHERE name = ?", (name,))
            connection.execute("DELETE FROM generations WHERE stack = ?", (name,))
            connection.execute("DELETE FROM timings WHERE stack = ?", (name,))

        self._file.write(work)

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        """All on record, newest first."""
        found = self._texts("SELECT record FROM generations WHERE stack = ? ORDER BY number DESC", stack)
        return tuple(map(GenerationRecord.model_validate_json, found))

    def save_generation(self, record: GenerationRecord) -> None:
        """Add or replace by (stack, number)."""
        self._change(_SAVE_GENERATION, record.stack, record.number, record.model_dump_json())

    def forget_generation(self, stack: str, number: int) -> None:
        """Remove one; no error if it is gone."""
        self._change("DELETE FROM generations WHERE stack = ? AND number = ?", stack, number)

    # Runs and timings

    def open_run(self, record: RunRecord) -> None:
        """Write a run down before its first effect."""
        self.update_run(record)

    def update_run(self, record: RunRecord) -> None:
        """Replace the record of a run."""
        self._change(_SAVE_RUN, *_run_row(record))

    def close_run(self, run: str, outcome: str, now: datetime) -> None:
        """The run has ended; no error if it is not on record."""

        def work(connection: sqlite3.Connection) -> None:
            for (text,) in connection.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchall():
                ended = RunRecord.model_validate_json(text).model_copy(update={"outcome": outcome, "finished_at": now})
                values = (now.isoformat(), ended.model_dump_json(), run)
                connection.execute("UPDATE runs SET finished_at = ?, record = ? WHERE id = ?", values)

        self._file.write(work)

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        """Runs without an end, oldest first."""
        found = self._texts(
            "SELECT record FROM runs WHERE finished_at IS NULL AND (?1 IS NULL OR stack = ?1) ORDER BY rowid", stack
        )
        return tuple(map(RunRecord.model_validate_json, found))

    def runs(self, stack: str | None, limit: int = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first. None: of all stacks."""
        question = "SELECT record FROM runs WHERE ?1 IS NULL OR stack = ?1 ORDER BY rowid DESC LIMIT ?2"
        found = self._texts(question, stack, limit)
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

        self._file.write(work)

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        """The last ones, newest first."""
        question = (
            "SELECT seconds FROM timings WHERE stack = ? AND service = ? AND phase = ? ORDER BY rowid DESC LIMIT ?"
        )
        found = self._file.read(
            lambda connection: connection.execute(question, (stack, service, phase, limit)).fetchall()
        )
        return tuple(seconds for (seconds,) in found)

    # The file

    @property
    def path(self) -> Path:
        """Where it is; it need not exist yet."""
        return self._file.path

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was put, until `rebuilt` is called, by whichever process. None: nothing was lost."""
        return self._file.set_aside

    def on_loss(self, rebuild: Callable[[], None]) -> None:
        """Call `rebuild` when the file turns out damaged and has been replaced by an empty one."""
        self._file.on_loss = rebuild

    def rebuilt(self) -> None:
        """What was lost with the file set aside is on record again."""
        self._file.forget_set_aside()

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    def _texts(self, question: str, *values: Any) -> list[str]:
        return self._file.read(lambda connection: [text for (text,) in connection.execute(question, values)])

    def _change(self, statement: str, *values: Any) -> None:
        self._file.write(lambda connection: connection.execute(statement, values).close())


def _holdings(connection: sqlite3.Connection, stacks: set[str] | None) -> dict[LeaseKey, LeaseChange]:
    """What is on record for some stacks. None: for all."""
    where, values = "", tuple(stacks or ())
    if stacks is not None:
        where = f" WHERE stack IN ({', '.join('?' * len(values))})"
    rows = connection.execute(f"SELECT {_LEASE} FROM leases{where}", values)  # noqa: S608  question marks
    return {holding.lease.key: holding for holding in map(_holding, rows)}


def _holding(row: Sequence[Any]) -> LeaseChange:
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
    return LeaseChange(lease, Lease.model_validate_json(previous) if previous else None)


def _leased(connection: sqlite3.Connection) -> dict[tuple[int, str], list[Holder]]:
    """`PortView.leased`, without making models: this runs for every lease, inside the write transaction."""
    leased: dict[tuple[int, str], list[Holder]] = {}
    question = "SELECT stack, service, target, protocol, slot, host_ip, port, count, previous FROM leases"
    for *holder, port, count, previous in connection.execute(question):
        ports.note(leased, Holder(*holder), range(port, port + count))
        if previous:
            lease = Lease.model_validate_json(previous)
            ports.note(leased, ports.holder(lease), lease.ports)
    return leased


def _write_holdings(connection: sqlite3.Connection, holdings: Sequence[LeaseChange]) -> None:
    replaced = [lease.key for holding in holdings for lease in holding.leases]
    _delete_leases(connection, replaced)
    connection.executemany(f"INSERT INTO leases ({_LEASE}) VALUES ({', '.join('?' * 12)})", map(_row, holdings))  # noqa: S608


def _row(holding: LeaseChange) -> tuple[Any, ...]:
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


def _run_row(record: RunRecord) -> tuple[str, str, str | None, str]:
    finished_at = record.finished_at.isoformat() if record.finished_at else None
    return record.id, record.stack, finished_at, record.model_dump_json()


def _key(key: LeaseKey) -> tuple[str, str, int, str, int]:
    return key.stack, key.service, key.target, key.protocol, key.slot


def _by_port(lease: Lease) -> tuple[int, str, str]:
    return lease.port, lease.key.protocol, lease.host_ip
