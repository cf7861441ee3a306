"""Volumes of the engine: one suite for the real ones and for those in memory."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.volumes import DockerVolumes
from moorage.errors import EngineError
from moorage.model.volume import ROOT, Volume
from moorage.settings import Settings
from moorage.testing import FakeCompose, FakeEngine, FakeMachine, FakeVolumes
from tests.contract.test_engine import Bench, FakeEyes, RealEyes

HOME = "0123456789ab"


@dataclass
class Place:
    """An engine with a volume on it."""

    volumes: Any
    bench: Bench
    name: str

    def make(self, **labels: str) -> Volume:
        made = Volume(name=self.name, labels={"com.docker.compose.project": self.bench.stack, **labels})
        self.volumes.make(made)
        return made

    def write(self, *files: tuple[str, bytes], **facts: Any) -> None:
        self.volumes.write(self.name, self.bench.image, self.bench.stack, [packed(*files, **facts)])

    def read(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Name → header and content."""
        whole = b"".join(self.volumes.read(self.name, self.bench.image, self.bench.stack))
        found = {}
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            for one in tar:
                opened = tar.extractfile(one) if one.isreg() else None
                found[one.name] = one, opened.read() if opened else b""
        return found


def packed(*files: tuple[str, bytes], **facts: Any) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as tar:
        root = tarfile.TarInfo(ROOT)
        root.type, root.mode, root.uid = tarfile.DIRTYPE, 0o750, facts.get("uid", 0)
        tar.addfile(root)
        for name, content in files:
            one = tarfile.TarInfo(f"{ROOT}/{name}")
            one.size = len(content)
            for key, value in facts.items():
                setattr(one, key, value)
            tar.addfile(one, io.BytesIO(content))
    return whole.getvalue()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def place(request, tmp_path, stack_prefix):
    folder = tmp_path / stack_prefix
    folder.mkdir()
    if request.param == "fake":
        machine = FakeMachine()
        machine.add_image("tiny:1")
        bench = Bench(stack_prefix, FakeEngine(machine), FakeCompose(machine), FakeEyes(machine), "tiny:1", folder)
        yield Place(FakeVolumes(machine), bench, f"{stack_prefix}_data")
        return
    from moorage.adapters.compose.cli import ComposeCli

    client = request.getfixturevalue("docker_client")
    image = request.getfixturevalue("tiny_image")
    engine = DockerEngine(Settings())
    bench = Bench(stack_prefix, engine, ComposeCli(Settings()), RealEyes(client, stack_prefix), image, folder)
    yield Place(DockerVolumes(engine, HOME), bench, f"{stack_prefix}_data")
    engine.client.close()


def test_made_and_found(place):
    made = place.make(colour="blue")
    found = place.volumes.find(place.name)
    assert (found.name, found.driver, found.users) == (made.name, "local", ())
    assert found.labels["colour"] == "blue"
    assert place.volumes.find(f"{place.name}-not") is None


def test_made_again_stays(place):
    made = place.make()
    place.write(("a", b"1"))
    place.volumes.make(made)
    assert f"{ROOT}/a" in place.read()


def test_empty(place):
    place.make()
    assert list(place.read()) == [ROOT]


def test_what_was_written_is_read(place):
    place.make()
    place.write(("a", b"one"), ("folder/b", b"two" * 1000))
    found = place.read()
    assert {name: content for name, (one, content) in found.items() if one.isreg()} == {
        f"{ROOT}/a": b"one",
        f"{ROOT}/folder/b": b"two" * 1000,
    }
    assert found[ROOT][0].isdir()


def test_no_such_image(place):
    place.make()
    with pytest.raises(EngineError):
        list(place.volumes.read(place.name, "no-such-image:0", place.bench.stack))


