"""What a throw-away stack inside Dagger can do, and what is refused by name."""

from __future__ import annotations

import pytest

from moorage.errors import UnsupportedByBackendError
from moorage.model.sandbox import SandboxHealth
from moorage.rules import reading, throwaway
from tests.unit.test_reading import SOURCE


def definition(volumes=None, networks=None, **services):
    named = {name: {"image": "x", **service} for name, service in services.items()}
    config = {"name": "shop", "services": named, "volumes": volumes or {}, "networks": networks or {}}
    extensions = {name: service["x-moorage"] for name, service in services.items() if "x-moorage" in service}
    return reading.read_definition(config, config, extensions, {}, SOURCE)


def part(**service):
    (found,) = throwaway.services_of(definition(web=service))
    return found


@pytest.mark.parametrize(
    ("key", "service"),
    [
        ("network_mode", {"network_mode": "host"}),
        ("deploy", {"deploy": {"resources": {"limits": {"memory": "67108864"}}}}),
        ("mem_limit", {"mem_limit": "67108864"}),
        ("shm_size", {"shm_size": "64"}),
        ("privileged", {"privileged": True}),
        ("cap_add", {"cap_add": ["NET_ADMIN"]}),
        ("devices", {"devices": ["/dev/x"]}),
        ("scale", {"scale": 2}),
        ("post_start", {"post_start": [{"command": ["x"]}]}),
        ("extra_hosts", {"extra_hosts": ["a=1.2.3.4"]}),
        ("use_api_socket", {"use_api_socket": True}),
        ("pre_start", {"pre_start": [{"command": ["x"]}]}),
        ("ports", {"ports": [{"target": 53, "protocol": "udp"}]}),
        ("ports", {"ports": [{"target": 80, "host_ip": "0.0.0.0"}]}),
        ("volumes./data", {"volumes": [{"type": "bind", "source": "/p", "target": "/data"}]}),
        ("networks.default", {"networks": {"default": {"ipv4_address": "10.0.0.2"}}}),
    ],
)
def test_what_it_cannot_do_is_named(key, service):
    with pytest.raises(UnsupportedByBackendError) as caught:
        part(**service)
    assert caught.value.fields["key"] == f"services.web.{key}"
    assert caught.value.exit_code == 2
    assert "without --engine" in caught.value.hint


@pytest.mark.parametrize("kind", ["volumes", "networks"])
def test_what_outlives_the_session_is_refused(kind):
    with pytest.raises(UnsupportedByBackendError, match=rf"{kind}\.kept\.external"):
        throwaway.services_of(definition(web={}, **{kind: {"kept": {"external": True, "name": "kept"}}}))


def test_what_only_restricts_or_describes_is_left_out():
    part(
        restart="always",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        read_only=True,
        container_name="web",
        labels={"a": "b"},
        stop_grace_period="10s",
        deploy={},
        privileged=False,
    )


def test_what_it_is_asked_for():
    found = part(
        command=["run", "5$$"],
        environment={"A": "1", "PRICE": "5$$", "UNSET": None},
        user="1000",
        working_dir="/srv",
        init=True,
        expose=["9000", "9001-9002/tcp"],
        ports=[{"target": 8000, "published": "8000", "protocol": "tcp"}],
        tmpfs=["/tmp:size=1m"],
        volumes=[
            {"type": "volume", "source": "data", "target": "/data"},
            {"type": "bind", "source": "/project/conf", "target": "/conf", "read_only": True},
        ],
        networks={"default": {"aliases": ["www"]}},
    )
    assert found.command == ("run", "5$")
    assert found.environment == {"A": "1", "PRICE": "5$"}
    assert found.exposed == (8000, 9000, 9001, 9002)
    assert (found.scratch, found.volumes, found.copies) == (("/tmp",), ("/data",), {"/conf": "/project/conf"})
    assert found.aliases == ("www",)
    assert found.entrypoint is None
    assert part(entrypoint=[]).entrypoint == ()


def test_services_come_in_order_and_are_bound_to_all_they_stand_on():
    services = throwaway.services_of(
        definition(
            web={"depends_on": {"api": {"condition": "service_started"}}},
            api={
                "depends_on": {
                    "db": {"condition": "service_healthy"},
                    "migrate": {"condition": "service_completed_successfully"},
                },
                "networks": {"default": {"aliases": ["backend"]}},
            },
            migrate={"depends_on": {"db": {"condition": "service_healthy"}}},
            db={},
            idle={"scale": 0},
        )
    )
    assert [one.name for one in services] == ["db", "migrate", "api", "web"]
    by_name = {one.name: one for one in services}
    assert by_name["migrate"].one_shot
    assert throwaway.bindings(by_name["migrate"], by_name) == {"db": "db"}
    assert throwaway.bindings(by_name["web"], by_name) == {"api": "api", "backend": "api", "db": "db"}


def test_health_checks_as_the_definition_has_them():
    assert part().health is None
    for off in ({"disable": True}, {"test": ["NONE"]}):
        assert part(healthcheck=off).health == SandboxHealth(off=True)
    shell = part(healthcheck={"test": ["CMD-SHELL", "echo $$HOME"], "interval": "1m30s", "retries": 2}).health
    assert (shell.args, shell.shell, shell.interval_s, shell.retries) == (("echo $HOME",), True, 90.0, 2)
    assert shell.deadline_s == 2 * (90 + 30)
    assert part(healthcheck={"timeout": "5s"}).health == SandboxHealth(timeout_s=5.0)


def test_which_ports_make_it_ready():
    ports = [{"target": 8000, "published": "8000", "protocol": "tcp"}]
    assert part(ports=ports, expose=["9000"]).asked == (8000,)
    assert part(ports=ports, **{"x-moorage": {"ready": {"tcp": 9000}}}).asked == (8000, 9000)


def test_a_page_that_nobody_outside_can_ask_for_is_refused():
    with pytest.raises(UnsupportedByBackendError, match=r"web\.x-moorage\.ready\.http.*: publish it"):
        part(**{"x-moorage": {"ready": {"http": "/"}}})


def test_what_is_not_as_on_docker_is_said():
    ports = [{"target": 80, "protocol": "tcp"}]
    found = definition(web={"healthcheck": {"test": ["CMD", "x"]}, "ports": ports}, db={"stop_signal": "SIGINT"})
    assert throwaway.notices(found, exposed=False) == ("services.db.stop_signal: Dagger sends SIGTERM, not SIGINT",)
    assert "every address of this machine" in throwaway.notices(found, exposed=True)[0]
    assert throwaway.notices(definition(web={}), exposed=True) == ()


def test_a_host_name_is_the_service_s_own_or_its_name():
    assert (part(hostname="www").hostname, part().hostname) == ("www", "web")
    assert throwaway.bindings(part(), {}) == {}
