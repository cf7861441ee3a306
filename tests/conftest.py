"""What every test gets: a home of its own, and on request an engine, an image, a project, a look at the machine.

Nothing here touches what is not of the tests: all that a test makes on the engine bears its `stack_prefix`, and the
tests of a parallel run have different ones.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests.faults.table import pytest_terminal_summary  # noqa: F401 - a hook; here it is loaded in every run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
PROJECT_LABEL = "com.docker.compose.project"
TINY_IMAGES = ("busybox:1.36", "moorage-base/tiny:1")

# --- a home of its own ---------------------------------------------------------------------------------------
#
# Set while this file is imported, not in a fixture: Prefect reads its settings when a test module imports it.

# Short and under /tmp: a unix socket's path may have 107 characters.
_session = Path(tempfile.mkdtemp(prefix="moorage-tests-"))


def _own_environment() -> None:
    """Nothing of the user's settings, nothing in the user's directories."""
    # `make test MOORAGE_COMPOSE=…`: the same tests on another Compose; the others are for tests/packaging.
    keep = {"MOORAGE_COMPOSE", "MOORAGE_WHEEL", "MOORAGE_WHEEL_ENV"}
    for name in [*os.environ]:
        if name.startswith(("MOORAGE_", "PREFECT_", "COMPOSE_")) and name not in keep:
            del os.environ[name]
    os.environ |= {
        "MOORAGE_HOME": str(_session / "home"),
        "MOORAGE_HUB_PORT": str(_free_port()),
        "MOORAGE_PORT_RANGE": _own_ports(),
        "PREFECT_HOME": str(_session / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _own_ports() -> str:
    """A part of the default range: other homes' stacks know nothing of our leases while ours are down."""
    first = 20000 + int(WORKER.removeprefix("gw")) % 8 * 1250
    return f"{first}-{first + 1249}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _hear_signals() -> None:
    """Commands that tests start hear Ctrl-C, also where these tests run in the background of a script.

    There the shell has SIGINT ignored, and nohup SIGHUP, which every child inherits.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


_own_environment()
_hear_signals()

# No deadline: two cores, shared. In CI the same examples each time: what it finds must be found again at home.
hypothesis_settings.register_profile("moorage", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("moorage")


MARKED_FOLDERS = {
    "engine": "engine",
    "orchestrated": "orchestrated",
    "e2e": "e2e",
    "benchmarks": "bench",
    "packaging": "packaging",
    "dagger_engine": "dagger_engine",
    "faults": "faults",
}
LONGEST_FIRST = ("orchestrated", "e2e", "packaging", "faults", "engine")
"""Folders whose tests wait the most: the short ones of the others fill up the end, so that no process is left alone."""


def pytest_report_header() -> str:
    """Which schema the queries to Dagger are checked against; loudly, where the shared one is not at hand."""
    own = os.environ.get("MOORAGE_DAGGER_SCHEMA")
    shared = ROOT.parent / "shared" / "dagger" / "schema.graphqls"
    if own:
        return f"dagger schema: {own}"
    if shared.is_file():
        return f"dagger schema: tests/contract/dagger/schema.graphqls, compared with {shared}"
    return (
        "dagger schema: ../shared/dagger/schema.graphqls IS NOT HERE: the copy in tests/contract/dagger stands for it"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a folder's tests need is said by its name, not by each file in it; those that take long come first."""
    for item in items:
        if _folder(item) in MARKED_FOLDERS:
            item.add_marker(MARKED_FOLDERS[_folder(item)])
    order = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_folder(item), len(order)))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").parts[0]


def pytest_unconfigure() -> None:
    """Stop the hub that a test may have left running, then remove the session's directory."""
    if (_session / "home" / "hub").exists():
        subprocess.run([_moorage(), "hub", "stop"], check=False, capture_output=True, timeout=60)
    shutil.rmtree(_session, ignore_errors=True)


@pytest.fixture(scope="session")
def session_dir() -> Path:
    """The directory of this test process; `home` in it is $MOORAGE_HOME. Gone when the tests are over."""
    return _session


