"""Host ports: leased, kept, moved out of the way, told to all who build on them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import urllib.request
from dataclasses import replace

import pytest

from moorage.errors import NotReadyError, PortError
from moorage.model.event import Action
from moorage.rules import composing
from moorage.work.definitions import resolve
from moorage.work.operations.up import up
from moorage.work.queries import plan
from moorage.work.runs.context import Context

pytestmark = pytest.mark.engine

WEB = """
    services:
      web:
        image: ${{TINY_IMAGE}}
        command: [httpd, -f, -p, "80", -h, /srv]
        ports: ["{port}:80"]
        volumes: [data:/srv]
    volumes: {{data: {{}}}}
"""
SLEEPER = """
    services:
      web: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, ports: ["{ports}"], x-moorage: {{ready: {{exec: "true"}}}}}}
"""


def bindings(container):
    container.reload()
    found = container.attrs["NetworkSettings"]["Ports"]
    return {key: [(b["HostIp"], int(b["HostPort"])) for b in many or ()] for key, many in found.items()}


def get(port, path="/", host="127.0.0.1"):
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=60) as answer:
        return answer.read().decode().strip()


# --- which port ----------------------------------------------------------------------------------------------


async def test_the_wanted_port_on_loopback(stack, free_ports, machine_state):
    port = free_ports()
    s = stack(WEB.format(port=port))
    found = await s.up()
    assert s.ports == {"web 80/tcp": port}
    assert bindings(s.container("web")) == {"80/tcp": [("127.0.0.1", port)]}
    (shown,) = found.services["web"].ports
    assert (shown.target, shown.protocol, shown.host_ip, shown.published) == (80, "tcp", "127.0.0.1", port)
    s.sh("web", "echo hello > /srv/hello")
    assert get(port, "/hello") == "hello"
    await s.down(volumes=True, release_ports=True)
    assert s.ports == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::1"])
async def test_a_port_that_another_process_listens_on_is_passed_over(address, stack, free_ports, listen):
    port = free_ports()
    listen(port, address)
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    await s.up()
    assert s.ports == {"web 80/tcp": port + 1}
    assert s.leases["web 80/tcp"].wanted == port


async def test_a_port_is_kept_until_it_is_released(stack, free_ports, listen):
    port = free_ports()
    listener = listen(port)
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    await s.up()
    listener.close()
    await s.down()
    assert s.ports == {"web 80/tcp": port + 1}
    await s.up()
    assert bindings(s.container("web")) == {"80/tcp": [("127.0.0.1", port + 1)]}
    await s.down(release_ports=True)
    assert s.ports == {}
    await s.up()
    assert s.ports == {"web 80/tcp": port}


async def test_a_lease_holds_while_nothing_listens(stack, free_ports):
    port = free_ports()
    text = SLEEPER.format(ports=f"{port}:80")
    first, second = stack(text, "-a"), stack(text, "-b")
    await first.up()
    await first.down()
    await second.up()
    await first.up()
    assert (first.ports, second.ports) == ({"web 80/tcp": port}, {"web 80/tcp": port + 1})


async def test_another_wish_gets_another_lease_and_the_old_one_is_released(stack, free_ports):
    port = free_ports(3)
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    await s.up()
    s.compose(SLEEPER.format(ports=f"{port + 2}:80"))
    await s.up()
    assert s.ports == {"web 80/tcp": port + 2}
    s.compose(SLEEPER.format(ports=f"{port + 2}:81"))
    await s.up()
    assert s.ports == {"web 81/tcp": port + 2}
    s.compose(SLEEPER.format(ports=f"{port + 2}:81").replace("web:", "renamed:"))
    await s.up()
    assert s.ports == {"renamed 81/tcp": port + 2}
    assert [c.name for c in s.containers()] == [f"{s.name}-renamed-1"]
    s.compose('services: {renamed: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s}}')
    await s.up()
    assert s.ports == {}
    assert bindings(s.container("renamed")) == {}


async def test_a_failed_change_gives_the_port_back(stack, free_ports):
    port = free_ports()
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    await s.up()
    before = s.leases
    s.compose(SLEEPER.format(ports=f"{port}:81").replace('"true"', '"false"').replace("web:", "renamed:"))
    await s.fails(NotReadyError, wait_timeout_s=0.5)
    assert s.leases == before
    assert bindings(s.container("web")) == {"80/tcp": [("127.0.0.1", port)]}
    assert (await s.status()).state == "running"


async def test_two_copies_of_a_project_side_by_side(stack, free_ports, machine_state):
    port = free_ports(2)
    copies = stack(WEB.format(port=port), "-a"), stack(WEB.format(port=port), "-b")
    await asyncio.gather(*(up(Context(s.world), s.request()) for s in copies))
    assert {s.ports["web 80/tcp"] for s in copies} == {port, port + 1}
    now = machine_state.now()
    assert now["networks"] == {f"{s.name}_default" for s in copies}
    assert now["volumes"] == {f"{s.name}_data" for s in copies}
    for s in copies:
        s.sh("web", f"echo {s.name} > /srv/who")
    for s in copies:
        assert get(s.ports["web 80/tcp"], "/who") == s.name
        await s.down(volumes=True, release_ports=True)


async def test_two_worktrees_of_one_repository(stack, free_ports, tmp_path, world):
    port = free_ports(2)
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(s.path)]
    tree = tmp_path / "elsewhere"
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    subprocess.run([*git, "worktree", "add", "-q", "-b", "feature/Log-in", str(tree)], check=True, capture_output=True)
    other = replace(s, path=tree, name=f"{s.name}-feature-log-in")
    await s.up()
    found = await other.up()
    assert found.stack == other.name
    assert (s.ports, other.ports) == ({"web 80/tcp": port}, {"web 80/tcp": port + 1})
    records = {record.name: (record.path, record.branch) for record in world.store.stacks()}
    assert records == {s.name: (str(s.path), "main"), other.name: (str(tree), "feature/Log-in")}


# --- ways to write a port ------------------------------------------------------------------------------------


async def test_an_address_of_the_file_is_kept(stack, free_ports):
    port = free_ports(2)
    s = stack(f"""
        services:
          web:
            image: ${{TINY_IMAGE}}
            command: [httpd, -f, -p, "80", -h, /]
            ports: ["127.0.0.2:{port}:80", "0.0.0.0:{port + 1}:81"]
            x-moorage: {{ready: {{tcp: 80}}}}
    """)
    await s.up()
    assert bindings(s.container("web")) == {"80/tcp": [("127.0.0.2", port)], "81/tcp": [("0.0.0.0", port + 1)]}
    assert get(port, "/etc/hosts", "127.0.0.2")


async def test_any_port_comes_from_the_range_and_stays(stack):
    s = stack(
        'services: {web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s, expose: [70], ports: ["80", "81"], x-moorage: {ready: {exec: "true"}}}}'
    )
    await s.up()
    first = s.ports
    assert set(first) == {"web 80/tcp", "web 81/tcp"}
    assert all(20000 <= port <= 29999 for port in first.values())
    await s.down()
    await s.up(force_recreate=True)
    assert s.ports == first
    assert bindings(s.container("web"))["80/tcp"] == [("127.0.0.1", first["web 80/tcp"])]


async def test_tcp_and_udp_are_ports_of_their_own(stack, free_ports, listen):
    port = free_ports(2)
    listen(port, kind=socket.SOCK_DGRAM)
    s = stack(f"""
        services:
          dns: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, ports: ["{port}:53", "{port}:53/udp"], x-moorage: {{ready: {{exec: "true"}}}}}}
    """)
    await s.up()
    assert s.ports == {"dns 53/tcp": port, "dns 53/udp": port + 1}
    assert bindings(s.container("dns")) == {"53/tcp": [("127.0.0.1", port)], "53/udp": [("127.0.0.1", port + 1)]}


async def test_a_range_has_a_port_for_each_replica_also_beside_holes(stack, free_ports, listen):
    port = free_ports(5)
    listen(port)
    in_between = listen(port + 2)
    s = stack(f"""
        services:
          web:
            image: ${{TINY_IMAGE}}
            command: [httpd, -f, -p, "80", -h, /etc]
            ports: ["{port}-{port + 3}:80"]
            stop_grace_period: 0s
            deploy: {{replicas: 2}}
    """)
    found = await s.up()
    assert [c.labels["com.docker.compose.container-number"] for c in s.containers("web")] == ["1", "2"]
    assert sorted(p.published for p in found.services["web"].ports) == [port + 1, port + 3]
    names = {get(p.published, "/hostname") for p in found.services["web"].ports}
    assert len(names) == 2
    assert s.leases["web 80/tcp"].said == f"{port + 1}-{port + 3} but {port + 2}"
    in_between.close()  # the engine could take it now, but it is not ours
    await s.restart()
    assert sorted(p.published for p in (await s.status()).services["web"].ports) == [port + 1, port + 3]


async def test_a_range_onto_a_range(stack, free_ports):
    port = free_ports(3)
    s = stack(SLEEPER.format(ports=f"{port}-{port + 2}:80-82"))
    await s.up()
    assert s.ports == {f"web {80 + n}/tcp": port + n for n in range(3)}


async def test_one_target_on_two_ports(stack, free_ports):
    port = free_ports(2)
    s = stack(f"""
        services:
          web: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, ports: ["{port}:80", "{port + 1}:80"], x-moorage: {{ready: {{exec: "true"}}}}}}
    """)
    await s.up()
    assert sorted(bindings(s.container("web"))["80/tcp"]) == [("127.0.0.1", port), ("127.0.0.1", port + 1)]


async def test_a_port_of_the_host_network_cannot_be_moved(stack, free_ports, listen, machine_state):
    port = free_ports()
    s = stack(f"""
        services:
          web: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, network_mode: host, ports: ["{port}:{port}"], x-moorage: {{ready: {{exec: "true"}}}}}}
    """)
    listener = listen(port, "0.0.0.0")
    error = await s.fails(PortError)
    assert (error.exit_code, error.fields["port"]) == (3, port)
    assert f"pid {os.getpid()}" in error.fields["holder"]
    listener.close()
    await s.up()
    assert s.ports == {f"web {port}/tcp": port}
    await s.down(volumes=True, release_ports=True)


async def test_a_container_name_is_an_alias_and_not_a_name(stack):
    text = """
        services:
          db:
            image: ${TINY_IMAGE}
            container_name: the-database
            command: [httpd, -f, -p, "80", -h, /etc]
            x-moorage: {ready: {exec: wget -qO- http://127.0.0.1/hostname}}
          web:
            image: ${TINY_IMAGE}
            command: [sleep, infinity]
            stop_grace_period: 0s
            depends_on: {db: {condition: service_healthy}}
            networks: {default: {aliases: [front]}}
            x-moorage: {ready: {exec: wget -qO- http://the-database/hostname}}
    """
    first, second = stack(text, "-a"), stack(text, "-b")
    for s in (first, second):
        await s.up()
        assert s.container("db").name == f"{s.name}-db-1"
        assert s.sh("web", "wget -qO- http://the-database/hostname") == s.container("db").id[:12]
        assert s.sh("db", "nslookup -type=a front >/dev/null && echo known") == "known"
    assert any("container_name" in event.message for event in first.events if event.action == Action.NOTICE)


# --- what is built on a port ---------------------------------------------------------------------------------

VARIABLE = """
    services:
      backend:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        ports: ["${{BACKEND_PORT:-{port}}}:8000"]
        x-moorage: {{ready: {{exec: "true"}}}}
      frontend:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        environment: {{API: "http://localhost:${{BACKEND_PORT:-{port}}}/api"}}
"""


async def test_a_leased_port_reaches_the_environment_of_another_service(stack, free_ports, listen):
    port = free_ports()
    listen(port)
    s = stack(VARIABLE.format(port=port))
    await s.up()
    assert s.ports == {"backend 8000/tcp": port + 1}
    assert s.sh("frontend", "echo $API") == f"http://localhost:{port + 1}/api"
    assert (await s.plan()).empty
    await s.down()
    s.write(".env", f"BACKEND_PORT={port + 1}")
    await s.up()
    assert s.sh("frontend", "echo $API") == f"http://localhost:{port + 1}/api"


async def test_a_lease_stays_when_the_wanted_port_is_free_again(stack, free_ports, listen):
    """Whether the file writes it as a number or as a variable: nothing moves until the lease is released."""
    port = free_ports(2)
    holders = [listen(port), listen(port + 1)]
    number = """      number:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        ports: ["{port}:80"]
        x-moorage: {{ready: {{exec: "true"}}}}
"""
    s = stack(VARIABLE.format(port=port) + number.format(port=port + 1))
    await s.up()
    leased, containers = s.ports, {c.name: c.id for c in s.containers()}
    assert {lease.wanted for lease in s.world.store.leases(s.name)} == {port, port + 1}, "what the file says"
    for holder in holders:
        holder.close()
    for _ in range(20):
        assert (await s.plan()).empty
        await s.up()
    assert s.ports == leased
    assert {c.name: c.id for c in s.containers()} == containers
    await s.down()
    await s.up()
    assert s.ports == leased, "kept until released"


async def test_plain_compose_with_the_override_has_the_same_ports(stack, free_ports, listen, docker_compose):
    port = free_ports(4)
    listen(port)
    listen(port + 2)
    s = stack(
        VARIABLE.format(port=port)
        + f'      three: {{image: x, ports: ["{port + 2}:80/udp", "{port + 2}:80"], profiles: [never]}}\n'
    )
    request = s.request(profiles=["never"])
    resolved = resolve.resolve(s.world, request)
    leases = plan.preview_leases(s.world, resolved)
    override = s.write("moorage.override.yaml", composing.override_text(resolved.definition, leases))
    head = override.read_text().splitlines()[0]
    assert head == f"# Variables: BACKEND_PORT={port + 1}"
    done = subprocess.run(
        [docker_compose, "-f", "compose.yaml", "-f", override, "--profile", "never", "config", "--format", "json"],
        cwd=s.path, env={**os.environ, "BACKEND_PORT": str(port + 1)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    services = json.loads(done.stdout)["services"]
    ports = {name: [(p["host_ip"], p["published"], p["target"], p["protocol"]) for p in service.get("ports", ())]
             for name, service in services.items()}  # fmt: skip
    assert ports == {
        "backend": [("127.0.0.1", str(port + 1), 8000, "tcp")],
        "frontend": [],
        "three": [("127.0.0.1", str(port + 2), 80, "udp"), ("127.0.0.1", str(port + 3), 80, "tcp")],
    }


# --- clashes at the start ------------------------------------------------------------------------------------


class Snatching:
    """The real engine; something else takes a port just before a container starts."""

    def __init__(self, engine, listen, take):
        self._engine, self._listen, self._take = engine, listen, list(take)

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def start(self, container):
        while self._take and "-web-" in self._engine.inspect(container).name:
            self._listen(self._take.pop(0), "0.0.0.0")
        return self._engine.start(container)


def with_snatcher(s, listen, *ports):
    return replace(s, world=replace(s.world, engine=Snatching(s.world.engine, listen, ports)))


WITH_DB = """
    services:
      db: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, volumes: ["data:/data"]}}
      web:
        image: ${{TINY_IMAGE}}
        command: [httpd, -f, -p, "80", -h, /etc]
        stop_grace_period: 0s
        ports: ["${{WEB_PORT:-{port}}}:80"]
        depends_on: [db]
      other: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, environment: {{URL: ":${{WEB_PORT:-{port}}}"}}}}
    volumes: {{data: {{}}}}
