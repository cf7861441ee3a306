"""An engine that goes away in mid-answer, or talks nonsense: whatever is asked, it ends as an error of Moorage."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.streams import DockerStreams
from moorage.adapters.engine.volumes import DockerVolumes
from moorage.errors import EngineError, EngineUnavailableError, MoorageError
from moorage.interfaces import Engine, Streams, Volumes
from moorage.model.log import LogSpan
from moorage.model.volume import Volume
from moorage.rules import labels
from moorage.settings import Settings
from tests.contract import scripted_engine
from tests.contract.scripted_engine import TROUBLE, ScriptedEngine

HOME = "0123456789ab"
ENGINE: dict[str, Callable[[DockerEngine], Any]] = {
    "ping": lambda e: e.ping(),
    "product": lambda e: e.product(),
    "is_rootless": lambda e: e.is_rootless(),
    "has_limits": lambda e: e.has_limits(),
    "place": lambda e: e.place(),
    "identity": lambda e: e.identity(),
    "observe": lambda e: e.observe("s"),
    "observe_each": lambda e: e.observe_each(["s", "t"]),
    "containers": lambda e: e.containers("s", "web"),
    "init_containers": lambda e: e.init_containers("s", "web"),
    "stacks": lambda e: e.stacks(),
    "stacks_of": lambda e: e.stacks_of(HOME),
    "inspect": lambda e: e.inspect("c"),
    "published_ports": lambda e: e.published_ports(),
    "publishers": lambda e: e.publishers(),
    "start": lambda e: e.start("c"),
    "stop": lambda e: e.stop("c", 1),
    "kill": lambda e: e.kill("c"),
    "remove": lambda e: e.remove("c", volumes=True),
    "rename": lambda e: e.rename("c", "d"),
    "hold": lambda e: e.hold("n", "i", {}, {"/data": "v"}),
    "remove_network": lambda e: e.remove_network("x"),
    "remove_volume": lambda e: e.remove_volume("x"),
    "owner": lambda e: (e.owner("network", "x"), e.owner("volume", "x")),
    "named": lambda e: [e.named(kind) for kind in ("container", "network", "volume")],
    "image": lambda e: e.image("i"),
    "repo_digest": lambda e: e.repo_digest("i"),
    "tagged_at": lambda e: e.tagged_at("x:1"),
    "load": lambda e: e.load(Path(__file__)),
    "tag": lambda e: e.tag("i", "a:b"),
    "untag": lambda e: e.untag("a:b"),
    "tags": lambda e: e.tags("a"),
    "stored_images": lambda e: e.stored_images(),
    "remove_image": lambda e: e.remove_image("i"),
    "exec": lambda e: e.exec("c", ["true"]),
    "logs": lambda e: e.logs("c", 10),
    "put_file": lambda e: e.put_file("c", "/a", b"x", 0o600, 0, 0),
}
STREAMS: dict[str, Callable[[DockerStreams], Any]] = {
    "log": lambda s: list(s.log("c", LogSpan(), on_open=lambda _close: None)),
    "sample": lambda s: s.sample("c"),
}
VOLUMES: dict[str, Callable[[DockerVolumes], Any]] = {
    "all": lambda v: v.all(),
    "find": lambda v: v.find("x"),
    "make": lambda v: v.make(Volume(name="x", stack="s", key="x")),
    "read": lambda v: list(v.read("x", "i", "s")),
    "write": lambda v: v.write("x", "i", "s", [b"tar"]),
    "dump": lambda v: list(v.dump("c", ["true"], {})),
    "load": lambda v: v.load("c", ["true"], {}, [b"in"]),
    "helpers": lambda v: v.helpers("s"),
    "remove_helpers": lambda v: v.remove_helpers("s"),
    "free_bytes": lambda v: v.free_bytes(),
}
CALLS: dict[str, Callable[[DockerEngine], Any]] = {
    **{f"engine {name}": call for name, call in ENGINE.items()},
    **{f"streams {name}": lambda e, call=call: call(DockerStreams(e)) for name, call in STREAMS.items()},
    **{f"volumes {name}": lambda e, call=call: call(DockerVolumes(e, HOME)) for name, call in VOLUMES.items()},
}


@pytest.mark.parametrize(("protocol", "calls"), [(Engine, ENGINE), (Streams, STREAMS), (Volumes, VOLUMES)])
def test_every_call_is_tried(protocol: type, calls: dict[str, Any]) -> None:
    assert {name for name, method in vars(protocol).items() if isfunction(method) and name[0] != "_"} == set(calls)


@pytest.fixture
def engine_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The real adapter before a scripted engine."""

    @contextmanager
    def before(trouble: bytes | None, well: int) -> Iterator[DockerEngine]:
        path = tmp_path / "engine.sock"
        path.unlink(missing_ok=True)
        with ScriptedEngine(path, trouble, well) as scripted:
            monkeypatch.setenv("DOCKER_HOST", scripted.address)
            engine = DockerEngine(Settings(home=tmp_path, engine_timeout_s=1, connect_timeout_s=5))
            yield engine
            engine.client.close()

    return before


