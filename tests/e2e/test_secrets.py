"""Secrets of every origin, printed in every form, and searched for wherever a run leaves something.

Databases, logs, records, failure reports, artifacts, a backup, what the commands print, command lines and environments.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.conftest import Project, run_in
from tests.orchestrated.conftest import create_run, hub_address, wait_for_state  # noqa: F401 - a fixture
from tests.orchestrated.test_forms import save_block

if TYPE_CHECKING:
    import docker

    from moorage.hub.api import HubAddress

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

HOOK = "https://hooks.slack.com/services/T0MARK11/B0MARK12/hookmark7Yq2wLr9"
SECRETS = {
    "environment": "env/mark+1<7Yq2wLr9>&4Hn8",
    "environment secret": "sig/mark+2<6Jg1uQa4>&9Vb3",
    "file, first line": "filemark-3/2Fd5+mPt8-0123456789abcdef",
    "file, second line": "filemark-4/2Fd5+mPt9-0123456789abcdef",
    "config, setting": "confmark-5/8Kz3+nBv6",
    "config, line": "upstream confmark-6-internal.example.org",
    "env file by name": "envfilemark-7/3Wd9+cXs1",
    "env file by mark": "envfilemark-8/3Wd9+cXs2",
    "URL": "urlmark-9-2Fd5mPt8",
    "web hook": "T0MARK11/B0MARK12/hookmark7Yq2wLr9",
    "registry": "regmark-10/8sK+most.unlikely",
}
VARIABLES = {
    "API_TOKEN": SECRETS["environment"],
    "SIGNING": SECRETS["environment secret"],
    "CACHE_URL": f"redis://me:{SECRETS['URL']}@redis:6379/0",
}
COMPOSE = """
x-moorage: {{secret_files: [plain.env]}}
services:
  talk:
    build: {{context: ., dockerfile_inline: "FROM {image}"}}
    init: true
    env_file: [secrets.env, plain.env]
    environment: {{API_TOKEN: "${{API_TOKEN}}", CACHE_URL: "${{CACHE_URL}}", ALERTS: "${{ALERTS}}"}}
    secrets: [signing, key]
    configs: [conf]
    volumes: ["./talk.txt:/talk.txt:ro", "./last.txt:/last.txt:ro"]
    stop_grace_period: 0s
    healthcheck: {{test: "cat /talk.txt; test ! -e /tmp/ill", interval: 1s, start_period: 5s, retries: 1000}}
    command: {command}
secrets:
  signing: {{environment: SIGNING}}
  key: {{file: ./key.pem}}
configs:
  conf: {{file: ./app.conf}}
