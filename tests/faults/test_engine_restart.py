"""An engine that restarts in the middle of a run: a second dockerd of our own, which nobody else uses.

For root. It has its own socket and data, and a network namespace: it would take away the default bridge of the machine's
engine, and its packet filter. Without `--live-restore` its containers end with it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from moorage.errors import EngineUnavailableError, MoorageError
from moorage.model.event import Action, Event
from moorage.model.request import DownRequest, RestartRequest, StartRequest, StopRequest, SweepRequest
from moorage.rules import labels
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.conftest import run_in
from tests.faults.own_engine import PATIENCE_S, OwnEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from moorage.interfaces import World

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(600)]

TWO = """
    services:
      db: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s, volumes: ["data:/data"],
           x-moorage: {{ready: {{exec: "true"}}}}}}
      web: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s, depends_on: [db], ports: ["80"],
            environment: {{VERSION: "{version}"}}, x-moorage: {{ready: {{exec: "test -f /data/none -o {ready}"}}}}}}
    volumes: {{data: {{}}}}
"""
ROOT = Path(__file__).resolve().parents[2]
PSQL = "PGPASSWORD=hunter22 psql -h 127.0.0.1 -U shop -d shop -Atc"
SHOP = """
services:
  db:
    image: {POSTGRES_IMAGE}
    environment: {{POSTGRES_USER: shop, POSTGRES_PASSWORD: hunter22, POSTGRES_DB: shop}}
    volumes: ["pg:/var/lib/postgresql/data"]
  cache: {{image: "{REDIS_IMAGE}", command: redis-server --appendonly yes --appendfsync always, volumes: ["cache:/data"]}}
  web:
    image: {TINY_IMAGE}
    command: [sleep, infinity]
    stop_grace_period: 0s
    depends_on: {{db: {{condition: service_healthy}}, cache: {{condition: service_healthy}}}}
volumes: {{pg: {{}}, cache: {{}}}}
"""
COUNTING = """
services:
  counter:
    image: {image}
    restart: {policy}
    volumes: ["data:/data"]
    command:
      - sh
      - -c
      - |
        trap 'exit 0' TERM
        n=$$(cat /data/n 2>/dev/null || echo 0)
        while :; do n=$$((n + 1)); echo $$n > /data/n; echo "line $$n"; [ $$((n % 20)) = 0 ] && sleep 0.05; done
  other: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s}}
volumes: {{data: {{}}}}
"""


@pytest.fixture(scope="module")
def engine(docker_client: docker.DockerClient, tiny_image: str) -> Iterator[OwnEngine]:
    """One for all tests of this file, with the tiny image in it."""
    bridge = Path("/sys/class/net/docker0")
    there = bridge.exists() and bridge.stat().st_ino
    one = OwnEngine(Path(tempfile.mkdtemp(prefix="moorage-engine-")))
    one.start()
    client = one.client()
    client.images.load(b"".join(docker_client.images.get(tiny_image).save(named=True)))
    client.close()
    yield one
    one.end()
    assert (bridge.exists() and bridge.stat().st_ino) == there, "the machine's own engine keeps its bridge"


class Place:
    """A stack on that engine."""

    def __init__(self, directory: Path, world: World, engine: OwnEngine, image: str) -> None:
        self.directory, self.world, self.engine, self.image = directory, world, engine, image
        self.name = directory.name

    def define(self, version: int, ready: str = "1 = 1") -> None:
        (self.directory / "compose.yaml").write_text(
            TWO.format(image=self.image, version=version, ready=ready).replace("\n    ", "\n")
        )

    async def up(self) -> Any:
        return (await up(Context(self.world), UpRequest(source=source_of(self.directory, (), (), ())))).status

    async def comes_to(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What it gives, or the error that it ends with."""
        try:
            return await work
        except MoorageError as error:
            return error

    def at(self, step: str, action: Action, deed: Callable[[], None]) -> None:
        """Once, when this is told, `deed` is done in the middle of the run."""
        done: list[bool] = []

        def emit(event: Event) -> None:
            if not done and (event.step, event.action) == (step, action):
                done.append(True)
                deed()

        self.world = replace(self.world, emit=emit)

    def state(self) -> dict[str, Any]:
        seen, store = self.world.engine.observe(self.name), self.world.store
        return {
            "containers": {c.name: (c.state, c.labels[labels.DIGEST]) for c in seen.containers},
            "networks": seen.networks,
            "volumes": seen.volumes,
            "tags": self.world.engine.tags(labels.pin_prefix(self.name)),
            "leases": [(str(lease.key), lease.port) for lease in store.leases(self.name)],
            "generations": [(one.number, one.outcome) for one in store.generations(self.name)],
            "record": store.stack(self.name) is not None,
            "unfinished": store.unfinished_runs(self.name),
        }


