"""What the registry does when its file is damaged, newer, in use for too long, or gone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from moorage.adapters.registry import file as file_module
from moorage.adapters.registry.file import SqliteFile
from moorage.adapters.registry.store import MIGRATIONS, SqliteStore
from moorage.errors import HomeError
from moorage.model.lease import LeaseKey, Request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


MOST_STATEMENTS = 12


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "hub.db"


@pytest.fixture
def open_store(path):
    """Opens stores on the file; closed after the test."""
    opened = []

    def make(**more):
        opened.append(SqliteStore(path, **more))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def filled(open_store):
    """A file with 40 leases, closed."""
    store = open_store()
    for number in range(40):
        lease(store, 8000, f"service{number}")
    store.close()
    return store


def lease(store, wanted=8000, service="web"):
    asked = [Request(key=LeaseKey(stack="shop", service=service, target=80), wanted=wanted)]
    return store.lease(asked, run=None, taken=frozenset(), bindable=lambda *_: True, now=NOW)[0].port


def set_aside_files(path):
    return sorted(file.name for file in path.parent.glob("hub.db.corrupt-*"))


def overwrite(path):
    path.write_bytes(b"not a database at all, but long enough to look like one" * 200)


def zero_the_header(path):
    with path.open("r+b") as file:
        file.write(b"\0" * 4096)


def spoil_the_pages(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def cut_in_the_header(path):
    os.truncate(path, 50)


def cut_to_nothing(path):
    os.truncate(path, 0)


def drop_a_table(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE leases")
    settle(path)


def put_another_programs_there(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE leases (car TEXT, customer TEXT)")
    settle(path)


def settle(path):
    """All of it in one file, so that it can be compared with what is set aside."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def migrate_half(path):
    """As from a copy that was made in the middle of a migration."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    settle(path)


DAMAGE = [
    overwrite,
    zero_the_header,
    spoil_the_pages,
    cut_in_half,
    cut_in_the_header,
    cut_to_nothing,
    drop_a_table,
    put_another_programs_there,
    migrate_half,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
class TestDamaged:
    def test_set_aside_and_made_anew(self, path, filled, open_store, damage):
        damage(path)
        spoilt = path.read_bytes()
        store = open_store()
        assert lease(store) == 8000
        assert len(store.leases()) == 1
        assert store.set_aside.read_bytes() == spoilt
        assert store.set_aside.name in set_aside_files(path)

    def test_found_by_reading(self, path, filled, open_store, damage):
        damage(path)
        store = open_store()
        assert store.leases() == ()
        assert store.set_aside is not None

    def test_found_while_it_is_open(self, path, filled, open_store, damage):
        store = open_store()
        assert len(store.leases()) == 40
        damage(path)
        # What SQLite still has in memory is right; whatever it finds on the disk must not end in an error.
        for number in range(3):
            lease(store, 9000, f"new{number}")
        assert {9000, 9001, 9002} <= {held.port for held in store.leases()}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT nothing FROM leases",
        "SELECT * FROM nowhere",
        "INSERT INTO leases (nothing) VALUES (1)",
        "CREATE TABLE leases (car TEXT)",
        "SELEC",
    ],
)
def test_a_wrong_statement_of_our_own_is_no_damage(path, filled, statement):
    """A typo in a release must not cost anybody the registry."""
    file = SqliteFile(path, MIGRATIONS, 5.0)
    for ask in (file.read, file.write):
        with pytest.raises(sqlite3.OperationalError):
            ask(lambda connection: connection.execute(statement).close())
    file.close()
    assert set_aside_files(path) == []
    assert len(SqliteStore(path).leases()) == 40


def test_a_table_that_somebody_has_added_is_no_damage(path, filled, open_store):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    file = SqliteFile(path, MIGRATIONS, 5.0)
    with pytest.raises(sqlite3.OperationalError):
        file.read(lambda connection: connection.execute("SELECT nothing FROM leases").close())
    file.close()
    assert (len(open_store().leases()), set_aside_files(path)) == (40, [])


def test_the_loss_is_known_to_all_until_it_is_made_good(path, filled, open_store):
    overwrite(path)
    first, second = open_store(), open_store()
    first.leases()
    assert first.set_aside == second.set_aside is not None
    second.rebuilt()
    assert first.set_aside is None
    assert len(set_aside_files(path)) == 1


def test_damaged_twice(path, filled, open_store):
    for _ in range(3):
        overwrite(path)
        open_store().leases()
    files = [name for name in set_aside_files(path) if not name.endswith(("-wal", "-shm"))]
    assert len(files) == 3


def test_what_sqlite_keeps_beside_it_is_set_aside_too(path, filled, open_store):
    overwrite(path)
    path.with_name("hub.db-wal").write_bytes(b"log")
    open_store().leases()
    [log] = [name for name in set_aside_files(path) if name.endswith("-wal")]
    assert path.with_name(log).read_bytes() == b"log"


def test_an_open_store_moves_to_the_new_file(path, open_store):
    one, other = open_store(), open_store()
    lease(one, 8000, "before")
    assert len(other.leases()) == 1
    spoil_the_pages(path)
    path.with_name("hub.db-wal").write_bytes(b"")
    path.rename(path.with_name("hub.db.corrupt-by-hand"))
    lease(other, 8000, "after")
    assert [held.key.service for held in one.leases()] == ["after"]


def test_many_processes_find_the_damage_at_once(path, filled, open_store):
    overwrite(path)
    spoilt = path.read_bytes()
    program = textwrap.dedent(f"""
        import sys
        from datetime import UTC, datetime
        from pathlib import Path
        from moorage.adapters.registry.store import SqliteStore
        from moorage.model.lease import LeaseKey, Request
        print("ready", flush=True)
        sys.stdin.readline()
        store = SqliteStore(Path({str(path)!r}))
        for number in range(5):
            key = LeaseKey(stack=sys.argv[1], service=f"s{{number}}", target=80)
            store.lease([Request(key=key, wanted=8000)], run=None, taken=frozenset(),
                        bindable=lambda *_: True, now=datetime.now(UTC))
        store.close()
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"stack{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in range(8)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=240)
    assert [process.returncode for process in processes] == [0] * 8
    store = open_store()
    ports = [held.port for held in store.leases()]
    assert len(set(ports)) == len(ports) == 40
    assert len(set_aside_files(path)) == 1
    assert store.set_aside.read_bytes() == spoilt


