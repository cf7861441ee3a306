"""The hub's door as those find it who have no business there: another user, a container on the host's network."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployed, process, worker
from moorage.hub.hub_home import HubHome, ServerRecord
from moorage.hub.serve import __file__ as serve
from tests.orchestrated.conftest import OwnHub, address_in, http_status, hub, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    import docker

    from moorage.hub.api import HubAddress

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]

NOBODY = 65534
TRIES = r"""
import base64, encodings.idna, json, os, socket, struct, sys, urllib.error, urllib.request

user, port, calls, sockets, files = json.load(sys.stdin)
if user:  # only now: the interpreter itself may lie where nobody else may go
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)

def http(method, path, body):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")

def web_socket(path, protocol, first):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        protocols = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        key = base64.b64encode(bytes(16)).decode()
        one.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n".encode()
        )
        answer = one.makefile("rb")
        status = int(answer.readline().split()[1])
        if status != 101:
            return status
        while answer.readline().strip():
            pass
        content = json.dumps(first).encode()
        one.sendall(bytes([0x81, 0x80 | len(content)]) + bytes(4) + content)
        kind, length = answer.read(2)
        return [kind & 15, struct.unpack("!H", answer.read(length)[:2])[0]]

def opened(path):
    try:
        open(path, "rb").close()
    except PermissionError:
        return False
    return True

print(json.dumps({
    "http": [http(*call) for call in calls],
    "sockets": [web_socket(*one) for one in sockets],
    "files": [opened(path) for path in files],
}))
"""
"""Standard library only, in an interpreter of its own."""


def calls_of(address: HubAddress, name: str) -> list[tuple[str, str, Any]]:
    """Requests that would read secrets, or start a shell as the hub's user."""
    flow = deployed.found_on(address)["status"]
    shell = {"name": name, "job_variables": {"command": "sh -c id"}, "state": {"type": "SCHEDULED"}}
    return [
        ("POST", f"/api/deployments/{flow}/create_flow_run", shell),
        ("POST", "/api/block_documents/filter", {"include_secrets": True}),
        ("POST", "/api/flow_runs/filter", {}),
        ("POST", "/api/variables/", {"name": name, "value": 1}),
        ("PATCH", f"/api/work_pools/{worker.pool_name()}", {"is_paused": True}),
        ("DELETE", f"/api/deployments/{flow}", None),
        ("GET", "/api/admin/settings", None),
        ("GET", "/api/csrf-token?client=x", None),
        ("POST", "/api/moorage/tokens", {}),
        ("POST", "/moorage/enter", {"token": "x"}),
        ("GET", "/", None),
        ("GET", "/ui-settings", None),
    ]


