"""`sweep` on the real engine: what it clears away, and what of other people's it must never touch."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import docker
import pytest
from docker.errors import APIError

from moorage.model.finding import Finding, Leftover
from moorage.model.lease import LeaseKey, Request
from moorage.model.request import SweepRequest
from moorage.rules import labels
from moorage.work.operations import leftovers
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context

pytestmark = pytest.mark.engine

WEB = """
    services:
      web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s, ports: ["80"], volumes: ["data:/data"],
          x-moorage: {ready: {exec: "true"}}}
    volumes: {data: {}}
"""
OTHER_HOME = "0123456789ab"


@dataclass
class Strangers:
    """What other people have on the engine; `now` tells whether it is still the same."""

    client: docker.DockerClient
    image: str
    things: dict[str, list[Any]] = field(default_factory=lambda: {"container": [], "network": [], "volume": []})
    tags: list[str] = field(default_factory=list)

    def container(self, name: str, **of: str) -> None:
        made = self.client.containers.run(self.image, ["sleep", "infinity"], name=name, labels=of, detach=True)
        self.things["container"].append(made)

    def network(self, name: str, **of: str) -> None:
        self.things["network"].append(self.client.networks.create(name, labels=of))

    def volume(self, name: str, **of: str) -> None:
        self.things["volume"].append(self.client.volumes.create(name, labels=of))

    def tag(self, name: str) -> None:
        self.client.images.get(self.image).tag(name)
        self.tags.append(name)

    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, things in self.things.items():
            for thing in things:
                thing.reload()
                attrs = thing.attrs
                found[f"{kind} {thing.name}"] = (
                    (attrs["Id"], attrs["State"]["StartedAt"]) if kind == "container" else attrs.get("CreatedAt")
                )
        return found | {tag: self.client.images.get(tag).id for tag in self.tags}

    def remove(self) -> None:
        for thing in self.things["container"]:
            with suppress(APIError):
                thing.remove(force=True)
        for thing in [*self.things["network"], *self.things["volume"]]:
            with suppress(APIError):
                thing.remove()
        for tag in self.tags:
            with suppress(APIError):
                self.client.api.remove_image(tag)


@pytest.fixture
def strangers(docker_client, tiny_image):
    made = Strangers(docker_client, tiny_image)
    yield made
    made.remove()


def plant(strangers: Strangers, name: str) -> None:
    """All that might be mistaken for a part of the stack `name`."""
    project = {labels.COMPOSE_PROJECT: name, labels.COMPOSE_SERVICE: "web", labels.COMPOSE_NUMBER: "7"}
    theirs = project | {labels.STACK: name, labels.HOME: OTHER_HOME}
    half = {labels.STACK: name}
    longer = {labels.COMPOSE_PROJECT: f"{name}x", labels.STACK: f"{name}x", labels.HOME: OTHER_HOME}
    for number, of in enumerate((project, theirs, half, longer, {})):
        strangers.container(f"{name}-web-{number + 7}", **of)
        strangers.network(f"{name}_other{number}", **of)
        strangers.volume(f"{name}_data{number}", **of)
    for tag in (
        f"moorage/{name}x/web:id-0123456789ab",  # a stack whose name begins like ours
        f"moorage/{name}:latest",
        f"{name}/web:id-0123456789ab",
        f"elsewhere/moorage/{name}/web:1",
        f"localhost:5000/moorage/{name}/web:id-0123456789ab",
    ):
        strangers.tag(tag)


async def found(world, **how: bool) -> list[Finding]:
    return await sweep(Context(world), SweepRequest(**how))


async def found_again(world, **how: bool) -> list[Finding]:
    """What a second sweep finds, after the time for which a stack without a directory is left alone."""
    await found(world)
    return await found(replace(world, settings=world.settings.model_copy(update={"sweep_again_s": 0.0})), **how)


def of(findings: list[Finding], stack: str) -> dict[Leftover, Finding]:
    return {one.kind: one for one in findings if one.stack == stack}


def lease(world, stack: str, run: str | None = None) -> int:
    asked = [Request(key=LeaseKey(stack=stack, service="web", target=80), wanted=18_500)]
    bindable: Callable[..., bool] = lambda *_: True  # noqa: E731
    return world.store.lease(asked, run=run, taken=frozenset(), bindable=bindable, now=world.clock.now())[0].port


def expire(s) -> None:
    record = s.world.store.stack(s.name)
    past = s.world.clock.now() - timedelta(seconds=1)
    s.world.store.save_stack(record.model_copy(update={"expires_at": past}))


def tags(s) -> tuple[str, ...]:
    return s.world.engine.tags(labels.pin_prefix(s.name))


# --- what is not ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    ["directory gone", "crashed", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("expired", "removed"))],
)
async def test_what_is_not_ours_is_never_touched(state, stack, strangers):
    s = stack(WEB)
    await s.up()
    match state:
        case "directory gone":
            shutil.rmtree(s.path)
        case "expired":
            expire(s)
        case "crashed":
            await s.down(volumes=True, release_ports=True)
            await crash(s)
            assert s.world.store.unfinished_runs(s.name)
        case "removed":
            await s.down(volumes=True, release_ports=True)
    plant(strangers, s.name)
    before = strangers.now()
    findings = await found_again(s.world, volumes=True)
    assert not [one for one in findings if one.error], findings
    assert strangers.now() == before
    assert s.world.store.unfinished_runs() == ()
    ours = [c.name for c in s.containers() if c.labels.get(labels.HOME) == s.world.home]
    assert ours == []
    assert await found(s.world) == []


async def crash(s) -> None:
    """An `up` that dies between the start of its container and its end."""

    class Dead(BaseException):
        pass

    class Dying:
        def __getattr__(self, name: str) -> Any:
            if name in ("commit", "close_run", "update_run", "release_run"):
                raise Dead
            return getattr(s.world.store, name)

    with pytest.raises(Dead):
        await up(Context(replace(s.world, store=Dying())), s.request())


async def test_a_network_that_others_use_too_is_told_of(stack, strangers, docker_client):
    s = stack(WEB)
    name = f"{s.name}_default"
    mine = {labels.COMPOSE_PROJECT: s.name, labels.STACK: s.name, labels.HOME: s.world.home}
    docker_client.networks.create(name, labels=mine)
    strangers.container(f"{s.name}-guest")
    docker_client.networks.get(name).connect(strangers.things["container"][0])
    (finding,) = await found(s.world)
    assert (finding.kind, finding.swept) == (Leftover.NETWORKS, False)
    assert "active endpoints" in str(finding.error)
    docker_client.networks.get(name).disconnect(strangers.things["container"][0])
    (finding,) = await found(s.world)
    assert finding.swept
    assert name not in {network.name for network in docker_client.networks.list()}


# --- what is ------------------------------------------------------------------------------------------------


async def test_only_a_look(stack, machine_state):
    """`--dry-run` finds the same and touches nothing."""
    s, gone = stack(WEB), stack(WEB, "-gone")
    await s.up()
    await gone.up()
    expire(s)
    shutil.rmtree(gone.path)
    lease(s.world, f"{s.name}-nobody")
    s.client.images.get(s.container("web").image.id).tag(f"{labels.pin_prefix(s.name)}old", tag="id-0123456789ab")
    before = (machine_state.now(), s.ids(), gone.ids(), s.world.store.leases(), s.world.store.stacks(), tags(s))
    first = of(await found(s.world, dry_run=True), gone.name)[Leftover.STACK]
    assert "a sweep ends it if that is still so" in first.what
    assert f"moorage down --name {gone.name}" in first.left
    assert s.world.store.missing_since(gone.name, str(gone.path)) is None, "a look writes nothing down"
    s.world.store.note_missing(gone.name, str(gone.path), s.world.clock.now() - timedelta(hours=1))
    looked = await found(s.world, dry_run=True)
    after = (machine_state.now(), s.ids(), gone.ids(), s.world.store.leases(), s.world.store.stacks(), tags(s))
    assert after == before
    assert {(one.stack, one.kind, one.swept, one.error) for one in looked} == {
        (s.name, Leftover.STACK, False, None),
        (gone.name, Leftover.STACK, False, None),
        (f"{s.name}-nobody", Leftover.LEASES, False, None),
        (s.name, Leftover.IMAGE_TAGS, False, None),
    }
    swept = await found(s.world)
    assert {(one.stack, one.kind) for one in swept} == {(one.stack, one.kind) for one in looked}
    assert all(one.swept for one in swept), swept
    await s.down(volumes=True, release_ports=True)
    s.client.volumes.get(f"{gone.name}_data").remove()


async def test_a_stack_whose_directory_is_gone(stack, machine_state):
    s = stack(WEB)
    await s.up()
    shutil.rmtree(s.path)
    finding = of(await found_again(s.world), s.name)[Leftover.STACK]
    assert finding.swept
    assert str(s.path) in finding.what
    assert f"volumes stay: {s.name}_data" in finding.what
    assert machine_state.now() == {"containers": set(), "networks": set(), "volumes": {f"{s.name}_data"}}
    assert (s.leases, s.world.store.stack(s.name), s.world.store.generations(s.name), tags(s)) == ({}, None, (), ())
    assert tuple(s.world.files.names(f"generations/{s.name}")) == ()
    s.client.volumes.get(f"{s.name}_data").remove()


async def test_its_volumes_too_when_asked_for(stack, machine_state):
    s = stack(WEB)
    await s.up()
    shutil.rmtree(s.path)
    assert of(await found_again(s.world, volumes=True), s.name)[Leftover.STACK].swept
    machine_state.assert_same()


async def test_a_directory_that_is_moved_for_a_moment_costs_nothing(stack, machine_state):
    """Not even if it is missing twice: between the two looks it was there again."""
    s = stack(WEB)
    await s.up()
    running, aside = s.ids(), s.path.with_name(f"{s.path.name}-aside")
    for _ in range(2):
        s.path.rename(aside)
        finding = of(await found(s.world), s.name)[Leftover.STACK]
        assert (finding.swept, finding.error) == (False, None)
        assert finding.left
        aside.rename(s.path)
        assert await found(s.world) == []
    assert s.ids() == running
    await s.down(volumes=True, release_ports=True)
    machine_state.assert_same()


async def test_a_directory_that_cannot_be_looked_at_is_not_gone(stack, monkeypatch):
    """A network drive whose server is away: ESTALE, ENOTCONN, EACCES, or no answer at all."""
    s = stack(WEB)
    await s.up()
    running, real = s.ids(), leftovers._is_directory
    for number in (errno.ESTALE, errno.ENOTCONN, errno.EACCES, errno.EIO, errno.ELOOP):

        def away(path: str, number: int = number) -> bool:
            if path == str(s.path):
                raise OSError(number, os.strerror(number))
            return real(path)

        monkeypatch.setattr(leftovers, "_is_directory", away)
        finding = of(await found_again(s.world), s.name)[Leftover.STACK]
        assert os.strerror(number) in str(finding.error)
        assert s.ids() == running
    monkeypatch.setattr(leftovers, "_is_directory", real)
    await s.down(volumes=True, release_ports=True)


async def test_a_stack_whose_time_has_passed(stack, machine_state):
    """It may come again: its record and its data are there."""
    s = stack(WEB)
    await s.up(ttl_s=3600)
    assert await found(s.world) == []
    s.sh("web", "echo precious > /data/file")
    expire(s)
    assert of(await found(s.world), s.name)[Leftover.STACK].swept
    assert machine_state.now() == {"containers": set(), "networks": set(), "volumes": {f"{s.name}_data"}}
    assert s.leases == {}
    assert await found(s.world) == []
    assert (await s.up()).state == "running"
    assert s.sh("web", "cat /data/file") == "precious"
    assert s.world.store.stack(s.name).expires_at is None
    assert await found(s.world) == []
    await s.down(volumes=True, release_ports=True)


async def test_leases_without_a_stack(stack):
    s = stack(WEB)
    await s.up()
    kept = s.leases
    lease(s.world, f"{s.name}-nobody")
    finding = of(await found(s.world), f"{s.name}-nobody")[Leftover.LEASES]
    assert finding.swept
    assert s.world.store.leases(f"{s.name}-nobody") == ()
    assert s.leases == kept
    await s.down(volumes=True, release_ports=True)


async def test_image_tags_that_no_generation_uses(stack, tiny_image, docker_client):
    s = stack(WEB)
    await s.up()
    used = tags(s)
    docker_client.images.get(tiny_image).tag(f"{labels.pin_prefix(s.name)}old", tag="id-0123456789ab")
    assert of(await found(s.world), s.name)[Leftover.IMAGE_TAGS].swept
    assert tags(s) == used
    await s.down(volumes=True, release_ports=True)


async def test_what_an_engine_made_too_late_for_a_snapshot_is_removed(stack, tiny_image, machine_state):
    s = stack(WEB)
    await s.up()
    marks = {labels.HELPER: s.name, labels.HOME: s.world.home}
    late = [s.client.containers.create(tiny_image, ["-"], labels=marks).name for _ in range(2)]
    others = s.client.containers.create(tiny_image, ["-"], labels={**marks, labels.HOME: OTHER_HOME})
    try:
        (finding,) = await found(s.world)
        assert (finding.kind, finding.what, finding.swept) == (Leftover.HELPERS, ", ".join(sorted(late)), True)
        assert {one.name for one in s.client.containers.list(all=True, ignore_removed=True)} & {*late, others.name} == {
            others.name
        }
    finally:
        others.remove(force=True)
    await s.down(volumes=True, release_ports=True)
    machine_state.assert_same()


async def test_what_is_under_way_is_left_alone(stack, machine_state):
    """A run holds the lock: its leases, its unfinished record and its containers are its own business."""
    s = stack(WEB)
    await s.up()
    expire(s)
    before = machine_state.now()
    lease(s.world, f"{s.name}-coming", run="somebody")
    held, coming = s.world.lock(s.name), s.world.lock(f"{s.name}-coming")
    held.acquire("up", 1)
    coming.acquire("up", 1)
    try:
        (finding,) = await found(s.world)
        assert (finding.stack, finding.swept, finding.left) == (s.name, False, "another run holds it")
        assert machine_state.now() == before
        assert s.world.store.leases(f"{s.name}-coming")
    finally:
        held.release()
        coming.release()
    assert {one.stack for one in await found(s.world, volumes=True)} == {s.name, f"{s.name}-coming"}
    machine_state.assert_same()


@pytest.mark.usefixtures("lone_home")
def test_the_command(project, machine_state, tiny_image):
    """As a person does it; exit code 0, and words that say what was done."""
    project.compose(WEB)
    nothing = project.moorage("sweep", "--dry-run", "--json").json
    assert [one for one in nothing if one["stack"] == project.name] == []
    project.moorage("up", "--ttl", "1s")
    time.sleep(1.1)
    wanted = f"stack of {project.name}: its time to live ended at"
    assert f"would sweep {wanted}" in project.moorage("sweep", "--dry-run").stdout
    assert machine_state.now()["containers"] == {f"{project.name}-web-1"}
    assert f"swept {wanted}" in project.moorage("sweep", "--volumes").stdout
    machine_state.assert_same()
    assert project.moorage("ls", "--json").json == [] or project.name not in project.moorage("ls").stdout
