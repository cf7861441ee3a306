"""Compose as a reader of definitions: one suite for the real one and for the one in memory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import DefinitionError
from moorage.rules import composing, reading, sharing
from moorage.settings import Settings
from moorage.testing import FakeCompose, FakeMachine
from tests.contract.test_engine import SLEEP, Bench

RICH = {
    "services": {
        "db": {
            "image": "tiny:1",
            "command": SLEEP,
            "volumes": ["data:/data", "/scratch"],
            "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 3},
        },
        "job": {"image": "tiny:1", "profiles": ["jobs"]},
        "api": {"build": {"context": "."}, "depends_on": {"db": {"condition": "service_healthy"}}, "scale": 1},
        "web": {
            "image": "${IMAGE:-tiny:1}",
            "command": ["sh", "-c", "echo $$HOME"],
            "environment": ["A=${A:-x}", "B=1$$"],
            "ports": ["${WEB_PORT:-8080}:80", "127.0.0.1:9090:90/udp", {"target": 70}],
            "depends_on": ["db"],
            "deploy": {"replicas": 2},
            "labels": {"l": "1"},
            "stop_grace_period": "3s",
            "x-moorage": {"ready": {"log": "up ${A:-x}"}},
        },
    },
    "volumes": {"data": None},
    "x-moorage": {"ttl": "1h"},
}


WHOLE_VALUES = [
    "",
    " ",
    "-----BEGIN KEY-----\nAAA=BBB\nOTHER=oops\n-----END KEY-----",
    "ends with a line end\n",
    "\n\nbegins with two",
    "of another\r\nsystem\r\n",
    "$HOME $$ ${A} $1 $",
    "größe 日本 🚢",
    "tab\tquote\"back\\slash'",
    "# no comment",
    "x" * 100_000,
    "\x01\x7f\u2028\ufeff",
]


@pytest.fixture(params=["fake", "real"])
def reader(request, tmp_path):
    """Compose as a reader: no engine needed."""
    folder = tmp_path / "shop"
    folder.mkdir()
    compose = FakeCompose(FakeMachine()) if request.param == "fake" else ComposeCli(Settings())
    return Bench("shop", None, compose, None, "tiny:1", folder)


def test_a_project_is_the_same_through_a_link(tmp_path, monkeypatch):
    """Go believes `$PWD` where it leads to the working directory, and Compose then names paths by it."""
    folder, link = tmp_path / "shop", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    reader = Bench("shop", None, ComposeCli(Settings()), None, "tiny:1", folder)
    source = reader.source({"services": {"web": {"image": "tiny:1", "volumes": ["./deploy:/d"]}}})
    monkeypatch.setenv("PWD", str(link))
    (volume,) = reader.compose.config(source, "shop", {})["services"]["web"]["volumes"]
    assert volume["source"] == str(folder / "deploy")


def test_a_name_that_only_says_what_compose_would_is_not_meant(tmp_path):
    """So another stack's volume of that name is not used in silence; one that the file names is meant."""
    folder = tmp_path / "a_b"
    folder.mkdir()
    reader = Bench("a_b", None, ComposeCli(Settings()), None, "tiny:1", folder)
    names = {"data": "${COMPOSE_PROJECT_NAME}_data", "none": "", "said": "a_b_said"}
    mounts = [f"{key}:/{key}" for key in names]
    volumes = {key: {"name": name} for key, name in names.items()}
    source = reader.source({"services": {"web": {"image": "tiny:1", "volumes": mounts}}, "volumes": volumes})
    config, raw = reader.compose.config(source, "a_b", {}), reader.compose.raw_config(source)
    definition = reading.read_definition(config, raw, {}, {}, source, Path.resolve)
    claimed = sharing.claims("a_b", config, definition.services, definition.named)
    assert {one.name for one in claimed if one.kind == "volume"} == {"a_b_data", "a_b_none"}


class TestReadingAhead:
    def test_it_gives_what_config_gives(self, reader, monkeypatch):
        monkeypatch.setenv("A", "a")
        source = reader.source(RICH)
        ahead = reader.compose.begin_config(source, "other")
        reader.compose.raw_config(source)
        assert ahead.result() == reader.compose.config(source, "other", {})
        ahead.cancel()

    def test_it_may_be_large_and_wait_for_a_long_time(self, reader):
        """It then waits for its reader, as what it prints is more than a pipe holds."""
        services = {f"s{n}": {"image": "tiny:1", "command": SLEEP} for n in range(2000)}
        source = reader.source({"services": services})
        ahead = reader.compose.begin_config(source, "shop")
        assert set(reader.compose.raw_config(source)["services"]) == set(services)
        assert set(ahead.result()["services"]) == set(services)

    def test_what_cannot_be_read_is_said_when_it_is_asked_for(self, reader):
        source = reader.source({"services": {"web": {"image": "${NOT_THERE:?is needed}"}}})
        ahead = reader.compose.begin_config(source, "shop")
        assert reader.compose.raw_config(source)
        with pytest.raises(DefinitionError, match="is needed"):
            ahead.result()
        ahead.cancel()

    def test_nobody_has_to_ask_for_it(self, reader):
        reader.compose.begin_config(reader.source(RICH), "shop").cancel()


