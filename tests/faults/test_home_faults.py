"""What the home does on a disk that is full, or cannot be written: real small disks where we may mount them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from contextlib import closing
from datetime import UTC, datetime

import pytest

from moorage.adapters.files import LocalFiles
from moorage.adapters.locks.stack import StackLock
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import HomeError
from moorage.model.lease import LeaseKey, Request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lease(store, wanted=8000, service="web"):
    asked = [Request(key=LeaseKey(stack="shop", service=service, target=80), wanted=wanted)]
    return store.lease(asked, run=None, taken=frozenset(), bindable=lambda *_: True, now=NOW)[0].port


def lease_many(store, count):
    for number in range(count):
        lease(store, 8000, f"s{number}")


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; for root. `test_files_may_not_grow` needs no root."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", place)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not mount a disk: {error.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


class TestFullDisk:
    def test_nothing_can_be_made(self, disk):
        fill(disk)
        store = SqliteStore(disk / "home" / "hub.db")
        for call in (store.leases, lambda: lease(store)):
            with pytest.raises(HomeError) as caught:
                call()
            assert "MOORAGE_HOME" in caught.value.hint or "space" in caught.value.hint

    def test_what_is_there_can_be_read(self, disk):
        path = disk / "home" / "hub.db"
        with closing(SqliteStore(path)) as store:
            lease(store)
        fill(disk)
        with closing(SqliteStore(path)) as store:
            assert [held.port for held in store.leases()] == [8000]
            with pytest.raises(HomeError) as caught:
                lease_many(store, 100)
            assert caught.value.fields["path"] == str(path)
            count = len(store.leases())
        (disk / "filler").unlink()
        with closing(SqliteStore(path)) as store:
            assert len(store.leases()) == count
            lease(store, 9000, "after")
            assert store.set_aside is None

    def test_full_while_open(self, disk):
        with closing(SqliteStore(disk / "home" / "hub.db")) as store:
            lease(store)
            fill(disk)
            with pytest.raises(HomeError):
                lease_many(store, 500)
            before = len(store.leases())
            (disk / "filler").unlink()
            lease(store, 9000, "after")
            assert len(store.leases()) == before + 1

    def test_files_keep_their_old_text(self, disk):
        files = LocalFiles(disk / "home")
        files.write("a", "old")
        fill(disk)
        with pytest.raises(HomeError, match="No space left") as caught:
            files.write("a", "new" * 10_000)
        assert "Free some space" in caught.value.hint
        assert files.read("a") == "old"
        assert list(files.names(".keep")) == []

    def test_a_lock_that_cannot_be_signed_is_not_kept(self, disk):
        lock = StackLock(disk / "home" / "locks", "shop")
        lock.acquire("up", 0).release()
        fill(disk)
        with pytest.raises(HomeError):
            lock.acquire("up", 0)
        (disk / "filler").unlink()
        assert lock.held() is None


class TestReadOnlyDisk:
    @pytest.fixture
    def home(self, disk):
        path = disk / "home" / "hub.db"
        with closing(SqliteStore(path)) as store:
            lease(store)
        LocalFiles(path.parent).write("a", "text")
        mount("-o", "remount,ro", disk)
        return path.parent

    def test_read(self, home):
        with closing(SqliteStore(home / "hub.db")) as store:
            assert [held.port for held in store.leases()] == [8000]
            assert store.set_aside is None
            asked = [Request(key=LeaseKey(stack="shop", service="web", target=80), wanted=8000)]
            assert store.preview(asked, taken=frozenset(), bindable=lambda *_: True, now=NOW)[0].port == 8000
        assert LocalFiles(home).read("a") == "text"
        assert StackLock(home / "locks", "shop").held() is None

    def test_written(self, home):
        with closing(SqliteStore(home / "hub.db")) as store:
            with pytest.raises(HomeError, match=r"hub\.db") as caught:
                lease(store, 9000, "other")
            assert "MOORAGE_HOME" in caught.value.hint
        with pytest.raises(HomeError, match="Read-only file system"):
            LocalFiles(home).write("b", "x")
        with pytest.raises(HomeError, match="Read-only file system"):
            StackLock(home / "locks", "shop").acquire("up", 0)

    def test_nothing_there(self, home):
        with pytest.raises(HomeError, match="Read-only file system"):
            SqliteStore(home / "elsewhere" / "hub.db").leases()

    def test_damaged(self, home, disk):
        mount("-o", "remount,rw", disk)
        (home / "hub.db").write_bytes(b"not a database" * 1000)
        mount("-o", "remount,ro", disk)
        with closing(SqliteStore(home / "hub.db")) as store, pytest.raises(HomeError):
            store.leases()
        assert list(home.glob("hub.db.corrupt-*")) == []


def test_read_only_while_open(disk):
    with closing(SqliteStore(disk / "home" / "hub.db")) as store:
        lease(store)
        # Without -o remount: open files would keep it busy.
        mount("--bind", disk, disk)
        mount("-o", "remount,ro,bind", disk)
        try:
            with closing(SqliteStore(disk / "home" / "hub.db")) as other:
                assert len(other.leases()) == 1
                with pytest.raises(HomeError):
                    lease(other, 9000, "b")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def test_files_may_not_grow(tmp_path):
    """The same without root: a limit on the size of files, in a process of its own."""
    program = textwrap.dedent(f"""
        import resource, signal
        from datetime import UTC, datetime
        from pathlib import Path
        from moorage.adapters.files import LocalFiles
        from moorage.adapters.registry.store import SqliteStore
        from moorage.errors import HomeError
        from moorage.model.lease import LeaseKey, Request
        store, files = SqliteStore(Path({str(tmp_path)!r}) / "hub.db"), LocalFiles(Path({str(tmp_path)!r}))
        ask = lambda n: store.lease(
            [Request(key=LeaseKey(stack="s", service="w" + str(n), target=80), wanted=8000)],
            run=None, taken=frozenset(), bindable=lambda *_: True, now=datetime.now(UTC))
        ask(0)
        files.write("a", "old")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        try:
            for n in range(1, 1000): ask(n)
        except HomeError as error: print("store", n > 1, error.hint is not None)
        try: files.write("a", "new" * 100_000)
        except HomeError as error: print("files", files.read("a"))
        held = len(store.leases())
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ask(2000)
        print(held, len(store.leases()) - held, store.set_aside)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    store, files, rest = done.stdout.splitlines()
    assert (store, files) == ("store True True", "files old")
    held, added, aside = rest.split()
    assert (int(held) > 0, added, aside) == (True, "1", "None")
