"""What `moorage up` makes is what `docker compose up` makes: one by one, as the engine describes it.

Forty files that use every key of a service at least once. What differs on purpose stands in `DIFFERENCES`, with its reason.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.program import find_program
from tests import compose_schema
from tests.counts import COUNTS, NOTES

if TYPE_CHECKING:
    import docker

    from tests.conftest import Project

pytestmark = pytest.mark.engine

_ONE_CONTAINER = "an id, a time or a path of one container"
_AT_ITS_START = "ids, and addresses that the engine chooses; what the file asks of a network is compared"
DIFFERENCES = {
    **dict.fromkeys(
        "Id Created LogPath ResolvConfPath HostnamePath HostsPath GraphDriver ExecIDs".split(), _ONE_CONTAINER
    ),
    "State": "its status is compared, its times and process ids are of one container",
    "NetworkSettings": _AT_ITS_START,
    "Name": "the project's name is part of it; a container_name is dropped, because it is unique on the machine",
    "Networks.*.Aliases": "a container_name becomes an alias; the ids of containers are among them",
    "Config.Image": "a tag of our own for the same image: the generation keeps it",
    "Image": "the same id; but what is built has a label of ours, and with it an id of its own",
    "Config.Labels": "ours beside Compose's, and Compose's hash and file of what it was made from; others are compared",
    "HostConfig.PortBindings": "leased ports, on 127.0.0.1 unless the file names an address; which are published is compared",
    "HostConfig.Binds, HostConfig.Mounts, Config.Env": "their order",
    "HostConfig.Ulimits, HostConfig.ExtraHosts": "their order, which is another one each time `docker compose up` runs",
    "Mounts.*.Source": "of a volume: it has the project's name in it, or is a number",
}
"""What is not compared as it is, and why: printed at the end of the tests."""
BY_KEY = {
    "dockerfile_inline": (
        "Config.Env",
        "Compose's classic builder reads the Dockerfile beside it; the specification wins",
    ),
}
"""What differs in a file with this key, and why."""
_OURS = ("com.docker.compose", "moorage.")
_NETWORK = ("IPAMConfig", "Links", "DriverOpts")
FILES: tuple[dict[str, Any], ...] = (
    # the first four together use most keys, and are those that CI compares
    {
        "annotations": {"a": "b"},
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["MKNOD"],
        "cgroup_parent": "/moorage",
        "dns": ["10.0.0.1"],
        "dns_opt": ["ndots:1"],
        "dns_search": ["example.org"],
        "environment": {"A": "1"},
        "extra_hosts": ["h=10.0.0.1"],
        "group_add": ["10"],
        "hostname": "host",
        "domainname": "dom",
        "labels": {"l": "1"},
        "logging": {"driver": "local"},
        "mem_limit": "64m",
        "mem_reservation": "32m",
        "memswap_limit": "128m",
        "pids_limit": 50,
        "read_only": True,
        "security_opt": ["no-new-privileges:true"],
        "shm_size": "32m",
        "stop_grace_period": "3s",
        "stop_signal": "SIGINT",
        "sysctls": {"net.core.somaxconn": "100"},
        "tmpfs": ["/t"],
        "ulimits": {"nofile": {"soft": 100, "hard": 200}},
        "user": "1000",
        "working_dir": "/tmp",
        "cpus": 0.5,
        "cpu_shares": 512,
        "oom_score_adj": 100,
        "init": True,
    },
    {
        "volumes": [
            "data:/data",
            {"type": "bind", "source": ".", "target": "/here", "read_only": True},
            {"type": "tmpfs", "target": "/z"},
        ],
        "configs": ["conf"],
        "secrets": [{"source": "key", "target": "other"}],
        "networks": {"front": {"aliases": ["also"]}, "back": None},
        "ports": ["80", "127.0.0.1::81"],
        "expose": ["90"],
        "healthcheck": {"test": "true", "interval": "1s", "start_period": "1s"},
        "restart": "on-failure:3",
        "stdin_open": True,
        "tty": True,
        "attach": False,
        "container_name": "{name}-own",
        "env_file": ["file.env"],
        "label_file": ["file.env"],
        "entrypoint": ["sh", "-c"],
        "command": ["sleep infinity"],
        "init": True,
    },
    {
        "deploy": {
            "replicas": 1,
            "labels": {"a": "b"},
            "resources": {"limits": {"cpus": "0.5", "memory": "64m", "pids": 40}},
            "restart_policy": {"condition": "on-failure", "max_attempts": 2},
        },
        "depends_on": ["base"],
        "links": ["base:b"],
        "volumes_from": ["base:ro"],
        "profiles": ["p"],
        "scale": 1,
        "post_start": [{"command": "true"}],
        "pre_stop": [{"command": "true"}],
        "pre_start": [{"command": "true"}],
        "pull_policy": "never",
        "develop": {"watch": [{"path": ".", "action": "rebuild"}]},
        "platform": "linux/amd64",
        "uts": "host",
        "ipc": "shareable",
    },
    {
        "network_mode": "service:base",
        "pid": "service:base",
        "ipc": "service:base",
        "cgroup": "host",
        "devices": ["/dev/null:/dev/x"],
        "device_cgroup_rules": ["c 1:3 mr"],
        "cpuset": "0",
        "cpu_period": 50000,
        "cpu_quota": 25000,
        "extends": {"service": "base"},
        "mem_swappiness": 10,
        "pull_refresh_after": "2h",
        "userns_mode": "host",
        "runtime": "runc",
    },
    {"privileged": True},
    {"build": {"context": ".", "args": {"A": "1"}, "labels": {"b": "c"}, "target": "last"}},
    {"build": {"context": ".", "dockerfile_inline": "FROM ${TINY}\nENV INLINE=1\n"}, "image": "{name}-built:1"},
    {"blkio_config": {"weight": 300}},
    {"blkio_config": {"device_read_bps": [{"path": "/dev/null", "rate": "1mb"}]}},
    {"oom_kill_disable": True, "mem_limit": "64m"},
    {"cpu_rt_runtime": 1000},
    {"cpu_rt_period": 1000000},
    {"cpu_count": 1},
    {"cpu_percent": 50.0},
    {"isolation": "default"},
    {"storage_opt": {"size": "1G"}},
    {"gpus": [{"driver": "nvidia", "count": 1}]},
    {"credential_spec": {"file": "x.json"}},
    {"use_api_socket": True},
    {"external_links": ["base"]},
    {"mac_address": "02:42:ac:11:00:07"},
    {"networks": {"front": {"ipv4_address": "10.213.7.9"}}},
    {"networks": {"front": {"priority": 2}, "back": {"priority": 5}}},
    {"network_mode": "none"},
    {"network_mode": "host"},
    {"network_mode": "bridge"},
    {"restart": "always"},
    {"restart": "unless-stopped"},
    {"deploy": {"mode": "global"}},
    {"deploy": {"resources": {"reservations": {"memory": "16m", "cpus": "0.1"}}}},
    {"deploy": {"restart_policy": {"condition": "any", "delay": "5s"}}},
    {"healthcheck": {"disable": True}},
    {"logging": {"driver": "json-file", "options": {"max-size": "1m"}}},
    {"ulimits": {"nproc": 100, "core": 0}},
    {"volumes": ["/anonymous"]},
    {"volumes": [{"type": "volume", "source": "data", "target": "/d", "volume": {"nocopy": True}}]},
    {"tmpfs": "/t:size=1m,mode=700"},
    {"command": "sh -c 'sleep infinity'"},
    {"environment": ["A=$$B", "HOME"]},
    {"extra_hosts": {"a": "10.0.0.1", "b": "host-gateway"}},
    {"labels": ["a=b", "c"]},
)
IN_CI = 4
OF = "made by `up` beside `docker compose up`"
NOT_HERE = {
    "provider": "refused",
    "models": "refused",
    "image": "in every file but those with `build`",
}


def project_text(service: dict[str, Any], image: str, name: str) -> str:
    base = {
        "image": image,
        "command": ["sleep", "infinity"],
        "init": True,
        "volumes": ["shared:/shared"],
        "ipc": "shareable",
    }
    subject = {
        "command": ["sleep", "infinity"],
        "init": True,
        **({} if "build" in service else {"image": image}),
        **service,
    }
    text = {
        "services": {"base": base, "subject": subject},
        "networks": {
            "front": {"ipam": {"config": [{"subnet": "10.213.7.0/24"}]}} if "10.213" in str(service) else {},
            "back": {},
        },
        "volumes": {"data": {"labels": {"v": "1"}}, "shared": {}},
        "configs": {"conf": {"file": "./file.env"}},
        "secrets": {"key": {"file": "./file.env"}},
    }
    return json.dumps(text).replace("{name}", name).replace("${TINY}", image)


def described(client: docker.DockerClient, name: str, *, built: bool) -> dict[str, Any] | None:
    """The subject's container as the engine describes it, without what cannot be equal. None: there is none."""
    chosen = {"label": [f"com.docker.compose.project={name}", "com.docker.compose.service=subject"]}
    found = [
        one for one in client.api.containers(all=True, filters=chosen) if "com.docker.compose.hook" not in one["Labels"]
    ]
    if not found:
        return None
    raw = client.api.inspect_container(found[0]["Id"])
    ids = {
        one["Id"]: "BASE"
        for one in client.api.containers(all=True, filters={"label": f"com.docker.compose.project={name}"})
    }
    text = json.dumps({**raw, "Networks": raw["NetworkSettings"]["Networks"]}).replace(f"{name}-own", "subject")
    for key, word in ids.items():
        text = text.replace(key, word).replace(key[:12], word)
    plain = json.loads(text.replace(name, "STACK").replace(name.removesuffix("-peer"), "STACK"))
    result = {key: value for key, value in plain.items() if key not in DIFFERENCES}
    config, host = result["Config"], result["HostConfig"]
    marks = config["Labels"] or {}
    config |= {"Image": "", "Env": sorted(config["Env"] or ())}
    config["Labels"] = {key: value for key, value in marks.items() if not key.startswith(_OURS)}
    host |= {"PortBindings": sorted(host["PortBindings"] or ()), "Binds": sorted(host["Binds"] or ())}
    host |= {key: sorted(host.get(key) or (), key=str) for key in ("Mounts", "Ulimits", "ExtraHosts")}
    result["Status"] = plain["State"]["Status"]
    result["Image"] = "" if built else plain["Image"]
    result["Mounts"] = sorted(
        ({**m, "Name": _named(m), "Source": ""} if m["Type"] == "volume" else m for m in plain["Mounts"]), key=str
    )
    result["Networks"] = {
        network: {
            "Aliases": sorted({*(one["Aliases"] or ())} - {"subject", "BASE", "STACK-subject-1"}),
            **{key: one[key] for key in _NETWORK if one.get(key)},
        }
        for network, one in plain["Networks"].items()
    }
    return result


