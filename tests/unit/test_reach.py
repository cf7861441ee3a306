"""What a definition asks for beyond its directory and its containers: each is told once, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moorage.rules import reach

HERE = Path("/projects/shop")


def told(service: dict[str, Any] | None = None, raw: dict[str, Any] | None = None, **more: Any) -> tuple[str, ...]:
    config = {"name": "shop", "services": {"web": service or {}}, **more}
    return reach.notices(config, {"services": {"web": raw or {}}}, HERE, reach.as_written)


def bind(source: str) -> dict[str, Any]:
    return {"volumes": [{"type": "bind", "source": source, "target": "/x"}]}


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a directory": (bind("/etc"), "services.web.volumes: /etc is outside the project"),
    "the socket": (bind("/var/run/docker.sock"), "root on this machine"),
    "privileged": ({"privileged": True}, "services.web.privileged"),
    "a capability": ({"cap_add": ["SYS_ADMIN"]}, "services.web.cap_add: SYS_ADMIN"),
    "a device": ({"devices": [{"source": "/dev/mem", "target": "/dev/mem"}]}, "services.web.devices: /dev/mem"),
    "a device, in short": ({"devices": ["/dev/kvm:/dev/kvm:rw"]}, "services.web.devices: /dev/kvm of this machine"),
    "all devices": ({"device_cgroup_rules": ["a *:* rwm"]}, "services.web.device_cgroup_rules: a *:* rwm"),
    "no seccomp": ({"security_opt": ["seccomp:unconfined"]}, "services.web.security_opt: seccomp:unconfined"),
    "its processes": ({"pid": "host"}, "services.web.pid: host"),
    "its network": ({"network_mode": "host"}, "services.web.network_mode: host"),
    "its users": ({"userns_mode": "host"}, "services.web.userns_mode: host"),
    "another network": ({"network_mode": "container:bank"}, "services.web.network_mode: container:bank"),
    "other volumes": ({"volumes_from": ["container:bank:ro"]}, "services.web.volumes_from: container:bank:ro"),
    "an init container": ({"pre_start": [{"privileged": True}]}, "services.web.pre_start[0].privileged: privileged"),
    "its mounts": (
        {"pre_start": [{}, bind("/etc")]},
        "services.web.pre_start[1].volumes: /etc is outside",
    ),
    "the engine": ({"use_api_socket": True}, "services.web.use_api_socket: /var/run/docker.sock"),
    "a hook": ({"post_start": [{"command": ["x"], "privileged": True}]}, "services.web.post_start: privileged"),
    "a context": ({"build": {"context": "/etc", "dockerfile": "D"}}, "services.web.build.context: /etc is outside"),
    "another context": (
        {"build": {"context": "/projects/shop", "additional_contexts": {"a": "/etc"}}},
        "services.web.build.additional_contexts: /etc is outside",
    ),
    "a Dockerfile": ({"build": {"context": "/projects/shop", "dockerfile": "../D"}}, "services.web.build.dockerfile"),
    "keys": ({"build": {"context": "/projects/shop", "ssh": ["default"]}}, "services.web.build.ssh"),
    "a privileged build": (
        {"build": {"context": "/projects/shop", "privileged": True}},
        "services.web.build.privileged: True",
    ),
    "an entitlement": (
        {"build": {"context": "/projects/shop", "entitlements": ["security.insecure"]}},
        "services.web.build.entitlements: security.insecure",
    ),
    "network of a build": ({"build": {"context": "/projects/shop", "network": "host"}}, "services.web.build.network"),
    "a cache": (
        {"build": {"context": "/projects/shop", "cache_to": ["type=local,mode=max,dest=/root/.ssh"]}},
        "services.web.build.cache_to: /root/.ssh is outside",
    ),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_a_service_asks_for(what: str) -> None:
    service, words = ASKED[what]
    (notice,) = told(service)
    assert words in notice


def test_what_files_volumes_networks_and_secrets_ask_for() -> None:
    assert told(raw={"env_file": [{"path": "../other.env"}, ".env", "$HOME/a"], "label_file": "/etc/labels"}) == (
        "services.web.env_file: ../other.env is outside the project",
        "services.web.env_file: $HOME/a may be outside the project: a variable names it",
        "services.web.label_file: /etc/labels is outside the project",
    )
    assert told(
        volumes={"root": {"driver_opts": {"type": "none", "o": "bind", "device": "/"}}, "nfs": {}, "plain": None},
        networks={"lan": {"driver": "macvlan"}, "default": {"driver": "bridge"}},
        secrets={"key": {"file": "/root/.ssh/id_ed25519"}, "own": {"file": "/projects/shop/key"}},
    ) == (
        "volumes.root.driver_opts.device: / is outside the project",
        "networks.lan.driver: macvlan: its containers are in this machine's network",
        "secrets.key.file: /root/.ssh/id_ed25519 is outside the project",
    )


@pytest.mark.parametrize(
    "service",
    [
        bind("/projects/shop/data"),
        {"security_opt": ["no-new-privileges:true"], "cap_drop": ["ALL"], "network_mode": "service:db", "pid": None},
        {"build": {"context": "/projects/shop/web", "dockerfile": "Dockerfile", "cache_from": ["type=gha"]}},
        {"build": {"context": "https://example.org/a.git", "additional_contexts": {"a": "docker-image://b"}}},
        {"volumes": [{"type": "volume", "source": "data", "target": "/x"}]},
    ],
)
def test_what_stays_inside_is_not_told(service: dict[str, Any]) -> None:
    assert told(service, raw={"env_file": ["./a.env"]}) == ()


def test_a_link_leads_where_it_leads(tmp_path: Path) -> None:
    """A link in a repository is cloned with it; the engine follows it."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "data").symlink_to("/etc")
    (here / "kept").mkdir()
    (tmp_path / "there").symlink_to(here)
    for directory in (here, tmp_path / "there"):
        config = {"services": {"web": {**bind(f"{directory}/data")}, "db": bind(f"{directory}/kept")}}
        (notice,) = reach.notices(config, {}, directory, Path.resolve)
        assert notice == f"services.web.volumes: {directory}/data leads to /etc, outside the project"


def test_what_an_init_container_has_of_its_service_is_told_once() -> None:
    rights = {"cap_add": ["NET_ADMIN"], "network_mode": "host"}
    assert len(told({**rights, "pre_start": [{**rights}, {**rights, "cap_add": ["NET_ADMIN", "SYS_TIME"]}]})) == 3
