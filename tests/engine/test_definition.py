"""What is asked for: files, profiles, variables, names; and what cannot be had."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.errors import DefinitionError, UnsupportedKeyError
from moorage.work.definitions import resolve
from moorage.work.definitions.request import UpRequest, source_of

pytestmark = pytest.mark.engine

BOMB_SHARE = 50
"""It takes ten to fifteen times what a small file takes that is refused as well; written out it would take minutes, and all memory."""

WEB = """
    services:
      web:
        image: ${TINY_IMAGE}
        command: [sleep, infinity]
"""


def environment(definition, service="web"):
    return definition.config["services"][service]["environment"]


@pytest.fixture
def resolved(world):
    """Resolves a stack's request, with nothing started."""

    def look(stack, **more):
        return resolve.resolve(world, stack.request(**more)).definition

    return look


# --- files ---------------------------------------------------------------------------------------------------


async def test_several_files_are_merged_in_their_order(stack, machine_state):
    s = stack("""
        services:
          web: {image: "${TINY_IMAGE}", command: [sleep, infinity], environment: {A: base, B: base}, labels: {l: base}}
    """)
    s.write(
        "more/over.yaml",
        """
        services:
          web: {environment: {B: over, C: over}, working_dir: /tmp}
          job: {image: "${TINY_IMAGE}", command: [sleep, infinity]}
    """,
    )
    await s.up(files=["compose.yaml", "more/over.yaml"])
    assert s.sh("web", "echo $A $B $C; pwd") == "base over over\n/tmp"
    assert [c.labels["com.docker.compose.service"] for c in s.containers()] == ["job", "web"]
    await s.down(volumes=True, release_ports=True)


def test_paths_are_relative_to_the_first_file(stack, resolved):
    s = stack(WEB)
    s.write("a/one.yaml", "services: {web: {image: x, volumes: ['./data:/data'], env_file: ./web.env}}")
    s.write("a/web.env", "FROM_FILE=a")
    (s.path / "a" / "data").mkdir()
    request = UpRequest(source=source_of(None, [str(s.path / "a/one.yaml"), str(s.path / "compose.yaml")], (), ()))
    definition = resolve.resolve(s.world, request).definition
    assert definition.source.directory == s.path / "a"
    assert definition.config["services"]["web"]["volumes"][0]["source"] == str(s.path / "a" / "data")
    assert environment(definition)["FROM_FILE"] == "a"


def test_profiles_switch_services_on(stack, resolved):
    s = stack("""
        services:
          web: {image: x}
          debug: {image: x, profiles: [debug, all]}
          extra: {image: x, profiles: [extra]}
    """)
    assert set(resolved(s).services) == {"web"}
    assert set(resolved(s, profiles=["debug"]).services) == {"web", "debug"}
    assert set(resolved(s, profiles=["all", "extra"]).services) == {"web", "debug", "extra"}
    assert set(resolved(s, profiles=["*"]).services) == {"web", "debug", "extra"}


def test_profiles_of_the_environment(stack, resolved, monkeypatch):
    s = stack("services: {web: {image: x}, debug: {image: x, profiles: [debug]}}")
    monkeypatch.setenv("COMPOSE_PROFILES", "debug")
    assert set(resolved(s).services) == {"web", "debug"}


def test_all_services_in_profiles_is_an_error_that_says_so(stack, resolved):
    s = stack("services: {debug: {image: x, profiles: [debug]}}")
    with pytest.raises(DefinitionError, match="no service") as caught:
        resolved(s)
    assert "--profile" in caught.value.hint


def test_env_files_fill_variables(stack, resolved):
    s = stack("services: {web: {image: x, environment: {A: '${A:-none}', B: '${B:-none}'}}}")
    assert environment(resolved(s)) == {"A": "none", "B": "none"}
    s.write(".env", "A=dotenv\nB=dotenv\n")
    assert environment(resolved(s)) == {"A": "dotenv", "B": "dotenv"}
    s.write("one.env", "A=one\nB=one\n")
    s.write("two.env", "B=two\n")
    assert environment(resolved(s, env_files=["one.env", "two.env"])) == {"A": "one", "B": "two"}


def test_a_variable_of_the_process_wins_over_env_files(stack, resolved, monkeypatch):
    s = stack("services: {web: {image: x, environment: {A: '${A}'}}}")
    s.write(".env", "A=dotenv")
    monkeypatch.setenv("A", "process")
    assert environment(resolved(s)) == {"A": "process"}


def test_a_missing_env_file_is_named(stack, resolved):
    with pytest.raises(DefinitionError, match=r"nope\.env") as caught:
        resolved(stack(WEB), env_files=["nope.env"])
    assert caught.value.exit_code == 2


