"""Sixty ways to tamper with a home in which two stacks are on record: a table of forms.

A form of `ROWS` or `FILES` spoils what belongs to one stack, `{0}`: the other, `{1}`, must not notice. One of `WHOLE`
spoils the registry itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

Form = Callable[[Path], None]


def sql(*statements: str) -> Form:
    """Statements of somebody else on the registry; `{0}` is the spoilt stack, `{1}` the other one."""

    def tamper(home: Path) -> None:
        names = (home / "names").read_text().split()
        with closing(sqlite3.connect(home / "hub.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement.replace("{0}", names[0]).replace("{1}", names[1]))

    return tamper


def record(table: str, value: str) -> Form:
    """Another text in place of the records of the spoilt stack."""
    key = "name" if table == "stacks" else "stack"
    return sql(f"UPDATE {table} SET record = {value} WHERE {key} = '{{0}}'")


def instead(pattern: str, make: Form) -> Form:
    """Something else in place of the files of the spoilt stack that match."""

    def tamper(home: Path) -> None:
        spoilt = (home / "names").read_text().split()[0]
        found = list(home.glob(pattern.replace("{0}", spoilt)))
        assert found, pattern
        for file in found:
            file.unlink()
            make(file)

    return tamper


def beside(name: str, make: Form) -> Form:
    """A new file or folder in the home."""

    def tamper(home: Path) -> None:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    return tamper


def content(data: bytes) -> Form:
    """A file with this in it."""
    return lambda path: path.write_bytes(data) and None


def link(to: str) -> Form:
    """A symbolic link."""
    return lambda path: path.symlink_to(to)


def sparse(size: int) -> Form:
    """A file that is all holes."""

    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def patched(at: int, data: bytes) -> Form:
    """The registry's file, some of its bytes changed."""

    def tamper(home: Path) -> None:
        with (home / "hub.db").open("r+b") as file:
            file.seek(at if at >= 0 else at + (home / "hub.db").stat().st_size)
            file.write(data)

    return tamper


def replaced(make: Form) -> Form:
    """Something else in place of the registry's file."""

    def tamper(home: Path) -> None:
        (home / "hub.db").unlink()
        make(home / "hub.db")

    return tamper


DEEP = "[" * 100_000
FOLDER: Form = lambda path: path.mkdir()  # noqa: E731
PIPE: Form = os.mkfifo
NOT_TEXT = content(b"\xff\xfe{\x00")
UNKNOWN = "json_set(record, '$.operation', 'teleport')"

