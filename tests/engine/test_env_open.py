"""Where the services are: for a shell, a dotenv file, a program, a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.show.variables_text import dotenv_text
from tests.conftest import run_moorage

pytestmark = pytest.mark.engine

MOORAGE = str(Path(sys.executable).with_name("moorage"))
HOSTILE = "a b'\"$HOME`id`\\;*\n#é"


def moorage(s, *args, exit_code=0, **env):
    done = run_moorage(*args, "--name", s.name, directory=s.path, **env)
    assert done.returncode == exit_code, done
    return done


@pytest.fixture
async def shop(stack, free_ports):
    s = stack(f"""
        services:
          we.b-1_x:
            image: ${{TINY_IMAGE}}
            command: [httpd, -f, -p, "80", -h, /etc]
            ports: ["{free_ports()}:80", "53/udp"]
            stop_grace_period: 0s
          db: {{image: "${{TINY_IMAGE}}", command: [httpd, -f, -p, "5432"], ports: ["5432"], stop_grace_period: 0s}}
    """)
    await s.up()
    return s


async def test_env_for_shell_dotenv_and_programs(shop, docker_compose, tmp_path):
    port = shop.ports["we.b-1_x 80/tcp"]
    script = f'eval "$({MOORAGE} env --name {shop.name})" && echo "$MOORAGE_STACK $MOORAGE_URL_WE_B_1_X_80"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == f"{shop.name} http://127.0.0.1:{port}\n"

    (tmp_path / "addresses.env").write_text(moorage(shop, "env", "--format", "dotenv").stdout)
    assert read_by_compose(docker_compose, tmp_path, "MOORAGE_PORT_WE_B_1_X_80") == str(port)

    found = json.loads(moorage(shop, "env", "--format", "json").stdout)
    assert found == json.loads(moorage(shop, "env", "--json").stdout)
    assert found["services"]["db"]["5432/tcp"]["url"] == f"postgresql://127.0.0.1:{shop.ports['db 5432/tcp']}"
    assert found["environment"]["MOORAGE_PORT_WE_B_1_X_53"] == str(shop.ports["we.b-1_x 53/udp"])

    await shop.stop()
    stopped = moorage(shop, "env")
    assert (stopped.stdout, "nothing is published" in stopped.stderr) == (f"export MOORAGE_STACK={shop.name}\n", True)
    assert "is not running" in moorage(shop, "open", "db", exit_code=1).stderr


def read_by_compose(docker_compose, folder, name):
    """What Compose makes of a variable of addresses.env."""
    (folder / "compose.yaml").write_text(f'services: {{x: {{image: i, environment: {{SEEN: "${{{name}}}"}}}}}}')
    command = [docker_compose, "--env-file", "addresses.env", "config", "--format", "json"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return json.loads(said)["services"]["x"]["environment"]["SEEN"].replace("$$", "$")


def test_compose_reads_hostile_values_back(docker_compose, tmp_path):
    (tmp_path / "addresses.env").write_text(dotenv_text({"HOSTILE": HOSTILE, "AFTER": "it"}))
    assert read_by_compose(docker_compose, tmp_path, "HOSTILE") == HOSTILE
    assert read_by_compose(docker_compose, tmp_path, "AFTER") == "it"


async def test_open_opens_the_browser(shop, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    url = f"http://127.0.0.1:{shop.ports['we.b-1_x 80/tcp']}"
    assert moorage(shop, "open", "we.b-1_x", BROWSER=f"{browser} %s").stdout == f"{url}\n"
    assert (tmp_path / "opened").read_text() == url

    by_port = moorage(shop, "open", "db", "--port", "5432", "--no-browser").stdout
    assert by_port == f"http://127.0.0.1:{shop.ports['db 5432/tcp']}\n"
    assert "Published ports: 5432" in moorage(shop, "open", "db", exit_code=2).stderr
    assert "no port 81" in moorage(shop, "open", "we.b-1_x", "--port", "81", exit_code=2).stderr
    assert "Services: db, we.b-1_x." in moorage(shop, "open", "wbe", exit_code=2).stderr