def outcome(engine: DockerEngine, call: Callable[[DockerEngine], Any]) -> str:
    """Empty: it answered, or said what is wrong in an error of ours."""
    try:
        call(engine)
    except MoorageError as error:
        return "" if str(error).strip() else f"{type(error).__name__} without words"
    except Exception as error:  # noqa: BLE001 - that it comes out is what is wrong
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("trouble", TROUBLE)
def test_no_foreign_exception_comes_out(engine_at: Callable[..., Any], trouble: str) -> None:
    wrong = []
    for name, call in CALLS.items():
        for well in range(3):
            with engine_at(TROUBLE[trouble], well) as engine:
                if said := outcome(engine, call):
                    wrong.append(f"{name}, after {well} good answers: {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("trouble", [name for name in TROUBLE if name.startswith(("closed", "cut off"))])
@pytest.mark.parametrize("name", ["ping", "observe", "start", "stop", "image"])
def test_what_is_cut_off_may_be_tried_again(engine_at: Callable[..., Any], trouble: str, name: str) -> None:
    with engine_at(TROUBLE[trouble], 0) as engine:
        if name in ("start", "stop") and trouble in ("cut off in the headers", "cut off in the body"):
            return  # what is not there is not read: it was done
        with pytest.raises(EngineUnavailableError):
            ENGINE[name](engine)


def test_an_answer_without_sense_about_one_stack_is_told_of_that_one(
    engine_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it the others are looked at as ever."""
    listed = [{"Id": name, "Names": [f"/{name}"], "Labels": {labels.COMPOSE_PROJECT: name}} for name in ("odd", "good")]
    good = {
        "Id": "good",
        "Name": "/good",
        "Image": "i",
        "State": {"Status": "running", "ExitCode": 0},
        "Config": {"Labels": {labels.COMPOSE_ONEOFF: "False"}},
        "NetworkSettings": {},
    }
    said = {r"/containers/json": listed, r"/containers/good/json": good, r"/containers/odd/json": {"Id": ["odd"]}}
    monkeypatch.setattr(scripted_engine, "WELL", {**said, **scripted_engine.WELL, **said})
    with engine_at(b"", 99) as engine:
        found = engine.observe_each(["odd", "good", "none"])
        assert isinstance(found["odd"], EngineError)
        assert [one.id for one in found["good"].containers] == ["good"]
        assert found["none"].containers == ()
        with pytest.raises(EngineError, match="makes no sense"):
            engine.observe("odd")


@pytest.mark.parametrize("name", ["image", "tagged_at", "repo_digest", "stored_images", "remove_image"])
@pytest.mark.parametrize("then", [404, 500])
def test_an_image_that_is_just_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, then: int
) -> None:
    """For a moment Docker says of it that its layer does not exist, as an error of its own (seen with 20.10)."""
    listed = {r"/images/json": [{"Id": "i", "RepoTags": ["x:1"]}], r"/containers/json": []}
    monkeypatch.setattr(scripted_engine, "WELL", {**listed, **scripted_engine.WELL, **listed})
    with ImageThatGoes(tmp_path / "engine.sock", [500, then]) as scripted:
        monkeypatch.setenv("DOCKER_HOST", scripted.address)
        engine = DockerEngine(Settings(home=tmp_path, engine_timeout_s=5, connect_timeout_s=5))
        if then == 404:
            assert not ENGINE[name](engine)
        else:
            with pytest.raises(EngineError, match="layer does not exist"):
                ENGINE[name](engine)
        engine.client.close()


class ImageThatGoes(ScriptedEngine):
    """What it says of one image: these statuses, the last of them for ever."""

    def __init__(self, path: Path, statuses: list[int]) -> None:
        super().__init__(path, b"", 99)
        self._statuses = statuses

    def _answer(self, connection: socket.socket, asked: str) -> bool:
        if not re.search(r"/images/(?!json)", asked):
            return super()._answer(connection, asked)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        said = json.dumps({"message": "layer does not exist" if status == 500 else "No such image"}).encode()
        connection.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said)
        return True


@pytest.mark.parametrize("way", ["a socket", "TCP", "TCP through a proxy"])
def test_each_way_to_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Proxies are for hosts: what is asked at a socket goes past them."""
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedEngine(tmp_path / "engine.sock" if way == "a socket" else None, b"", 99) as engine:
        through = way == "TCP through a proxy"
        proxy = engine.address.replace("tcp", "http") if through else "http://127.0.0.1:9"
        monkeypatch.setenv("NO_PROXY" if way == "TCP" else "HTTP_PROXY", "*" if way == "TCP" else proxy)
        monkeypatch.setenv("DOCKER_HOST", "tcp://engine.invalid:2375" if through else engine.address)
        client = DockerEngine(Settings(home=tmp_path, engine_timeout_s=5, connect_timeout_s=5))
        assert client.product() == "Docker Engine"
        assert client.published_ports() == frozenset()
        assert [one.rpartition("/")[2] for one in engine.asked] == ["version", "json"]
        client.client.close()


def test_silence_is_an_engine_that_does_not_answer(engine_at: Callable[..., Any]) -> None:
    with engine_at(None, 0) as engine, pytest.raises(EngineUnavailableError, match="timed out"):
        engine.observe("s")


def test_what_the_source_of_a_volume_raises_is_not_the_engines(engine_at: Callable[..., Any]) -> None:
    def torn() -> Iterator[bytes]:
        yield b"x" * 300_000
        raise OSError(5, "of the disk that the snapshot is on")

    with engine_at(b"", 1) as engine, pytest.raises(OSError, match="of the disk"):
        DockerVolumes(engine, HOME).write("x", "i", "s", torn())


def test_one_connection_serves_all_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own way takes one for each URL."""
    with ScriptedEngine(tmp_path / "engine.sock", None, 1000) as scripted:
        monkeypatch.setenv("DOCKER_HOST", scripted.address)
        engine = DockerEngine(Settings(home=tmp_path))
        for number in range(30):
            engine.image(f"i{number}")
        engine.tags("a")
        engine.named("network")
        engine.client.close()
    assert len(scripted.asked) > 30
    assert scripted.connections == 1
