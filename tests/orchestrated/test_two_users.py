"""Two users of one machine, root and another who may use the engine: each with a hub and a stack, at the same time."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from moorage.hub.hub_home import HubHome
from tests.orchestrated.conftest import OwnHub
from tests.other_user import MOORAGE, NOBODY, OtherUser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(1800)]

PATIENCE_S = 500
COMPOSE = """
name: {name}
services:
  web:
    image: {image}
    command: httpd -f -p 80 -h /www
    init: true
    ports: ["{port}:80"]
    volumes: ["./www:/www:ro"]
"""


class User:
    """Someone's commands, home and project."""

    def __init__(self, start: Callable[[list[str], Path], subprocess.Popen[str]], home: Path, project: Path) -> None:
        self._start, self.home, self.project = start, home, project
        self.hub = HubHome(home / "hub")

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return self._start([*MOORAGE, *arguments], self.project)

    def moorage(self, *arguments: str) -> Any:
        return json_of(self.begin(*arguments, "--json"))


def json_of(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, f"{process.args}\n{out}\n{err}"
    return json.loads(out)


@pytest.fixture
def environment(free_port: int, wanted_port: int) -> dict[str, str]:
    """The same for both, which is what two users of a machine have: the same port for the hub, one range for services."""
    more = {"MOORAGE_PORT_RANGE": f"{wanted_port}-{wanted_port + 20}", "MOORAGE_SCHEDULES": "false"}
    return {"MOORAGE_HUB_PORT": str(free_port), "NO_COLOR": "1", "DO_NOT_TRACK": "1", **more}


@pytest.fixture
def root(own: OwnHub, tmp_path: Path, environment: dict[str, str]) -> User:
    project = tmp_path / "project"
    project.mkdir()

    def start(command: list[str], directory: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment, "MOORAGE_HOME": str(own.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return User(start, own.home, project)


@pytest.fixture
def other(environment: dict[str, str]) -> Iterator[User]:
    assert os.geteuid() == 0, "this test needs root: it runs commands in another user's name"
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    account = OtherUser(socket)
    home = account.home / ".local" / "state" / "moorage"  # where a user has it who sets nothing
    user = User(lambda command, at: account.start(command, at, environment), home, account.folder("project"))
    yield user
    for arguments in (("down", "--volumes", "--release-ports"), ("hub", "stop", "--timeout", "1")):
        user.begin(*arguments).communicate(timeout=PATIENCE_S)
    account.close()


def first_page(user: User) -> str:
    """What a browser gets that has come in."""
    record = user.hub.server()
    assert record
    assert record.auth
    asked = urllib.request.Request(f"{record.ui_url}/")
    asked.add_header("Authorization", f"Basic {base64.b64encode(record.auth.encode()).decode()}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
        return answer.read().decode()


def answer_at(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return answer.read().decode()


def write_project(user: User, name: str, image: str, port: int, word: str) -> None:
    (user.project / "compose.yaml").write_text(COMPOSE.format(name=name, image=image, port=port))
    (user.project / "www").mkdir()
    (user.project / "www" / "index.html").write_text(word)


def port_of(status: Any) -> int:
    return int(status["services"]["web"]["ports"][0]["published"])


def the_name_is_of_who_took_it_first(first: User, second: User, image: str) -> None:
    """Two checkouts of one project have one name, which an engine has once. The second user cannot harm the first."""
    name = yaml.safe_load((first.project / "compose.yaml").read_text())["name"]
    text = (second.project / "compose.yaml").read_text()
    mine = yaml.safe_load(text)["name"]
    (second.project / "compose.yaml").write_text(text.replace(mine, name))
    late = second.moorage("up")
    assert late["stack"].startswith(f"{name}-"), "a copy of a project gets a name of its own"
    assert port_of(late) != port_of(first.moorage("status"))
    own = ("down", "--name", late["stack"], "--volumes", "--release-ports")
    for arguments in (own, ("down", "--name", name), ("sweep", "--volumes")):
        second.begin(*arguments).communicate(timeout=PATIENCE_S)
    (second.project / "compose.yaml").write_text(text)


def test_both_have_a_hub_and_a_stack_at_the_same_time(
    root: User, other: User, tiny_image: str, stack_prefix: str, wanted_port: int
) -> None:
    users = (root, other)
    for number, user in enumerate(users):
        write_project(user, f"{stack_prefix}-u{number}", tiny_image, wanted_port, f"of user {number}")

    hubs = [user.begin("hub", "start", "--json") for user in users]
    addresses = [json_of(hub)["ui_url"] for hub in hubs]
    assert len(set(addresses)) == 2, "each has a hub of its own, though both want the same port"
    for user in users:
        assert "<title>" in first_page(user), "and its pages, though Prefect is installed once"

    ups = [user.begin("up", "--json") for user in users]
    ports = [port_of(json_of(up)) for up in ups]
    assert len(set(ports)) == 2, "no port is leased twice"
    assert [answer_at(port) for port in ports] == ["of user 0", "of user 1"]

    for user in users:  # by the worker: its storage in the machine's folder of temporary files was the first user's
        begun = user.moorage("up", "--detach", "--force-recreate")
        user.moorage("wait", begun["flow_run_id"])
    assert [answer_at(port) for port in ports] == ["of user 0", "of user 1"]

    for number, user in enumerate(users):
        assert [one["name"] for one in user.moorage("ls")] == [f"{stack_prefix}-u{number}"]
    assert other.home.stat().st_uid == NOBODY
    assert not [one for one in other.home.rglob("*") if one.lstat().st_uid != NOBODY]
    assert stat.S_IMODE(other.home.stat().st_mode) == 0o700
    the_name_is_of_who_took_it_first(root, other, tiny_image)
    assert [answer_at(port) for port in ports] == ["of user 0", "of user 1"]

    for user in users:
        user.begin("down", "--volumes", "--release-ports").communicate(timeout=PATIENCE_S)
