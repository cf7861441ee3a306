"""The engine and Compose: one suite for the real ones and for those in memory.

It is about what `moorage/work` relies on. The fakes know little more than what is asked here.
"""

from __future__ import annotations

import io
import json
import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import EngineError, ImageError, PortTakenError
from moorage.model.definition import Source
from moorage.rules import labels
from moorage.rules.subnets import is_overlap
from moorage.settings import Settings
from moorage.testing import FakeCompose, FakeEngine, FakeMachine
from moorage.testing.machine import Box

if TYPE_CHECKING:
    from pathlib import Path

    import docker

SLEEP = ["sleep", "600"]
ON_TERM = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]


class RealEyes:
    """Looks at what `Engine` does not show, and prepares the real machine."""

    def __init__(self, client: docker.DockerClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix

    def volumes_of(self, container: str) -> dict[str, str]:
        mounts = self.client.api.inspect_container(container)["Mounts"]
        return {mount["Destination"]: mount["Name"] for mount in mounts}

    def has_volume(self, name: str) -> bool:
        return any(volume.name == name for volume in self.client.volumes.list())

    def rename(self, container: str, name: str) -> None:
        self.client.api.rename(container, name)

    def make_image(self, tag: str, base: str, marks: dict[str, str]) -> str:
        lines = [f"FROM {base}", *(f"LABEL {key}={value}" for key, value in marks.items())]
        image, _ = self.client.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=tag, rm=True)
        return str(image.id)

    def add_container(self, name: str, image: str, marks: dict[str, str]) -> None:
        self.client.containers.create(image, SLEEP, name=name, labels=marks)


