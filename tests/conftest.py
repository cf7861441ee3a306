"""What every test gets: a home apart from the user's, and on request an engine, an image, a project, a look at the machine.

Nothing here touches what is not of the tests: all that a test makes on the engine bears its `stack_prefix`, and the
tests of a parallel run have different ones.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests import counts, leftovers
from tests.commands import CommandServer
from tests.faults import table
from tests.nested import SESSION_VARIABLE, WORKER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest.register_assert_rewrite("tests.properties.transactions")

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get(WORKER_VARIABLE, "gw0")
TINY_IMAGES = ("busybox:1.36", "moorage-base/tiny:1")

# --- a home of its own ---------------------------------------------------------------------------------------
#
# Set while this file is imported, not in a fixture: Prefect reads its settings when a test module imports it.

WORKER_OF_XDIST = WORKER_VARIABLE in os.environ


def _session_directory() -> Path:
    """One for all processes of a run, so that they share a home and with it a hub; made by the first, which outlives
    the others and clears away."""
    if WORKER_OF_XDIST and SESSION_VARIABLE in os.environ:
        return Path(os.environ[SESSION_VARIABLE])
    # Short and under /tmp: a unix socket's path may have 107 characters.
    made = Path(tempfile.gettempdir()) / f"moorage-tests-{secrets.token_hex(3)}"
    made.mkdir(mode=0o700)
    atexit.register(_remove, made, os.getpid())
    return made


def _remove(made: Path, by: int) -> None:
    """For programs that import this file and are no tests; after tests it is gone already. Not for forked children."""
    if os.getpid() == by:
        shutil.rmtree(made, ignore_errors=True)


def stacks_of(session: Path) -> str:
    """What the names of all stacks of a run begin with."""
    return f"mt-{session.name.rpartition('-')[2]}"


_session = _session_directory()


COMMANDS_ARE_WARM = "TESTS_WARM_COMMANDS" in os.environ
"""Whether commands are forked from the hub's template, instead of a server of the tests' own."""


def _own_environment() -> None:
    """Nothing of the user's settings, nothing in the user's directories."""
    # `make test MOORAGE_COMPOSE=…`: the same tests on another Compose; the others are for tests/packaging.
    keep = {"MOORAGE_COMPOSE", "MOORAGE_WHEEL", "MOORAGE_WHEEL_ENV"} | (
        {"MOORAGE_HUB_PORT"} if WORKER_OF_XDIST else set()
    )
    # Else each command compiles all of Moorage anew, and each test process all tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for name in [*os.environ]:
        if name.startswith(("MOORAGE_", "PREFECT_", "COMPOSE_")) and name not in keep:
            del os.environ[name]
    os.environ.setdefault("MOORAGE_HUB_PORT", str(_free_port()))
    os.environ |= {
        SESSION_VARIABLE: str(_session),
        "MOORAGE_HOME": str(_session / "home"),
        "MOORAGE_PORT_RANGE": ports_of(_PART),
        "MOORAGE_SUBNETS": subnets_of(_PART),
        # Else it would depend on whether another test has just started the hub that all of them share.
        "MOORAGE_HUB_WARM_COMMANDS": str(COMMANDS_ARE_WARM).lower(),
        "PREFECT_HOME": str(_session / f"prefect-{WORKER}"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


_PART = int(WORKER.removeprefix("gw")) % 7
"""Of ports and subnets: other homes' stacks know nothing of our leases while ours are down."""


def subnets_of(part: int) -> str:
    """One eighth of the first default range, and of the second."""
    return f"10.201.{32 * part}.0/19,198.18.{32 * part}.0/19"


def ports_of(part: int) -> str:
    """One eighth of the default range; the last is the shared hub's, whose runs are there for all processes."""
    first = 20000 + part * 1250
    return f"{first}-{first + 1249}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _hear_signals() -> None:
    """Commands that tests start hear Ctrl-C, also where these tests run in the background of a script.

    There the shell has SIGINT ignored, and nohup SIGHUP, which every child inherits. The tests' own handler is not
    Python's: that one asyncio replaces, Ctrl-C then cancels what Moorage does in the test's process, which is undone
    with an error of its own, and the tests go on.
    """
    signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not WORKER_OF_XDIST:  # a job that CI cancels is asked like this, and clears away as after Ctrl-C
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


_own_environment()
_hear_signals()
_commands = CommandServer(_session / f"commands-{WORKER}")