@pytest.fixture
def place(tmp_path: Path, engine: OwnEngine, tiny_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    directory = tmp_path / f"mt-restart-{secrets.token_hex(3)}"
    directory.mkdir()
    settings = Settings(home=tmp_path / "home", stop_grace_s=0, undo_grace_s=0, settle_s=0.0, ready_timeout_s=90)
    world = open_world(lambda _event: None, settings)
    one = Place(directory, world, engine, tiny_image)
    one.define(1)
    yield one
    assert os.environ["DOCKER_HOST"] == engine.address
    asyncio.run(down(Context(world), DownRequest(stack=one.name, volumes=True, release_ports=True)))
    world.store.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("step", "action"), [("create", Action.STARTED), ("create", Action.DONE), ("ready web", Action.STARTED)]
)
async def test_during_a_first_up(step, action, number, place):
    """It ends with everything ready, or nothing of it is left: by itself, since the engine is back soon."""
    before = place.state()
    place.at(step, action, lambda: place.engine.restart(number))
    answer = await place.comes_to(place.up())
    if isinstance(answer, MoorageError):
        assert answer.exit_code in (4, 5), answer
        assert place.state() == before
    else:
        assert answer.state == "running"
    assert (await place.up()).state == "running"
    assert place.state()["unfinished"] == ()


async def test_during_a_change(place):
    """What ran before runs again: without `--live-restore` the engine had ended it."""
    await place.up()
    before = place.state()
    place.define(2, ready="1 = 2")
    place.at("ready web", Action.STARTED, lambda: place.engine.restart(signal.SIGTERM))
    with pytest.raises(MoorageError) as caught:
        await place.up()
    assert caught.value.exit_code == 5, caught.value
    assert place.state() == before
    assert (await status(place.world, place.name)).state == "running"


async def test_gone_for_longer_than_an_undo_waits(place, monkeypatch):
    """Exit code 6, and what is left is said; `sweep` clears it away when the engine is back."""
    monkeypatch.setattr("moorage.work.runs.transaction._ENGINE_BACK_S", 1.0)
    before = place.state()
    place.at("ready web", Action.STARTED, lambda: place.engine.stop(signal.SIGTERM))
    with pytest.raises(MoorageError) as caught:
        await place.up()
    assert caught.value.exit_code == 6, caught.value
    with pytest.raises(EngineUnavailableError):
        await place.up()
    place.engine.start()
    findings = await sweep(Context(place.world), SweepRequest())
    assert [(one.swept, one.error) for one in findings] == [(True, None)]
    assert place.state() == before


@pytest.mark.parametrize("operation", ["down", "restart"])
async def test_what_rolls_forward(operation, place):
    """It is carried on by whoever comes next."""
    await place.up()
    step = "remove" if operation == "down" else "stop web"
    place.at(step, Action.STARTED, lambda: place.engine.restart(signal.SIGTERM))
    doing = {
        "down": lambda: down(Context(place.world), DownRequest(stack=place.name)),
        "restart": lambda: restart(Context(place.world), RestartRequest(stack=place.name)),
    }
    answer = await place.comes_to(doing[operation]())
    assert not isinstance(answer, MoorageError) or answer.exit_code in (4, 5), answer
    assert not [one for one in await sweep(Context(place.world), SweepRequest()) if one.error]
    assert place.state()["unfinished"] == ()
    wanted = {} if operation == "down" else {f"{place.name}-{name}-1": "running" for name in ("db", "web")}
    assert {name: state for name, (state, _) in place.state()["containers"].items()} == wanted


