"""The hub as processes: what is started, found, moved, replaced, stopped. Every server here is a real one."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from moorage.errors import HubError
from moorage.hub import address, api, deployments, process, worker
from moorage.hub.address import HubAddress
from moorage.hub.folder import HubFolder, ServerRecord, WorkerRecord
from moorage.hub.process import ProcessRecord
from moorage.hub.project import project_directory
from moorage.settings import settings
from tests.orchestrated.conftest import address_in, create_run, hub, state_of, wait_for_state

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]


# --- helpers -------------------------------------------------------------------------------------------------


class OwnHub:
    """A hub of one test: its own home and port. `start` and `stop` are the command."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.env = {"MOORAGE_HUB_PORT": str(port)}
        self.port = port
        self.folder = HubFolder(home / "hub")

    def start(self, exit_code: int = 0, **env: str) -> dict[str, Any]:
        done = hub("start", "--json", home=self.home, exit_code=exit_code, **(self.env | env))
        return json.loads(done.stdout) | {"said": done.stderr}

    def serve(self, **env: str) -> subprocess.CompletedProcess[str]:
        """Only the server, as `moorage up` does it."""
        code = "from moorage.hub import control; print(control.ensure_server(print).ui_url)"
        return python(code, self.home, MOORAGE_HOME=str(self.home), **(self.env | env))

    def status(self, **env: str) -> dict[str, Any]:
        return json.loads(hub("status", "--json", home=self.home, exit_code=None, **(self.env | env)).stdout)

    def stop(self, timeout_s: float = 10) -> None:
        hub("stop", "--timeout", str(timeout_s), home=self.home, **self.env)

    def processes(self) -> dict[int, str]:
        """All processes that work for this home, by their environment: pid → command line."""
        mark = f"PREFECT_HOME={self.folder.prefect_home}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the tests that stop and crash hubs: its database is made once, which saves six seconds a test."""
    return tmp_path_factory.mktemp("own-hub")