def test_sizes_and_users(place):
    place.bench.create({"web": place.bench.service(volumes=["data:/data"])}, volumes={"data": None})
    place.write(("a", b"x" * 1000))
    found = _measured(place)
    assert found.size_bytes >= 1000
    [user] = found.users
    assert (user.stack, user.service, user.running) == (place.bench.stack, "web", False)
    place.bench.engine.start(user.container)
    [user] = place.volumes.find(place.name).users
    assert user.running


def test_dump(place):
    container = place.bench.started()
    assert b"".join(place.volumes.dump(container.id, ["echo", "hello"], {})) == b"hello\n"
    with pytest.raises(EngineError, match="exit code 3"):
        list(place.volumes.dump(container.id, ["sh", "-c", "echo x; exit 3"], {}))


def test_load(place):
    container = place.bench.started()
    place.volumes.load(container.id, ["sh", "-c", "true"], {}, [b"not read"])
    with pytest.raises(EngineError, match="exit code 4"):
        place.volumes.load(container.id, ["sh", "-c", "exit 4"], {}, [b"x"])


def test_helpers_go(place):
    place.make()
    place.write(("a", b"1"))
    stream = place.volumes.read(place.name, place.bench.image, place.bench.stack)
    next(stream)
    place.volumes.remove_helpers(place.bench.stack)
    place.volumes.remove_helpers(place.bench.stack)
    assert place.volumes.find(place.name).users == ()


@pytest.mark.parametrize("place", [pytest.param("real", marks=pytest.mark.engine)], indirect=True)
class TestTheRealOne:
    """What text in memory does not have."""

    def test_owners_and_modes(self, place):
        place.make()
        place.write(("a", b"1"), uid=12_345, gid=54_321, mode=0o4640, mtime=1_000_000_000)
        found = place.read()
        one, root = found[f"{ROOT}/a"][0], found[ROOT][0]
        assert (one.uid, one.gid, one.mode & 0o7777, one.mtime) == (12_345, 54_321, 0o4640, 1_000_000_000)
        assert (root.uid, root.mode & 0o7777) == (12_345, 0o750)

    def test_stdin_arrives(self, place):
        container = place.bench.started()
        sent = os.urandom(3 << 20)
        chunks = (sent[at : at + 100_000] for at in range(0, len(sent), 100_000))
        place.volumes.load(container.id, ["sh", "-c", 'cat > "$TO"'], {"TO": "/got"}, chunks)
        assert b"".join(place.volumes.dump(container.id, ["cat", "/got"], {})) == sent

    def test_a_program_that_does_not_read_to_the_end(self, place):
        container = place.bench.started()
        with pytest.raises(EngineError, match="enough"):
            place.volumes.load(
                container.id, ["sh", "-c", "echo enough >&2; exit 1"], {}, itertools.repeat(b"x" * 65536)
            )

    def test_a_program_that_closes_its_output_and_reads_on(self, place):
        container = place.bench.started()
        closed = "exec > /dev/null 2>&1; sleep 0.3; cat > /got"
        place.volumes.load(container.id, ["sh", "-c", closed], {}, (b"x" * 65536 for _ in range(100)))
        assert b"".join(place.volumes.dump(container.id, ["sh", "-c", "wc -c < /got"], {})) == b"6553600\n"

    def test_the_first_words_are_not_lost(self, place):
        container = place.bench.started()
        for number in range(30):
            said = b"".join(place.volumes.dump(container.id, ["echo", str(number)], {}))
            assert said == f"{number}\n".encode()

    def test_room(self, place):
        assert place.volumes.free_bytes() is None or place.volumes.free_bytes() > 0


def _measured(place: Place) -> Volume:
    """The volume with its size: tests beside this one may have the engine measure, too."""
    while True:
        found: Volume = next(one for one in place.volumes.all(sized=True) if one.name == place.name)
        if found.size_bytes is not None:
            return found


def test_many_ask_at_once(place: Place) -> None:
    """Engines before 23 measure for one only, and refuse the others."""
    place.make()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: place.volumes.all(sized=True), range(24)))
    assert all(place.name in {one.name for one in each} for each in found)
