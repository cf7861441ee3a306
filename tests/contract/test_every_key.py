"""Every key of the Compose specification, with right, wrong and extreme values: done, told of, or refused by name.

The keys come from the schema (`tests/compose_keys.json`), the answers from the real Compose and from all that reads its
output: no traceback, no silence. A right value that changes nothing in what Compose is told to create, and of which
no notice tells, was dropped.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import DefinitionError
from moorage.model.definition import Source
from moorage.rules import composing
from moorage.settings import Settings
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from tests import compose_schema
from tests.counts import COUNTS, NOTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 13
SHARDS = 12
IN_CI = 16
"""Keys of which CI tries one value of each kind."""

LISTS = frozenset(
    "ports volumes secrets configs env_file gpus devices watch post_start pre_stop pre_start preferences config "
    "device_read_bps device_read_iops device_write_bps device_write_iops weight_device generic_resources include".split()
)
RIGHT: dict[str, Any] = {
    # by the last parts of the path, the longest first
    "services.*.extends": {"service": "other", "file": "other.yaml"},
    "services.*.depends_on": ["other"],
    "services.*.links": ["other:o"],
    "services.*.provider": {"type": "cloud"},
    "services.*.models": ["m"],
    "services.*.develop": {"watch": [{"path": ".", "action": "rebuild"}]},
    "services.*.ports": ["8080:80"],
    "services.*.expose": ["80"],
    "services.*.healthcheck": {"test": "true"},
    "services.*.profiles": [],
    "services.*.restart": "always",
    "services.*.scale": 2,
    "networks": {"n": {"internal": True}},
    "volumes": {"data": {"labels": {"a": "b"}}},
    "secrets": {"s": {"file": "./file.env"}, "s2": {"file": "./file"}},
    "configs": {"c": {"content": "hello"}, "c2": {"file": "./file"}},
    "models": {"m": {"model": "ai/m"}},
    "jobs": {"j": {"image": "x", "triggers": {"manual": True}}},
    "include": ["other.yaml"],
    "include.*.path": "other.yaml",
    "include.*.project_directory": "sub",
    "include.*.env_file": "file.env",
    "name": "shop",
    "services": {"web": {"image": "x:2"}},
    "version": "3.8",
}
BY_KEY: dict[str, Any] = {
    "additional_contexts": {"c": "."},
    "annotations": {"a": "b"},
    "args": {"A": "1"},
    "aliases": ["also"],
    "aux_addresses": {"h": "10.9.0.9"},
    "bind": {"propagation": "rslave"},
    "blkio_config": {"weight": 300},
    "build": {"context": "."},
    "cache_from": ["x"],
    "cache_to": ["type=local,dest=./c"],
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["ALL"],
    "capabilities": ["gpu"],
    "cgroup": "private",
    "command": ["echo", "hi"],
    "config": [{"subnet": "10.9.0.0/24"}],
    "configs": ["c"],
    "constraints": ["a==b"],
    "context": "sub",
    "container_name": "box",
    "count": 1,
    "credential_spec": {"file": "x"},
    "cpu_period": 50_000,
    "cpu_quota": 25_000,
    "cpuset": "0",
    "delay": "5s",
    "deploy": {"replicas": 2},
    "device_cgroup_rules": ["c 1:3 mr"],
    "device_ids": ["0"],
    "devices": ["/dev/null:/dev/x"],
    "discrete_resource_spec": {"kind": "g", "value": 1},
    "dns": ["10.0.0.1"],
    "dns_opt": ["ndots:1"],
    "dns_search": ["example.org"],
    "driver_opts": {"a": "b"},
    "driver": "local",
    "enable_ipv4": False,
    "entitlements": ["security.insecure"],
    "entrypoint": ["sh"],
    "env_file": ["file.env"],
    "environment": {"A": "1"},
    "extra_hosts": ["h=10.0.0.1"],
    "exec": {"command": "true"},
    "external": True,
    "external_links": ["far:f"],
    "file": "./file",
    "gateway": "10.9.0.1",
    "generic_resources": [{"discrete_resource_spec": {"kind": "g", "value": 1}}],
    "gid": "7",
    "gpus": [{"driver": "x", "count": 1}],
    "group_add": ["audio"],
    "gw_priority": 5,
    "host_ip": "127.0.0.1",
    "image": "other:1",
    "interface_name": "eth7",
    "interval": "5s",
    "ip_range": "10.9.0.0/25",
    "ipam": {"config": [{"subnet": "10.9.0.0/24"}]},
    "ipc": "shareable",
    "ipv4_address": "10.9.0.7",
    "ipv6_address": "fd00::7",
    "isolation": "default",
    "label_file": ["file.env"],
    "labels": {"a": "b"},
    "limits": {"cpus": "0.5"},
    "link_local_ips": ["169.254.1.1"],
    "logging": {"driver": "none"},
    "mac_address": "02:42:ac:11:00:07",
    "max_failure_ratio": 0.5,
    "mem_limit": "64m",
    "mem_reservation": "32m",
    "memory": "64m",
    "memswap_limit": "128m",
    "mode": "0400",
    "models": ["m"],
    "monitor": "5s",
    "network_mode": "none",
    "networks": ["n"],
    "no_cache_filter": ["x"],
    "nocopy": True,
    "options": {"a": "b"},
    "oom_score_adj": 100,
    "path": ".",
    "pid": "host",
    "placement": {"constraints": ["a==b"]},
    "platform": "linux/amd64",
    "platforms": ["linux/amd64"],
    "post_start": [{"command": "true"}],
    "pre_start": [{"command": "true"}],
    "pre_stop": [{"command": "true"}],
    "preferences": [{"spread": "x"}],
    "propagation": "rslave",
    "published": "8080",
    "rate": "1mb",
    "recursive": "disabled",
    "replicas": 2,
    "reservations": {"memory": "32m"},
    "resources": {"limits": {"cpus": "0.5"}},
    "restart_policy": {"condition": "any"},
    "rollback_config": {"order": "start-first"},
    "runtime": "runc",
    "secrets": ["s"],
    "security_opt": ["no-new-privileges:true"],
    "shm_size": "64m",
    "size": "1m",
    "source": "data",
    "ssh": ["default"],
    "start_interval": "2s",
    "start_period": "5s",
    "stop_grace_period": "3s",
    "stop_signal": "SIGINT",
    "storage_opt": {"size": "1G"},
    "subnet": "10.9.0.0/24",
    "subpath": "a",
    "sysctls": {"net.core.somaxconn": "100"},
    "tags": ["x:2"],
    "test": ["CMD", "true"],
    "timeout": "5s",
    "tmpfs": ["/t"],
    "trigger": {},
    "uid": "7",
    "ulimits": {"nofile": 100},
    "update_config": {"order": "start-first"},
    "user": "1000",
    "userns_mode": "host",
    "uts": "host",
    "volume": {"nocopy": True},
    "volumes": ["data:/v"],
    "volumes_from": ["other"],
    "weight": 300,
    "window": "5s",
    "working_dir": "/w",
    "max_attempts": 3,
    "pull_refresh_after": "2h",
    "selinux": "z",
    "spread": "x",
    "weight_device": [{"path": "/dev/x", "weight": 300}],
    "watch": [{"path": ".", "action": "rebuild"}],
    "target": "/t",
    "environment_": "HOME",
    "create_host_path": True,
    "required": False,
    "format": "raw",
    "pull": True,
    "attach": False,
    **{f"device_{way}": [{"path": "/dev/x", "rate": "1mb"}] for way in ("read_bps", "write_bps")},
    **{f"device_{way}": [{"path": "/dev/x", "rate": 10}] for way in ("read_iops", "write_iops")},
}
SPECIAL: dict[str, Any] = {
    "services.*.volumes.*.bind.create_host_path": False,  # there, true is the default; in an init container it is not
    "reservations.devices": [{"capabilities": ["gpu"]}],
    "volumes.*.type": "tmpfs",
    "volumes.*.bind.selinux": "z",
    "volumes.*.tmpfs": {"size": "1m"},
    "volumes.*.tmpfs.mode": 448,
    "volumes.*.image": {"subpath": "a"},
    "volumes.*.consistency": "cached",
    "services.*.ports.*.target": 81,
    "services.*.ports.*.mode": "host",
    "services.*.ports.*.protocol": "udp",
    "ports.*.name": "web",
    "deploy.mode": "global",
    "deploy.endpoint_mode": "dnsrr",
    "depends_on.*.condition": "service_healthy",
    "depends_on.*.restart": True,
    "restart_policy.condition": "any",
    "rollback_config.order": "start-first",
    "update_config.order": "start-first",
    "develop.watch.*.action": "sync",
    "extends.file": "other.yaml",
    "extends.service": "other",
    "networks.*.driver": "bridge",
    "networks.*.name": "net",
    "volumes.*.name": "vol",
    "secrets.*.name": "sec",
    "configs.*.name": "con",
    "secrets.*.environment": "HOME",
    "configs.*.environment": "HOME",
    "logging.driver": "none",
    "ipam.driver": "default",
    "build.dockerfile": "Dockerfile.other",
    "build.dockerfile_inline": "FROM x",
    "build.target": "t",
    "build.isolation": "default",
    "build.network": "none",
    "credential_spec.config": "c",
    "services.*.pull_policy": "always",
    "pre_start.*.pull_policy": "always",
    "devices.*.source": "/dev/zero",
    "devices.*.target": "/dev/y",
    "secrets.*.source": "s2",
    "configs.*.source": "c2",
    "blkio_config.weight_device.*.path": "/dev/y",
    "gpus.*.count": 2,
    "devices.*.count": 2,
    "gpus.*.driver": "y",
    "exec.command": "false",
    "post_start.*.command": "false",
    "pre_stop.*.command": "false",
    "services.*.provider.options": {"a": "b"},
    "services.*.provider.type": "x",
    "mem_swappiness": 5,
    "cpus": 0.5,
    "cpu_rt_period": 1000,
    "cpu_rt_runtime": 1000,
    "device_read_iops.*.rate": 11,
    "device_write_iops.*.rate": 11,
    "device_read_bps.*.rate": "2mb",
    "device_write_bps.*.rate": "2mb",
    "env_file.*.path": "other.env",
    "resources.limits.cpus": "0.5",
    "reservations.cpus": "0.5",
    "configs.*.content": "hello",
    "pids_limit": 5,
    "services.*.secrets.*.mode": "0400",
    "model.*": "x",
    "ulimits.*.hard": 200,
    "healthcheck.disable": True,
}
SIBLINGS: dict[str, Any] = {
    # what has to stand beside the key
    "ports.*": {"target": 80},
    "services.*.volumes.*": {"type": "volume", "source": "data", "target": "/v"},
    "pre_start.*.volumes.*": {"type": "volume", "source": "data", "target": "/v"},
    "volumes.*.bind": None,
    "services.*.secrets.*": {"source": "s"},
    "build.secrets.*": {"source": "s"},
    "pre_start.*.secrets.*": {"source": "s"},
    "services.*.configs.*": {"source": "c"},
    "pre_start.*.configs.*": {"source": "c"},
    "env_file.*": {"path": "file.env"},
    "gpus.*": {"driver": "x", "count": 1},
    "resources.reservations.devices.*": {"capabilities": ["gpu"]},
    "services.*.devices.*": {"source": "/dev/null", "target": "/dev/x"},
    "pre_start.*.devices.*": {"source": "/dev/null", "target": "/dev/x"},
    "watch.*": {"path": ".", "action": "sync", "target": "/x"},
    "watch.*.exec": {"command": "true"},
    "post_start.*": {"command": "true"},
    "pre_stop.*": {"command": "true"},
    "pre_start.*": {"command": "true"},
    "weight_device.*": {"path": "/dev/x", "weight": 300},
    "extends": {"service": "other"},
    "provider": {"type": "x"},
    "depends_on.*": {"condition": "service_started"},
    "build": {"context": "."},
    "ulimits.*": {"soft": 10, "hard": 20},
    "build.ulimits.*": {"soft": 10, "hard": 20},
    "models.*": {"model": "ai/m"},
    "include.*": {"path": "other.yaml"},
    "ipam.config.*": {"subnet": "10.9.0.0/24"},
    "healthcheck": {"test": "true", "start_period": "1s"},
    "device_read_bps.*": {"path": "/dev/x", "rate": 1},
    "device_write_bps.*": {"path": "/dev/x", "rate": 1},
    "device_read_iops.*": {"path": "/dev/x", "rate": 1},
    "device_write_iops.*": {"path": "/dev/x", "rate": 1},
    "discrete_resource_spec": {"kind": "g", "value": 1},
    "logging": {"driver": "json-file"},
    "services.*.networks.*": {},
    "services.*.models.*": {},
    "pre_start.*.networks.*": {},
    "networks.*": {},
    "networks.*.ipam": {},
}
NAMES = {
    "services": "web",
    "networks": "n",
    "volumes": "data",
    "secrets": "s",
    "configs": "c",
    "models": "m",
    "depends_on": "other",
    "ulimits": "nofile",
}
WRONG: tuple[Any, ...] = (
    None,
    True,
    "no such thing",
    -1,
    1.5,
    [],
    {},
    [[1]],
    {"no_such_key": {"a": [1]}},
    [{"no_such_key": 1}],
)
EXTREME: tuple[Any, ...] = (
    0,
    -(2**63),
    2**64,
    10**40,
    1e308,
    "",
    " ",
    "\u65e5\u672c",
    "x" * 70_000,
    "1" * 400,
    "../" * 50,
    "\u0007\u001b[31m",
    "$$",
    "a\nb",
    "99999999999999999999s",
    "-1ns",
    ["x"] * 300,
    {str(n): "x" for n in range(300)},
)
SETTLED_BY_COMPOSE = frozenset(
    # what Compose puts in place of these is in its answer, and `version` is nothing at all
    "version name include env_file label_file profiles".split()
)


def by_suffix(table: dict[str, Any], path: str) -> Any:
    """The entry for the longest end of a path. None: there is none."""
    parts = path.split(".")
    return next((table[tail] for n in range(len(parts)) if (tail := ".".join(parts[n:])) in table), None)


def right_value(path: str, key: str, kinds: list[str]) -> Any:
    place = f"{path}.{key}".lstrip(".")
    if place in RIGHT:
        return RIGHT[place]
    if (special := by_suffix(SPECIAL, place)) is not None:
        return special
    if key in BY_KEY:
        return BY_KEY[key]
    for kind in kinds:
        if kind.startswith("one of "):
            return kind.removeprefix("one of ").split(", ")[-1]
    return (
        True
        if "boolean" in kinds
        else 10
        if {"integer", "number"} & set(kinds)
        else "x"
        if "string" in kinds
        else ["x"]
    )


def project(path: str, key: str, value: Any) -> dict[str, Any]:
    """A compose file with a value at a place."""
    text: dict[str, Any] = {
        "services": {"web": {"image": "x:1"}, "other": {"image": "x:1"}},
        "networks": {"n": {}},
        "volumes": {"data": {}},
        "secrets": {"s": {"file": "./file"}, "s2": {"file": "./file"}},
        "configs": {"c": {"file": "./file"}, "c2": {"file": "./file"}},
    }
    uses = {"networks": ["n"], "volumes": ["data:/v0"], "secrets": ["s", "s2"], "configs": ["c", "c2"], "models": ["m"]}
    top, _, rest = path.partition(".")
    used = top if rest else key if not path else ""
    if ".pre_start" in path:  # Compose leaves out what no service uses; an init container has what its service has
        text["services"]["other"] |= {kind: use for kind, use in uses.items() if kind != "models"}
    elif used in uses:
        text["services"]["web"][used] = uses[used]
    if ".models" in f"{path}.{key}":
        text["models"] = {"m": {"model": "ai/m"}}
    node = _reach(text, path)
    node[key] = value
    _fit(text, path, key, node)
    return text


def _reach(text: dict[str, Any], path: str) -> Any:
    """The object at a path, made where it is not there, with what has to stand in it."""
    node: Any = text
    parts = path.split(".") if path else []
    for number, part in enumerate(parts):
        made = dict(by_suffix(SIBLINGS, ".".join(parts[: number + 1])) or {})
        if isinstance(node, list):
            node.append(made)
            node = node[-1]
            continue
        name = part if part != "*" else NAMES.get(parts[number - 1], "one")
        if _is_list(parts, number):
            node[name] = []
        elif not node.get(name) or not isinstance(node[name], dict):
            node[name] = made
        node = node[name]
    return node


def _is_list(parts: list[str], number: int) -> bool:
    part, below = parts[number], parts[number + 1 : number + 2]
    at_top = number == 0 and part != "include"
    return part in LISTS and below == ["*"] and not at_top and (part != "config" or parts[number - 1] == "ipam")


def _fit(text: dict[str, Any], path: str, key: str, node: Any) -> None:
    """Make the rest of the file fit the key, so that a right value is right where it stands."""
    if path.endswith("env_file.*") and key == "required":
        node["path"] = "none.env"
    if key == "device_ids":  # one or the other
        node.pop("count", None)
    if path in ("secrets.*", "configs.*"):
        if key in ("environment", "content", "external"):
            node.pop("file", None)
        else:
            node.setdefault("file", "./file")
    kind = key if path.endswith(".volumes.*") else path.rpartition(".")[2] if ".volumes.*." in path else ""
    if kind in ("bind", "tmpfs", "image"):
        holder = text["services"]["web"]
        mount = (holder["pre_start"][0] if ".pre_start." in path else holder)["volumes"][0]
        mount["type"] = kind
        mount.pop("source", None)
        if kind != "tmpfs":
            mount["source"] = "./" if kind == "bind" else "x:1"


NOT_SUPPORTED = {
    r"(?:services\.\*(?:\.pre_start\.\*)?\.)?models(?:\..*)?": "models are the whole machine's: refused by Moorage",
    r"services\.\*\.provider(?:\..*)?": "a provider cannot be undone: refused by Moorage",
    r"services\.\*\.pre_start\.\*\.per_replica": "refused by Compose too",
    r"(?:secrets|configs)\.\*\.external(?:\..*)?": "only Swarm has some: refused by Compose too",
}
"""Keys whose right values are refused, and why."""


class Reader:
    """All of Moorage that reads a definition, with the real Compose and no engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        world = fake_world(FakeMachine(), MemoryStore(), MemoryFiles())
        self.world = replace(world, compose=ComposeCli(Settings()))
        for name in ("file", "file.env", "other.env"):
            (folder / name).write_text("A='2'\n")  # raw, the quotes are part of it
        (folder / "sub").mkdir()
        for place in (folder, folder / "sub"):
            (place / "Dockerfile").write_text("FROM x\n")
        other = "services: {other: {image: 'x:1', labels: {of: other}, volumes: ['./here:/here']}}\n"
        (folder / "other.yaml").write_text(other)
        self._read: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}

    def read(self, text: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What Compose is told to create, and the notices; each file is read once. Raises DefinitionError."""
        written = json.dumps(text)
        if written not in self._read:
            try:
                self._read[written] = self._answer(written)
            except DefinitionError:
                raise
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}") from error
        return self._read[written]

    def _answer(self, written: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        (self.folder / "compose.yaml").write_text(written)
        resolved = resolve(self.world, UpRequest(source=Source(directory=self.folder)))
        config, _ = composing.compose_config(resolved.definition, (), {}, "home")
        generation = json.loads(composing.file_text(config))
        for service in generation["services"].values():
            service["labels"] = {k: v for k, v in service["labels"].items() if not k.startswith("moorage.")}
        return {
            **generation,
            "typed": resolved.definition.model_dump(mode="json")["services"],
        }, resolved.definition.notices

    def outcome(self, path: str, key: str, value: Any, *, right: bool) -> str:
        """`done`, `notice` or `refused`; all else is an AssertionError."""
        place = f"{path}.{key}".lstrip(".")
        text = project(path, key, value)
        try:
            found, notices = self.read(text)
        except DefinitionError as error:
            named = [str(error), *map(str, error.fields.values())]
            parts = [part for part in place.split(".") if part != "*"]
            # what is referred to and not there, Compose names by its kind: `refers to undefined volume x`
            words = {
                *parts,
                *self._paths(value),
                *(f"undefined {kind.removesuffix('s')}" for kind in parts if kind in NAMES),
            }
            if "breaks off" in str(error):  # a fault of Compose: it does not say where
                return "refused, Compose breaks off"
            if error.exit_code != 2 or not any(word in one for one in named for word in words):
                message = f"{place}: {value!r}: not named: {error}"
                raise AssertionError(message) from error
            return "refused"
        except AssertionError as error:
            raise AssertionError(f"{place}: {value!r}: {error}") from error
        if any(_is_about(notice.partition(": ")[0], place) for notice in notices):
            return "notice"
        if right and key not in SETTLED_BY_COMPOSE:
            without = project(path, key, value)
            node: Any = without
            for part in _where(without, path):
                node = node[part]
            del node[key]
            try:
                before, _ = self.read(without)
            except DefinitionError:
                return "done"  # nothing can stand there without it
            except AssertionError as error:
                raise AssertionError(f"without {place}: {error}") from error
            assert found != before, f"{place}: {value!r} is dropped in silence"
        return "done"

    def _paths(self, value: Any) -> list[str]:
        """What a complaint may name in place of the key: a file that is not there, by the end of its whole path."""
        written = value if isinstance(value, list) else [value]
        found = [one.replace("$$", "$") for one in written if isinstance(one, str) and one.strip()]
        return [f"{os.path.normpath(self.folder / one)}:" for one in found] + [f"/{one}:" for one in found]


def _is_about(named: str, place: str) -> bool:
    """True if a notice names the key, something in it, or something of a service or another thing that it is part of."""
    parts = place.split(".")
    for end in range(min(3, len(parts)), len(parts) + 1):
        pattern = "".join(r"(?:\.[^.\[]+|\[\d+\])" if part == "*" else rf"\.{part}" for part in parts[:end])
        if re.fullmatch(pattern, f".{named}"):
            return True
    return f".{named}".startswith(f".{place}.")


def _where(text: Any, path: str) -> Iterator[Any]:
    node = text
    for part in path.split(".") if path else ():
        step = (
            (0 if isinstance(node, list) else next(k for k in node if k in (*NAMES.values(), "one", "nofile")))
            if part == "*"
            else part
        )
        yield step
        node = node[step]


def all_keys() -> list[tuple[str, str, list[str]]]:
    return [
        (path, key, kinds)
        for path, found in compose_schema.known().items()
        if not path.startswith("jobs.")
        for key, kinds in found.items()
    ]


def run(folder: Path, keys: list[tuple[str, str, list[str]]], chance: random.Random, record: Any) -> Counter[str]:
    """Counts by kind of value and outcome, added up at the end of the tests' run. Nothing may be wrong."""
    reader, counted, wrong, refused = Reader(folder), Counter[str](), list[str](), list[str]()
    for path, key, kinds in keys:
        values = [
            ("right", right_value(path, key, kinds)),
            ("wrong", chance.choice(WRONG)),
            ("extreme", chance.choice(EXTREME)),
        ]
        for kind, value in values:
            try:
                outcome = reader.outcome(path, key, value, right=kind == "right")
            except AssertionError as error:
                wrong.append(str(error)[:600])
                continue
            counted[f"{kind}: {outcome}"] += 1
            if kind == "right" and outcome == "refused":
                place = f"{path}.{key}".lstrip(".")
                why = next((why for known, why in NOT_SUPPORTED.items() if re.fullmatch(known, place)), None)
                (refused if why else wrong).append(f"a right value is refused: {place}: {value!r}: {why}"[:200])
    record(COUNTS, {"of": "keys of Compose", "how": {"keys": len(keys), **counted, "wrong outcomes": len(wrong)}})
    record(NOTES, {"of": "keys of Compose", "lines": refused})
    assert not wrong, "\n".join(wrong)
    return counted


def test_a_slice_of_all_keys(tmp_path: Path, record_property: Any) -> None:
    chance = random.Random(SEED)
    counted = run(tmp_path, chance.sample(all_keys(), IN_CI), chance, record_property)
    assert counted["right: done"] > counted["right: refused"]


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_all_keys(shard: int, tmp_path: Path, record_property: Any) -> None:
    run(tmp_path, all_keys()[shard::SHARDS], random.Random(SEED + shard), record_property)
