"""One SQLite file, shared by processes and threads, that survives crashes, damage and a full disk.

Every write is one `BEGIN IMMEDIATE` transaction. A damaged file is set aside, never deleted, and replaced by a new one.
Errors of the file become HomeError.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from moorage.adapters.files import PRIVATE_FILE, home_error, home_errors, private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import HomeError

_Result = TypeVar("_Result")

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
"""What SQLite calls the files that belong together."""
_SET_ASIDE = "CREATE TABLE set_aside (path TEXT NOT NULL)"
_POLL_S = 0.01
_REPLACED_AT_MOST = 3
_PATIENCE_S = 0.01
"""How long SQLite itself waits for a lock before we try again. It polls less and less often, down to every 100 ms, so
among many writers one that has waited long would wait even longer."""
_OF_PARENTS: list[sqlite3.Connection] = []
"""Connections from before a fork, kept here so that they are never closed in the child."""


class SqliteFile:
    """A SQLite file that is created and migrated at the first call.

    `migrations`: the statements that turn version n - 1 of the file into version n (`PRAGMA user_version`). Each object
    has one connection, protected by a mutex; after a fork the child opens its own.
    """

    def __init__(self, path: Path, migrations: Sequence[Sequence[str]], timeout_s: float) -> None:
        self.path = path
        self._migrations = migrations
        self._timeout_s = timeout_s
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._pid = os.getpid()
        self.on_loss: Callable[[], None] = lambda: None
        """Called when a damaged file has been replaced by an empty one, before the work is retried."""

    def write(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Run `work` in one write transaction; an error rolls it back. Raises HomeError."""
        return self._answer(lambda: _transaction(self._connected(), "BEGIN IMMEDIATE", work))

    def read(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Run `work`, which only reads; works even if the file is not writeable. Raises HomeError."""

        def once() -> _Result:
            try:
                return _transaction(self._connected(), "BEGIN", work)
            except (sqlite3.DatabaseError, HomeError) as error:
                if not self._unwritable(error):
                    raise
                with _read_only(self.path) as connection:
                    return _transaction(connection, "BEGIN", work)

        return self._answer(once)

    @property
    def set_aside(self) -> Path | None:
        """Path of a damaged file that any process has set aside, until `forget_set_aside`. None: nothing was lost."""
        found = self.read(lambda connection: connection.execute("SELECT path FROM set_aside").fetchone())
        return Path(found[0]) if found else None

    def forget_set_aside(self) -> None:
        """Call when the lost data is on record again."""
        self.write(lambda connection: connection.execute("DELETE FROM set_aside").close())

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._mutex:
            self._disconnect()

    def _answer(self, once: Callable[[], _Result]) -> _Result:
        """Run it; wait while others write; if the file is damaged, retry once with a new one. Raises HomeError."""
        deadline = time.monotonic() + self._timeout_s
        replaced, gone = False, 0
        with self._mutex:
            while True:
                try:
                    return once()
                except sqlite3.DatabaseError as error:
                    if self._is_damage(error) and not replaced:
                        replaced = self._replace_damaged()
                        self.on_loss()
                    elif _code(error) == sqlite3.SQLITE_CANTOPEN and gone < _REPLACED_AT_MOST:
                        gone += 1  # another process may be replacing it right now
                        time.sleep(_POLL_S)
                    elif _code(error) not in _BUSY or time.monotonic() >= deadline:
                        raise self._explained(error) from error

    def _is_damage(self, error: sqlite3.DatabaseError) -> bool:
        """True: the file is damaged. A statement of ours that names a missing column is a bug, not damage."""
        code = _code(error)
        return code in _DAMAGED or (code == sqlite3.SQLITE_ERROR and self._has_other_tables())

    def _has_other_tables(self) -> bool:
        """True: columns that its version has are missing, or later ones are there: foreign, or half migrated."""
        try:
            with _read_only(self.path) as connection:
                version, found = _version(connection), _columns(connection)
        except sqlite3.DatabaseError:
            return False
        own, latest = self._columns_of(version), self._columns_of(len(self._migrations))
        return not own <= found or bool((latest - own) & found)

    def _columns_of(self, version: int) -> frozenset[tuple[str, str]]:
        """(table, column) of all that a file of some version has."""
        with closing(sqlite3.connect(":memory:")) as connection:
            for statement in (_SET_ASIDE, *(one for script in self._migrations[:version] for one in script)):
                connection.execute(statement)
            return _columns(connection)

    def _unwritable(self, error: Exception) -> bool:
        cause = error.__cause__ if isinstance(error, HomeError) else error
        in_file = isinstance(cause, OSError) or (isinstance(cause, sqlite3.DatabaseError) and _code(cause) in _UNUSABLE)
        return in_file and os.access(self.path, os.R_OK)

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        code = _code(error)
        if code in _BUSY:
            return HomeError(
                f"{self.path} has been locked by another process for {self._timeout_s:g} s",
                hint="Look for a hanging moorage process, or move MOORAGE_HOME to a local disk.",
                path=str(self.path),
            )
        if code in _UNUSABLE or self._is_damage(error):
            return home_error(self.path, str(error), errno.ENOSPC if code == sqlite3.SQLITE_FULL else None)
        return error

    def _connected(self) -> sqlite3.Connection:
        """This process's connection to the file that is at the path now."""
        if self._pid != os.getpid():
            self._leave_behind()
        if self._connection is not None and _inode(self.path) == self._inode:
            return self._connection
        self._disconnect()
        self._connection = self._opened()
        return self._connection

    def _leave_behind(self) -> None:
        """Drop the parent's connection after a fork. Closing it here would interfere with the parent's files."""
        if self._connection is not None:
            _OF_PARENTS.append(self._connection)
        self._connection, self._pid = None, os.getpid()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if not _has_content(self.path):
            with home_errors(self.path):
                private_folder(self.path.parent)
                with _alone(self.path, self._timeout_s):
                    self._create()
        self._inode = _inode(self.path)
        connection = _connect(self.path)
        try:
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        latest = len(self._migrations)
        if version > latest:
            raise HomeError(
                f"{self.path} was written by a newer Moorage (file version {version}; this one supports {latest})",
                hint="Use the newer Moorage, or another MOORAGE_HOME.",
                path=str(self.path),
            )
        if version < latest:
            _migrate(connection, self._migrations)

    def _create(self) -> None:
        """Create the file, one process at a time. An empty file, left by a crash, is set aside as damaged."""
        if not _has_content(self.path):
            aside = _put_aside(self.path) if self.path.exists() else None
            self._make(aside)

    def _replace_damaged(self) -> bool:
        """Set the damaged file aside and create a new one, unless another process has done so."""
        damaged = self._inode
        with home_errors(self.path), _alone(self.path, self._timeout_s):
            if _inode(self.path) == damaged:
                aside = _put_aside(self.path)
                # Closed only now: SQLite changes nothing once the file is no longer at its path.
                self._disconnect()
                self._make(aside)
        self._disconnect()
        return True

    def _make(self, aside: Path | None) -> None:
        """Create the file next to its path and rename it when it is complete, so that nobody sees or uses half of it.

        Another process could otherwise lease ports in a file that is removed again if this fails.
        """
        making = _companion(self.path, ".making")
        _remove(making)  # of a process that died over it
        os.close(os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
        try:
            with closing(_connect(making)) as connection:
                connection.execute(_SET_ASIDE)
                connection.executemany("INSERT INTO set_aside VALUES (?)", [(str(aside),)] if aside else [])
                _migrate(connection, self._migrations)
                # Last: what is in a write-ahead log would not be renamed with the file.
                connection.execute("PRAGMA journal_mode = WAL").close()
            making.rename(self.path)
        except BaseException:
            _remove(making)
            raise


def _remove(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for companion in (*_COMPANIONS, "-journal"):
        with suppress(OSError):
            _companion(path, companion).unlink()


def _connect(path: Path) -> sqlite3.Connection:
    # Never created by SQLite: `_make` does that, with the right mode.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=_PATIENCE_S,
        isolation_level=None,
        check_same_thread=False,
    )
    # One text that is not UTF-8 would else end the reading of all rows.
    connection.text_factory = lambda text: text.decode(errors="replace")
    # In WAL mode a crash of the process loses nothing; with FULL a power cut loses nothing either.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    def work(connection: sqlite3.Connection) -> None:
        # Read again: another process may have migrated it in the meantime.
        for script in migrations[_version(connection) :]:
            for statement in script:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")

    _transaction(connection, "BEGIN IMMEDIATE", work)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _put_aside(path: Path) -> Path:
    """Rename the file and SQLite's files next to it to `hub.db.corrupt-<time>`; nothing is deleted or replaced."""
    stamp = f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for companion in _COMPANIONS:
        with suppress(FileNotFoundError):
            _companion(path, companion).rename(_companion(aside, companion))
    return aside


@contextmanager
def _alone(path: Path, timeout_s: float) -> Iterator[None]:
    """Only one process at a time makes, migrates or sets aside the file."""
    lock = KernelLock(_companion(path, ".lock"))
    if not lock.take(timeout_s):
        raise BlockingIOError(errno.EWOULDBLOCK, "another process has been re-creating it for too long")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing, not even files next to the database."""
    waiting = _companion(path, "-wal")
    # Data that is still in the write-ahead log can be read only together with the log.
    mode = "mode=ro" if _has_content(waiting) else "immutable=1"
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{mode}", uri=True, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")
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


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for an error raised by Python's own module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _columns(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    question = (
        "SELECT t.name, c.name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    )
    return frozenset(connection.execute(question).fetchall())


def _companion(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _has_content(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size > 0
    return False


def _inode(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