"""
KEPT_BY_THE_HUB = ("server.json", "secret")
"""Files with its password, so that later commands know it."""
WELL, BREAKS = '[sleep, "300"]', '[sh, -c, "cat /talk.txt /last.txt; echo last words: $$API_TOKEN; exit 3"]'


def forms(secret: str) -> list[str]:
    """As programs print it: plain, in a header, in a dump, in a URL, in JSON."""
    data = secret.encode()
    header = b64encode(f"ada:{secret}".encode()).decode()
    coded = [b64encode(data).decode(), header, data.hex(), data.hex().upper()]
    return [
        secret,
        *coded,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret).replace("<", "\\u003c"),
    ]


def test_secrets_are_nowhere(
    hub_address: HubAddress,  # noqa: F811 - a fixture
    project: Project,
    tiny_image: str,
    session_dir: Path,
    docker_client: docker.DockerClient,
    tmp_path: Path,
) -> None:
    password = (hub_address.auth or "").partition(":")[2]
    secrets = {**SECRETS, **({"hub": password} if password else {})}
    write(project, tiny_image, secrets)
    given = f"path={str(project.path)!r}, env={{'ALERTS': {HOOK!r}}}, secrets={VARIABLES!r}"
    save_block(
        hub_address,
        "from prefect_docker import DockerRegistryCredentials as Login\n"
        "from prefect.blocks.notifications import SlackWebhook\n"
        f"Login(username='ada', password={SECRETS['registry']!r}, registry_url='http://127.0.0.1:1').save({project.name!r})\n"
        f"SlackWebhook(url={HOOK!r}).save({project.name!r})\n"
        f"StackSource({given}, registry_credentials={project.name!r}).save({project.name!r})",
    )
    with watched() as seen:
        wait_for_state(hub_address, create_run(hub_address, "up", stack=project.name), "COMPLETED")
        talk = docker_client.containers.get(f"{project.name}-talk-1")
        assert SECRETS["environment"] in run_in(talk, "env")
        run_in(talk, "touch", "/tmp/ill")
        wait_for_state(hub_address, create_run(hub_address, "status", stack=project.name), "COMPLETED")
        said = [project.moorage("health", "-p", project.name, exit_code=None)]
        assert "****" in str(said[0]), "the check's output is shown, without secrets"
        run_in(talk, "rm", "/tmp/ill")
        project.compose(COMPOSE.format(image=tiny_image, command=BREAKS))
        failed = wait_for_state(hub_address, create_run(hub_address, "up", stack=project.name), "FAILED")
        own = {**VARIABLES, "ALERTS": HOOK}
        said += [project.moorage("up", "--registry-credentials", project.name, exit_code=None, **own)]
        for verb in (["plan"], ["config"], ["history", "--runs"], ["logs", "--failed"], ["logs"], ["doctor"]):
            said += [project.moorage(*verb, exit_code=None, **own)]
        project.moorage("down", "--volumes", "--release-ports")
    assert "exit" in failed["message"]
    assert "last words: ****" in str(said[1]), said[1]
    backup = tmp_path / "backup.db"
    project.moorage("hub", "backup", str(backup))
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert "last words: ****" in _everything_in(session_dir)
    wanted = {form: f"{origin}: {form}" for origin, secret in secrets.items() for form in forms(secret)}
    places = {str(backup): backup.read_bytes()}
    for file in left_by(session_dir):
        with suppress(FileNotFoundError):  # of another test, whose command has just ended
            places[str(file)] = file.read_bytes()
    places |= {finished.args[1] + " printed": str(finished).encode() for finished in said}
    places |= {f"command line {number}": line for number, line in enumerate(seen.command_lines)}
    found = {(place, wanted[form]) for place, text in places.items() for form in wanted if form.encode() in text}
    kept = {(place, what) for place, what in found if what.startswith("hub: ") and Path(place).name in KEPT_BY_THE_HUB}
    assert found - kept == set()
    assert {stat.S_IMODE(Path(place).stat().st_mode) for place, _ in kept} <= {0o600}
    assert any(b"compose" in line for line in seen.command_lines), "command lines were looked at while it ran"
    assert seen.of_compose, "so were the environments of Compose"
    assert [
        one for one in seen.of_compose if re.search(rb"AUTH_STRING|MOORAGE_HUB_AUTH|regmark|PREFECT_API_KEY", one)
    ] == []


def write(project: Project, image: str, secrets: dict[str, str]) -> None:
    """The project, with a file in which every secret stands in every form."""
    project.compose(COMPOSE.format(image=image, command=WELL))
    project.write("key.pem", f"{SECRETS['file, first line']}\n{SECRETS['file, second line']}\n")
    project.write("app.conf", f"listen 80;\nrequirepass {SECRETS['config, setting']}\n{SECRETS['config, line']}\n")
    project.write("secrets.env", f'ONE="{SECRETS["env file by name"]}"\n')
    project.write("plain.env", f"TWO={SECRETS['env file by mark']} # a remark\n")
    lines = {origin: [f"{origin}: <{form}>" for form in forms_of(origin, secret)] for origin, secret in secrets.items()}
    # A registry's password is known to those runs only that pull and build with it: not to a later look at a check.
    project.write("last.txt", "\n".join([*lines.pop("registry"), ""]))
    project.write("talk.txt", "\n".join([*(line for some in lines.values() for line in some), f"POST {HOOK}", ""]))


def forms_of(origin: str, secret: str) -> list[str]:
    """The lines of a config are hidden as they are: only what looks secret in it is a secret."""
    return [secret] if origin == "config, line" else forms(secret)


def left_by(folder: Path) -> Iterator[Path]:
    """Files that runs leave. Generation files hold secrets, and have to: they are what is applied."""
    files = [file for file in folder.rglob("*") if file.is_file() and "generations" not in file.parts]
    names = {file.name for file in files}
    assert {"prefect.db", "hub.db"} <= names
    assert any("failures" in file.parts for file in files)
    yield from files


@dataclass
class Seen:
    """What others could see of the processes of this machine."""

    command_lines: set[bytes] = field(default_factory=set)
    of_compose: set[bytes] = field(default_factory=set)
    """Environments of Compose calls."""


@contextmanager
def watched() -> Iterator[Seen]:
    """All command lines of the machine, and environments of Compose, as they were while the block was at work."""
    seen, ended = Seen(), threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    try:
                        line = (entry / "cmdline").read_bytes()
                        if line in seen.command_lines and b"docker-compose" not in line.split(b"\0")[0]:
                            continue
                        seen.command_lines.add(line)
                        if b"docker-compose" in line.split(b"\0")[0]:
                            seen.of_compose.add((entry / "environ").read_bytes())
                    except OSError:
                        continue

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()


def _everything_in(folder: Path) -> str:
    """All text in Prefect's database, by SQL."""
    (file,) = folder.rglob("prefect.db")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        return "\n".join(line for line in database.iterdump() if line.startswith("INSERT"))