# No deadline: two cores, shared. In CI the same examples each time: what it finds must be found again at home.
hypothesis_settings.register_profile("moorage", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("moorage")


MARKED_FOLDERS = {
    "engine": "engine",
    "engines": "engine",
    "cases": "engine",
    "orchestrated": "orchestrated",
    "e2e": "e2e",
    "benchmarks": "bench",
    "packaging": "packaging",
    "dagger_engine": "dagger_engine",
    "faults": "faults",
}
LONGEST_FIRST = ("engines", "orchestrated", "e2e", "packaging", "faults", "engine", "cases")
"""Folders whose tests wait the most: the short ones of the others fill up the end, so that no process is left alone."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was counted, and the faults that were survived; here, so that it is loaded in every run."""
    counts.print_counts(terminalreporter)
    table.print_faults(terminalreporter)


def pytest_configure(config: pytest.Config) -> None:
    """A run inside a run would take the home, the hub and the sockets of the one around it for its own."""
    if WORKER_OF_XDIST and not hasattr(config, "workerinput"):
        raise pytest.UsageError(f"{WORKER_VARIABLE} is of another run: start this one with tests.nested.environment()")


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
    """Stop the hub of the run and whatever else still goes on, then remove the session's directory.

    In the process that outlives the others, also after Ctrl-C: xdist gives its workers ten seconds, then kills them.
    """
    _commands.stop()
    if WORKER_OF_XDIST:
        return
    if (_session / "home" / "hub").exists():
        subprocess.run([_moorage(), "hub", "stop", "--timeout", "5"], check=False, capture_output=True, timeout=60)
    leftovers.end(_session, stacks_of(_session))
    shutil.rmtree(_session, ignore_errors=True)


@pytest.fixture(scope="session")
def session_dir() -> Path:
    """The directory of this run's processes; `home` in it is $MOORAGE_HOME. Gone when the tests are over."""
    return _session


@pytest.fixture
def moorage_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A $MOORAGE_HOME for this test alone, empty."""
    home = tmp_path / "moorage-home"
    monkeypatch.setenv("MOORAGE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_api_url() -> str:
    """Where the API of the hub is that all test processes share. It is started for whoever asks first."""
    # How long a shell waits for a stack means nothing to the worker, whose runs wait longer.
    own = {"MOORAGE_PORT_RANGE": ports_of(7), "MOORAGE_SUBNETS": subnets_of(7), "MOORAGE_LOCK_TIMEOUT_S": "0"}
    started = run_moorage("hub", "start", "--json", directory=ROOT, **own)
    return str(_checked(started, 0).json["api_url"])


@pytest.fixture(autouse=True, scope="session")
def _forked_commands(request: pytest.FixtureRequest) -> None:
    """`make test-warm`: the hub is there before the first command, which is forked from its template."""
    if COMMANDS_ARE_WARM:
        request.getfixturevalue("shared_api_url")
        socket_of_template = _session / "home" / "hub" / "template.sock"
        while not socket_of_template.exists():
            time.sleep(0.1)


@pytest.fixture
def lone_home(moorage_home: Path, shared_api_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for a test that speaks of all stacks in it; its runs are recorded by the shared hub."""
    monkeypatch.setenv("PREFECT_API_URL", shared_api_url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", (_session / "home" / "hub" / "secret").read_text().strip())
    return moorage_home


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
        client = docker.from_env(timeout=60)
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
        [ROOT / "scripts" / "base-images", "tiny"], check=False, capture_output=True, text=True, timeout=300
    )
    image = _there(client)
    if image is None:
        pytest.fail(f"scripts/base-images tiny: exit {made.returncode}\n{made.stderr}", pytrace=False)
    return image


@pytest.fixture
def stack_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the name of every stack of this test starts with. At the end all of them goes, image tags too."""
    prefix = f"{stacks_of(_session)}-{WORKER}-{secrets.token_hex(3)}"
    yield prefix
    if "docker_client" in request.fixturenames:
        leftovers.remove(request.getfixturevalue("docker_client"), prefix)


@dataclass(frozen=True)
class MachineState:
    """What is on the engine under one prefix. `assert_same` compares with the start; the fixture calls it at the end."""

    client: Any
    prefix: str
    before: dict[str, set[str]] = field(default_factory=dict)

    def now(self) -> dict[str, set[str]]:
        """Names by kind: containers, networks, volumes."""
        return {kind: {*many.values()} for kind, many in leftovers.everything(self.client, self.prefix).items()}

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

    def moorage(self, *args: str, exit_code: int | None = 0, timeout_s: float = 500, **env: str) -> Finished:
        """Run `moorage ARGS` to its end; fails the test on another exit code (None: any will do).

        In a process that is forked with its imports done, which `process` is not.
        """
        if COMMANDS_ARE_WARM:
            return self.process(*args, exit_code=exit_code, timeout_s=timeout_s, **env)
        ended = _commands.run(args, self.path, os.environ | self.env | env, timeout_s)
        return _checked(Finished(["moorage", *args], *ended), exit_code)

    def process(self, *args: str, exit_code: int | None = 0, timeout_s: float = 500, **env: str) -> Finished:
        """The same in an interpreter of its own, for what is about how a process starts and what it imports."""
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
        return _checked(Finished(["moorage", *args], done.returncode, done.stdout, done.stderr), exit_code)


def _checked(finished: Finished, exit_code: int | None) -> Finished:
    if exit_code is not None and finished.returncode != exit_code:
        pytest.fail(f"expected exit {exit_code}: {finished}", pytrace=False)
    return finished


def run_moorage(*args: str, directory: Path, timeout_s: float = 500, **env: str) -> Finished:
    """`moorage ARGS` with no project, forked as `Project.moorage` does it."""
    return Finished(["moorage", *args], *_commands.run(args, directory, os.environ | env, timeout_s))


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