class TestReading:
    def test_canonical_form(self, reader):
        config = reader.compose.config(reader.source(RICH), "shop", {"A": "a$b"})
        assert config == {
            "name": "shop",
            "networks": {"default": {"name": "shop_default", "ipam": {}}},
            "services": {
                "api": {
                    "scale": 1,
                    "command": None,
                    "entrypoint": None,
                    "networks": {"default": None},
                    "build": {"context": str(reader.folder), "dockerfile": "Dockerfile"},
                    "depends_on": {"db": {"condition": "service_healthy", "required": True}},
                },
                "db": {
                    "command": SLEEP,
                    "entrypoint": None,
                    "image": "tiny:1",
                    "networks": {"default": None},
                    "volumes": [
                        {"type": "volume", "source": "data", "target": "/data", "volume": {}},
                        {"type": "volume", "target": "/scratch", "volume": {}},
                    ],
                    "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 3},
                },
                "web": {
                    "deploy": {"replicas": 2, "resources": {}, "placement": {}},
                    "command": ["sh", "-c", "echo $$HOME"],
                    "entrypoint": None,
                    "environment": {"A": "a$$b", "B": "1$$"},
                    "image": "tiny:1",
                    "labels": {"l": "1"},
                    "networks": {"default": None},
                    "stop_grace_period": "3s",
                    "depends_on": {"db": {"condition": "service_started", "required": True}},
                    "ports": [
                        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"},
                        {
                            "mode": "ingress",
                            "host_ip": "127.0.0.1",
                            "target": 90,
                            "published": "9090",
                            "protocol": "udp",
                        },
                        {"mode": "ingress", "target": 70, "protocol": "tcp"},
                    ],
                },
            },
            "volumes": {"data": {"name": "shop_data"}},
            "x-moorage": {"ttl": "1h"},
        }

    def test_is_read_again_as_it_is(self, reader):
        config = reader.compose.config(reader.source(RICH), "shop", {})
        assert reader.compose.config(reader.source(config), "shop", {}) == config

    def test_profiles(self, reader):
        config = reader.compose.config(reader.source(RICH, profiles=("jobs",)), "shop", {})
        assert config["services"]["job"]["profiles"] == ["jobs"]

    def test_names(self, reader):
        text = {"services": {"web": {"image": "x"}}}
        assert reader.compose.config(reader.source(text), None, {})["name"] == "shop"
        assert reader.compose.config(reader.source({"name": "own", **text}), None, {})["name"] == "own"
        assert reader.compose.config(reader.source({"name": "own", **text}), "asked", {})["name"] == "asked"

    def test_as_written(self, reader):
        raw = reader.compose.raw_config(reader.source(RICH))
        config = reader.compose.config(reader.source(RICH), "shop", {})
        services = {name: reading.read_service(name, one, config, {}) for name, one in config["services"].items()}
        assert reading.service_extensions(raw) == {"web": {"ready": {"log": "up ${A:-x}"}}}
        assert reading.port_variables(raw, services) == {"WEB_PORT": ("web", 80, "tcp", 0)}

    def test_variables(self, reader):
        (reader.folder / ".env").write_text("A=of the file\nB=of the file\n")
        source = reader.source(RICH, environment=(("B", "of the source"),))
        found = reader.compose.variables(source, ["A", "B", "PATH", "NOT_SET"])
        assert found == {"A": "of the file", "B": "of the source", "PATH": os.environ["PATH"]}

    @pytest.mark.parametrize("value", WHOLE_VALUES, ids=repr)
    def test_a_value_arrives_whole(self, reader, value):
        source = reader.source(RICH, environment=(("KEY", value), ("OTHER", "x"), ("A.B-C", "odd")))
        assert reader.compose.variables(source, ["KEY", "A.B-C"], "shop") == {"KEY": value, "A.B-C": "odd"}

    def test_the_project_s_name_is_a_variable_only_where_it_is_set(self, reader):
        source = reader.source(RICH)
        name = "COMPOSE_PROJECT_NAME"
        assert reader.compose.variables(source, [name]) == {}
        assert reader.compose.variables(source, [name], "asked") == {name: "asked"}
        (reader.folder / ".env").write_text(f"{name}=of-the-file\n")
        assert reader.compose.variables(source, [name]) == {name: "of-the-file"}

    def test_extensions(self, reader):
        found = reader.compose.extensions(reader.source(RICH, environment=(("A", "a$b"),)), "shop", {})
        assert found == {"web": {"ready": {"log": "up a$$b"}}}

    def test_interpolation(self, reader):
        (reader.folder / ".env").write_text("FILE=f\n")
        source = reader.source(RICH, environment=(("SOURCE", "s"),))
        values = {"a": "$FILE ${SOURCE} ${GIVEN} ${NONE:-n} ${NONE-n}", "b": ["${GIVEN:-x}", 1, {"c": "$$"}]}
        found = reader.compose.interpolate(source, values, {"GIVEN": "g"})
        assert found == {"a": "f s g n n", "b": ["g", 1, {"c": "$$"}]}

    @pytest.mark.parametrize(
        ("services", "words"),
        [
            ({"web": {"image": "x", "depends_on": ["db"]}}, r'services\.web\.depends_on: no service "db"'),
            ({n: {"image": "x", "depends_on": [m]} for n, m in (("a", "b"), ("b", "a"))}, "dependency cycle"),
            ({"web": {}}, "has neither an image nor a build context"),
            ({"web": {"image": "x", "volumes": ["no:/x"]}}, "refers to undefined volume no"),
            ({"web": {"image": "x", "networks": ["no"]}}, "refers to undefined network no"),
            ({"web": {"image": "x", "nonsense": 1}}, r"services\.web\.nonsense"),
            ({"web": {"image": "${NOWHERE?say it}"}}, "say it"),
        ],
    )
    def test_what_makes_no_sense(self, reader, services, words):
        with pytest.raises(DefinitionError, match=words):
            reader.compose.config(reader.source({"services": services}), "shop", {})

    def test_what_is_extended_is_not_there(self, reader):
        with pytest.raises(DefinitionError) as caught:
            reader.compose.config(reader.source({"services": {"web": {"image": "x", "extends": "no"}}}), "shop", {})
        assert caught.value.fields["key"] == "services.web.extends"

    def test_what_is_no_compose_file(self, reader):
        with pytest.raises(DefinitionError):
            reader.compose.config(reader.source('{"services":'), "shop", {})

    def test_no_file(self, reader):
        with pytest.raises(DefinitionError, match="no compose file"):
            reader.compose.config(reader.source(), "shop", {})

    def test_version(self, reader):
        assert int(reader.compose.version().split(".")[0]) >= 2