ROWS: dict[str, Form] = {
    "a stack: not JSON": record("stacks", "'{'"),
    "a stack: bytes": record("stacks", "x'ff00'"),
    "a stack: not UTF-8": record("stacks", "CAST(x'7bff7d' AS TEXT)"),
    "a stack: a number": record("stacks", "5"),
    "a stack: null": record("stacks", "'null'"),
    "a stack: of a newer version": record("stacks", "json_set(record, '$.from_the_future', 1)"),
    "a stack: another name": record("stacks", "json_set(record, '$.name', '{1}')"),
    "a stack: a NUL in its path": record("stacks", "json_set(record, '$.path', char(47, 0))"),
    "a stack: its path is a device": record("stacks", "json_set(record, '$.path', '/dev/zero')"),
    "a stack: its path is long": record("stacks", "json_set(record, '$.path', '/' || hex(zeroblob(5000)))"),
    "a stack: its path is relative": record("stacks", "json_set(record, '$.path', '..')"),
    "a stack: no time zone": record("stacks", "json_set(record, '$.created_at', '2026-01-01')"),
    "a stack: a time that is none": record("stacks", "json_set(record, '$.expires_at', 'soon')"),
    "a stack: a generation that is not there": record("stacks", "json_set(record, '$.generation', 999)"),
    "a stack: a negative generation": record("stacks", "json_set(record, '$.generation', -1)"),
    "a stack: six megabytes": record("stacks", "hex(zeroblob(3000000))"),
    "a stack: deep": record("stacks", f"'{DEEP}'"),
    "a stack: control characters": record("stacks", "json_set(record, '$.branch', char(27) || '[2J' || char(8238))"),
    "a stack called ../../etc": sql(
        "INSERT INTO stacks SELECT '../../etc', json_set(record, '$.name', '../../etc') FROM stacks WHERE name = '{0}'"
    ),
    "a thousand stacks that are none": sql(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "INSERT INTO stacks SELECT 'zz' || i, '{' FROM n"
    ),
    "a generation: null": record("generations", "'null'"),
    "a generation: another number": record("generations", "json_set(record, '$.number', 7)"),
    "a generation: another stack": record("generations", "json_set(record, '$.stack', '{1}')"),
    "a generation: an unknown outcome": record("generations", "json_set(record, '$.outcome', 'nice')"),
    "a lease: port 99999": sql("UPDATE leases SET port = 99999 WHERE stack = '{0}'"),
    "a lease: port -1": sql("UPDATE leases SET port = -1 WHERE stack = '{0}'"),
    "a lease: port 'http'": sql("UPDATE leases SET port = 'http' WHERE stack = '{0}'"),
    "a lease: too many ports": sql("UPDATE leases SET count = 1000000000000 WHERE stack = '{0}'"),
    "a lease: no time": sql("UPDATE leases SET since = 'yesterday' WHERE stack = '{0}'"),
    "a lease: skips nonsense": sql("UPDATE leases SET skipped = '[' WHERE stack = '{0}'"),
    "a lease: replaces nonsense": sql("UPDATE leases SET previous = '{}' WHERE stack = '{0}'"),
    "a lease: of an unknown protocol": sql("UPDATE leases SET protocol = 'pigeon' WHERE stack = '{0}'"),
    "a lease of a stack with no name": sql("UPDATE leases SET stack = '../..' WHERE stack = '{0}'"),
    "a subnet: of everything": sql(
        "INSERT OR REPLACE INTO subnets VALUES ('{0}', '{0}_default', '0.0.0.0/0', '2026-01-01')"
    ),
    "a subnet: no date": sql("INSERT OR REPLACE INTO subnets VALUES ('{0}', 'x', '10.201.0.0/26', 'then')"),
    "a subnet: of a stack with no name": sql(
        "INSERT INTO subnets VALUES ('../..', 'x', '10.201.9.0/26', '2026-01-01')"
    ),
    "a run: not JSON": record("runs", "'['"),
    "a run: an unknown operation": record("runs", UNKNOWN),
    "a run: unfinished, an unknown operation": sql(
        f"UPDATE runs SET finished_at = NULL, record = json_set({UNKNOWN}, '$.finished_at', NULL) WHERE stack = '{{0}}'"
    ),
    "a run: unfinished, not JSON": sql("UPDATE runs SET finished_at = NULL, record = '{' WHERE stack = '{0}'"),
    "a run: unfinished, before everything": sql(
        "UPDATE runs SET finished_at = NULL, "
        "record = json_set(record, '$.finished_at', NULL, '$.before', json('{\"containers\": 7}')) WHERE stack = '{0}'"
    ),
    "a run: a snapshot that would remove a file": sql(
        "UPDATE runs SET finished_at = NULL, record = json_set(record, '$.finished_at', NULL, '$.outcome', NULL, "
        "'$.operation', 'snapshot', '$.arguments', json_object('unfinished', '/etc/hostname')) WHERE stack = '{0}'"
    ),
    "a run: an id that leads out": sql(
        "UPDATE runs SET id = '../' || id, record = json_set(record, '$.id', '../' || id) WHERE stack = '{0}'"
    ),
    "a run: services that are none": sql("UPDATE runs SET services = '{' WHERE stack = '{0}'"),
    "a run: no date": sql("UPDATE runs SET started_at = '12:00' WHERE stack = '{0}'"),
    "an image that was built: of another's stack": sql(
        "INSERT INTO built_images VALUES ('sha256:0', '../..', '2026-01-01T00:00:00+00:00')"
    ),
    "an image that was built: no date": sql("INSERT INTO built_images VALUES ('sha256:0', '{0}', 'then')"),
    "a peak of memory: all there is": sql("INSERT INTO memory_peaks VALUES ('{0}', 'web', 9e18, '2026-01-01')"),
    "an address: none": sql("INSERT INTO addresses VALUES ('{0}', 'web', 'x', 'y', '10.0.0.999', '2026-01-01')"),
    "an address: of another's stack": sql(
        "INSERT INTO addresses VALUES ('../..', 'web', 'x', 'y', '10.0.0.9', '2026-01-01T00:00:00+00:00')"
    ),
    "a timing: not a number": sql("UPDATE timings SET seconds = 'long' WHERE stack = '{0}'"),
    "a timing: for ever": sql("UPDATE timings SET seconds = 9e999 WHERE stack = '{0}'"),
    "a missing directory: no date": sql("INSERT INTO missing_directories VALUES ('{0}', '/', 'then')"),
}

FILES: dict[str, Form] = {
    "a generation's file: not UTF-8": instead("generations/{0}/*.json", NOT_TEXT),
    "a generation's file: deep": instead("generations/{0}/*.json", content(DEEP.encode())),
    "a generation's file: a folder": instead("generations/{0}/*.json", FOLDER),
    "a generation's file: a pipe": instead("generations/{0}/*.json", PIPE),
    "a generation's file: a link to a device": instead("generations/{0}/*.json", link("/dev/zero")),
    "a generation's file: a link to itself": instead("generations/{0}/*.json", link("1.json")),
    "a failure report: not UTF-8": instead("failures/*{0}*.json", NOT_TEXT),
    "a failure report: a pipe": instead("failures/*{0}*.json", PIPE),
    "a failure report: a list": instead("failures/*{0}*.json", content(b"[1, 2]")),
    "names that nobody gave": beside("temporary/..\n\x1b[2J", content(b"")),
}

WHOLE: dict[str, Form] = {
    "the registry: empty": replaced(content(b"")),
    "the registry: not a database": replaced(content(b"no database\n" * 1000)),
    "the registry: cut off": lambda home: os.truncate(home / "hub.db", 5000),
    "the registry: pages of noise": patched(4096, bytes(range(256)) * 64),
    "the registry: another header": patched(0, b"SQLite format 9\0"),
    "the registry: a folder": replaced(FOLDER),
    "the registry: a pipe": replaced(PIPE),
    "the registry: a device": replaced(link("/dev/zero")),
    "the registry: a link to itself": replaced(link("hub.db")),
    "the registry: a gigabyte of holes": replaced(sparse(1 << 30)),
    "the registry: a log of noise": lambda home: (home / "hub.db-wal").write_bytes(b"\x37\x7f\x06\x82" * 999) and None,
    "the registry: of a newer version": sql("PRAGMA user_version = 999"),
    "the registry: a negative version": sql("PRAGMA user_version = -3"),
    "the registry: without runs": sql("DROP TABLE runs"),
    "the registry: refuses": sql("CREATE TRIGGER no BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'no'); END"),
}