class FakeEyes:
    """The same on the machine in memory."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def volumes_of(self, container: str) -> dict[str, str]:
        return dict(self.machine.existing(container).mounts)

    def has_volume(self, name: str) -> bool:
        return name in self.machine.volumes

    def rename(self, container: str, name: str) -> None:
        self.machine.existing(container).name = name

    def make_image(self, tag: str, base: str, marks: dict[str, str]) -> str:
        return self.machine.add_image(tag, labels=marks)

    def add_container(self, name: str, image: str, marks: dict[str, str]) -> None:
        self.machine.add_box(Box(name, name, self.machine.tags[image], marks, tuple(SLEEP)))


@dataclass
class Bench:
    """One engine with its Compose, and a stack to try them with."""

    stack: str
    engine: Any
    compose: Any
    eyes: Any
    image: str
    folder: Path
    said: list[str] = field(default_factory=list)

    def service(self, **more: Any) -> dict[str, Any]:
        return {"image": self.image, "command": SLEEP, **more}

    def source(self, text: dict[str, Any] | str | None = None, **more: Any) -> Source:
        """A compose file on disk."""
        if text is not None:
            (self.folder / "compose.yaml").write_text(text if isinstance(text, str) else json.dumps(text))
        return Source(directory=self.folder, **more)

    def create(
        self, services: dict[str, Any], *, recreate: bool = False, stack: str | None = None, **more: Any
    ) -> None:
        """Have Compose create a definition."""
        name = stack or self.stack
        config = self.compose.config(self.source({"services": services, **more}), name, {})
        file = self.folder / "generation.json"
        file.write_text(json.dumps(config))
        self.compose.create(name, file, (), recreate, self.said.append)

    def of(self, service: str) -> Any:
        """The only container of a service."""
        (found,) = self.engine.containers(self.stack, service)
        return found

    def started(self, service: str = "web", **more: Any) -> Any:
        """The container of a stack of one service, running."""
        self.create({service: self.service(**more)})
        self.engine.start(self.of(service).id)
        return self.of(service)

    def ended(self, script: str) -> Any:
        """A container that has run a script to its end."""
        found = self.started(command=["sh", "-c", script])
        while found.state == "running":
            found = self.of("web")
        return found


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def bench(request, tmp_path, stack_prefix):
    folder = tmp_path / stack_prefix
    folder.mkdir()
    if request.param == "fake":
        machine = FakeMachine()
        machine.add_image("tiny:1")
        yield Bench(stack_prefix, FakeEngine(machine), FakeCompose(machine), FakeEyes(machine), "tiny:1", folder)
        return
    client = request.getfixturevalue("docker_client")
    image = request.getfixturevalue("tiny_image")
    settings = Settings()
    engine = DockerEngine(settings)
    yield Bench(stack_prefix, engine, ComposeCli(settings), RealEyes(client, stack_prefix), image, folder)
    for one in client.containers.list(all=True, ignore_removed=True, filters={"name": stack_prefix}):
        one.remove(force=True, v=True)
    engine.client.close()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def published(first, last=None):
    text = f"{first}-{last}" if last else str(first)
    return [{"target": 80, "published": text, "host_ip": "127.0.0.1", "protocol": "tcp", "mode": "ingress"}]


class TestLabelsThatMakeNoSense:
    """Anybody may give a container any label."""

    @pytest.mark.parametrize("number", ["seven", "-1", "1" * 30, "\u0663", "1\n"])
    def test_such_a_container_hides_no_other(self, bench, number):
        good = bench.started()
        name = f"{bench.stack}-odd"
        marks = {
            labels.COMPOSE_PROJECT: bench.stack,
            labels.COMPOSE_SERVICE: "web",
            labels.COMPOSE_NUMBER: number,
            labels.COMPOSE_ONEOFF: "False",
        }
        bench.eyes.add_container(name, bench.image, marks)
        found = bench.engine.observe(bench.stack)
        assert [one.id for one in found.containers] == [good.id]
        assert [one.id for one in bench.engine.containers(bench.stack, "web")] == [good.id]
        (told,) = found.unreadable
        assert name in told.where
        assert labels.COMPOSE_NUMBER in told.what
        assert f"docker rm {name}" in told.hint
        assert "\n" not in told.said


class TestCreate:
    def test_what_was_asked_for_and_not_started(self, bench):
        bench.create({"web": bench.service(volumes=["data:/data"])}, volumes={"data": None})
        found = bench.engine.observe(bench.stack)
        assert [(c.name, c.service, c.number, c.state) for c in found.containers] == [
            (f"{bench.stack}-web-1", "web", 1, "created")
        ]
        assert found.networks == (f"{bench.stack}_default",)
        assert found.volumes == (f"{bench.stack}_data",)
        assert found.containers[0].exit_code is None
        assert found.containers[0].started_at is None
        assert found.containers[0].ports == ()

    def test_many_at_once_are_as_each_is_alone(self, bench):
        """Also one that is not there, beside a container of a project that nobody asked for."""
        bench.started()
        other, third = f"{bench.stack}-other", f"{bench.stack}-third"
        marks = {labels.COMPOSE_SERVICE: "web", labels.COMPOSE_NUMBER: "1", labels.COMPOSE_ONEOFF: "False"}
        for name in (other, third):
            bench.eyes.add_container(f"{name}-web-1", bench.image, {**marks, labels.COMPOSE_PROJECT: name})
        asked = (bench.stack, other, f"{bench.stack}-none")
        found = bench.engine.observe_each(asked)
        assert {name: len(one.containers) for name, one in found.items()} == dict(zip(asked, (1, 1, 0), strict=True))
        others = {"subnets", "network_ids"}  # of all networks of the engine, where others make some meanwhile
        for name, one in found.items():
            assert one.model_dump(exclude=others) == bench.engine.observe(name).model_dump(exclude=others)

    def test_its_labels(self, bench):
        bench.create({"web": bench.service(labels={labels.STACK: bench.stack, labels.DIGEST: "d1"})})
        marks = bench.of("web").labels
        assert bench.of("web").digest == "d1"
        assert marks[labels.COMPOSE_PROJECT] == bench.stack
        assert (marks[labels.COMPOSE_SERVICE], marks[labels.COMPOSE_NUMBER]) == ("web", "1")
        assert marks[labels.COMPOSE_ONEOFF] == "False"
        assert marks[labels.COMPOSE_DIRECTORY] == str(bench.folder)

    def test_init_containers_stand_beside_their_service(self, bench):
        """Made with it, in their order, with its labels and volumes; again only while none of its containers runs."""
        marks = {labels.STACK: bench.stack, labels.HOME: "here"}
        hooks = [{"command": ["true"]}, {"command": ["sh", "-c", "exit 3"]}]
        web = bench.service(volumes=["data:/data"], labels=marks, pre_start=hooks)
        bench.create({"web": web}, volumes={"data": None})
        first = bench.engine.init_containers(bench.stack, "web")
        assert [(c.number, c.service, c.state) for c in first] == [(0, "web", "created"), (1, "web", "created")]
        assert all(labels.ours(c.labels, bench.stack, "here") for c in first)
        assert all(bench.eyes.volumes_of(c.id)["/data"] == f"{bench.stack}_data" for c in first)
        seen = bench.engine.observe(bench.stack)
        assert {c.id for c in seen.init_containers} == {c.id for c in first}
        assert [c.id for c in seen.containers] == [bench.of("web").id]
        bench.engine.start(bench.of("web").id)
        for one in first:
            bench.engine.remove(one.id, volumes=True)
        bench.create({"web": web}, volumes={"data": None})
        assert bench.engine.init_containers(bench.stack, "web") == ()
        bench.create({"web": {**web, "pre_start": hooks[:1]}}, volumes={"data": None})
        assert len(bench.engine.init_containers(bench.stack, "web")) == 1
        bench.engine.remove(bench.of("web").id, volumes=True)
        for one in bench.engine.init_containers(bench.stack, "web"):
            bench.engine.remove(one.id, volumes=True)

    def test_says_what_it_created(self, bench):
        bench.create({"web": bench.service()})
        assert f"Container {bench.stack}-web-1 Created" in [line.strip() for line in bench.said]
        assert f"Network {bench.stack}_default Created" in [line.strip() for line in bench.said]

    def test_again_changes_nothing(self, bench):
        before = bench.started()
        bench.create({"web": bench.service()})
        assert bench.of("web") == before

    def test_again_leaves_what_has_ended(self, bench):
        before = bench.ended("exit 0")
        bench.create({"web": bench.service(command=["sh", "-c", "exit 0"])})
        assert bench.of("web") == before

    def test_a_change_replaces_the_container_and_leaves_it_created(self, bench):
        before = bench.started(command=ON_TERM)
        bench.create({"web": bench.service(command=ON_TERM, environment={"A": "1"})})
        after = bench.of("web")
        assert after.id != before.id
        assert (after.name, after.number, after.state) == (before.name, 1, "created")

    def test_only_what_changed(self, bench):
        services = {"web": bench.service(), "db": bench.service()}
        bench.create(services)
        web, db = bench.of("web"), bench.of("db")
        bench.create({**services, "web": bench.service(labels={"x": "1"})})
        assert bench.of("web").id != web.id
        assert bench.of("db") == db

    def test_another_image_behind_the_same_name(self, bench):
        tag = f"{bench.stack}:1"
        bench.eyes.make_image(tag, bench.image, {"x": "1"})
        bench.create({"web": bench.service(image=tag)})
        before = bench.of("web")
        image_id = bench.eyes.make_image(tag, bench.image, {"x": "2"})
        bench.create({"web": bench.service(image=tag)})
        assert bench.of("web").id != before.id
        assert bench.of("web").image_id == image_id

    def test_all_of_them_if_asked(self, bench):
        bench.create({"web": bench.service()})
        before = bench.of("web")
        bench.create({"web": bench.service()}, recreate=True)
        assert bench.of("web").id != before.id

    def test_orphans_go(self, bench):
        bench.create({"web": bench.service(), "old": bench.service(command=ON_TERM)})
        bench.engine.start(bench.of("old").id)
        bench.create({"web": bench.service()})
        assert {c.service for c in bench.engine.observe(bench.stack).containers} == {"web"}

    def test_orphans_leave_their_anonymous_volumes(self, bench):
        bench.create({"web": bench.service(), "old": bench.service(volumes=["/scratch"])})
        volume = bench.eyes.volumes_of(bench.of("old").id)["/scratch"]
        bench.create({"web": bench.service()})
        assert bench.eyes.has_volume(volume)
        bench.engine.remove_volume(volume)

    def test_scale_up_and_down(self, bench):
        def numbers():
            return [c.number for c in bench.engine.containers(bench.stack, "web")]

        bench.create({"web": bench.service(deploy={"replicas": 1})})
        first = bench.of("web")
        bench.create({"web": bench.service(deploy={"replicas": 3})})
        assert numbers() == [1, 2, 3]
        assert bench.engine.containers(bench.stack, "web")[0] == first
        bench.create({"web": bench.service(deploy={"replicas": 2})})
        assert numbers() == [1, 2]
        bench.create({"web": bench.service(deploy={"replicas": 0}), "db": bench.service()})
        assert numbers() == []

    def test_of_mixed_replicas_the_stale_go_first(self, bench):
        bench.create({"web": bench.service(deploy={"replicas": 2})})
        stale, fresh = bench.engine.containers(bench.stack, "web")
        assert stale.number == 1
        bench.create({"web": bench.service(deploy={"replicas": 1}), "db": bench.service()})
        assert bench.of("web").id == stale.id
        assert bench.engine.inspect(fresh.id) is None

    def test_volumes_outlive_what_uses_them(self, bench):
        def service(**more):
            return {"web": bench.service(volumes=["data:/data", "/scratch"], command=ON_TERM, **more)}

        bench.create(service(), volumes={"data": None})
        before = bench.of("web")
        bench.engine.start(before.id)
        for path in ("/data/kept", "/scratch/kept"):
            bench.engine.put_file(before.id, path, b"content", 0o644, 0, 0)
        bench.create(service(environment={"A": "1"}), volumes={"data": None})
        after = bench.of("web")
        bench.engine.start(after.id)
        assert after.id != before.id
        assert bench.engine.exec(after.id, ["cat", "/data/kept"]) == (0, "content")
        assert bench.engine.exec(after.id, ["cat", "/scratch/kept"]) == (0, "content")
        assert bench.eyes.volumes_of(after.id)["/data"] == f"{bench.stack}_data"

    def test_an_anonymous_volume_that_the_definition_drops(self, bench):
        bench.create({"web": bench.service(volumes=["/scratch"])})
        (volume,) = bench.eyes.volumes_of(bench.of("web").id).values()
        bench.create({"web": bench.service()})
        assert bench.eyes.volumes_of(bench.of("web").id) == {}
        assert bench.eyes.has_volume(volume)
        bench.engine.remove_volume(volume)

    def test_the_temporary_name_of_a_replacement_that_was_cut_off(self, bench):
        bench.create({"web": bench.service()})
        temporary = f"0123456789ab_{bench.stack}-web-1"
        bench.eyes.rename(bench.of("web").id, temporary)
        bench.create({"web": bench.service()})
        assert bench.of("web").name == temporary
        bench.create({"web": bench.service(labels={"x": "1"})})
        assert bench.of("web").name == f"{bench.stack}-web-1"

    def test_without_its_image(self, bench):
        with pytest.raises(EngineError, match="nowhere"):
            bench.create({"web": bench.service(image="nowhere/nothing:1")})
        assert bench.engine.observe(bench.stack).containers == ()

    def test_a_name_that_somebody_has(self, bench):
        other = f"{bench.stack}-other"
        bench.create({"web": bench.service(container_name=f"{bench.stack}-web-1")}, stack=other)
        with pytest.raises(EngineError, match="already in use"):
            bench.create({"web": bench.service()})
        assert bench.engine.containers(bench.stack, "web") == ()
        assert len(bench.engine.containers(other, "web")) == 1

    def test_external_networks_have_to_be_there(self, bench):
        networks = {"default": {"external": True, "name": f"{bench.stack}-elsewhere"}}
        with pytest.raises(EngineError, match="could not be found"):
            bench.create({"web": bench.service()}, networks=networks)

    def test_a_network_gets_the_subnet_of_the_file_and_stays(self, bench):
        networks = {"default": {"ipam": {"config": [{"subnet": "10.202.7.64/26"}]}}}
        bench.create({"web": bench.service()}, networks=networks)
        default, before = f"{bench.stack}_default", bench.engine.observe(bench.stack)
        assert before.subnets[default] == ("10.202.7.64/26",)
        bench.create({"web": bench.service(environment={"A": "1"})}, networks=networks)
        assert bench.engine.observe(bench.stack).network_ids[default] == before.network_ids[default]

    def test_no_two_networks_overlap(self, bench):
        names = [{"default": {"ipam": {"config": [{"subnet": one}]}}} for one in ("10.202.8.0/26", "10.202.8.32/27")]
        bench.create({"web": bench.service()}, networks=names[0])
        with pytest.raises(EngineError) as caught:
            bench.create({"web": bench.service()}, networks=names[1], stack=f"{bench.stack}-other")
        assert is_overlap(str(caught.value))

    def test_the_engine_chooses_where_the_file_does_not(self, bench):
        bench.create({"web": bench.service()})
        bench.create({"web": bench.service()}, stack=f"{bench.stack}-other")
        subnets = bench.engine.observe(bench.stack).subnets
        mine = [IPv4Network(subnets[f"{name}_default"][0]) for name in (bench.stack, f"{bench.stack}-other")]
        assert not mine[0].overlaps(mine[1])

    def test_a_network_whose_options_changed_is_made_anew_under_those_who_run(self, bench):
        """It stops them, and what it connects again has no name there: `work/runs/reattaching.py` is for that."""
        default = f"{bench.stack}_default"
        marked = [{"default": {"labels": {"of": number}}} for number in ("1", "2")]
        bench.create({"web": bench.service()}, networks=marked[0])
        bench.engine.start(bench.of("web").id)
        before, old = bench.of("web"), bench.engine.observe(bench.stack).network_ids[default]
        assert (before.networks[default].id,) == old
        assert "web" in before.networks[default].aliases
        bench.create({"web": bench.service()}, networks=marked[1])
        after = bench.of("web")
        assert bench.engine.observe(bench.stack).network_ids[default] != old
        assert (after.id, after.state) == (before.id, "exited")
        assert "web" not in after.networks[default].aliases
        bench.create({"web": bench.service()}, networks=marked[1], recreate=True)
        bench.engine.start(bench.of("web").id)
        place = bench.of("web").networks[default]
        assert (place.id,) == bench.engine.observe(bench.stack).network_ids[default]
        assert "web" in place.aliases

    def test_what_shares_with_a_replaced_container_is_replaced(self, bench):
        def services(number):
            user = bench.service(volumes_from=["db"])
            return {"db": bench.service(environment={"A": number}), "user": user, "other": bench.service()}

        bench.create(services("1"))
        old = {name: bench.of(name).id for name in ("db", "user", "other")}
        bench.create(services("2"))
        assert {name for name, one in old.items() if bench.of(name).id != one} == {"db", "user"}

    def test_a_volume_whose_options_changed_stays_as_it_is(self, bench):
        services, name = {"web": bench.service(volumes=["data:/data"])}, f"{bench.stack}_data"
        bench.create(services, volumes={"data": {"labels": {"of": "1"}}})
        bench.engine.put_file(bench.of("web").id, "/data/kept", b"precious", 0o644, 0, 0)
        bench.create(services, volumes={"data": {"labels": {"of": "2"}}})
        found = bench.engine.observe(bench.stack).volume_options[name]
        assert (found.driver, found.options, found.labels["of"]) == ("local", {}, "1")
        bench.engine.start(bench.of("web").id)
        assert bench.eyes.volumes_of(bench.of("web").id) == {"/data": name}
        assert bench.engine.exec(bench.of("web").id, ["cat", "/data/kept"]) == (0, "precious")

    def test_digits_and_dollars_reach_the_container(self, bench):
        found = bench.started(environment={"PRICE": "5$$"}, command=["sh", "-c", "echo $$PRICE; sleep 600"])
        assert bench.engine.exec(found.id, ["sh", "-c", "echo $PRICE"]) == (0, "5$")


class TestStart:
    def test_runs(self, bench):
        found = bench.started()
        assert (found.state, found.exit_code, found.error) == ("running", None, "")
        assert found.started_at is not None
        assert found.addresses

    def test_again_has_no_effect(self, bench):
        found = bench.started()
        bench.engine.start(found.id)
        assert bench.of("web") == found

    def test_after_a_stop(self, bench):
        found = bench.started()
        bench.engine.stop(found.id, 0)
        bench.engine.start(found.id)
        assert bench.of("web").state == "running"

    @pytest.mark.parametrize("code", [0, 3])
    def test_to_its_end(self, bench, code):
        found = bench.ended(f"echo done; exit {code}")
        assert (found.state, found.exit_code, found.ports) == ("exited", code, ())

    def test_what_is_not_there(self, bench):
        with pytest.raises(EngineError):
            bench.engine.start(f"{bench.stack}-nothing")

    def test_without_its_network(self, bench):
        bench.create({"web": bench.service()})
        bench.engine.remove_network(f"{bench.stack}_default")
        assert bench.of("web").networks[f"{bench.stack}_default"].id == ""
        with pytest.raises(EngineError, match="not found"):
            bench.engine.start(bench.of("web").id)

    def test_health_check_as_the_engine_merged_it(self, bench):
        check = {"test": ["CMD", "true"], "interval": "1s", "timeout": "2s", "retries": 4, "start_period": "5s"}
        found = bench.started(healthcheck=check).health_check
        assert (found.command, found.interval_s, found.timeout_s) == (("true",), 1, 2)
        assert (found.retries, found.start_period_s) == (4, 5)
        assert bench.of("web").health in ("starting", "healthy")

    def test_without_a_health_check(self, bench):
        found = bench.started()
        assert (found.health, found.health_check) == (None, None)


class TestPorts:
    def test_published_while_it_runs(self, bench):
        port = free_port()
        bench.create({"web": bench.service(ports=published(port))})
        assert (port, "tcp") not in bench.engine.published_ports()
        bench.engine.start(bench.of("web").id)
        assert (port, "tcp") in bench.engine.published_ports()
        assert bench.engine.publishers()[port, "tcp"] == bench.of("web").name
        (bound,) = bench.of("web").ports
        assert (bound.target, bound.protocol, bound.host_ip, bound.published) == (80, "tcp", "127.0.0.1", port)
        bench.engine.stop(bench.of("web").id, 0)
        assert (port, "tcp") not in bench.engine.published_ports()
        assert bench.of("web").ports == ()

    def test_clash_with_another_container(self, bench):
        port = free_port()
        bench.create({name: bench.service(ports=published(port)) for name in ("one", "two")})
        bench.engine.start(bench.of("one").id)
        with pytest.raises(PortTakenError) as caught:
            bench.engine.start(bench.of("two").id)
        assert caught.value.fields["port"] == port
        assert bench.of("two").state == "created"
        assert bench.of("two").ports == ()
        assert bench.of("one").state == "running"
        bench.engine.stop(bench.of("one").id, 0)
        bench.engine.start(bench.of("two").id)
        assert bench.of("two").ports[0].published == port

    def test_a_range_gives_each_replica_its_own(self, bench):
        port = next(p for p in iter(free_port, None) if p < 65000)
        bench.create({"web": bench.service(ports=published(port, port + 1), deploy={"replicas": 2})})
        for container in bench.engine.containers(bench.stack, "web"):
            bench.engine.start(container.id)
        containers = bench.engine.containers(bench.stack, "web")
        assert sorted(c.ports[0].published for c in containers) == [port, port + 1]

    def test_udp_and_tcp_do_not_clash(self, bench):
        port = free_port()
        both = [*published(port), {**published(port)[0], "protocol": "udp"}]
        found = bench.started(ports=both)
        assert {(p.protocol, p.published) for p in found.ports} == {("tcp", port), ("udp", port)}


class TestStop:
    def test_a_trap_decides(self, bench):
        found = bench.started(command=ON_TERM)
        bench.engine.stop(found.id, 10)
        assert (bench.of("web").state, bench.of("web").exit_code) == ("exited", 7)

    def test_deaf_programs_are_killed(self, bench):
        found = bench.started()
        bench.engine.stop(found.id, 0)
        assert (bench.of("web").state, bench.of("web").exit_code) == ("exited", 137)

    def test_again_has_no_effect(self, bench):
        found = bench.ended("exit 3")
        bench.engine.stop(found.id, 0)
        assert bench.of("web") == found

    def test_of_what_was_never_started(self, bench):
        bench.create({"web": bench.service()})
        bench.engine.stop(bench.of("web").id, 0)
        assert bench.of("web").state == "created"

    def test_of_what_is_not_there(self, bench):
        bench.engine.stop(f"{bench.stack}-nothing", 0)
        bench.engine.kill(f"{bench.stack}-nothing")

    def test_kill(self, bench):
        found = bench.started(command=ON_TERM)
        bench.engine.kill(found.id)
        assert bench.of("web").exit_code == 137
        bench.engine.kill(found.id)


class TestRemove:
    def test_a_running_container(self, bench):
        found = bench.started()
        bench.engine.remove(found.id, False)
        assert bench.engine.inspect(found.id) is None
        assert bench.engine.observe(bench.stack).containers == ()
        bench.engine.remove(found.id, False)

    @pytest.mark.parametrize("volumes", [True, False])
    def test_anonymous_volumes(self, bench, volumes):
        found = bench.started(volumes=["/scratch"])
        (volume,) = bench.eyes.volumes_of(found.id).values()
        assert volume not in bench.engine.observe(bench.stack).volumes
        bench.engine.remove(found.id, volumes)
        assert bench.eyes.has_volume(volume) is not volumes
        bench.engine.remove_volume(volume)

    def test_anonymous_volumes_that_others_have_too(self, bench):
        marks = {labels.COMPOSE_PROJECT: bench.stack, labels.COMPOSE_ONEOFF: "False"}
        found = bench.started(volumes=["/scratch"])
        bench.engine.hold(f"{bench.stack}-other", bench.image, marks, found.volumes)
        bench.engine.remove(found.id, True)
        assert bench.eyes.has_volume(found.volumes["/scratch"])
        bench.engine.remove(f"{bench.stack}-other", True)
        bench.engine.remove_volume(found.volumes["/scratch"])

    def test_named_volumes_stay(self, bench):
        bench.create({"web": bench.service(volumes=["data:/data"])}, volumes={"data": None})
        bench.engine.remove(bench.of("web").id, True)
        assert bench.engine.observe(bench.stack).volumes == (f"{bench.stack}_data",)

    def test_a_volume_in_use(self, bench):
        bench.create({"web": bench.service(volumes=["data:/data"])}, volumes={"data": None})
        with pytest.raises(EngineError, match="in use"):
            bench.engine.remove_volume(f"{bench.stack}_data")
        bench.engine.remove(bench.of("web").id, True)
        bench.engine.remove_volume(f"{bench.stack}_data")
        bench.engine.remove_volume(f"{bench.stack}_data")
        assert bench.engine.observe(bench.stack).volumes == ()

    def test_a_network_in_use(self, bench):
        found = bench.started()
        with pytest.raises(EngineError, match="active endpoints"):
            bench.engine.remove_network(f"{bench.stack}_default")
        bench.engine.remove(found.id, True)
        bench.engine.remove_network(f"{bench.stack}_default")
        bench.engine.remove_network(f"{bench.stack}_default")
        assert bench.engine.observe(bench.stack).networks == ()


class TestPlaceholders:
    def test_volumes_are_seen(self, bench):
        bench.create({"web": bench.service(volumes=["data:/data", "/scratch"])}, volumes={"data": None})
        found = bench.of("web").volumes
        assert found == bench.eyes.volumes_of(bench.of("web").id)
        assert found["/data"] == f"{bench.stack}_data"
        assert re.fullmatch("[0-9a-f]{64}", found["/scratch"])

    def test_another_name(self, bench):
        found = bench.started()
        bench.engine.rename(found.id, f"{bench.stack}-other")
        assert (bench.of("web").id, bench.of("web").name) == (found.id, f"{bench.stack}-other")
        bench.create({"web": bench.service(), "two": bench.service()})
        with pytest.raises(EngineError, match="already in use"):
            bench.engine.rename(found.id, f"{bench.stack}-two-1")
        with pytest.raises(EngineError):
            bench.engine.rename(f"{bench.stack}-nothing", f"{bench.stack}-something")

    def test_what_is_held_is_inherited(self, bench):
        """Compose takes the holder for one that it has to replace; the replacement has the volumes it held."""
        found = bench.started(volumes=["/scratch"])
        held, place = found.volumes, found.name
        bench.engine.remove(found.id, False)
        marks = {
            labels.COMPOSE_PROJECT: bench.stack,
            labels.COMPOSE_SERVICE: "web",
            labels.COMPOSE_NUMBER: "1",
            labels.COMPOSE_ONEOFF: "False",
            labels.COMPOSE_HASH: "",
        }
        bench.engine.hold(place, bench.image, marks, held)
        holder = bench.of("web")
        assert (holder.state, holder.volumes) == ("created", held)
        bench.create({"web": bench.service(volumes=["/scratch"])})
        assert (bench.of("web").name, bench.of("web").volumes) == (place, held)
        assert bench.engine.inspect(holder.id) is None
        bench.engine.remove(bench.of("web").id, True)
        bench.engine.remove_volume(held["/scratch"])

    def test_a_volume_that_is_gone_is_not_made_anew(self, bench):
        with pytest.raises(EngineError):
            bench.engine.hold(f"{bench.stack}-web-1", bench.image, {}, {"/scratch": f"{bench.stack}gone"})
        assert not bench.eyes.has_volume(f"{bench.stack}gone")
        assert bench.engine.inspect(f"{bench.stack}-web-1") is None


class TestOwners:
    def test_of_networks_and_volumes(self, bench):
        marks = {labels.STACK: bench.stack, labels.HOME: "h"}
        things = {kind: {"default": {"labels": marks}} for kind in ("networks", "volumes")}
        bench.create({"web": bench.service(volumes=["default:/data"])}, **things)
        for kind in ("network", "volume"):
            found = bench.engine.owner(kind, f"{bench.stack}_default")
            assert labels.ours(found, bench.stack, "h")
            assert not labels.ours(found, bench.stack, "other")
            assert found[labels.COMPOSE_PROJECT] == bench.stack
            assert bench.engine.owner(kind, f"{bench.stack}_nothing") == {}

    def test_of_everything_by_name(self, bench):
        marks = {"a": "b"}
        bench.create({"web": bench.service(labels=marks, volumes=["data:/data"])}, volumes={"data": {"labels": marks}})
        project = {labels.COMPOSE_PROJECT: bench.stack}
        names = {"container": "-web-1", "network": "_default", "volume": "_data"}
        found = {kind: bench.engine.named(kind)[f"{bench.stack}{end}"] for kind, end in names.items()}
        assert all(project.items() <= labels_of.items() for labels_of in found.values())
        assert {kind for kind, labels_of in found.items() if marks.items() <= labels_of.items()} == {
            "container",
            "volume",
        }

    def test_what_compose_run_left_is_no_stack(self, bench):
        marks = {labels.COMPOSE_PROJECT: bench.stack, labels.COMPOSE_ONEOFF: "True"}
        bench.engine.hold(f"{bench.stack}-web-run-1", bench.image, marks, {})
        assert bench.stack not in bench.engine.stacks()
        found = bench.engine.observe(bench.stack)
        assert (found.containers, [one.name for one in found.one_offs]) == ((), [f"{bench.stack}-web-run-1"])
        bench.engine.remove(f"{bench.stack}-web-run-1", True)
        assert not bench.engine.observe(bench.stack).one_offs

    def test_a_name_that_another_project_has_is_taken_as_it_is(self, bench):
        """Compose warns at most: that no stack comes to another's volume is for us to see."""
        bench.create({"web": bench.service(volumes=["data:/data"])}, volumes={"data": {}})
        taken = {"name": f"{bench.stack}_data"}
        bench.create({"web": bench.service(volumes=["data:/data"])}, stack=f"{bench.stack}x", volumes={"data": taken})
        assert bench.engine.named("volume")[f"{bench.stack}_data"][labels.COMPOSE_PROJECT] == bench.stack

    def test_projects(self, bench):
        bench.create({"web": bench.service(labels={labels.HOME: "h"})})
        assert bench.engine.stacks()[bench.stack][labels.HOME] == "h"
        assert f"{bench.stack}x" not in bench.engine.stacks()

    def test_stacks_of_a_home(self, bench):
        marks = {labels.STACK: bench.stack, labels.HOME: bench.stack}
        bench.create({"web": bench.service()}, networks={"default": {"labels": marks}})
        assert bench.engine.stacks_of(bench.stack) == {bench.stack}
        assert bench.engine.stacks_of(f"{bench.stack}x") == frozenset()

    def test_nothing_of_a_stack(self, bench):
        found = bench.engine.observe(bench.stack)
        assert (found.containers, found.networks, found.volumes) == ((), (), ())
        assert bench.engine.inspect(f"{bench.stack}-web-1") is None
        assert bench.engine.containers(bench.stack, "web") == ()

    def test_ping(self, bench):
        assert bench.engine.ping()[0].isdigit()
        assert bench.engine.product().endswith(" Engine")
        assert (bench.engine.is_rootless(), bench.engine.has_limits()) == (False, True)