@pytest.mark.parametrize("key", sorted(composing.NOT_IN_DIGEST))
def test_what_is_no_part_of_our_digest_is_no_part_of_composes(tmp_path, key):
    """Else Compose would re-create a container that no plan speaks of."""
    values = {
        "depends_on": ["db"],
        "profiles": ["a"],
        "scale": 2,
        "x-moorage": {"ready": {"exit": 0}},
        "pull_policy": "never",
    }
    compose = ComposeCli(Settings())
    said = []
    for more in ({}, {key: values[key]}):
        services = {"db": {"image": "tiny:1"}, "web": {"image": "tiny:1", "command": SLEEP, **more}}
        (tmp_path / "compose.yaml").write_text(json.dumps({"name": "shop", "services": services}))
        command = [*compose._command(), "--profile", "*", "config", "--hash", "web"]
        said.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1]
    assert said[0].startswith("web ")


def test_compose_tells_of_keys_that_it_ignores(tmp_path):
    """So those that only a newer Compose knows to be without effect are told of too."""
    reader = Bench("shop", None, ComposeCli(Settings()), None, "tiny:1", tmp_path)
    source = reader.source({"services": {"web": {"image": "tiny:1", "deploy": {"labels": {"a": "b"}}}}})
    said: list[str] = []
    reader.compose.config(source, "shop", {}, said.append)
    assert [words.partition(": ")[0] for words in said] == ["services.web.deploy.labels"]


SSH = {
    "the agent": (["default"], ["default"]),
    "a key": (["k=/keys/k"], ["k=/keys/k"]),
    "both": ({"default": None, "k": "/keys/a: b"}, ["default", "k=/keys/a: b"]),
    "none": ([], []),
}


