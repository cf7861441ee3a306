"""What our adapters ask of Dagger, checked against the engine's schema; and what becomes of it when it goes wrong."""

from __future__ import annotations

import ast
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

import graphql
import pytest

from moorage.adapters.dagger import pipeline
from moorage.adapters.dagger.builder import DaggerBuilder
from moorage.adapters.dagger.child import DaggerChild, DaggerFailedError
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.errors import BackendUnavailableError, ImageError, TransientImageError, UnsupportedByBackendError
from moorage.model.image import BuildSecret, BuildSpec, RegistryLogin
from moorage.settings import Settings
from moorage.testing import FakeEngine, FakeMachine
from tests.contract import dagger_server
from tests.contract.dagger_server import SCHEMA, Session, wait_until
from tests.contract.dagger_services import exec_error

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dagger" / "schema.graphqls"
SOON = {"dagger_connect_timeout_s": 20.0}


class TakesAnyArchive(FakeEngine):
    """An engine that loads what the server's exports write when they do not build."""

    loaded: int = 0

    def load(self, file):
        assert file.read_bytes() == b"no archive"
        self.loaded += 1
        return self.machine.add_image(f"loaded:{self.loaded}")


@pytest.fixture
def engine():
    return TakesAnyArchive(FakeMachine())


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


def spec(context, secrets=(), **build):
    return BuildSpec(
        stack="shop",
        service="web",
        tag="shop-web",
        file=context / "x",
        build={"context": str(context), **build},
        secrets=secrets,
    )


def built(engine, context, logins=(), said=None, secrets=(), **build):
    builder = DaggerBuilder(Settings(**SOON), engine, logins)
    return builder.build(spec(context, secrets, **build), (said if said is not None else []).append)


# --- what is asked -------------------------------------------------------------------------------------------


def test_the_schema_is_the_engine_s():
    """The copy beside this file; where the shared one is at hand, they have to be the same."""
    assert "dockerBuild" in dagger_server.schema().type_map["Directory"].fields
    assert graphql.validate_schema(dagger_server.schema()) == []
    if SHARED.is_file():
        assert SHARED.read_text() == SCHEMA.read_text()


def test_a_call_that_the_schema_does_not_have_fails(session: Session):
    """The exam itself: a wrong field, a wrong argument, an id of another type."""
    for query in ("{ container { withMagic { id } } }", "{ host { directory(pathh: 1) { id } } }"):
        assert '"errors"' in session.answer({"query": query})
    other = re.search(r'"id": "([^"]+)"', session.answer({"query": "{ directory { id } }"}))
    session.answer({"query": f'{{ container {{ withSecretVariable(name: "A", secret: "{other[1]}") {{ id }} }} }}'})
    assert len(session.problems) == 4
    assert "is no Secret" in session.problems[-1]
    session.problems.clear()


def test_every_part_of_a_build_is_passed_on(session, engine, context, monkeypatch, tmp_path):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent.sock")
    (tmp_path / "token").write_text("from a file")
    secrets = (
        BuildSecret(id="token", kind="file", text=str(tmp_path / "token")),
        BuildSecret(id="key", kind="value", text="hunter2"),
    )
    login = RegistryLogin(registry="registry.example.org:5000", username="me", password="letmein")
    found = built(
        engine,
        context,
        [login],
        secrets=secrets,
        args={"A": "1"},
        target="last",
        platforms=["linux/arm64"],
        ssh=["default"],
        labels={"k": "v"},
    )
    assert found.image_id == engine.image("shop-web:latest")[0]
    asked, *again = session.arguments_of("dockerBuild")
    assert all(one == asked for one in again)
    assert asked["buildArgs"] == [{"name": "A", "value": "1"}]
    assert (asked["target"], asked["platform"], asked["dockerfile"]) == ("last", "linux/arm64", "Dockerfile")
    names = {one["name"]: one["plaintext"] for one in session.arguments_of("setSecret")}
    assert names == {"token": "from a file", "key": "hunter2", "moorage-1": "letmein"}
    assert [session.nodes[one].arguments["name"] for one in asked["secrets"]] == ["token", "key"]
    assert session.nodes[asked["ssh"]].arguments == {"path": "/run/agent.sock"}
    (auth,) = session.arguments_of("withRegistryAuth")
    assert (auth["address"], auth["username"]) == ("registry.example.org:5000", "me")
    assert {"name": "k", "value": "v"} in session.arguments_of("withLabel")
    assert session.fields("File") == ["export"]
    order = [name for _, name, _ in session.calls]
    assert order.index("withRegistryAuth") < order.index("dockerBuild")