@pytest.fixture
def moorage_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A $MOORAGE_HOME for this test alone, empty."""
    home = tmp_path / "moorage-home"
    monkeypatch.setenv("MOORAGE_HOME", str(home))
    return home


# --- the engine ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def engine_answers() -> str:
    """The engine's version. Without an engine the test FAILS: a test that did not run has shown nothing."""
    found = _ask_engine()
    if isinstance(found, Exception):
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        pytest.fail(f"no Docker engine answers at {address} ({found}); `make engine` sets one up", pytrace=False)
    return found


def _ask_engine() -> str | Exception:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=10)
        version: str = client.version()["Version"]
        client.close()
    except (DockerException, OSError) as error:
        return error
    return version


@pytest.fixture(scope="session")
def docker_client(engine_answers: str) -> Iterator[docker.DockerClient]:
    """The Docker SDK, to look at the machine with other eyes than Moorage's."""
    import docker

    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="session")
def tiny_image(docker_client: docker.DockerClient) -> str:
    """An image of 2 MB with busybox: sh, nc, httpd, wget; CMD sh, no entry point."""
    return _there(docker_client) or _make_tiny(docker_client)


def _there(client: docker.DockerClient) -> str | None:
    from docker.errors import ImageNotFound

    for name in TINY_IMAGES:
        try:
            client.images.get(name)
        except ImageNotFound:
            continue
        return name
    return None


def _make_tiny(client: docker.DockerClient) -> str:
    made = subprocess.run(
        [ROOT / "scripts" / "base-images", "tiny"], check=False, capture_output=True, text=True, timeout=110
    )
    image = _there(client)
    if image is None:
        pytest.fail(f"scripts/base-images tiny: exit {made.returncode}\n{made.stderr}", pytrace=False)
    return image


