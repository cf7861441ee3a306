"""The Block `DaggerEngine`: in the catalogue, loaded by name, its credentials for builds only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from blocks.dagger_engine import DaggerEngine
from moorage.hub import api
from tests.orchestrated.conftest import create_run, wait_for_state
from tests.orchestrated.test_forms import SECRET, form_of, save_block

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


async def test_what_it_stands_for(hub_address: HubAddress) -> None:
    engine = DaggerEngine(runner_host="tcp://e:1", cli="/opt/dagger")
    assert engine.settings() == {"dagger_runner_host": "tcp://e:1", "dagger_cli": "/opt/dagger"}
    assert await engine.logins() == ()
    with pytest.raises(ValidationError):
        DaggerEngine(runner_host="example.org")
    save_block(
        hub_address,
        "import asyncio\n"
        "from blocks.dagger_engine import DaggerEngine\n"
        "from prefect_docker import DockerRegistryCredentials\n"
        "url = 'https://r.example.org:5000/v2'\n"
        f"DockerRegistryCredentials(username='me', password={SECRET!r}, registry_url=url).save('own-registry')\n"
        "(one,) = asyncio.run(DaggerEngine(runner_host='unix:///x', registry_credentials='own-registry').logins())\n"
        f"assert (one.registry, one.username, one.password) == ('r.example.org:5000', 'me', {SECRET!r})\n"
        f"assert {SECRET!r} not in repr(one)\n",
    )


@pytest.mark.exhaustive
def test_a_run_uses_the_engine_it_names(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    """The engine is not there, so the run says which one it looked for; nothing is started."""
    kind = api.call(hub_address, "GET", "/block_types/slug/moorage-dagger-engine")
    assert kind["name"] == "Moorage Dagger Engine"
    assert kind["code_example"]
    assert "dagger" in form_of(hub_address, "up")
    project.write("Dockerfile", f'FROM {tiny_image}\nCMD ["sleep", "600"]\n')
    project.compose("services: {web: {build: ., init: true}}")
    cli = project.write("dagger", "#!/bin/sh\necho dagger v0.21.11\n")
    cli.chmod(0o755)
    given = f"runner_host='tcp://127.0.0.1:1', cli={str(cli)!r}, registry_credentials='login-{project.name}'"
    save_block(
        hub_address,
        "from blocks.dagger_engine import DaggerEngine\n"
        "from prefect_docker import DockerRegistryCredentials\n"
        f"credentials = DockerRegistryCredentials(username='me', password={SECRET!r}, registry_url='r.example.org')\n"
        f"credentials.save('login-{project.name}')\n"
        f"DaggerEngine({given}).save({project.name!r})",
    )
    run = create_run(hub_address, "up", path=str(project.path), builder="dagger", dagger=project.name)
    state = json.dumps(wait_for_state(hub_address, run, "FAILED"))
    assert "the engine at tcp://127.0.0.1:1 cannot be reached" in state
    assert SECRET not in state
    nobody = create_run(hub_address, "up", path=str(project.path), builder="dagger", dagger="nobody")
    assert "there is no Dagger Engine" in json.dumps(wait_for_state(hub_address, nobody, "FAILED"))