class TestImages:
    def test_by_name_and_by_id(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": "1"})
        by_name, by_id = bench.engine.image(f"{bench.stack}:1"), bench.engine.image(image_id)
        assert by_name == by_id
        assert (by_name[0], by_name[1]["x"]) == (image_id, "1")
        assert bench.engine.image(f"{bench.stack}:2") is None

    def test_tags(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {})
        bench.engine.tag(image_id, f"moorage/{bench.stack}/web:id-1")
        bench.engine.tag(image_id, f"moorage/{bench.stack}/web:id-1")
        assert bench.engine.tags(f"moorage/{bench.stack}/") == (f"moorage/{bench.stack}/web:id-1",)
        bench.engine.untag(f"moorage/{bench.stack}/web:id-1")
        bench.engine.untag(f"moorage/{bench.stack}/web:id-1")
        assert bench.engine.tags(f"moorage/{bench.stack}/") == ()
        assert bench.engine.image(f"{bench.stack}:1")

    def test_it_is_dated_when_it_is_given_a_name(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.tag(image_id, f"{bench.stack}:2")
        first = bench.engine.tagged_at(f"{bench.stack}:1")
        bench.engine.tag(image_id, f"{bench.stack}:2")
        assert bench.engine.tagged_at(f"{bench.stack}:1") > first
        assert bench.engine.tagged_at(f"{bench.stack}:3") is None

    def test_an_image_that_is_gone(self, bench):
        with pytest.raises(ImageError):
            bench.engine.tag(f"sha256:{'0' * 64}", f"moorage/{bench.stack}/web:id-1")

    def test_the_last_name_goes_with_the_image(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.untag(f"{bench.stack}:1")
        assert bench.engine.image(image_id) is None

    def test_the_last_name_stays_while_it_is_in_use(self, bench):
        bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.create({"web": bench.service(image=f"{bench.stack}:1")})
        bench.engine.untag(f"{bench.stack}:1")
        assert bench.engine.image(f"{bench.stack}:1")
        bench.engine.remove(bench.of("web").id, True)
        bench.engine.untag(f"{bench.stack}:1")
        assert bench.engine.image(f"{bench.stack}:1") is None

    def test_what_is_on_the_disk(self, bench):
        first = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.tag(first, f"moorage/{bench.stack}/web:id-1")
        second = bench.eyes.make_image(f"{bench.stack}:2", bench.image, {"x": f"{bench.stack}-too"})
        bench.create({"web": bench.service(image=f"{bench.stack}:2")})
        found = {one.image_id: one for one in bench.engine.stored_images()}
        assert found[first].tags == (f"moorage/{bench.stack}/web:id-1", f"{bench.stack}:1")
        assert (found[first].in_use, found[second].in_use) == (False, True)
        assert found[first].tagged_at == bench.engine.tagged_at(f"{bench.stack}:1")
        assert sum(layer.bytes for layer in found[first].layers) > 0

    def test_an_image_goes_with_all_its_names(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.tag(image_id, f"moorage/{bench.stack}/web:id-1")
        bench.engine.remove_image(image_id)
        assert bench.engine.image(image_id) is None
        assert bench.engine.tags(f"moorage/{bench.stack}/") == ()
        bench.engine.remove_image(image_id)

    def test_an_image_that_is_in_use_keeps_all_its_names(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.tag(image_id, f"moorage/{bench.stack}/web:id-1")
        bench.create({"web": bench.service(image=f"{bench.stack}:1")})
        bench.engine.remove_image(image_id)
        assert bench.engine.image(f"{bench.stack}:1")
        assert bench.engine.tags(f"moorage/{bench.stack}/") == (f"moorage/{bench.stack}/web:id-1",)

    def test_one_of_two_names_goes_also_while_it_is_in_use(self, bench):
        image_id = bench.eyes.make_image(f"{bench.stack}:1", bench.image, {"x": bench.stack})
        bench.engine.tag(image_id, f"moorage/{bench.stack}/web:id-1")
        bench.create({"web": bench.service(image=f"moorage/{bench.stack}/web:id-1")})
        bench.engine.untag(f"moorage/{bench.stack}/web:id-1")
        assert bench.engine.tags(f"moorage/{bench.stack}/") == ()
        assert bench.of("web").image_id == image_id


class TestExecAndLogs:
    def test_codes_and_output(self, bench):
        found = bench.started()
        assert bench.engine.exec(found.id, ["true"]) == (0, "")
        assert bench.engine.exec(found.id, ["false"])[0] == 1
        assert bench.engine.exec(found.id, ["sh", "-c", "echo hello; exit 4"]) == (4, "hello")

    def test_environment(self, bench):
        found = bench.started(environment={"A": "of the service"})
        assert bench.engine.exec(found.id, ["sh", "-c", "echo $A"]) == (0, "of the service")
        assert bench.engine.exec(found.id, ["sh", "-c", "echo $A"], environment=["A=its own"]) == (0, "its own")

    @pytest.mark.parametrize("program", [["sleep", "600"], ["yes", "a" * 1000]], ids=["silent", "loud"])
    def test_one_that_does_not_end_is_ended(self, bench, program):
        found = bench.started()
        with pytest.raises(EngineError, match=r"no end within 0\.5 s") as caught:
            bench.engine.exec(found.id, program, timeout_s=0.5)
        assert caught.value.fields["timed_out"]

    def test_not_while_it_does_not_run(self, bench):
        bench.create({"web": bench.service()})
        with pytest.raises(EngineError, match="not running"):
            bench.engine.exec(bench.of("web").id, ["true"])
        with pytest.raises(EngineError):
            bench.engine.exec(f"{bench.stack}-nothing", ["true"])

    def test_logs(self, bench):
        found = bench.ended("echo one; echo two; echo three")
        assert bench.engine.logs(found.id, None).split() == ["one", "two", "three"]
        assert bench.engine.logs(found.id, 2).split() == ["two", "three"]
        assert bench.engine.logs(f"{bench.stack}-nothing", None) == ""

    def test_a_file_before_the_start(self, bench):
        script = "cat /run/secrets/word; sleep 600"
        bench.create({"web": bench.service(command=["sh", "-c", script])})
        bench.engine.put_file(bench.of("web").id, "/run/secrets/word", b"secret", 0o400, 0, 0)
        bench.engine.start(bench.of("web").id)
        assert bench.engine.exec(bench.of("web").id, ["cat", "/run/secrets/word"]) == (0, "secret")


class TestMakingImages:
    def test_build(self, bench):
        (bench.folder / "Dockerfile").write_text(f'FROM {bench.image}\nCMD ["sleep", "600"]\n')
        build = {"context": str(bench.folder), "labels": {labels.BUILD: "b1"}}
        file = bench.folder / "build.json"
        reference = f"{bench.stack}-web"
        file.write_text(json.dumps({"name": bench.stack, "services": {"web": {"build": build, "image": reference}}}))
        bench.compose.build(bench.stack, file, "web", bench.said.append)
        assert bench.engine.image(reference)[1][labels.BUILD] == "b1"
        bench.create({"web": {"image": reference}})
        bench.engine.start(bench.of("web").id)
        assert bench.of("web").state == "running"

    def test_a_build_that_fails(self, bench):
        (bench.folder / "Dockerfile").write_text(f"FROM {bench.image}\nCOPY missing /\n")
        file = bench.folder / "build.json"
        services = {"web": {"build": {"context": str(bench.folder)}, "image": f"{bench.stack}-web"}}
        file.write_text(json.dumps({"name": bench.stack, "services": services}))
        with pytest.raises(ImageError):
            bench.compose.build(bench.stack, file, "web", bench.said.append)
        assert bench.engine.image(f"{bench.stack}-web") is None

    def test_a_pull_of_nothing(self, bench):
        file = bench.folder / "build.json"
        file.write_text(json.dumps({"name": bench.stack, "services": {"web": {"image": "127.0.0.1:1/nothing:1"}}}))
        with pytest.raises(ImageError):
            bench.compose.pull(bench.stack, file, "web", bench.said.append)