def test_a_platform_that_the_engine_passes_over(session, engine, context):
    """It builds `FROM scratch` for its own: an image that says so under the name of another must not come of it."""
    session.from_nothing.add("Dockerfile")
    with pytest.raises(ImageError, match="asked for linux/arm64, Dagger built for linux/amd64"):
        built(engine, context, platforms=["linux/arm64"])
    assert engine.image("shop-web:latest") is None
    built(engine, context, platforms=["linux/amd64"])


def test_what_is_ignored_is_not_sent(session, engine, context):
    (context / ".dockerignore").write_text("*\n!src\n")
    built(engine, context)
    (asked,) = session.arguments_of("directory")
    assert asked["exclude"] == ["*", "!src", "!Dockerfile", "!.dockerignore", "!Dockerfile.dockerignore"]


@pytest.mark.parametrize("key", ["cache_from", "network", "shm_size", "additional_contexts"])
def test_what_it_has_nothing_for_is_refused_before_a_session(session, engine, context, key):
    with pytest.raises(UnsupportedByBackendError, match=rf"services\.web\.build\.{key}"):
        built(engine, context, **{key: "something"})
    assert session.calls == []


# --- what goes wrong in it -----------------------------------------------------------------------------------


def test_a_command_that_fails_shows_its_output(session, engine, context):
    said = 'process "make" did not complete successfully: '
    session.fail["export"] = exec_error(f"failed to clone built container state: {said}", 2, "cc x.c\n", "x.c:1: no\n")
    with pytest.raises(ImageError, match=r"services\.web: build failed: process \"make\" did not .*: 2$") as caught:
        built(engine, context)
    assert "x.c:1: no" in caught.value.fields["log"]
    assert "cc x.c" in caught.value.fields["log"]
    assert not caught.value.retryable
    assert engine.loaded == 0


def test_a_session_that_has_gone_is_unavailable(session, engine, context, monkeypatch):
    monkeypatch.setenv("DAGGER_SESSION_PORT", "1")
    with pytest.raises(BackendUnavailableError, match="Failed to establish client connection"):
        built(engine, context)
    found = DaggerLook(Settings(), engine).preflight()
    assert not found.usable
    assert "DAGGER_SESSION_PORT=1 does not answer" in found.reason


def test_a_timed_out_build_is_ended(session, engine, context):
    session.hang = "export"
    builder = DaggerBuilder(Settings(**SOON, image_timeout_s=1), engine)
    with pytest.raises(ImageError, match="timed out after 1 s"):
        builder.build(spec(context), [].append)
    assert engine.loaded == 0


def test_an_engine_that_is_too_old(session, engine, context):
    session.answers["version"] = "v0.21.0"
    with pytest.raises(BackendUnavailableError, match=r"engine v0\.21\.0 is too old: 0\.21\.1 or later"):
        built(engine, context)


def test_a_command_s_output_comes_before_the_engine_s(fake_cli, engine, context):
    """The engine's own log is long, and of an ignore file that nobody has it tells as of an error."""
    fake_cli.session.fail["export"] = exec_error("", 3, stderr="about to fail\n")
    with pytest.raises(ImageError) as caught:
        built(engine, context)
    log = caught.value.fields["log"]
    assert log.splitlines()[:2] == ["$ x", "about to fail"]
    assert "traceparent" not in log


# --- the CLI -------------------------------------------------------------------------------------------------


def test_the_cli_opens_a_session_and_leaves_other_engines_alone(fake_cli, engine, context):
    said = []
    built(engine, context, said=said)
    found = fake_cli.environment
    assert {found[name] for name in ("DAGGER_LEAVE_OLD_ENGINE", "DO_NOT_TRACK", "DAGGER_NO_NAG")} == {"1"}
    assert found["OTEL_SDK_DISABLED"] == "true"
    assert found["NO_COLOR"] == "1"
    assert not [line for line in said if "\x1b" in line or "traceparent" in line]
    assert found["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] == fake_cli.engine.unix
    assert fake_cli.session.fields("File") == ["export"]
    look = DaggerLook(Settings(), engine).preflight()
    assert (look.usable, look.version) == (True, "0.21.11")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crash", "the engine exploded"),
        ("garbage", "Invalid connection params: Welcome to Dagger!"),
    ],
)
def test_a_cli_that_fails_is_heard(fake_cli, engine, context, how, words):
    fake_cli.behave(how)
    with pytest.raises(BackendUnavailableError, match=words) as caught:
        built(engine, context)
    assert caught.value.exit_code == 4
    assert len(str(caught.value).splitlines()) < 20


def test_a_cli_that_hangs_is_ended(fake_cli, engine, context):
    fake_cli.behave("hang")
    builder = DaggerBuilder(Settings(dagger_connect_timeout_s=3), engine)
    with pytest.raises(BackendUnavailableError, match="opened no session within 3 s"):
        builder.build(spec(context), [].append)