def test_another_user_of_this_machine_can_do_nothing(hub_address: HubAddress, session_dir: Path) -> None:
    name, folder = f"v{secrets.token_hex(4)}", HubHome(session_dir / "home" / "hub")
    server, hand = folder.server(), folder.worker()
    assert server
    assert hand
    paths = ["/api/events/out", "/api/events/in", "/api/logs/out", "/api/task_runs/subscriptions/scheduled"]
    paths.append(f"/api/work_pools/{worker.pool_name()}/workers/connect")
    sockets = [(path, "prefect", {"type": "auth", "token": token}) for path in paths for token in (None, "moorage:x")]
    calls = calls_of(hub_address, name)
    private = [folder.path / "secret", folder.path / "server.json", folder.prefect_home / "prefect.db"]
    private += [f"/proc/{one.process.pid}/environ" for one in (server, hand)]
    as_root = os.geteuid() == 0
    asked = [*sockets, *((path, "", {}) for path in paths)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRIES],
        input=json.dumps([NOBODY if as_root else 0, server.port, calls, asked, list(map(str, private))]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [status for status, _ in told["http"]] == [403 if path == "/moorage/enter" else 401 for _, path, _ in calls]
    assert "moorage hub open" in told["http"][0][1], "it says what to do"
    assert told["sockets"] == [[8, 1008]] * len(sockets) + [403] * len(paths), "closed by policy"
    assert not (as_root and any(told["files"]))
    assert nothing_came_of_it(hub_address, name)


def test_a_container_on_the_network_of_the_host_can_do_nothing(
    hub_address: HubAddress, docker_client: docker.DockerClient, tiny_image: str, stack_prefix: str
) -> None:
    name, port = f"v{secrets.token_hex(4)}", hub_address.ui_url.rpartition(":")[2]
    lines = [
        f"wget -q -O- --header 'Content-Type: application/json' --post-data '{json.dumps(body)}' http://127.0.0.1:{port}{path} 2>&1"
        for method, path, body in calls_of(hub_address, name)
        if method == "POST"
    ]
    upgrade = (
        "GET /api/events/out HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n"
    )
    lines.append(f"(printf '{upgrade}'; sleep 1) | nc 127.0.0.1 {port} | head -1")
    said = docker_client.containers.run(
        tiny_image,
        ["sh", "-c", "; ".join(lines)],
        name=f"{stack_prefix}-host",
        network_mode="host",
        user=str(NOBODY),
        cap_drop=["ALL"],
        read_only=True,
        remove=True,
    ).decode()
    answers = [line.split("HTTP/1.1 ")[1][:3] for line in said.splitlines() if "HTTP/1.1 " in line]
    assert answers == ["401"] * (len(lines) - 2) + ["403"] * 2, said
    assert nothing_came_of_it(hub_address, name)


def nothing_came_of_it(address: HubAddress, name: str) -> bool:
    runs = api.call(address, "POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    pool = api.call(address, "GET", f"/work_pools/{worker.pool_name()}")
    return not runs and not pool["is_paused"] and api.call(address, "GET", f"/variables/name/{name}") is None


def test_the_secret_is_for_those_who_ask_for_it(hub_address: HubAddress, session_dir: Path) -> None:
    secret = (session_dir / "home" / "hub" / "secret").read_text().strip()
    assert secret == hub_address.auth
    for shown in (hub("status"), hub("status", "--json"), hub("start"), hub("start", "--json")):
        assert secret not in shown.stdout + shown.stderr
    assert f"auth    {secret}" in hub("status", "--show-secrets").stdout.splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in hub("env").stdout.splitlines())
    assert variables["PREFECT_API_AUTH_STRING"] == secret
    assert json.loads(hub("env", "--json").stdout) == variables
    command_lines = "".join(OwnHub(session_dir / "home", 0).processes().values())
    assert command_lines
    assert secret not in command_lines


def test_a_browser_gets_the_link_in_a_file(hub_address: HubAddress, tmp_path: Path) -> None:
    """What is on a command line can be read by everybody on the machine."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    browser.chmod(0o755)
    link = hub("open", BROWSER=f"{browser} %s").stdout.strip()
    wait_for((tmp_path / "asked").exists)
    asked = (tmp_path / "asked").read_text().strip()
    assert asked.startswith("file:///")
    token = link.partition("token=")[2]
    assert token
    assert token not in asked


# --- servers before they are ready, and those of the version before ---


def test_a_hub_of_the_version_before_is_taken_over(own: OwnHub) -> None:
    """It ran without a secret. A server like that one is Prefect's own."""
    url = f"http://127.0.0.1:{own.port}"
    environment = os.environ | {
        "PREFECT_HOME": str(own.folder.prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"{url}/api",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(own.port)]
    older = process.spawn(command, environment=environment, folder=own.home, log=own.folder.server_log)
    record = ServerRecord(
        process=older, host="127.0.0.1", port=own.port, api_url=f"{url}/api", ui_url=url, version="0.0.9"
    )
    own.folder.save_server(record)
    open_to_all = address_in(own_status_when_up(own))
    assert open_to_all.auth is None
    flow = api.call(open_to_all, "POST", "/flows/", {"name": "under-way"})["id"]
    run = api.call(open_to_all, "POST", "/flow_runs/", {"flow_id": flow, "name": "busy", "state": {"type": "RUNNING"}})
    waits = own.serve()
    assert "anybody on this machine may use it; the first `moorage hub start` after the end of busy" in waits.stdout
    assert process.alive(older)
    ended = {"state": {"type": "COMPLETED"}, "force": True}
    api.call(open_to_all, "POST", f"/flow_runs/{run['id']}/set_state", ended)
    after = own.serve()
    assert "replacing it" in after.stdout, after.stderr
    assert process.gone(older, 0)
    status = own.status()
    assert status["api_url"] == open_to_all.api_url
    assert api.call(address_in(status), "GET", f"/flow_runs/{run['id']}")["name"] == "busy", "its history is there"
    assert http_status(f"{status['api_url']}/flow_runs/filter", "POST", b"{}") == 401


def own_status_when_up(own: OwnHub) -> dict[str, Any]:
    wait_for(lambda: own.status()["api_url"] is not None)
    return own.status()


def test_a_server_is_known_even_if_the_command_that_started_it_was_killed(own: OwnHub) -> None:
    command = [sys.executable, "-m", "moorage", "hub", "start"]
    starting = subprocess.Popen(command, env=os.environ | own.env | {"MOORAGE_HOME": str(own.home)})
    wait_for(lambda: own.folder.server() is not None)
    starting.kill()
    starting.wait()
    wait_for(lambda: process.alive(found.process) if (found := own.folder.server()) else False)
    own.stop()
    assert own.processes() == {}


def test_a_server_that_nobody_waits_for_ends(own: OwnHub) -> None:
    command = [sys.executable, serve, "--host", "127.0.0.1", "--port", str(own.port), "--folder", str(own.folder.path)]
    done = subprocess.run([*command, "--log-bytes", "65536"], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    assert "has given up" in done.stderr
