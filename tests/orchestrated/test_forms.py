"""What the UI asks for and refuses: forms of deployments, Blocks, and a Block in place of a directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployed
from moorage.hub.prefect_file import rendered
from moorage.hub.project import project_directory, whole_environment
from tests.orchestrated.conftest import OwnHub, address_in, authorization, create_run, python, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]

SECRET = "kj4-9Zs_very-unlikely.77"


def form_of(address: HubAddress, flow: str) -> dict[str, Any]:
    deployment = api.call(address, "GET", f"/deployments/{deployed.found_on(address)[flow]}")
    assert deployment["enforce_parameter_schema"] is True
    properties: dict[str, Any] = deployment["parameter_openapi_schema"]["properties"]
    return properties


def refusal(address: HubAddress, flow: str, **parameters: Any) -> str:
    """What the server says to a form that is wrong."""
    url = f"{address.api_url}/deployments/{deployed.found_on(address)[flow]}/create_flow_run"
    body = json.dumps({"parameters": parameters}).encode()
    headers = {"Content-Type": "application/json", "Authorization": authorization(address)}
    request = urllib.request.Request(url, body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    assert refused.value.code == 409
    with refused.value as answer:
        return answer.read().decode()


def test_every_field_of_every_form_explains_itself(hub_address: HubAddress) -> None:
    for flow in deployed.found_on(hub_address):
        for name, field in form_of(hub_address, flow).items():
            assert field.get("description"), f"{flow}.{name} has no help"
            assert field.get("title", name) != name, f"{flow}.{name} has no title"
    assert {
        "path",
        "stack",
        "name",
        "files",
        "profiles",
        "env",
        "wait_timeout_s",
        "on_failure",
        "ttl",
        "builder",
    } <= set(form_of(hub_address, "up"))


@pytest.mark.parametrize(
    ("flow", "parameters", "said"),
    [
        ("up", {"path": "/x", "name": "No Such Name!"}, "name"),
        ("up", {"path": "/x", "wait_timeout_s": -1}, "wait_timeout_s"),
        ("up", {"path": "/x", "on_failure": "explode"}, "on_failure"),
        ("up", {"path": "/x", "builder": "ant"}, "builder"),
        ("up", {"path": "/x", "ttl": "soon"}, "ttl"),
        ("up", {"path": "/x", "files": "compose.yaml"}, "files"),
        ("up", {"path": "/x", "nmae": "shop", "timeout": 3}, "'nmae', 'timeout' were unexpected"),
        ("sweep", {"disk": "20 apples"}, "disk"),
        ("sweep", {"volume": True}, "'volume' was unexpected"),
        ("down", {}, "stack"),
        ("stop", {"stack": "shop", "timeout_s": -3}, "timeout_s"),
        ("rollback", {"stack": "shop", "to": 0}, "to"),
    ],
)
def test_the_form_refuses_what_makes_no_sense(
    hub_address: HubAddress, flow: str, parameters: dict[str, Any], said: str
) -> None:
    assert said in refusal(hub_address, flow, **parameters)


def test_blocks_are_registered_with_all_that_the_catalogue_shows(hub_address: HubAddress) -> None:
    for slug in ("moorage-stack-source", "moorage-port-range", "docker-host", "docker-registry-credentials"):
        kind = api.call(hub_address, "GET", f"/block_types/slug/{slug}")
        assert kind, slug
        words = ("name", "description", "logo_url", "documentation_url", "code_example")
        assert all(kind[key] for key in words) or not slug.startswith("moorage"), slug


def test_blocks_are_known_by_entry_point_beside_a_package_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "__init__.py").write_text("ours = 'theirs'\n")
    code = """
        import blocks
        from prefect.plugins import load_prefect_collections
        found = load_prefect_collections()["moorage"]
        assert not isinstance(found, Exception), found
        from prefect.blocks.core import Block
        print(Block.get_block_class_from_key("moorage-stack-source").__name__, blocks.ours)
    """
    done = python(code, tmp_path, tmp_path)
    assert done.stdout.split() == ["StackSource", "theirs"], done.stderr


def save_block(address: HubAddress, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from blocks.stack_source import PortRange, StackSource\n{code}"],
        cwd=project_directory(),
        env=whole_environment(address),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_stack_from_a_block_and_its_secret_nowhere(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState, session_dir: Path
) -> None:
    project.compose(
        f"""
        services:
          web:
            image: '{tiny_image}'
            init: true
            environment: {{GREETING: "${{GREETING}}", DB_PASSWORD: "${{DB_PASSWORD}}"}}
            command: [sh, -c, 'echo "$$GREETING, $$DB_PASSWORD"; httpd -f -p 8000']
            ports: ['8000']
        """
    )
    source = f"path={str(project.path)!r}, env={{'GREETING': 'hello'}}, secrets={{'DB_PASSWORD': {SECRET!r}}}, ttl='8h'"
    name = project.name
    save_block(
        hub_address,
        f"ports = PortRange(first=21500, last=21999)\nports.save('range-{name}')\n"
        f"StackSource({source}, ports=ports).save({name!r})",
    )
    run = create_run(hub_address, "up", stack=name)
    wait_for_state(hub_address, run, "COMPLETED")
    status = project.moorage("status", name, "--json").json
    assert status["state"] == "running"
    assert 21500 <= status["services"]["web"]["ports"][0]["published"] <= 21999
    (container,) = status["services"]["web"]["containers"]
    logs = machine_state.client.containers.get(container).logs().decode()
    assert logs.strip() == f"hello, {SECRET}", "the container has the secret"
    assert places_of(SECRET, session_dir) == []
    assert SECRET not in _command_lines()
    failing = project.path.joinpath("compose.yaml").read_text().replace("httpd -f -p 8000", "exit 3")
    project.compose(failing)
    failed = create_run(hub_address, "up", stack=name)
    assert SECRET not in json.dumps(wait_for_state(hub_address, failed, "FAILED"))
    assert project.moorage("status", name, "--json").json["state"] == "running", "the change was undone"
    assert places_of(SECRET, session_dir) == []
    project.moorage("down", name, "--volumes", "--release-ports")


def places_of(secret: str, folder: Path) -> list[str]:
    """Files that hold a secret: databases, logs, records, reports. Generation files have to: they are what is applied."""
    wal = [file for file in folder.rglob("*") if file.is_file() and "generations" not in file.parts]
    found = []
    for file in wal:
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if secret.encode() in content or secret[4:-3].encode() in content:
            found.append(str(file))
    assert any(file.name == "prefect.db" for file in wal)
    assert any(file.name == "hub.db" for file in wal)
    return found


def _command_lines() -> str:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found.append(
                (entry / "cmdline").read_text() if entry.name.isdigit() and int(entry.name) != os.getpid() else ""
            )
        except OSError:
            continue
    return "\n".join(found)


def test_what_a_form_cannot_tell_the_flow_does(hub_address: HubAddress) -> None:
    cases: dict[str, dict[str, Any]] = {
        "either a path or a stack source": {},
        "not both": {"path": "/tmp", "stack": "x"},
        "no Stack Source 'no-such-block'": {"stack": "no-such-block"},
        "looks like a secret": {"path": "/tmp", "env": {"API_TOKEN": "x"}},
    }
    code = f"""
        import asyncio, os
        from flows.up import up
        os.umask(0o077)
        for parameters in {list(cases.values())!r}:
            try:
                asyncio.run(up(**parameters))
            except Exception as error:
                print(error, getattr(error, "hint", None))
    """
    done = python(code, project_directory(), **whole_environment(hub_address))
    said = done.stdout.splitlines()
    assert len(said) == len(cases), done.stderr
    assert [words for words, line in zip(cases, said, strict=True) if words not in line] == []


def test_a_pool_of_ones_own_has_deployments_of_its_own() -> None:
    text = (project_directory() / "prefect.yaml").read_text()
    ours, theirs = rendered(text, "moorage", schedules=True), rendered(text, "host-b", schedules=False)
    assert "name: up\n" in ours
    assert "name: up.host-b\n" in theirs
    assert "name: host-b\n" in theirs
    assert "active: true" in ours
    assert "active: true" not in theirs


@pytest.mark.exhaustive
def test_schedules_are_switched_off_by_a_setting_and_on_again(own: OwnHub) -> None:
    def active(status: dict[str, Any]) -> list[bool]:
        found = api.call(address_in(status), "POST", "/deployments/filter", {})
        return [schedule["active"] for one in found for schedule in one["schedules"]]

    off = active(own.start(MOORAGE_SCHEDULES="false", MOORAGE_POOL="other"))
    assert off
    assert not any(off)
    assert all(active(own.start(MOORAGE_SCHEDULES="true", MOORAGE_POOL="other")))