def _named(mount: dict[str, Any]) -> str:
    return str(mount["Name"]) if mount["Name"].startswith("STACK") else "anonymous"


def different(ours: Any, theirs: Any, place: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted({*ours, *theirs})
        return [
            line for key in keys for line in different(ours.get(key), theirs.get(key), f"{place}.{key}".lstrip("."))
        ]
    return [] if ours == theirs else [f"{place}: {ours!r} instead of {theirs!r}"]


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[] if n < IN_CI else [pytest.mark.exhaustive]) for n in range(len(FILES))]
)
def test_up_makes_what_compose_makes(
    number: int, project: Project, docker_client: docker.DockerClient, tiny_image: str, record_property: Any
) -> None:
    service = FILES[number]
    peer = f"{project.name}-peer"
    text = project_text(service, tiny_image, project.name)
    (project.path / "file.env").write_text("FROM_FILE=2\n")
    (project.path / "Dockerfile").write_text(f"FROM {tiny_image} AS last\nARG A\nENV BUILT=$A\n")
    theirs, said = _by_compose(project.path, text.replace(project.name, peer), peer, docker_client)
    (project.path / "compose.yaml").write_text(text)
    ended = project.moorage("up", "--profile", "p", exit_code=None)
    if theirs is None:
        outcome, wrong = f"failed with both (exit {ended.returncode})", [] if ended.returncode in (2, 5) else [said]
        notes = [f"{', '.join(service)}: exit {ended.returncode}: {said.strip().splitlines()[-1]}"]
    elif ended.returncode:
        outcome, wrong, notes = "failed", [ended.stdout + ended.stderr], []
    else:
        wrong = different(described(docker_client, project.name, built="build" in service), theirs)
        known = [(key, *why) for key, why in BY_KEY.items() if key in text]
        notes = [f"{key}: {line}: {why}" for key, place, why in known for line in wrong if line.startswith(place)]
        wrong = [line for line in wrong if not any(line.startswith(place) for _, place, _ in known)]
        outcome = "different" if wrong else "different, with a reason" if notes else "the same"
    record_property(COUNTS, {"of": OF, "how": {"files": 1, outcome: 1}})
    record_property(
        NOTES, {"of": OF, "lines": [*notes, *(f"not compared: {k}: {why}" for k, why in DIFFERENCES.items())]}
    )
    assert not wrong, "\n".join(wrong)


def _by_compose(folder: Path, text: str, name: str, client: docker.DockerClient) -> tuple[dict[str, Any] | None, str]:
    """What Compose makes, and what it says. None: it fails."""
    (folder / "compose.yaml").write_text(text)
    compose = [*find_program(None).program, "-p", name, "--profile", "p"]

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE")}
        return subprocess.run([*compose, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=env)

    try:
        done = call("up", "-d")
        return (None if done.returncode else described(client, name, built='"build"' in text)), done.stderr
    finally:
        call("down", "--volumes", "--timeout", "0")


def test_every_key_is_in_a_file() -> None:
    used = {key for service in FILES for key in service}
    assert used | set(NOT_HERE) == set(compose_schema.known()["services.*"])
    assert len(FILES) >= 40