def test_compose_file_of_the_environment(stack, monkeypatch):
    s = stack(WEB)
    s.write("deploy/base.yaml", "services: {base: {image: x}}")
    s.write("deploy/more.yaml", "services: {more: {image: x}}")
    monkeypatch.setenv("COMPOSE_FILE", f"deploy/base.yaml{os.pathsep}deploy/more.yaml")
    monkeypatch.chdir(s.path)
    source = source_of(None, (), (), ())
    definition = resolve.resolve(s.world, UpRequest(source=source)).definition
    assert set(definition.services) == {"base", "more"}
    assert source.directory == s.path / "deploy"
    assert definition.name == "deploy"


def test_compose_file_of_the_env_file(stack, resolved):
    s = stack(WEB)
    s.write("other.yaml", "services: {other: {image: x}}")
    s.write(".env", "COMPOSE_FILE=other.yaml")
    assert set(resolved(s).services) == {"other"}


def test_a_directory_below_finds_the_file_above(stack, monkeypatch):
    s = stack(WEB)
    (s.path / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(s.path / "src" / "deep")
    definition = resolve.resolve(s.world, UpRequest(source=source_of(None, (), (), ()))).definition
    assert (definition.source.directory, definition.name) == (s.path, s.name)


def test_no_compose_file_anywhere(tmp_path, world):
    with pytest.raises(DefinitionError, match="no compose file") as caught:
        resolve.resolve(world, UpRequest(source=source_of(tmp_path, (), (), ())))
    assert (caught.value.exit_code, caught.value.fields["file"]) == (2, str(tmp_path))


def test_no_such_directory(tmp_path):
    with pytest.raises(DefinitionError, match="no such directory"):
        source_of(tmp_path / "nope", (), (), ())


def test_include_extends_and_anchors(stack, resolved):
    s = stack("""
        include: [parts/db.yaml]
        x-common: &common {environment: {FROM: anchor}, restart: unless-stopped}
        services:
          web:
            <<: *common
            image: x
            depends_on: [db]
          worker:
            extends: {file: parts/base.yaml, service: base}
            environment: {OWN: worker}
    """)
    s.write("parts/db.yaml", "services: {db: {image: y, env_file: db.env}}")
    s.write("parts/db.env", "DB=included")
    s.write("parts/base.yaml", "services: {base: {image: z, environment: {FROM: base, OWN: base}}}")
    definition = resolved(s)
    assert environment(definition) == {"FROM": "anchor"}
    assert definition.config["services"]["web"]["restart"] == "unless-stopped"
    assert environment(definition, "db") == {"DB": "included"}
    assert environment(definition, "worker") == {"FROM": "base", "OWN": "worker"}
    assert definition.services["worker"].image == "z"


def test_override_and_reset(stack, resolved):
    s = stack("services: {web: {image: x, ports: ['8000:80'], environment: {A: a, B: b}, command: [one]}}")
    s.write(
        "over.yaml",
        """
        services:
          web:
            ports: !override ["9000:90"]
            environment: {A: !reset null}
            command: !reset null
    """,
    )
    definition = resolved(s, files=["compose.yaml", "over.yaml"])
    assert [(p.wanted, p.target) for p in definition.services["web"].ports] == [(9000, 90)]
    assert environment(definition) == {"B": "b"}
    assert definition.config["services"]["web"]["command"] is None


# --- names ---------------------------------------------------------------------------------------------------


def test_the_name_by_precedence(stack, resolved, monkeypatch):
    s = stack("services: {web: {image: x}}")
    prefix = s.name
    assert resolved(s).name == prefix
    s.compose(f"name: {prefix}-file\nservices: {{web: {{image: x}}}}")
    assert resolved(s).name == f"{prefix}-file"
    s.write(".env", f"COMPOSE_PROJECT_NAME={prefix}-dotenv")
    assert resolved(s).name == f"{prefix}-dotenv"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"{prefix}-env")
    assert resolved(s).name == f"{prefix}-env"
    assert resolved(s, name=f"{prefix}-flag").name == f"{prefix}-flag"


def test_the_name_may_hold_variables(stack, resolved, monkeypatch):
    s = stack("name: ${PREFIX:?}-${KIND:-dev}\nservices: {web: {image: x}}")
    monkeypatch.setenv("PREFIX", s.name)
    assert resolved(s).name == f"{s.name}-dev"
    assert resolved(s).config["networks"]["default"]["name"] == f"{s.name}-dev_default"