@pytest.mark.parametrize(("written", "wanted"), SSH.values(), ids=SSH)
def test_what_compose_cannot_write_as_json_is_read_all_the_same(written, wanted, tmp_path):
    compose = ComposeCli(Settings())
    reader = Bench("shop", None, compose, None, "tiny:1", tmp_path)
    web = {"build": {"context": ".", "ssh": written}, "x-moorage": {"ready": {"log": "up"}}, "labels": {"a": "1"}}
    source = reader.source({"services": {"web": web}})
    config = compose.config(source, "shop", {})
    service = config["services"]["web"]
    assert service["build"].get("ssh", []) == wanted
    assert "x-moorage" not in service
    assert reading.service_extensions(compose.raw_config(source)) == {"web": {"ready": {"log": "up"}}}
    again = tmp_path / "again.yaml"
    again.write_text(composing.file_text(config))
    assert compose.config(source.model_copy(update={"files": (again,)}), "shop", {})["services"]["web"] == service


MAPPINGS = {
    "image": "tiny:1",
    "build": {
        "context": ".",
        "ssh": {"default": None, "k": "/keys/k", "a": "/keys/a", "z": "/keys/z"},
        "args": {"D": "1", "B": "2", "C": "3"},
        "additional_contexts": {"c": ".", "a": ".", "b": "."},
        "extra_hosts": {"h1": "192.0.2.1", "h2": ["192.0.2.2", "192.0.2.3"], "h3": "192.0.2.4"},
        "labels": {"z": "1", "b": "2", "a": "3"},
        "ulimits": {"nproc": 3, "core": 3, "nofile": 3},
    },
    "environment": {"D": "1", "B": "2", "C": "3"},
    "extra_hosts": {"h1": "192.0.2.1", "h2": ["192.0.2.2", "192.0.2.3"], "h3": "192.0.2.4"},
    "sysctls": {"net.z": 1, "net.a": 2, "net.b": 3},
    "annotations": {"z": "1", "b": "2", "a": "3"},
    "labels": {"z": "1", "b": "2", "a": "3"},
    "depends_on": ["c", "a", "b"],
    "networks": {"n3": {"aliases": ["z", "a", "y"]}, "n1": {"driver_opts": {"z": "1", "a": "2"}}, "n2": None},
    "ports": ["3000-3003", "80-81:80-81/udp"],
    "ulimits": {"nproc": 3, "core": 3, "nofile": 3},
    "logging": {"driver": "json-file", "options": {"z": "1", "a": "2"}},
    "x-moorage": {"ready": {"log": "up"}},
}
"""Every form in which Compose takes names in no order and may print a list."""


def test_what_compose_reads_twice_is_twice_the_same(tmp_path):
    """A program in Go gives what a map holds in another order every time; a build would be another one every time."""
    compose = ComposeCli(Settings())
    reader = Bench("shop", None, compose, None, "tiny:1", tmp_path)
    others = {name: {"image": "tiny:1"} for name in "abc"}
    networks = {"n1": None, "n2": None, "n3": {"driver_opts": {"z": "1", "a": "2"}}}
    source = reader.source({"services": {"web": MAPPINGS, **others}, "networks": networks})
    read = [json.dumps([compose.config(source, "shop", {}), compose.raw_config(source)]) for _ in range(8)]
    assert len(set(read)) == 1


ENUM = {"image": "tiny:1", "pull_policy": "${POLICY:-missing}"}
"""With this, Compose does not read the file without replacing variables."""


def test_beside_a_variable_in_an_enum_services_of_other_profiles_are_known(tmp_path):
    """`up web` switches the profiles of web on: it has to be known which ones these are."""
    compose = ComposeCli(Settings())
    reader = Bench("shop", None, compose, None, "tiny:1", tmp_path)
    services = {"api": ENUM, "web": {"image": "tiny:1", "profiles": ["debug"]}}
    found = compose.raw_config(reader.source({"services": services}))["services"]
    assert found["web"]["profiles"] == ["debug"]
    services["web"] |= {"networks": ["no-such"]}  # of no interest to those who do not ask for it
    assert set(compose.raw_config(reader.source({"services": services}))["services"]) == {"api"}


BAD_PORTS = ("99999:80", "${PORT:-99999}:80", "80:80/xyz", "9-5:80", "8000-8001:1-5", "1.2.3:80:80")


@pytest.mark.parametrize("port", BAD_PORTS)
def test_beside_a_variable_in_an_enum_a_wrong_port_names_its_service(port, tmp_path):
    reader = Bench("shop", None, ComposeCli(Settings()), None, "tiny:1", tmp_path)
    services = {"api": ENUM, "good": {"image": "tiny:1", "ports": ["81:81"]}, "web": {**ENUM, "ports": [port]}}
    with pytest.raises(DefinitionError, match=r"^services\.web\.ports: ") as caught:
        reader.compose.raw_config(reader.source({"services": services}))
    assert (caught.value.fields["service"], caught.value.fields["key"]) == ("web", "services.web.ports")