def test_a_noisy_cli_blocks_nothing_and_is_told(fake_cli, engine, context):
    fake_cli.behave("noisy")
    said = []
    built(engine, context, said=said)
    assert wait_until(lambda: any(line.startswith("engine line 19999") for line in said))


def test_a_cli_that_dies_shows_why_not_that_it_died(fake_cli, engine, context):
    fake_cli.behave("dies", FAKE_DAGGER_LIFE="2")
    fake_cli.session.fail["export"] = graphql.GraphQLError("no space left on device")
    with pytest.raises(ImageError, match="no space left on device"):
        built(engine, context)


def test_a_cli_that_never_ends_is_ended(fake_cli, engine, context, monkeypatch):
    monkeypatch.setattr("moorage.adapters.dagger.child._CLOSE_S", 1.0)
    fake_cli.behave("never-ends")
    assert built(engine, context).image_id


def test_a_cancel_leaves_nothing(fake_cli, engine, context):
    fake_cli.session.hang = "export"
    builder = DaggerBuilder(Settings(**SOON), engine)
    raised = []

    def build():
        try:
            builder.build(spec(context), [].append)
        except ImageError as error:
            raised.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    assert wait_until(lambda: fake_cli.session.fields("File"))
    builder.abort()
    thread.join(20)
    assert not thread.is_alive()
    assert "the session has ended" in str(raised[0])
    assert engine.loaded == 0
    with pytest.raises(ImageError, match="ended before it began"):
        builder.build(spec(context), [].append)


def test_a_session_whose_moorage_was_killed_ends_by_itself(fake_cli, dagger_folder, monkeypatch):
    """The end of its input is all that a session hears of a SIGKILL."""
    fake_cli.behave("hang")
    monkeypatch.setattr("moorage.adapters.dagger.child._CLOSE_S", 60.0)
    child = DaggerChild({**DaggerLook(Settings(), FakeEngine(FakeMachine())).environment()}, 60.0)

    def open_it():
        with suppress(BackendUnavailableError), child:
            pass

    opening = threading.Thread(target=open_it)
    opening.start()
    assert wait_until(fake_cli.seen.exists)
    child._process.stdin.close()
    opening.join(40)
    fake_cli.assert_gone()
    assert list(child.folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [("old", r"the CLI is 0\.20\.3, but 0\.21\.1 or later"), ("silent", "no answer within")],
)
def test_a_cli_that_cannot_be_used_is_seen_before(fake_cli, engine, monkeypatch, how, reason):
    monkeypatch.setattr("moorage.adapters.dagger.preflight._VERSION_S", 1.0 if how == "silent" else 8.0)
    fake_cli.behave(how)
    found = DaggerLook(Settings(), engine).preflight()
    assert not found.usable
    assert re.search(reason, found.reason)
    assert found.hint


def test_a_cli_that_is_slow_to_tell_its_version_can_be_used(fake_cli, engine):
    """On a busy machine it took more than a second."""
    fake_cli.behave("", FAKE_DAGGER_VERSION_TAKES="2.5")
    assert DaggerLook(Settings(), engine).preflight().usable


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("unix:///nowhere/dagger.sock", "cannot be reached: No such file"),
        ("tcp://127.0.0.1:1", "cannot be reached: Connection refused"),
        ("tcp://127.0.0.1:port", "Port could not be cast"),
        ("somewhere", "not an address such as"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_seen_before(fake_cli, engine, monkeypatch, host, reason):
    monkeypatch.setenv("MOORAGE_DAGGER_RUNNER_HOST", host)
    found = DaggerLook(Settings(), engine).preflight()
    assert reason in found.reason
    assert found.found[-1] == f"engine: {host}"


def test_without_a_cli(engine, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = DaggerLook(Settings(), engine).preflight()
    assert found.reason == "there is no Dagger CLI"
    assert "MOORAGE_DAGGER_CLI" in found.hint


def test_without_the_sdk(engine, monkeypatch):
    monkeypatch.setattr("moorage.adapters.dagger.preflight._sdk_version", lambda: None)
    found = DaggerLook(Settings(), engine).preflight()
    assert found.reason == "its Python SDK is not installed"
    assert "moorage[dagger]" in found.hint


def test_an_engine_that_the_cli_would_start(fake_cli, engine, monkeypatch, tmp_path):
    """It needs the `docker` command, and its image here or a registry that answers."""
    monkeypatch.delenv("MOORAGE_DAGGER_RUNNER_HOST")
    monkeypatch.setattr("moorage.adapters.dagger.preflight._REGISTRY", "localhost")
    monkeypatch.setattr("moorage.adapters.dagger.preflight._REGISTRY_PORT", 1)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "without the `docker` command" in DaggerLook(Settings(), engine).preflight().reason
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(docker.parent))
    found = DaggerLook(Settings(), engine).preflight()
    assert found.reason.startswith("the image of its engine is missing, and localhost cannot be reached")
    assert "there is no image localhost/engine:v0.21.11" in found.found[-1]
    engine.machine.add_image("localhost/engine:v0.21.11")
    assert DaggerLook(Settings(), engine).preflight().usable


def test_a_look_that_hangs_is_given_up(engine, monkeypatch):
    given_up = threading.Event()
    monkeypatch.setattr("moorage.adapters.dagger.preflight._WHOLE_LOOK_S", 0.3)
    monkeypatch.setattr(DaggerLook, "_sdk", lambda _self: given_up.wait())
    assert "no answer within" in DaggerLook(Settings(), engine).preflight().reason
    given_up.set()


def test_errors_of_the_transport_may_pass(engine, context):
    error = DaggerFailedError({"kind": "TransportError", "message": "Unexpected response from engine"})
    from moorage.adapters.dagger.builder import _error

    assert isinstance(_error(spec(context), error), TransientImageError)


# --- all of it -----------------------------------------------------------------------------------------------

OURS_OR_PYTHON_S = {
    *("do", "items", "pop", "get", "is_dir", "Platform", "BuildArg", "PortForward", "open", "close"),
    *("_secret", "_named_secret", "_built", "_from_recipe", "_from_dockerfile", "_container", "_with_mounts"),
    *("_with_checks", "_check_platform", "_tunnel", "sleep", "partition", "_default_command", "Relay"),
}


def calls_in_pipelines() -> set[str]:
    """Names of all methods that `dagger_pipeline` calls, those of the API as the API spells them."""
    tree = ast.parse(Path(pipeline.__file__).read_text())
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name.rstrip("_")) for name in called - OURS_OR_PYTHON_S}