async def test_a_name_that_another_directory_has(stack, resolved):
    s, other = stack(WEB), stack(WEB, "-x")
    await s.up()
    with pytest.raises(DefinitionError, match=str(s.path)):
        resolved(other, name=s.name)
    other.compose(f"name: {s.name}{WEB}".replace("\n    ", "\n"))
    derived = resolved(other).name
    assert derived.startswith(f"{s.name}-")
    assert derived != s.name
    await s.down()


async def test_a_name_that_a_foreign_compose_project_has(stack, resolved, docker_compose):
    import subprocess

    s = stack(WEB)
    subprocess.run([docker_compose, "-p", s.name, "create"], cwd=s.path, check=True, capture_output=True)
    with pytest.raises(DefinitionError, match="is a plain Compose project, not a stack of Moorage"):
        resolved(s, name=s.name)
    assert resolved(s).name != s.name
    assert [c.status for c in s.containers()] == ["created"]


# --- what is wrong with it -----------------------------------------------------------------------------------

BROKEN = {
    "unknown key": ("services: {web: {image: x, imag: y}}", {"service": "web"}, "imag"),
    "no image": ("services: {web: {command: x}}", {"service": "web"}, "image"),
    "unknown dependency": (
        "services: {web: {image: x, depends_on: [databse]}, database: {image: x}}",
        {"service": "web", "key": "services.web.depends_on", "hint": 'Did you mean "database"?'},
        'services.web.depends_on: no service "databse"',
    ),
    "missing context": (
        "services: {web: {build: ./nope}}",
        {"service": "web", "key": "services.web.build.context"},
        "no such directory",
    ),
    "unknown network": ("services: {web: {image: x, networks: [nope]}}", {"key": "services.web.networks"}, "nope"),
    "unknown volume": ("services: {web: {image: x, volumes: ['nope:/x']}}", {"service": "web"}, "nope"),
    "bad port": ("services: {web: {image: x, ports: ['a:b']}}", {}, "port"),
    "bad duration": ("services: {web: {image: x, stop_grace_period: soon}}", {}, "soon"),
    "bad yaml": ("services: {web: {image: x", {}, "yaml"),
    "not a mapping": ("- a\n- b", {}, "compose.yaml"),
    "required variable": ("services: {web: {image: '${NEEDED:?say which}'}}", {}, "say which"),
    "bad condition": (
        "services: {web: {image: x, depends_on: {db: {condition: service_happy}}}, db: {image: x}}",
        {"service": "web"},
        "condition",
    ),
    "missing extends": ("services: {web: {extends: {file: nope.yaml, service: a}}}", {}, "nope.yaml"),
    "missing include": ("include: [nope.yaml]\nservices: {web: {image: x}}", {}, "nope.yaml"),
    "missing env_file": ("services: {web: {image: x, env_file: nope.env}}", {}, "nope.env"),
    "cycle": (
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [c]}, c: {image: x, depends_on: [a]}}",
        {},
        "cycle",
    ),
    "cycle of one": ("services: {a: {image: x, depends_on: [a]}}", {}, "cycle"),
    "bad x-moorage": (
        "services: {web: {image: x, x-moorage: {redy: {tcp: 1}}}}",
        {"key": "services.web.x-moorage.redy"},
        "redy",
    ),
    "two checks": ("services: {web: {image: x, x-moorage: {ready: {tcp: 1, http: /}}}}", {"service": "web"}, "one of"),
    "no check": ("services: {web: {image: x, x-moorage: {ready: {timeout: 3s}}}}", {"service": "web"}, "one of"),
    "bad port of a check": ("services: {web: {image: x, x-moorage: {ready: {tcp: 99999}}}}", {}, "65535"),
    "bad log pattern": ("services: {web: {image: x, x-moorage: {ready: {log: '('}}}}", {}, "regular expression"),
    "bad probe": ("services: {web: {image: x, x-moorage: {probe: often}}}", {"service": "web"}, "often"),
    "bad ttl": ("x-moorage: {ttl: long}\nservices: {web: {image: x}}", {"key": "x-moorage.ttl"}, "long"),
    "no services": ("services: {}", {}, "no service"),
    "external secret": (
        "services: {web: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}",
        {"key": "secrets.s.external"},
        "external",
    ),
    "unset secret": (
        "services: {web: {image: x, secrets: [s]}}\nsecrets: {s: {environment: NOT_SET_ANYWHERE}}",
        {"key": "secrets.s.environment"},
        "NOT_SET_ANYWHERE",
    ),
    "binary": ("\x00\x01\x02", {}, "compose.yaml"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_definition_is_exit_2_and_starts_nothing(what, stack, machine_state):
    text, fields, word = BROKEN[what]
    s = stack(text)
    error = await s.fails(DefinitionError)
    assert error.exit_code == 2
    assert word.lower() in str(error).lower()
    assert {key: error.as_dict().get(key) for key in fields} == fields
    # Where it is: the file, its directory, or the key.
    assert error.fields.get("key") or str(s.path) in str(error)
    assert s.leases == {}
    assert s.world.store.stack(s.name) is None
    assert s.world.store.unfinished_runs() == ()


UNSUPPORTED = {
    "services.web.provider": "services: {web: {provider: {type: awesomecloud}}}",
    "services.web.models": "services: {web: {image: x, models: [llm]}}\nmodels: {llm: {model: ai/some}}",
}


@pytest.mark.parametrize("key", UNSUPPORTED)
async def test_a_key_that_compose_would_honour_and_we_do_not(key, stack, machine_state):
    s = stack(UNSUPPORTED[key])
    error = await s.fails(UnsupportedKeyError)
    assert error.exit_code == 2
    assert error.fields["key"] in (key, "models")
    assert error.hint


async def test_an_alias_bomb_is_refused_before_it_costs_much(stack, machine_state):
    names = "abcdefghi"
    levels = [
        f'{name}: &{name} ["{"x" * 9}"]' if n == 0 else f"{name}: &{name} [{','.join([f'*{names[n - 1]}'] * 9)}]"
        for n, name in enumerate(names)
    ]
    small = stack("services: {web: {image: x, labels: {a: b}, nonsense: c}}\n", "-small")
    begun_s = children_cpu_s()
    await small.fails(DefinitionError)
    before_s = children_cpu_s()
    s = stack("x-bomb:\n  " + "\n  ".join(levels) + "\nservices: {web: {image: x, labels: {a: b}}}\n")
    error = await s.fails(DefinitionError)
    assert children_cpu_s() - before_s < BOMB_SHARE * (before_s - begun_s)
    assert error.exit_code == 2


def children_cpu_s() -> float:
    """Processor time of the child processes that have ended: other than a clock's, it is no longer on a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_compose_that_hangs_is_ended_with_its_children(stack, tmp_path, settings):
    from moorage.adapters.compose.cli import ComposeCli

    fake = tmp_path / "compose"
    fake.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo 5.0.0 && exit\necho $$ > {tmp_path}/pid\nsleep 3600\n')
    fake.chmod(0o755)
    s = stack(WEB)
    compose = ComposeCli(settings.model_copy(update={"compose": fake, "compose_timeout_s": 0.5}))
    with pytest.raises(DefinitionError, match=r"no answer within [\d.]+ s"):
        compose.config(s.request().source, s.name, {})
    group = (tmp_path / "pid").read_text().strip()
    assert eventually(lambda: not alive_in_group(group)), "the whole group was killed"


def alive_in_group(group: str) -> list[str]:
    """Processes of a group that still run; a killed one may wait for its reaper for a while."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text().rpartition(") ")
        except OSError:  # it ended while we looked
            continue
        state, _parent, its_group = fields.split()[:3]
        if its_group == group and state != "Z":
            found.append(name)
    return found