"""


async def test_a_port_taken_between_lease_and_start_is_leased_anew(stack, free_ports, listen, machine_state):
    port = free_ports(2)
    s = with_snatcher(stack(WITH_DB.format(port=port)), listen, port)
    found = await s.up()
    assert s.ports == {"web 80/tcp": port + 1}
    assert found.services["web"].ready
    assert get(port + 1, "/hostname") == s.container("web").id[:12]
    assert s.sh("other", "echo $URL") == f":{port + 1}"
    assert s.steps().count("start db") == 1
    assert [event.step for event in s.events if event.action == Action.RETRY] == ["start web"]
    await s.down(volumes=True, release_ports=True)


async def test_strict_ports_give_up_at_the_start_too(stack, free_ports, listen, machine_state):
    port = free_ports(2)
    s = with_snatcher(stack(WITH_DB.format(port=port)), listen, port)
    error = await s.fails(PortError, strict_ports=True)
    assert (error.exit_code, error.fields["port"], error.fields["service"]) == (3, port, "web")
    assert f"pid {os.getpid()}" in str(error)
    assert s.leases == {}


async def test_four_clashes_in_a_row_are_too_many(stack, free_ports, listen, machine_state):
    port = free_ports(6)

    class Always(Snatching):
        def start(self, container):
            raw = self._engine.inspect(container)
            if "-web-" in raw.name:
                self._listen(next(iter(s.ports.values())), "0.0.0.0")
            return self._engine.start(container)

    s = stack(WITH_DB.format(port=port))
    s = replace(s, world=replace(s.world, engine=Always(s.world.engine, listen, ())))
    error = await s.fails(PortError)
    assert error.exit_code == 3
    assert "4 times" in str(error)
    assert s.leases == {}


async def test_strict_ports_name_the_holder(stack, free_ports, listen, machine_state):
    port = free_ports()
    listen(port)
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    error = await s.fails(PortError, strict_ports=True)
    assert (error.exit_code, error.fields["port"], error.fields["service"], error.fields["target"]) == (
        3,
        port,
        "web",
        80,
    )
    assert f"(pid {os.getpid()})" in error.fields["holder"]
    assert error.fields["holder"] in str(error)
    assert s.leases == {}


async def test_strict_ports_name_the_stack_that_leases(stack, free_ports):
    port = free_ports()
    first, second = (stack(SLEEPER.format(ports=f"{port}:80"), more) for more in ("-a", "-b"))
    await first.up(strict_ports=True)
    error = await second.fails(PortError, strict_ports=True)
    assert first.name in error.fields["holder"]


async def test_a_container_of_others_on_the_port(stack, free_ports, docker_client, stack_prefix, tiny_image):
    port = free_ports()
    docker_client.containers.run(
        tiny_image,
        ["sleep", "infinity"],
        name=f"{stack_prefix}-other",
        ports={"80/tcp": ("127.0.0.1", port)},
        detach=True,
    )
    s = stack(SLEEPER.format(ports=f"{port}:80"))
    error = await s.fails(PortError, strict_ports=True)
    assert error.fields["port"] == port
    await s.up()
    assert s.ports == {"web 80/tcp": port + 1}
