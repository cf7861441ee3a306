"""Names and values that somebody chose to do harm: they stay text, and reach no shell and no other path."""

from __future__ import annotations

import contextlib
import json
import os

import pytest

from moorage.adapters.engine import client
from moorage.errors import DefinitionError, MoorageError
from moorage.show.text import error_text
from moorage.work.definitions import resolve
from moorage.work.definitions.request import UpRequest, source_of

pytestmark = pytest.mark.engine

SLEEP = "services: {web: {image: '${TINY_IMAGE}', command: [sleep, infinity], stop_grace_period: 0s}}"


def payloads(canary):
    """Text that makes the canary file if a shell ever sees it, or leads elsewhere if it is taken for a path."""
    touch = f"touch {canary}"
    return {
        "semicolon": f"; {touch} ;",
        "substitution": f"$({touch})",
        "backticks": f"`{touch}`",
        "pipe": f"| {touch}",
        "and": f"x && {touch}",
        "quotes": f"'\"; {touch}; '\"",
        "newline": f"x\n{touch}\n",
        "carriage return": f"x\r{touch}",
        "up and away": "../../../../etc/passwd",
        "dots": "..",
        "absolute": "/etc",
        "option": "--volumes",
        "short option": "-v",
        "long": "x" * 300,
        "unicode": "ünï¢ødé-日本-🚢",
        "right to left": "abc\u202egnp.exe",
        "control": "a\x1b[31mb\x07",
        "percent": "%s%n%d",
        "braces": "{0.__class__} ${HOME} {{.}}",
        "blank": " ",
        "not in YAML": "\x7f\x85\x9f\ufeff\u2028",
        "empty": "",
    }


NAMES = list(payloads(""))


@pytest.fixture
def canary(tmp_path):
    """A file that must not come into being."""
    file = tmp_path / "canary"
    yield file
    assert not file.exists()


@pytest.fixture
def payload(request, canary):
    return payloads(canary)[request.param]


every = pytest.mark.parametrize("payload", NAMES, indirect=True)


@every
async def test_the_name_of_a_stack(payload, stack, machine_state):
    s = stack(SLEEP)
    error = await s.fails(DefinitionError, name=payload)
    assert error.exit_code == 2
    assert error.hint
    assert len(str(error)) < 300
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)


def test_names_on_the_command_line(project, canary, machine_state):
    project.compose(SLEEP)
    for payload, verb, why in (
        (f"; touch {canary} ;", ["status"], "there is no stack"),
        ("../../etc", ["down"], "there is no stack"),
        (f"$(touch {canary})", ["wait"], "there is no stack"),
        ("x" * 300, ["up", "--name"], "not a valid stack name"),
        ("", ["down"], "there is no stack"),
        ("", ["status", "--name"], "not a valid stack name"),
    ):
        assert why in project.moorage(*verb, payload, exit_code=2).stderr


@pytest.mark.parametrize("where", ["COMPOSE_FILE", "COMPOSE_ENV_FILES", "--project-directory", "context", "dockerfile"])
def test_names_that_are_too_long_for_a_file(where, project):
    name = "x" * 300
    if where.startswith("COMPOSE_"):
        done = project.compose(SLEEP).moorage("config", exit_code=2, **{where: name})
    elif where.startswith("--"):
        done = project.compose(SLEEP).moorage("config", where, name, exit_code=2)
    else:
        build = {"context": ".", where: name}
        project.write("Dockerfile", "FROM scratch\n")
        done = project.compose(json.dumps({"services": {"web": {"build": build}}})).moorage("plan", exit_code=2)
    assert name in done.stderr


COMPOSE_CANNOT = ("newline", "carriage return", "control", "percent", "right to left", "not in YAML")
"""Directories that Compose itself cannot read from: it takes the path for a URL, or for YAML."""


