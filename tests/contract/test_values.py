"""Values arrive as they are, whatever their form, with the real Compose as reader and no engine."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import DefinitionError
from moorage.model.definition import Definition
from moorage.model.lease import Lease
from moorage.rules import composing
from moorage.settings import Settings
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions import resolve
from moorage.work.definitions.request import UpRequest, source_of

KEY = "-----BEGIN KEY-----\nAAA=BBB\nOTHER=oops\n-----END KEY-----"
WHOLE = {
    "KEY": KEY,
    "ENDS": "ends with a line end\n",
    "BEGINS": "\n\nbegins with two",
    "CRLF": "of another\r\nsystem\r\n",
    "DOLLARS": "$HOME $$ ${KEY} $1 $",
    "UNICODE": "größe 日本 🚢",
    "QUOTES": "\"double\" 'single' \\n \\",
    "EMPTY": "",
    "BLANK": "  ",
    "HASH": "a # b",
    "LONG": "x" * 50_000,
}
# Where Compose, told not to replace variables, takes them for values: each form is a service.
FORMS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "pull_policy": ({"pull_policy": "${ALWAYS:-always}"}, "pull_policy", "always"),
    "restart": ({"restart": "${R:-on-failure:3}"}, "restart", "on-failure:3"),
    "network_mode": ({"network_mode": "${N:-none}"}, "network_mode", "none"),
    "network_of": ({"network_mode": "service:${N:-db}"}, "network_mode", "service:db"),
    "condition": ({"depends_on": {"db": {"condition": "${C:-service_healthy}"}}}, "depends_on.db.condition", "service_healthy"),
    "required": ({"depends_on": {"db": {"condition": "service_started", "required": "${Q:-false}"}}}, "depends_on.db.required", False),
    "restarts": ({"depends_on": {"db": {"condition": "service_started", "restart": "${Q:-true}"}}}, "depends_on.db.restart", True),
    "volume_type": ({"volumes": [{"type": "${T:-tmpfs}", "target": "/t"}]}, "volumes.0.type", "tmpfs"),
    "volume_name": ({"volumes": ["${V:-data}:/v:${M:-ro}"]}, "volumes.0.read_only", True),
    "read_only_volume": ({"volumes": [{"type": "volume", "source": "v", "target": "/v", "read_only": "${B:-true}"}]}, "volumes.0.read_only", True),
    "bind_path": ({"volumes": ["${PLACE:-./conf}:/c"]}, "volumes.0.target", "/c"),
    "env_file": ({"env_file": ["${E:-own.env}"]}, "environment.OWN", "1"),
    "env_file_required": ({"env_file": [{"path": "${E:-none.env}", "required": "${B:-false}"}]}, "image", "x"),
    "health_numbers": ({"healthcheck": {"test": "x", "retries": "${N5:-5}", "interval": "${I:-7s}"}}, "healthcheck.retries", 5),
    "health_off": ({"healthcheck": {"disable": "${B:-true}"}}, "healthcheck.disable", True),
    "booleans": ({"privileged": "${B:-true}", "init": "${B:-true}", "tty": "${B:-true}"}, "privileged", True),
    "replicas": ({"deploy": {"replicas": "${N2:-2}"}}, "deploy.replicas", 2),
    "scale": ({"scale": "${N2:-2}"}, "scale", 2),
    "order": ({"deploy": {"update_config": {"order": "${O:-start-first}"}}}, "deploy.update_config.order", "start-first"),
    "cgroup": ({"cgroup": "${CG:-private}"}, "cgroup", "private"),
    "gpus": ({"gpus": "${G:-all}"}, "gpus.0.count", -1),
    "grace": ({"stop_grace_period": "${S:-3s}"}, "stop_grace_period", "3s"),
    "limits": ({"mem_limit": "${L:-64m}", "cpus": "${CP:-0.5}"}, "mem_limit", str(64 << 20)),
    "user": ({"user": "${U:-1000:1000}"}, "user", "1000:1000"),
    "ulimits": ({"ulimits": {"nofile": {"soft": "${N5:-5}", "hard": 9}}}, "ulimits.nofile.soft", 5),
    "expose": ({"expose": ["${X:-3000}"]}, "expose.0", "3000"),
    "platform": ({"platform": "${P:-linux/amd64}"}, "platform", "linux/amd64"),
    "watch": ({"build": ".", "develop": {"watch": [{"action": "${A:-sync}", "path": ".", "target": "/x"}]}}, "image", "x"),
    "context": ({"build": {"context": "${BC:-.}", "no_cache": "${B:-true}"}}, "build.no_cache", True),
    "extends_file": ({"extends": {"file": "${F:-parts/base.yaml}", "service": "base"}}, "environment.BASE", "yes"),
    "extends_name": ({"extends": {"file": "parts/base.yaml", "service": "${S:-base}"}}, "environment.BASE", "yes"),
    "extends_here": ({"extends": "${S:-db}"}, "labels.of", "db"),
    "ready": ({"x-moorage": {"ready": {"log": "${W:-up}"}}}, "x-moorage.ready.log", "up"),
    "block_io": ({"blkio_config": {"weight": 300, "device_read_bps": [{"path": "/dev/null", "rate": "${BPS:-12mb}"}]}}, "blkio_config.device_read_bps.0.rate", str(12 << 20)),
    "init_block_io": ({"pre_start": [{"command": ["x"], "blkio_config": {"device_write_bps": [{"path": "/dev/null", "rate": "${BPS:-12mb}"}]}}]}, "pre_start.0.blkio_config.device_write_bps.0.rate", str(12 << 20)),
    "block_weight": ({"blkio_config": {"weight_device": [{"path": "/dev/null", "weight": 400}]}}, "blkio_config.weight_device.0.weight", 400),
}  # fmt: skip


ODD_LABELS = {
    key: key for key in ("=", "<<", "2001-01-01", "1:30", "yes", "~", "0777", "1e3", "!x", "*a", "- b", "é\n")
}
"""Texts that YAML, in one of its versions, takes for something else."""


class Project:
    """A folder with a definition, and the real Compose that reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        world = fake_world(FakeMachine(clock := ManualClock()), MemoryStore(clock), MemoryFiles(folder / "home"))
        self.world = replace(world, compose=ComposeCli(Settings()))

    def write(self, files: dict[str, Any]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_bytes(text.encode())

    def resolved(self, **environment: str) -> resolve.Resolved:
        source = source_of(self.folder, (), (), ()).model_copy(update={"environment": tuple(environment.items())})
        return resolve.resolve(self.world, UpRequest(source=source, name="shop"))

    def read(self, **environment: str) -> Definition:
        return self.resolved(**environment).definition


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in [name for name in os.environ if len(name) < 10 and name not in ("HOME", "PATH", "TMPDIR")]:
        monkeypatch.delenv(name)
    return Project(tmp_path)


def at(thing: Any, path: str) -> Any:
    """What is at `a.0.b` of a config. None: nothing."""
    for part in path.split("."):
        thing = thing[int(part)] if isinstance(thing, list) else (thing or {}).get(part)
    return thing


def test_variables_of_every_form_are_read(project, capsys):
    project.write(
        {
            "compose.yaml": {
                "include": ["${INCLUDED:-parts/inc.yaml}"],
                "services": {
                    "db": {"image": "x", "labels": {"of": "db"}, "healthcheck": {"test": "true"}},
                    "web": {"image": "x", "ports": ["${ADDR:-127.0.0.1:8080}:80", {"target": 81, "published": "${WEB:-8081}"}]},
                    "odd": {"image": "x", "labels": ODD_LABELS, "x-moorage": {"ready": {"log": "="}}},
                    "inc-user": {"image": "x", "depends_on": ["inc"]},
                    **{name.replace("_", "-"): {"image": "x", **keys} for name, (keys, _, _) in FORMS.items()},
                },
                "volumes": {"v": {"external": "${B:-false}", "name": "${VN:-}"}, "data": None},
                "networks": {"default": {"internal": "${IN:-false}", "driver": "${D:-bridge}"}},
            },
            "parts/base.yaml": {"services": {"base": {"image": "x", "environment": {"BASE": "yes"}}}},
            "parts/inc.yaml": {"services": {"inc": {"image": "y", "ports": ["${INC:-9090}:90"]}}},
            "own.env": "OWN=1\n",
        }
    )  # fmt: skip
    found = project.read()
    done: Counter[str] = Counter()
    for name, (_, path, wanted) in FORMS.items():
        got = at(found.config["services"][name.replace("_", "-")], path)
        done["right" if got == wanted else f"wrong: {name}: {got!r}"] += 1
    ports = {"ADDR": ("web", 80, "tcp", 0), "WEB": ("web", 81, "tcp", 0), "INC": ("inc", 90, "tcp", 0)}
    assert found.port_variables == ports
    assert found.address_variables == ("ADDR",)
    assert found.config["services"]["odd"]["labels"] == ODD_LABELS
    assert found.services["odd"].ready.pattern == "="
    with capsys.disabled():
        print(f" forms of variables: {dict(done)} ", end="")
    assert done == {"right": len(FORMS)}
    assert project.world.compose.config(_again(project, found), "shop", {})["services"].keys() == found.services.keys()


def _again(project: Project, definition: Definition) -> Any:
    """What Moorage writes for Compose to create from is what Compose reads."""
    config, _ = composing.compose_config(definition, (), {}, "home")
    project.write({"again/compose.yaml": composing.file_text(config)})
    return source_of(project.folder / "again", (), (), ())


@pytest.mark.parametrize("origin", ["environment", "env file"])
def test_secrets_and_configs_arrive_whole(project, origin):
    names = {f"{kind}-{name.lower()}": name for name in WHOLE for kind in ("s", "c")}
    use = [{"source": key, "target": f"/{key}"} for key in names]
    content = {f"t-{name.lower()}": {"content": value.replace("$", "$$")} for name, value in WHOLE.items()}
    project.write(
        {
            "compose.yaml": {
                "services": {
                    "web": {
                        "image": "x",
                        "secrets": [one for one in use if one["source"].startswith("s-")],
                        "configs": [one for one in use if one["source"].startswith("c-")]
                        + [{"source": key, "target": f"/{key}"} for key in content],
                    }
                },
                "secrets": {key: {"environment": name} for key, name in names.items() if key.startswith("s-")},
                "configs": {key: {"environment": name} for key, name in names.items() if key.startswith("c-")}
                | content,
            }
        }
    )
    given = WHOLE if origin == "environment" else {}
    if origin == "env file":
        project.write({".env": "".join(f"{name}={_quoted(value)}\n" for name, value in WHOLE.items())})
    files = {one.target: one.content for one in project.read(**given).services["web"].inject}
    wanted = {f"/{key}": WHOLE[name] for key, name in names.items()}
    assert files == wanted | {f"/t-{name.lower()}": value for name, value in WHOLE.items()}


def _quoted(value: str) -> str:
    """For an env file: in single quotes everything but those stands for itself."""
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


@pytest.mark.parametrize("policy", ["missing", "${POLICY:-missing}"], ids=["as written", "as read"])
def test_an_included_file_has_its_own_env_file_and_directory(project, policy):
    project.write(
        {
            "compose.yaml": {
                "include": [{"path": "part/inc.yaml", "env_file": "part/own.env", "project_directory": "part"}],
                "services": {
                    "web": {"image": "x", "environment": {"V": "${V:-outer}"}, "secrets": ["s"], "pull_policy": policy}
                },
            },
            "part/own.env": f"K='{KEY}'\nV=inner\nPORT=9191\n",
            "part/inc.yaml": {
                "services": {
                    "inc": {
                        "image": "y",
                        "environment": {"V": "${V}"},
                        "volumes": ["./data:/d"],
                        "ports": ["${PORT}:90"],
                        "secrets": ["s"],
                        "configs": ["empty"],
                        "x-moorage": {"ready": {"log": "${V} is up"}},
                    }
                },
                "secrets": {"s": {"environment": "K"}},
                "configs": {"empty": {"content": ""}},
            },
        }
    )
    resolved = project.resolved()
    found = resolved.definition
    assert [one.content for one in found.services["web"].inject] == [KEY]
    assert [one.content for one in found.services["inc"].inject] == [KEY, ""]
    assert found.services["inc"].ready.pattern == "inner is up"
    assert KEY in found.hidden.secrets
    services = found.config["services"]
    assert (services["web"]["environment"], services["inc"]["environment"]) == ({"V": "outer"}, {"V": "inner"})
    assert services["inc"]["volumes"][0]["source"] == str(project.folder / "part" / "data")
    (request,) = composing.requests_of(found)
    moved = Lease(key=request.key, port=9192, wanted=9191, since=project.world.clock.now())
    again = resolve.with_leased_variables(project.world, resolved, [moved])
    assert [one.content for one in again.services["inc"].inject] == [KEY, ""]
    assert again.services["inc"].ports[0].wanted == 9191


def test_an_address_in_a_variable_stays_when_its_port_moves(project):
    """And what the file wants stays what it wants, so that the lease is kept next time."""
    project.write(
        {
            "compose.yaml": {
                "services": {
                    "web": {
                        "image": "x",
                        "ports": ["${WEB:-0.0.0.0:8080}:80", "${SIX:-[::1]:8080}:80", "${UDP:-8053}:53/${PROTO:-udp}"],
                        "environment": {"URL": "http://${WEB:-0.0.0.0:8080}", "SIX": "${SIX:-}", "UDP": "$UDP"},
                    }
                }
            }
        }
    )
    resolved = project.resolved(UDP="8053")
    now = project.world.clock.now()
    leases = [
        Lease(key=one.key, port=18080 + number, wanted=one.wanted, host_ip=one.host_ip or "127.0.0.1", since=now)
        for number, one in enumerate(composing.requests_of(resolved.definition))
    ]
    moved = resolve.with_leased_variables(project.world, resolved, leases)
    environment = moved.config["services"]["web"]["environment"]
    assert environment == {"URL": "http://0.0.0.0:18080", "SIX": "[::1]:18081", "UDP": "18082"}
    assert composing.requests_of(moved) == composing.requests_of(resolved.definition)
    config, _ = composing.compose_config(moved, leases, {}, "home")
    published = [(port["host_ip"], port["published"]) for port in config["services"]["web"]["ports"]]
    assert published == [("0.0.0.0", "18080"), ("::1", "18081"), ("127.0.0.1", "18082")]


@pytest.mark.parametrize("port", ["-1:80", "${P:-abc}:80", "80:99999"])
def test_a_wrong_port_in_short_form_is_refused_by_its_key(project, port):
    services = {"db": {"image": "x", "ports": ["77:77"]}, "web": {"image": "x", "ports": ["80:80", port]}}
    project.write({"compose.yaml": {"services": services}})
    with pytest.raises(DefinitionError, match=r"services\.web\.ports: ") as caught:
        project.read()
    assert (caught.value.fields["service"], caught.value.fields["key"]) == ("web", "services.web.ports")


def test_what_compose_decodes_is_named_by_its_key(project):
    project.write({"compose.yaml": {"services": {"web": {"image": "x", "healthcheck": {"test": "x", "retries": -1}}}}})
    with pytest.raises(DefinitionError) as caught:
        project.read()
    assert caught.value.fields["key"] == "services.web.healthcheck.retries"


def test_merges_resets_extensions_and_dollars(project):
    project.write(
        {
            "compose.yaml": """
x-common: &common
  image: x
  environment: &env {A: "1", B: $$B}
services:
  web:
    <<: *common
    environment: {<<: *env, C: "$${C}"}
    ports: ["8080:80", "9090:90"]
    command: [sh, -c, "echo $$PATH $$$$"]
    labels: {long: LONG, x: "10:30", y: "0777"}
    x-anything: [1, {a: b}]
  gone: {image: y}
""".replace("LONG", "y" * 100_000),
            "compose.override.yaml": """
services:
  web:
    ports: !override ["7070:70"]
    labels: {x: !reset null}
  gone: !reset null
""",
        }
    )
    found = project.read()
    web = found.config["services"]["web"]
    assert list(found.services) == ["web"]
    assert web["environment"] == {"A": "1", "B": "$$B", "C": "$${C}"}
    assert web["command"][2] == "echo $$PATH $$$$"
    assert web["labels"] == {"long": "y" * 100_000, "y": "0777"}
    assert [(port.target, port.wanted) for port in found.services["web"].ports] == [(70, 7070)]
    again = project.world.compose.config(_again(project, found), "shop", {})["services"]["web"]
    assert again["command"] == web["command"]