@pytest.fixture
def stack_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the name of every stack of this test starts with. At the end all of them goes, image tags too."""
    prefix = f"mt-{WORKER}-{secrets.token_hex(3)}"
    yield prefix
    if "docker_client" in request.fixturenames:
        _remove_all(request.getfixturevalue("docker_client"), prefix)


def _of_prefix(found: Any, prefix: str) -> bool:
    labels = found.attrs.get("Labels") or found.attrs.get("Config", {}).get("Labels") or {}
    return str(found.name).startswith(prefix) or str(labels.get(PROJECT_LABEL, "")).startswith(prefix)


def _all_of(client: docker.DockerClient, prefix: str) -> dict[str, list[Any]]:
    found = {
        "containers": client.containers.list(all=True, ignore_removed=True),
        "networks": client.networks.list(),
        "volumes": client.volumes.list(),
    }
    return {kind: [one for one in many if _of_prefix(one, prefix)] for kind, many in found.items()}


def _remove_all(client: docker.DockerClient, prefix: str) -> None:
    from docker.errors import NotFound

    left = _all_of(client, prefix)
    for one in left["containers"]:
        try:
            one.remove(force=True, v=True)
        except NotFound:
            continue
    for one in [*left["networks"], *left["volumes"]]:
        try:
            one.remove()
        except NotFound:
            continue
    # Not `client.images.list()`: it asks for each image anew, and another test may have removed it meanwhile.
    tags = [tag for image in client.api.images() for tag in image["RepoTags"] or () if f"/{prefix}" in f"/{tag}"]
    for tag in tags:
        with suppress(NotFound):
            client.api.remove_image(tag, force=True)


@dataclass(frozen=True)
class MachineState:
    """What is on the engine under one prefix. `assert_same` compares with the start; the fixture calls it at the end."""

    client: Any
    prefix: str
    before: dict[str, set[str]] = field(default_factory=dict)

    def now(self) -> dict[str, set[str]]:
        """Names by kind: containers, networks, volumes."""
        return {kind: {str(one.name) for one in many} for kind, many in _all_of(self.client, self.prefix).items()}

    def assert_same(self, *, but: tuple[str, ...] = ()) -> None:
        """The machine is as it was, except for the kinds in `but` (`volumes` outlive a `down`)."""
        now = self.now()
        assert {k: v for k, v in now.items() if k not in but} == {k: v for k, v in self.before.items() if k not in but}

    def remember(self) -> None:
        """What is there now is what has to be there at the end."""
        self.before.clear()
        self.before.update(self.now())


@pytest.fixture
def machine_state(docker_client: docker.DockerClient, stack_prefix: str) -> Iterator[MachineState]:
    """Fails the test when it ends with other containers, networks or volumes of its prefix than it began with."""
    state = MachineState(docker_client, stack_prefix)
    state.remember()
    yield state
    state.assert_same()


def run_in(container: Any, *command: str) -> str:
    """What a command in a container writes; it has to succeed.

    Not by the SDK's `exec_run`: on a busy machine that may lose the first output of a quick program.
    """
    from moorage.adapters.engine.exec import output_of

    api = container.client.api
    made = api.exec_create(container.id, list(command))["Id"]
    said = output_of(api, made).decode().strip()
    code = api.exec_inspect(made)["ExitCode"]
    assert code == 0, f"{command}: exit {code}: {said}"
    return said


# --- a project -----------------------------------------------------------------------------------------------


class Finished(subprocess.CompletedProcess[str]):
    """A command that has ended, with what it wrote."""

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        try:
            return json.loads(self.stdout)
        except json.JSONDecodeError:
            pytest.fail(f"not JSON: {self}", pytrace=False)

    def __str__(self) -> str:
        return f"{self.args}: exit {self.returncode}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass(frozen=True)
class Project:
    """A directory with a compose file, and the `moorage` command in it. Its stack has the directory's name."""

    path: Path
    name: str
    env: dict[str, str] = field(default_factory=dict)
    """Added to the environment of every command."""

    def compose(self, text: str) -> Project:
        """Write compose.yaml; the text may be indented."""
        self.write("compose.yaml", text)
        return self

    def write(self, name: str, text: str) -> Path:
        """Write any file of the project; the text may be indented."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Run `moorage ARGS` and do not wait: for signals. It leads a process group of its own."""
        pipe = subprocess.PIPE
        options = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL, "start_new_session": True} | options
        return subprocess.Popen([_moorage(), *args], cwd=self.path, env=os.environ | self.env, text=True, **options)

    def moorage(self, *args: str, exit_code: int | None = 0, timeout_s: float = 100, **env: str) -> Finished:
        """Run `moorage ARGS` to its end; fails the test on another exit code (None: any will do)."""
        done = subprocess.run(
            [_moorage(), *args],
            cwd=self.path,
            env=os.environ | self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        finished = Finished(["moorage", *args], done.returncode, done.stdout, done.stderr)
        if exit_code is not None and finished.returncode != exit_code:
            pytest.fail(f"expected exit {exit_code}: {finished}", pytrace=False)
        return finished


def _moorage() -> str:
    return str(Path(sys.executable).with_name("moorage"))


@pytest.fixture
def project(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient) -> Project:
    """A project whose stack is named by `stack_prefix`. What is left of it on the engine goes with the test."""
    return _project(tmp_path, stack_prefix)


@pytest.fixture
def projects(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient) -> tuple[Project, Project]:
    """Two of them, for what stacks do to each other."""
    return _project(tmp_path, f"{stack_prefix}-a"), _project(tmp_path, f"{stack_prefix}-b")


def _project(parent: Path, name: str) -> Project:
    path = parent / name
    path.mkdir()
    return Project(path, name)


_ports = iter(range(30_000, 32_760))


@pytest.fixture
def wanted_port() -> Iterator[int]:
    """A host port to ask for that no other test process asks for."""
    offset = int(WORKER.removeprefix("gw") or 0) % 4
    for port in _ports:
        if port % 4 == offset and _bindable(port):
            yield port
            return


def _bindable(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