@pytest.fixture
def own(own_home: Path, free_port: int) -> Iterator[OwnHub]:
    one = OwnHub(own_home, free_port)
    yield one
    one.stop(timeout_s=1)
    left = one.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def free_port() -> int:
    # Below the range of outgoing connections, so that none takes it between our look and the server's.
    while True:
        port = 10_000 + secrets.randbelow(15_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@pytest.fixture
def with_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets variables for functions called in this process."""

    def put(**env: str) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        _forget_settings()

    yield put
    monkeypatch.undo()
    _forget_settings()


def _forget_settings() -> None:
    forget = getattr(settings, "cache_clear", None)
    if forget:
        forget()


def http_status(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    """Only the status, and the headers as they are given: what a browser would send."""
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def python(code: str, cwd: Path, *path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {}
    return subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=cwd,
        env=os.environ | paths | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# --- what runs -----------------------------------------------------------------------------------------------


def test_the_hub_is_found_fast(hub_address: HubAddress) -> None:
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        found = address.find()
        took.append(time.perf_counter() - begun)
        assert found == hub_address
    assert min(took) < 0.02


def test_a_second_start_is_fast_and_changes_nothing(hub_address: HubAddress) -> None:
    before = json.loads(hub("status", "--json").stdout)
    begun = time.monotonic()
    after = json.loads(hub("start", "--json").stdout)
    assert time.monotonic() - begun < 2
    assert [after[one]["pid"] for one in ("server", "worker")] == [before[one]["pid"] for one in ("server", "worker")]
    assert before["server"]["state"] == before["worker"]["state"] == "running"
    assert before["server"]["memory_bytes"] > 50 << 20
    assert datetime.fromisoformat(before["server"]["since"]) < datetime.now(UTC)


def test_every_flow_is_deployed_and_can_be_loaded(hub_address: HubAddress) -> None:
    flows = {file.stem for file in (project_directory() / "flows").glob("*.py") if not file.stem.startswith("_")}
    found = deployments.found_on(hub_address)
    assert set(found) == flows
    entrypoints = [api.call(hub_address, "GET", f"/deployments/{one}")["entrypoint"] for one in found.values()]
    assert set(entrypoints) == {f"flows/{name}.py:{name}" for name in flows}
    # `prefect deploy` succeeds on a flow whose import fails: it puts a placeholder there.
    loaded = python(
        f"""
        from prefect.flows import load_flow_from_entrypoint
        for entrypoint in {entrypoints!r}:
            load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        """,
        project_directory(),
    )
    assert loaded.returncode == 0, loaded.stderr


def test_schedules_are_off_until_somebody_switches_them_on(hub_address: HubAddress, session_dir: Path) -> None:
    found = deployments.found_on(hub_address)["status"]
    (schedule,) = api.call(hub_address, "GET", f"/deployments/{found}")["schedules"]
    assert schedule["active"] is False
    api.call(hub_address, "PATCH", f"/deployments/{found}/schedules/{schedule['id']}", {"active": True})
    try:
        (session_dir / "home" / "hub" / "deployed").unlink()
        assert "deploying the flows" in hub("start").stderr
        (again,) = api.call(hub_address, "GET", f"/deployments/{found}")["schedules"]
        assert again["active"] is True
    finally:
        api.call(hub_address, "PATCH", f"/deployments/{found}/schedules/{schedule['id']}", {"active": False})


def test_prefect_deploys_the_project_without_a_question(hub_address: HubAddress) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=project_directory(),
        env=os.environ | {"PREFECT_API_URL": hub_address.api_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'up/up' successfully" in done.stdout


def test_the_worker_runs_what_the_ui_asks_for(hub_address: HubAddress) -> None:
    run = create_run(hub_address, "status")
    wait_for_state(hub_address, run, "COMPLETED")


def test_the_pool_is_what_prefect_would_make_of_it_but_for_command_and_directory() -> None:
    made = python(
        "import json; from prefect.workers.process import ProcessWorker as w;"
        "print(json.dumps(w.get_default_base_job_template()))",
        ROOT,
    )
    theirs, ours = json.loads(made.stdout), worker.base_job_template(worker._TEMPLATE)
    assert ours["job_configuration"] == theirs["job_configuration"]
    assert set(ours["variables"]["properties"]) == set(theirs["variables"]["properties"])


# --- security ------------------------------------------------------------------------------------------------


def test_a_foreign_page_may_not_call_the_api(hub_address: HubAddress) -> None:
    url, evil = f"{hub_address.api_url}/variables/", "http://evil.example"
    port = hub_address.ui_url.rpartition(":")[2]
    asks = {"Access_Control_Request_Method": "POST"}
    assert http_status(url, "OPTIONS", Origin=evil, **asks) == 403
    assert http_status(url, "OPTIONS", Origin=f"http://localhost:{port}", **asks) == 200
    body = json.dumps({"name": f"v{secrets.token_hex(4)}", "value": 1}).encode()
    assert http_status(url, "POST", body, Origin=evil, Content_Type="text/plain") == 403
    assert http_status(url, "POST", body, Origin="null", Content_Type="application/json") == 403
    assert http_status(url, "POST", body, Origin=hub_address.ui_url, Content_Type="application/json") == 201


def test_a_foreign_page_may_not_write_without_a_content_type(hub_address: HubAddress) -> None:
    """Browsers send such a POST without asking first, and Prefect reads it as JSON."""
    import http.client

    port = int(hub_address.ui_url.rpartition(":")[2])
    body = json.dumps({"name": f"v{secrets.token_hex(4)}", "value": 1})
    answers = []
    for origin in ({"Origin": "http://evil.example"}, {}):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/api/variables/", body, origin)
        answers.append(connection.getresponse().status)
        connection.close()
    assert answers == [403, 201], "a program, which sends no Origin, is served"


def test_another_name_for_our_address_is_refused(hub_address: HubAddress) -> None:
    port = hub_address.ui_url.rpartition(":")[2]
    assert http_status(f"{hub_address.api_url}/health", Host=f"evil.example:{port}") == 403
    assert http_status(f"{hub_address.api_url}/health", Host=f"localhost:{port}") == 200


def test_a_foreign_page_may_not_open_a_web_socket(hub_address: HubAddress) -> None:
    port = int(hub_address.ui_url.rpartition(":")[2])
    first_lines = []
    for origin in ("http://evil.example", hub_address.ui_url):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(
                f"GET /api/events/out HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: prefect\r\n\r\n".encode()
            )
            first_lines.append(connection.recv(1000).decode().splitlines()[0])
    assert [line.split()[1] for line in first_lines] == ["403", "101"]


def test_files_of_the_hub_are_private(hub_address: HubAddress, session_dir: Path) -> None:
    folder = session_dir / "home" / "hub"
    files = [folder, *(path for path in folder.rglob("*") if path.suffix != ".lock")]
    assert [str(path) for path in files if path.exists() and path.stat().st_mode & 0o077] == []
    assert (folder / "prefect" / "prefect.db").is_file()


def test_other_addresses_than_loopback_need_a_password(own: OwnHub) -> None:
    refused = own.start(exit_code=8, MOORAGE_HUB_HOST="0.0.0.0")
    assert "password" in refused["said"]
    assert own.processes() == {}
    secret = "ada:open-sesame"
    status = own.start(MOORAGE_HUB_HOST="0.0.0.0", MOORAGE_HUB_AUTH=secret)
    assert status["worker"]["state"] == "running", "the worker knows the password"
    assert secret not in json.dumps(status)
    bare = address_in(status)
    assert http_status(f"{bare.api_url}/variables/filter", "POST", b"{}", Content_Type="application/json") == 401
    with pytest.raises(HubError, match="401"):
        deployments.found_on(bare)
    assert "up" in deployments.found_on(address_in(status, auth=secret))
    assert own.status()["api_url"], "a later command needs no variable: the password is on record"
    assert not [line for line in own.processes().values() if secret in line], "no password in a command line"


# --- life and death ------------------------------------------------------------------------------------------


def test_two_starts_at_once_make_one_hub(own: OwnHub) -> None:
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "start", "--json"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    answers = [one.communicate(timeout=110) for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    first, second = (json.loads(out) for out, _ in answers)
    assert first["server"]["pid"] == second["server"]["pid"]
    assert first["worker"]["pid"] == second["worker"]["pid"]
    assert len(own.processes()) == 2
    assert sum("starting the Prefect server" in said for _, said in answers) == 1
    assert any("waiting for it" in said for _, said in answers)


def test_a_killed_server_is_reported_and_started_again(own: OwnHub) -> None:
    before = own.start()
    os.kill(before["server"]["pid"], signal.SIGKILL)
    crashed = own.status()
    assert crashed["server"]["state"] == "crashed"
    assert crashed["api_url"] is None
    after = own.start()
    assert "has died" in after["said"]
    assert after["api_url"] == before["api_url"]
    assert after["server"]["pid"] != before["server"]["pid"]
    assert after["worker"]["pid"] == before["worker"]["pid"], "it found its server again"
    wait_for_state(address_in(after), create_run(address_in(after), "status"), "COMPLETED")


def test_a_killed_worker_is_reported_and_started_again(own: OwnHub) -> None:
    before = own.start()
    os.kill(before["worker"]["pid"], signal.SIGKILL)
    assert own.status()["worker"]["state"] == "crashed"
    after = own.start()
    assert after["server"]["pid"] == before["server"]["pid"]
    assert after["worker"]["state"] == "running"
    assert len(own.processes()) == 2


def test_a_port_of_somebody_else_is_left_alone(own: OwnHub) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", own.port))
        listener.listen()
        said = own.serve().stdout
        status = own.status()
        assert f"port {own.port} is taken" in said
        port = int(status["ui_url"].rpartition(":")[2])
        assert own.port < port < own.port + 200
        assert said.splitlines()[-1] == status["ui_url"]
        ui = json.load(urllib.request.urlopen(f"{status['ui_url']}/ui-settings", timeout=10))
        assert ui["api_url"] == status["api_url"]


def test_a_server_that_comes_back_elsewhere_gets_a_new_worker(own: OwnHub) -> None:
    before = own.start()
    os.kill(before["server"]["pid"], signal.SIGKILL)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_for(lambda: _binds(listener, own.port))
        listener.listen()
        after = own.start()
    assert after["api_url"] != before["api_url"]
    assert after["worker"]["pid"] != before["worker"]["pid"]
    wait_for_state(address_in(after), create_run(address_in(after), "status"), "COMPLETED")


def test_stop_leaves_no_process_and_is_no_error_twice(own: OwnHub) -> None:
    own.start()
    assert len(own.processes()) == 2
    own.stop()
    assert own.processes() == {}
    own.stop()
    status = own.status()
    assert [status["server"]["state"], status["worker"]["state"], status["api_url"]] == ["stopped", "stopped", None]


def test_stop_lets_a_run_undo_what_it_did(own: OwnHub, tmp_path: Path) -> None:
    status = own.start()
    (tmp_path / "slow.py").write_text(SLOW)
    run = run_of(address_in(status), tmp_path, "slow.py:slow", trace=str(tmp_path / "trace"))
    wait_for((tmp_path / "trace").exists)
    own.stop(timeout_s=20)
    assert (tmp_path / "trace").read_text() == "begun undone"
    assert own.processes() == {}
    again = address_in(own.start())
    assert state_of(again, run)["type"] == "CRASHED", "the worker lived to record it"


def test_stop_ends_a_run_that_does_not_listen(own: OwnHub, tmp_path: Path) -> None:
    status = own.start()
    (tmp_path / "deaf.py").write_text(DEAF)
    run_of(address_in(status), tmp_path, "deaf.py:deaf", trace=str(tmp_path / "trace"))
    wait_for((tmp_path / "trace").exists)
    own.stop(timeout_s=1)
    assert own.processes() == {}


def test_ctrl_c_while_it_starts_leaves_nothing(own: OwnHub) -> None:
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "start"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    starting = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert starting.stderr
    assert "starting the Prefect server" in starting.stderr.readline()
    wait_for(lambda: own.folder.server() is not None)
    os.killpg(starting.pid, signal.SIGINT)
    starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert own.processes() == {}
    assert own.status()["server"]["state"] == "stopped"


def test_a_server_that_cannot_start_shows_its_log(own: OwnHub) -> None:
    broken = own.start(exit_code=8, PREFECT_SERVER_DATABASE_CONNECTION_URL="nonsense://")
    assert "ended while it was starting" in broken["said"]
    assert "nonsense" in broken["said"]
    assert own.serve().returncode == 0
    assert own.status()["server"]["state"] == "running"


def test_a_pid_that_is_somebody_elses_by_now_is_never_signalled(own: OwnHub) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        stale = ProcessRecord(pid=bystander.pid, identity="another-boot/1", since=datetime.now(UTC))
        url = f"http://127.0.0.1:{own.port}"
        own.folder.save_server(
            ServerRecord(
                process=stale, host="127.0.0.1", port=own.port, api_url=f"{url}/api", ui_url=url, version="0.0.1"
            )
        )
        own.folder.save_worker(WorkerRecord(process=stale, api_url=f"{url}/api", version="0.0.1"))
        assert own.status()["server"]["state"] == own.status()["worker"]["state"] == "crashed"
        own.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen(["true"])
    told = process.identity(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.identity(child.pid) is None
    assert not process.alive(ProcessRecord(pid=child.pid, identity=told or "x", since=datetime.now(UTC)))
    child.wait()


# --- somebody else's server ----------------------------------------------------------------------------------


def test_a_server_of_the_environment_is_used_and_left_alone(own: OwnHub, hub_address: HubAddress) -> None:
    env = {"PREFECT_API_URL": hub_address.api_url}
    status = own.status(**env)
    assert status["managed"] is False
    assert status["api_url"] == hub_address.api_url
    hub("stop", home=own.home, **(own.env | env))
    assert api.answers(hub_address, 2)


def test_our_own_hub_in_the_environment_is_still_ours(
    hub_address: HubAddress, with_environment: Callable[..., None]
) -> None:
    with_environment(PREFECT_API_URL=f"{hub_address.api_url}/")
    found = address.find()
    assert found == hub_address
    assert found.managed


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "MOORAGE_API_URL"])
def test_a_server_of_the_environment_that_does_not_answer(own: OwnHub, variable: str, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/api"
    failed = own.start(exit_code=8, **{variable: url})
    assert failed["error"] == "HubError"
    assert url in failed["message"]
    assert f"unset {variable}" in failed["hint"]
    assert own.processes() == {}


# --- the project ---------------------------------------------------------------------------------------------


def test_looking_at_the_hub_imports_no_prefect(tmp_path: Path) -> None:
    code = """
        import sys
        from moorage.hub import control
        control.status(), control.find()
        assert not [name for name in sys.modules if name.split(".")[0] == "prefect"]
    """
    looked = python(code, tmp_path, MOORAGE_HOME=str(tmp_path))
    assert looked.returncode == 0, looked.stderr


LOAD = """
    from moorage.hub.address import HubAddress
    from moorage.hub.project import load_flow, project_directory, use
    use(HubAddress(api_url="http://127.0.0.1:1/api", ui_url="http://127.0.0.1:1", managed=True))
    loaded = load_flow("up")
    import tasks
    print(loaded.name, tasks.__path__[0] == str(project_directory() / "tasks"))
"""


def test_a_decoy_beside_us_does_not_win(tmp_path: Path) -> None:
    for name in ("flows", "tasks", "blocks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    loaded = python(LOAD, tmp_path, tmp_path)
    assert loaded.stdout.split() == ["up", "True"], loaded.stderr


def test_a_foreign_package_that_is_there_already_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    refused = python("import tasks\n" + dedent(LOAD), tmp_path, tmp_path)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert re.search(r"MoorageError: the package 'tasks' is not Moorage's but that of .*/tasks/__init__\.py", last)


def test_prefect_that_was_imported_for_another_server_is_named(tmp_path: Path) -> None:
    refused = python("import prefect\n" + dedent(LOAD), tmp_path, PREFECT_API_URL="http://127.0.0.1:2/api")
    assert "Prefect was imported before" in refused.stderr


def test_flows_run_quietly_and_keep_their_files_in_the_hub(hub_address: HubAddress, tmp_path: Path) -> None:
    code = """
        import logging, os
        from moorage.hub.address import find
        from moorage.hub.project import use
        use(find())
        from prefect import flow, settings
        @flow
        async def fails():
            logging.getLogger("moorage.x").warning("to the API only")
            raise ValueError("shown by whoever catches it")
        import asyncio
        try:
            asyncio.run(fails())
        except ValueError:
            print(settings.PREFECT_HOME.value())
    """
    ran = python(code, tmp_path)
    assert ran.stdout.strip() == str(HubFolder(settings().home / "hub").prefect_home)
    assert ran.stderr == ""


SLOW = """
import asyncio
from pathlib import Path
from prefect import flow

@flow
async def slow(trace: str):
    Path(trace).write_text("begun")
    try:
        await asyncio.sleep(60)
    except BaseException:
        Path(trace).write_text("begun undone")
        raise
"""

DEAF = """
import signal, time
from pathlib import Path
from prefect import flow

@flow
def deaf(trace: str):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(trace).write_text("begun")
    time.sleep(60)
"""


def run_of(hub_address: HubAddress, directory: Path, entrypoint: str, **parameters: Any) -> str:
    """Deploy a flow of this test to the worker and trigger it."""
    name = entrypoint.partition(":")[2]
    flow = api.call(hub_address, "POST", "/flows/", {"name": name})
    made = api.call(
        hub_address,
        "POST",
        "/deployments/",
        {
            "name": name,
            "flow_id": flow["id"],
            "entrypoint": entrypoint,
            "work_pool_name": worker.POOL,
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}}],
        },
    )
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(api.call(hub_address, "POST", f"/deployments/{made['id']}/create_flow_run", body)["id"])


def _binds(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