@pytest.fixture(scope="module")
def base_images(engine: OwnEngine, docker_client: docker.DockerClient, tiny_image: str) -> dict[str, str]:
    """The real PostgreSQL and Redis on that engine too: variable of the base images → name."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=True)
    images = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line and not line.startswith("#"))
    client = engine.client()
    for name in ("POSTGRES_IMAGE", "REDIS_IMAGE"):
        client.images.load(docker_client.images.get(images[name]).save(named=True))
    client.close()
    return {**images, "TINY_IMAGE": tiny_image}


async def test_what_was_written_is_there_after_it(place, base_images):
    """In PostgreSQL and Redis; whichever way the engine ended, and whichever command brings the stack back."""
    (place.directory / "compose.yaml").write_text(SHOP.format(**base_images))
    assert (await place.up()).state == "running"
    client = place.engine.client()

    def sh(service: str, command: str) -> str:
        return run_in(client.containers.get(f"{place.name}-{service}-1"), "sh", "-c", command)

    def write(word: str) -> None:
        sh("db", f"{PSQL} \"create table if not exists words (w text); insert into words values ('{word}')\"")
        sh("cache", f"redis-cli rpush words {word}")

    def words() -> tuple[list[str], list[str]]:
        in_db = sh("db", f'{PSQL} "select w from words order by w"').split()
        return in_db, sorted(sh("cache", "redis-cli lrange words 0 -1").split())

    async def begin() -> Any:
        return (await start(Context(place.world), StartRequest(stack=place.name))).status

    async def again() -> Any:
        return (await restart(Context(place.world), RestartRequest(stack=place.name))).status

    written: list[str] = []
    ids = {one.id for one in place.world.engine.observe(place.name).containers}
    ways = [(signal.SIGTERM, place.up), (signal.SIGKILL, begin), (signal.SIGTERM, again), (signal.SIGKILL, place.up)]
    for number, bring_back in ways:
        written.append(f"{len(written)}-before-{number.name}")
        write(written[-1])
        await asyncio.to_thread(place.engine.restart, number)
        assert (await status(place.world, place.name)).state == "stopped"
        assert (await bring_back()).state == "running"
        assert words() == (written, written)
        assert {one.id for one in place.world.engine.observe(place.name).containers} == ids
    client.close()


class Follower:
    """`moorage logs --follow` of a place, writing into files."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.out, self.err = folder / f"{place.name}.out", folder / f"{place.name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen([*self._logs(), "--follow"], env=self._env(), stdout=out, stderr=err)

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def fresh(self) -> list[str]:
        """What a log that is read now says."""
        return subprocess.run(
            self._logs(), env=self._env(), check=True, capture_output=True, text=True
        ).stdout.splitlines()

    def until_more(self, than: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.lines()) <= than:
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, self.err.read_text()
            time.sleep(0.1)

    def _logs(self) -> list[str]:
        return [str(Path(sys.executable).with_name("moorage")), "logs", "--name", self.place.name, "counter"]

    def _env(self) -> dict[str, str]:
        return os.environ | {"MOORAGE_HOME": str(self.place.world.settings.home)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("policy", ["always", "no"])
async def test_a_log_is_followed_across_it(policy, number, place, tmp_path):
    """Of what the engine starts again no line is lost and none comes twice; else the log ends with a sentence."""
    (place.directory / "compose.yaml").write_text(COUNTING.format(image=place.image, policy=f'"{policy}"'))
    await place.up()
    follower = Follower(place, tmp_path)
    try:
        await asyncio.to_thread(follower.until_more, 100)
        await asyncio.to_thread(place.engine.restart, number)
        if policy == "always":
            await asyncio.to_thread(follower.until_more, len(follower.fresh()) + 100)
            await stop(Context(place.world), StopRequest(stack=place.name))
        assert await asyncio.to_thread(follower.process.wait, PATIENCE_S) == 0, follower.err.read_text()
    finally:
        follower.process.kill()
    assert follower.lines() == follower.fresh()
    assert len(set(follower.lines())) >= 100
    said = follower.err.read_text()
    assert "the engine answers again" in said or "the engine was away and answers again" in said
    assert ("the services ended with the engine; `moorage start" in said) == (policy == "no"), said