@pytest.mark.parametrize("which", [name for name in NAMES if name not in COMPOSE_CANNOT])
async def test_the_name_of_a_directory(which, tmp_path, world, canary):
    payload = payloads(canary)[which]
    path = tmp_path / "d" / (payload.replace("/", "_")[:120] if payload not in ("", "..") else "dotted..")
    path.mkdir(parents=True)
    (path / "compose.yaml").write_text("services: {web: {image: x, volumes: ['.:/here'], env_file: a.env}}")
    (path / "a.env").write_text("A=1")
    definition = resolve.resolve(world, UpRequest(source=source_of(path, (), (), ()))).definition
    assert 1 <= len(definition.name) <= 48
    assert set(definition.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert definition.config["services"]["web"]["volumes"][0]["source"].replace("$$", "$") == str(path)
    assert definition.config["services"]["web"]["environment"] == {"A": "1"}


@pytest.mark.parametrize("which", COMPOSE_CANNOT)
async def test_the_name_of_a_directory_that_compose_cannot_read(which, tmp_path, world, canary):
    path = tmp_path / "d" / payloads(canary)[which].replace("/", "_")
    path.mkdir(parents=True)
    (path / "compose.yaml").write_text("services: {web: {image: x, volumes: ['.:/here']}}")
    with contextlib.suppress(DefinitionError):  # newer ones may learn to
        assert resolve.resolve(world, UpRequest(source=source_of(path, (), (), ()))).definition.services.keys() == {
            "web"
        }


async def test_a_stack_from_a_hostile_directory_comes_up(stack, canary, docker_client, tmp_path, stack_prefix):
    s = stack("")
    path = tmp_path / f"{stack_prefix} ; $(touch {canary.name}) `id` 'q' \"ü\" 日"
    s.path.rename(path)
    s.path = path
    s.compose("""
        services: {web: {build: ., command: [sleep, infinity], stop_grace_period: 0s, volumes: [".:/here:ro"]}}
    """)
    s.write("file", "here")
    s.write("Dockerfile", f"FROM {os.environ['TINY_IMAGE']}\nCOPY file /copied\n")
    s.name = (await s.up()).stack
    try:
        assert s.name.startswith(stack_prefix)
        assert s.sh("web", "cat /here/file /copied") == "herehere"
        assert not (path / canary.name).exists()
        assert (await s.plan()).empty
        await s.down(volumes=True, release_ports=True)
    finally:
        docker_client.images.remove(f"{s.name}-web", force=True)


async def test_values_arrive_as_they_are(stack, canary):
    values = {f"V{n}": value for n, value in enumerate(payloads(canary).values())}
    s = stack("")
    service = {
        "image": "${TINY_IMAGE}",
        "command": ["sh", "-c", "exec sleep infinity", *[value.replace("$", "$$") for value in values.values()]],
        "stop_grace_period": "0s",
        "environment": {key: value.replace("$", "$$") for key, value in values.items()},
        "labels": {key: value.replace("$", "$$") for key, value in values.items()},
        "healthcheck": {"test": ["CMD", "test", "$${0}", "!=", *[values["V1"].replace("$", "$$")]]},
        "post_start": [{"command": ["echo", *[value.replace("$", "$$") for value in values.values()]]}],
    }
    text = json.dumps({"services": {"web": service}}, ensure_ascii=False)
    s.compose(text.translate({ord(one): f"\\u{ord(one):04x}" for one in "\x7f\x85\x9f\ufeff\u2028"}))
    await s.up()
    config = s.container("web").attrs["Config"]
    assert {key: value for key, value in (one.split("=", 1) for one in config["Env"]) if key in values} == values
    assert {key: value for key, value in config["Labels"].items() if key in values} == values
    assert config["Cmd"][3:] == list(values.values())
    assert (await s.plan()).empty
    await s.stop()
    await s.start()


async def test_env_files_with_hostile_values(stack, canary):
    s = stack(
        "services: {web: {image: '${TINY_IMAGE}', command: [sleep, infinity], stop_grace_period: 0s, environment: {A: '${A}', B: '${B}'}, env_file: own.env}}"
    )
    s.write(".env", f"A='$(touch {canary})'\nB=\"line one\\nline two\"\n")
    s.write("own.env", f"C='`touch {canary}`'\n")
    await s.up()
    assert s.sh("web", 'printf %s "$A"') == f"$(touch {canary})"
    assert s.sh("web", 'printf %s "$B"') == "line one\nline two"
    assert s.sh("web", 'printf %s "$C"') == f"`touch {canary}`"


@every
def test_names_of_files(payload, stack, canary):
    s = stack(SLEEP)
    for chosen in ({"files": [payload]}, {"env_files": [payload]}):
        with pytest.raises(DefinitionError):
            resolve.resolve(s.world, s.request(**chosen))
    assert set(resolve.resolve(s.world, s.request(profiles=[payload])).definition.services) == {"web"}


def test_files_with_odd_names_can_be_read(stack, canary):
    s = stack(SLEEP)
    for name in (f"; touch {canary.name}.yaml", "-f.yaml", "$(id).yaml", "a b\nc.yaml", "日本.yaml", "--help"):
        s.write(name, "services: {odd: {image: x}}")
        assert set(resolve.resolve(s.world, s.request(files=[name])).definition.services) == {"odd"}


def used(kind, name):
    """A service that uses one thing, and the thing."""
    service = {"image": "x"}
    if kind == "services":
        return {"services": {name: service}}
    use = [{"type": "volume", "source": name, "target": "/x"}] if kind == "volumes" else [name]
    thing = {"file": "./compose.yaml"} if kind in ("secrets", "configs") else {}
    return {"services": {"web": {**service, kind: use}}, kind: {name: thing}}


@pytest.mark.parametrize("kind", ["services", "volumes", "networks", "secrets"])
@every
def test_names_inside_the_definition(kind, payload, stack, canary):
    """Compose knows which names are names; what it lets through is taken as it is."""
    s = stack(json.dumps(used(kind, payload), ensure_ascii=False))
    try:
        definition = resolve.resolve(s.world, s.request()).definition
    except DefinitionError as error:
        refused = error
    else:
        refused = None
        assert payload in definition.config[kind]
    assert refused is None or refused.exit_code == 2


IMAGES = [
    "; rm -rf /",
    "$(id)",
    "../containers",
    "x/../../volumes",
    "/etc",
    "UPPER/case",
    "x" * 600,
    "-v",
    "a:b:c",
    "http://h/x",
    " ",
]


@pytest.mark.parametrize("image", IMAGES)
async def test_images_that_are_no_images(image, stack, machine_state):
    s = stack(json.dumps({"services": {"web": {"image": image.replace("$", "$$")}}}))
    error = await s.fails(DefinitionError)
    assert (error.exit_code, error.fields["key"]) == (2, "services.web.image")


EXPLICIT = ["../../etc", "/etc", "../volumes/{}", "; rm -rf /", "$(id)", "x" * 300, "ünïcødé", "-v"]


@pytest.mark.parametrize("kind", ["volumes", "networks"])
@pytest.mark.parametrize("name", EXPLICIT)
async def test_explicit_names_of_volumes_and_networks(name, kind, stack, machine_state, docker_client, stack_prefix):
    """The engine refuses some and takes others: either way nothing is left, and nothing of others is touched."""
    other = docker_client.volumes.create(f"{stack_prefix}-of-others")
    machine_state.remember()
    use = {"volumes": ["thing:/thing"]} if kind == "volumes" else {"networks": ["thing"]}
    service = {"image": "${TINY_IMAGE}", "command": ["sleep", "infinity"], "stop_grace_period": "0s", **use}
    explicit = name.replace("$", "$$").format(other.name)
    s = stack(json.dumps({"services": {"web": service}, kind: {"thing": {"name": explicit}}}))
    refused = None
    try:
        await s.up()
    except MoorageError as error:
        refused = error
    assert refused is None or refused.exit_code in (2, 5), refused
    machine_state.assert_same() if refused else await s.down(volumes=True, release_ports=True)
    machine_state.assert_same()


async def test_a_service_with_a_very_long_name(stack, machine_state):
    s = stack(json.dumps({"services": {"x" * 200: {"image": "${TINY_IMAGE}", "command": ["sleep", "3600"]}}}))
    with contextlib.suppress(MoorageError):
        await s.up()
        assert len(s.containers()) == 1
        await s.down(volumes=True, release_ports=True)
    machine_state.assert_same()


async def test_of_a_log_without_end_the_end_is_read(stack, monkeypatch):
    script = "i=0; while [ $$i -lt 3000 ]; do echo line $$i; i=$$((i+1)); done; sleep 600"
    s = stack(
        f"services: {{web: {{image: '${{TINY_IMAGE}}', init: true, command: [sh, -c, '{script}'], x-moorage: {{ready: {{log: 'line 2999'}}}}}}}}"
    )
    await s.up()
    monkeypatch.setattr(client, "_LOG_BYTES", 1000)
    lines = s.world.engine.logs(s.container("web").id, None).splitlines()
    assert lines[-1] == "line 2999"
    assert 50 < len(lines) < 101


async def test_a_log_full_of_control_characters(stack, machine_state):
    s = stack(
        "services: {web: {image: '${TINY_IMAGE}', command: [sh, -c, 'printf \"\\033]0;title\\007\\377\\000bytes\\n::error::x\\n##[add-mask]y\\n\"; exit 3']}}"
    )
    with pytest.raises(MoorageError) as caught:
        await s.up()
    assert "bytes" in caught.value.fields["log"]
    said = error_text(caught.value).splitlines()
    assert {"bytes", ": :error::x", "## [add-mask]y"} <= {line.rpartition("\ufffd")[2] for line in said}


def test_odd_characters_in_an_error_do_not_reach_the_terminal(project):
    project.compose('services: {web: {image: x, "a\\e[31mb": y}}')
    done = project.moorage("plan", exit_code=2)
    assert "\x1b" not in done.stderr


def test_a_pipe_for_a_compose_file_is_given_up(stack, settings, events):
    from moorage.world import open_world

    s = stack(SLEEP)
    (s.path / "compose.yaml").unlink()
    os.mkfifo(s.path / "compose.yaml")
    world = open_world(events.append, settings.model_copy(update={"compose_timeout_s": 0.5}))
    with pytest.raises(DefinitionError, match="no answer"):
        resolve.resolve(world, s.request())
    world.store.close()
