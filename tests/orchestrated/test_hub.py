"""The hub as it runs: found, deployed, guarded. The server is a real one, and one for the whole session."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.errors import HubError
from moorage.hub import address, api, deployed, forms, worker
from moorage.hub.api import HubAddress
from moorage.hub.project import project_directory
from tests.orchestrated.conftest import (
    OwnHub,
    address_in,
    authorization,
    create_run,
    http_status,
    hub,
    python,
    refused_page,
    wait_for_state,
)

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


ROOT = Path(__file__).resolve().parents[2]


def test_the_hub_is_found(hub_address: HubAddress) -> None:
    assert address.find() == hub_address


def test_a_second_start_does_nothing(hub_address: HubAddress) -> None:
    before = json.loads(hub("status", "--json").stdout)
    again = hub("start", "--json")
    assert again.stderr == "", "it says what it does"
    after = json.loads(again.stdout)
    assert [after[one]["pid"] for one in ("server", "worker")] == [before[one]["pid"] for one in ("server", "worker")]
    assert before["server"]["state"] == before["worker"]["state"] == "running"
    assert before["server"]["memory_bytes"] > 50 << 20
    assert datetime.fromisoformat(before["server"]["since"]) < datetime.now(UTC)


def test_every_flow_is_deployed_and_can_be_loaded(hub_address: HubAddress) -> None:
    flows = {file.stem for file in (project_directory() / "flows").glob("*.py") if not file.stem.startswith("_")}
    found = deployed.found_on(hub_address)
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


@pytest.mark.exhaustive
def test_a_schedule_that_somebody_switched_off_stays_off(hub_address: HubAddress, session_dir: Path) -> None:
    found = deployed.found_on(hub_address)["status"]
    (schedule,) = api.call(hub_address, "GET", f"/deployments/{found}")["schedules"]
    assert schedule["active"] is True
    api.call(hub_address, "PATCH", f"/deployments/{found}/schedules/{schedule['id']}", {"active": False})
    try:
        (session_dir / "home" / "hub" / "deployed").unlink()
        assert "deploying the flows" in hub("start").stderr
        (again,) = api.call(hub_address, "GET", f"/deployments/{found}")["schedules"]
        assert again["active"] is False
    finally:
        api.call(hub_address, "PATCH", f"/deployments/{found}/schedules/{schedule['id']}", {"active": True})


def deployments_of(hub_address: HubAddress) -> dict[str, dict[str, object]]:
    """What the server has of each deployment, but for when and by which call."""
    theirs = (
        "entrypoint",
        "parameters",
        "tags",
        "description",
        "parameter_openapi_schema",
        "pull_steps",
        "job_variables",
    )
    found = api.call(hub_address, "POST", "/deployments/filter", {})
    return {
        one["name"]: {key: one[key] for key in theirs}
        | {"id": one["id"], "pool": one["work_pool_name"]}
        | {"schedules": sorted((s["slug"], s["active"], str(s["schedule"]["interval"])) for s in one["schedules"])}
        for one in found
    }


def test_prefect_deploys_the_project_without_a_question_and_changes_nothing(hub_address: HubAddress) -> None:
    before = deployments_of(hub_address)
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=project_directory(),
        env=os.environ | json.loads(hub("env", "--json").stdout),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'up/up' successfully" in done.stdout
    forms.close_all(hub_address)  # what the next `moorage hub start` does
    assert deployments_of(hub_address) == before


def test_the_worker_runs_what_the_ui_asks_for(hub_address: HubAddress) -> None:
    run = create_run(hub_address, "status")
    wait_for_state(hub_address, run, "COMPLETED")


def test_the_pool_is_what_prefect_would_make_of_it_but_for_command_and_directory() -> None:
    made = python(
        "import json; from prefect.workers.process import ProcessWorker as w;"
        "print(json.dumps(w.get_default_base_job_template()))",
        ROOT,
    )
    theirs, ours = json.loads(made.stdout), worker.base_job_template(worker.TEMPLATE)
    assert ours["job_configuration"] == theirs["job_configuration"]
    assert set(ours["variables"]["properties"]) == set(theirs["variables"]["properties"])


def test_a_foreign_page_may_not_call_the_api(hub_address: HubAddress) -> None:
    url, evil = f"{hub_address.api_url}/variables/", "http://evil.example"
    port = hub_address.ui_url.rpartition(":")[2]
    asks = {"Access_Control_Request_Method": "POST"}
    me = {"Authorization": authorization(hub_address), "Content_Type": "application/json"}
    assert http_status(url, "OPTIONS", Origin=evil, **asks) == 403
    assert http_status(url, "OPTIONS", Origin=f"http://localhost:{port}", **asks) == 200
    body = json.dumps({"name": f"v{secrets.token_hex(4)}", "value": 1}).encode()
    assert http_status(url, "POST", body, Origin=evil, **(me | {"Content_Type": "text/plain"})) == 403
    assert http_status(url, "POST", body, Origin="null", **me) == 403
    assert http_status(url, "POST", body, Origin=hub_address.ui_url, **me) == 201


def test_a_foreign_page_may_not_write_without_a_content_type(hub_address: HubAddress) -> None:
    """Browsers send such a POST without asking first, and Prefect reads it as JSON."""
    import http.client

    port = int(hub_address.ui_url.rpartition(":")[2])
    body = json.dumps({"name": f"v{secrets.token_hex(4)}", "value": 1})
    answers = []
    me = {"Authorization": authorization(hub_address)}
    for origin in ({"Origin": "http://evil.example"}, {}):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/api/variables/", body, me | origin)
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
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(
                f"GET /api/events/out HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
                f"Authorization: {authorization(hub_address)}\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: prefect\r\n\r\n".encode()
            )
            first_lines.append(connection.recv(1000).decode().splitlines()[0])
    assert [line.split()[1] for line in first_lines] == ["403", "101"]


def test_files_of_the_hub_are_private(hub_address: HubAddress, session_dir: Path) -> None:
    folder = session_dir / "home" / "hub"
    storage = folder / "prefect" / "storage"  # nobody else may enter it, so what Prefect writes in it may be as it is
    files = [folder, *(path for path in folder.rglob("*") if path.suffix != ".lock" and storage not in path.parents)]
    assert [str(path) for path in files if path.exists() and path.stat().st_mode & 0o077] == []
    assert (folder / "prefect" / "prefect.db").is_file()


@pytest.mark.exhaustive
def test_other_addresses_than_loopback_need_a_password(own: OwnHub) -> None:
    refused = own.start(exit_code=8, MOORAGE_HUB_HOST="0.0.0.0")
    assert "password" in refused["said"]
    assert own.processes() == {}
    secret = "ada:open-sesame"
    status = own.start(MOORAGE_HUB_HOST="0.0.0.0", MOORAGE_HUB_AUTH=secret)
    assert status["worker"]["state"] == "running", "the worker knows the password"
    assert secret not in hub("status", "--json", home=own.home, **own.env).stdout
    bare = address_in(status | {"auth": None})
    assert http_status(f"{bare.api_url}/variables/filter", "POST", b"{}", Content_Type="application/json") == 401
    with pytest.raises(HubError, match="401"):
        deployed.found_on(bare)
    assert "up" in deployed.found_on(address_in(status, auth=secret))
    assert 'name="password"' in refused_page(bare), "elsewhere one cannot run `moorage hub open`"
    assert own.status()["api_url"], "a later command needs no variable: the password is on record"
    assert not [line for line in own.processes().values() if secret in line], "no password in a command line"