def eventually(true: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


# --- images --------------------------------------------------------------------------------------------------


async def test_an_inline_dockerfile_is_built_with_or_without_buildkit(stack, docker_client, machine_state):
    s = stack("""
        services:
          web:
            build:
              context: .
              args: {WHO: world}
              dockerfile_inline: |
                FROM ${TINY_IMAGE}
                ARG WHO
                RUN echo "inline $$WHO" > /who
            command: [sleep, infinity]
    """)
    s.write("Dockerfile", "FROM nothing-of-this-name\n")
    try:
        await s.up()
        assert s.sh("web", "cat /who") == "inline world"
        assert (await s.plan()).empty
        await s.down(volumes=True, release_ports=True)
        assert not [*s.world.files.names(f"generations/{s.name}")]
    finally:
        docker_client.images.remove(f"{s.name}-web", force=True)


def test_a_missing_dockerfile_or_context_is_named(stack):
    s = stack("services: {web: {build: {context: ., dockerfile: Nope}}}")
    import asyncio

    with pytest.raises(DefinitionError, match="Nope"):
        asyncio.run(s.plan())
    s.compose("services: {web: {build: ./nowhere}}")
    with pytest.raises(DefinitionError, match="nowhere"):
        asyncio.run(s.plan())


def test_paths_in_the_sources_are_absolute(stack, resolved):
    definition = resolved(stack(WEB))
    assert definition.source.directory.is_absolute()
    assert definition.source.files == ()
    assert Path(definition.source.directory, "compose.yaml").is_file()