def test_no_call_goes_unchecked(session, engine, context):
    """Whatever the adapters can ask has been asked here, and the schema knew it: a new call needs a line here."""
    fields = {name for one in dagger_server.schema().type_map.values() for name in getattr(one, "fields", {})}
    assert calls_in_pipelines() <= fields
    base = {"environment": {"A": "1"}, "build": [], "command": ["x"]}
    recipe = {"base": "x", "workdir": "/srv", "manifests": ["m"], "install": ["i"], "cache": "/c", "kind": "python"}
    recipe |= {**base, "build": ["b"], "names": ["n"], "user": "u", "port": 1}
    common = {"context": str(context), "exclude": [], "labels": {"k": "v"}, "archive": str(context / "archive")}
    made = {**common, "files": {"f": "t"}, "dockerfile": "f", "args": {"A": "1"}, "target": "t", "secrets": {"s": "v"}}
    made |= {"platform": "linux/amd64", "ssh_agent": "/agent"}
    service = {"build": None, "image": "x", "user": "u", "workdir": "/w", "environment": {"A": "1"}, "command": None}
    service |= {"secret_environment": {"S": "v"}, "entrypoint": ["e"], "own_entrypoint": False, "init": True}
    service |= {"scratch": ["/t"], "volumes": ["/v"], "ports": [1], "copies": {"/d": str(context)}, "bindings": {}}
    service |= {"files": [{"target": "/f", "content": "c", "uid": 0, "gid": 0, "mode": 0o400}], "hostname": "db"}
    service |= {"asked": [1], "health": {"args": ["x"], "shell": True, "interval": "1.000s"}}
    given, off = {"health": {"interval": "1.000s"}}, {"health": {"off": True}}
    session.exposed["f"] = 9
    session.healthchecks["x"] = ("CMD", "check")
    copied = {"copies": {"/f": str(context / "Dockerfile")}}
    session.answers["defaultArgs"] = ["run"]
    with DaggerChild({}, 60) as child:
        for request in (
            {"do": "login", "registry": "r", "username": "u", "password": "p"},
            {"do": "build", **made},
            {"do": "build", **common, "recipe": recipe},
            {"do": "build", **common, "recipe": {**recipe, "command": [], "build": []}},
            {"do": "prepare", "name": "db", **service},
            {"do": "start", "name": "db", **service, "tunnels": [{"backend": 1, "frontend": free_port()}]},
            {"do": "prepare", "name": "web", **service, **copied, "build": made, "bindings": {"db": "db"}, **off},
            {"do": "start", "name": "web", **service, "tunnels": []},
            {"do": "prepare", "name": "cache", **service, **given},
            {"do": "run", "name": "once", **service, "bindings": {"db": "db"}},
            {"do": "stop", "name": "web", "kill": False},
            {"do": "stop", "name": "db", "kill": True},
        ):
            child.ask(request, 60)
    assert calls_in_pipelines() - {name for _, name, _ in session.calls} == set()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