def test_nobody_sees_half_a_registry(path, open_store, monkeypatch):
    """Sixteen processes at a new home: one that came in between would lease in a file that may be removed again."""
    seen, migrate = [], file_module._migrate

    def looking(connection, migrations):
        seen.append(path.exists())
        migrate(connection, migrations)
        seen.append(path.exists())

    monkeypatch.setattr(file_module, "_migrate", looking)
    assert open_store().leases() == ()
    assert seen == [False, False]
    assert [file.name for file in path.parent.iterdir() if "making" in file.name] == []


def test_a_registry_whose_making_was_cut_off_is_made_anew(path, open_store):
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f"{path.name}.making")
    making.write_bytes(b"half")
    assert open_store().leases() == ()
    assert not making.exists()


def test_a_newer_file_is_left_alone(path, filled, open_store):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    for call in (lambda store: store.leases(), lease, lambda store: store.set_aside):
        with pytest.raises(HomeError, match="newer Moorage") as caught:
            call(open_store())
        assert caught.value.exit_code == 4
    assert path.read_bytes() == before
    assert set_aside_files(path) == []


def test_private(path, open_store):
    store = open_store()
    lease(store)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) >= {"hub.db", "hub.db-wal", "hub.db-shm"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "a%20b", "é"])
def test_any_name_of_a_home(tmp_path, name):
    with closing(SqliteStore(tmp_path / name / "hub.db")) as store:
        lease(store)
    assert (tmp_path / name / "hub.db").stat().st_size > 0


def test_a_home_that_is_removed_meanwhile(path, open_store):
    store = open_store()
    lease(store)
    shutil.rmtree(path.parent)
    assert store.leases() == ()
    assert lease(store) == 8000


def test_a_home_that_is_a_file(path, open_store):
    path.parent.write_text("")
    with pytest.raises(HomeError) as caught:
        open_store().leases()
    assert caught.value.fields["path"] == str(path)


def test_a_file_that_is_a_folder(path, open_store):
    path.mkdir(parents=True)
    with pytest.raises(HomeError):
        open_store().leases()
    assert path.is_dir()


def test_locked_for_too_long(path, filled, open_store):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = open_store(timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(HomeError, match=r"locked by another process for 0\.3 s"):
            lease(store)
        assert time.monotonic() - began >= 0.3
        assert len(store.leases()) == 40  # reading does not wait for a writer
        other.execute("ROLLBACK")
    lease(store)


def test_a_fork_opens_its_own(path, open_store):
    store = open_store()
    lease(store, 8000, "parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            lease(store, 8000, "child")
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    lease(store, 8000, "parent again")
    assert [held.key.service for held in store.leases()] == ["parent", "child", "parent again"]


def test_a_first_read_is_little_work(path, filled, open_store, monkeypatch):
    """Every command pays for it; how long it takes: `make bench`."""
    statements, real = [], sqlite3.connect

    def connect(*args, **more):
        connection = real(*args, **more)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    store = open_store()
    store.stack("shop")
    assert 0 < len(statements) <= MOST_STATEMENTS, statements
