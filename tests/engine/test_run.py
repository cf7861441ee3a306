"""`moorage run`: one container for one command, beside the stack."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

MOORAGE = str(Path(sys.executable).with_name("moorage"))
PATIENCE_S = 100


def containers(docker_client, stack, *, one_off):
    chosen = [f"com.docker.compose.project={stack}", f"com.docker.compose.oneoff={one_off}"]
    return docker_client.api.containers(all=True, filters={"label": chosen})


@pytest.fixture
def shop(project, tiny_image):
    project.compose(f"""
        services:
          db: {{image: '{tiny_image}', command: sleep infinity, init: true, volumes: ['data:/data']}}
          web:
            image: '{tiny_image}'
            command: sleep infinity
            init: true
            depends_on: [db]
            ports: ['80']
            volumes: ['data:/data']
            environment: {{COLOUR: red}}
            secrets: [pw]
          tool: {{image: '{tiny_image}', command: echo of the tool, profiles: [tools]}}
        secrets: {{pw: {{environment: SHOP_PW}}}}
        volumes: {{data: }}
    """)
    (project.path / ".env").write_text("SHOP_PW=from the env file\n")
    yield project
    project.moorage("down", "--volumes", "--release-ports")


def test_one_command_beside_the_stack(shop, docker_client):
    script = 'echo "$COLOUR $A $(cat /run/secrets/pw)"; cat > /data/file; ping -c 1 db >/dev/null && exit 7'
    command = [MOORAGE, "run", "-e", "A=1 $B", "web", "sh", "-c", script]
    done = subprocess.run(
        command, cwd=shop.path, input=b"bytes\0", capture_output=True, check=False, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (7, b"red 1 $B from the env file\n"), done.stderr
    status = shop.moorage("status", "--json").json
    assert {name: one["state"] for name, one in status["services"].items()} == {"db": "running"}, "what it needs"
    assert not containers(docker_client, shop.name, one_off=True), "it is removed"
    back = shop.moorage(
        "run", "--no-deps", "--user", "1000", "--workdir", "/tmp", "web", "sh", "-c", "id -u; pwd; cat /data/file"
    )
    assert back.stdout == "1000\n/tmp\nbytes\0"
    assert shop.moorage("run", "--entrypoint", "echo", "web", "hello").stdout == "hello\n"
    assert shop.moorage("run", "tool").stdout == "of the tool\n"
    assert "Did you mean" in shop.moorage("run", "weeb", "true", exit_code=2).stderr


WAITS = "trap 'exit 9' TERM; echo there; while :; do sleep 0.1; done"


def test_one_that_nobody_attends_to_any_more_is_swept_and_goes_with_down(shop, docker_client):
    def begun():
        command = [MOORAGE, "run", "--no-deps", "web", "sh", "-c", WAITS]
        process = subprocess.Popen(command, cwd=shop.path, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"there\n"
        return process

    def ended(process, number):
        os.kill(process.pid, number)
        with process.stdout:
            return process.wait(PATIENCE_S)

    def there():
        return containers(docker_client, shop.name, one_off=True)

    first = begun()
    assert "killed `run`" not in shop.moorage("sweep", "--dry-run", exit_code=None).stdout, "it is attended"
    assert ended(first, signal.SIGKILL) == -signal.SIGKILL
    assert there()
    swept = shop.moorage("sweep", exit_code=None)  # of other tests' stacks there may be what cannot be swept
    assert f"swept container of a killed `run` of {shop.name}" in swept.stdout
    assert not there()
    assert ended(begun(), signal.SIGTERM) == 9, "signals are the command's"
    assert not there()
    assert ended(begun(), signal.SIGKILL) == -signal.SIGKILL
    shop.moorage("down", "--timeout", "0")
    assert not there()


def test_on_a_terminal_the_command_gets_one(shop):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shop.path)
        os.execv(MOORAGE, [MOORAGE, "run", "--no-deps", "web", "sh", "-c", "test -t 0 && test -t 1 && exit 9"])
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        try:
            while screen.read(1000):
                pass
        except OSError:  # the end of a terminal
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
