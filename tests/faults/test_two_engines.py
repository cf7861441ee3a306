"""Two engines, of which one is named: all of a stack is on that one, whichever way it is named.

The second one is a dockerd of our own in a network of its own, so that it is on another machine as far as anybody can
tell: spoken to with TLS over a cable, or through `ssh`. For root.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from tests.counts import COUNTS
from tests.faults import certificates
from tests.faults.own_engine import TLS_PORT, OwnEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(600)]

CONTEXT = "far"
ROOT = Path(__file__).resolve().parents[2]
KEYS = ("ca.pem", "cert.pem", "key.pem")
SHOP = """
services:
  db:
    image: {image}
    command: [sleep, infinity]
    stop_grace_period: 0s
    volumes: ["data:/data"]
    x-moorage: {{ready: {{exec: "true"}}}}
    post_start: [{{command: [sh, -c, "echo hooked > /data/hook"]}}]
  web:
    build: {{context: .}}
    command: [sh, -c, "echo started {version}; exec sleep 1000"]
    stop_grace_period: 0s
    depends_on: [db]
    x-moorage: {{ready: {{exec: "{ready}"}}}}
volumes: {{data: {{}}}}
"""
SQL = "PGPASSWORD=hunter22 psql -h 127.0.0.1 -U postgres -Atc"
POSTGRES = """
services:
  db:
    image: {image}
    environment: {{POSTGRES_PASSWORD: hunter22}}
    volumes: ["data:/var/lib/postgresql/data"]
volumes: {{data: {{}}}}
"""


class Far:
    """The second engine, and the ways to name it."""

    def __init__(self, engine: OwnEngine, keys: Path, folder: Path) -> None:
        self.engine, self.keys, self.folder = engine, keys, folder
        self.address = f"tcp://{engine.far_host}:{TLS_PORT}"

    def context(self, host: str = "", *, unchecked: bool = False, files: tuple[str, ...] = KEYS) -> dict[str, str]:
        """The environment in which Docker's current context is this engine."""
        config = self.folder / secrets.token_hex(4)
        key = sha256(CONTEXT.encode()).hexdigest()
        meta, tls = config / "contexts/meta" / key, config / "contexts/tls" / key / "docker"
        meta.mkdir(parents=True)
        endpoint = {"Host": host or self.address, "SkipTLSVerify": unchecked}
        (meta / "meta.json").write_text(json.dumps({"Name": CONTEXT, "Endpoints": {"docker": endpoint}}))
        if files:
            tls.mkdir(parents=True)
            for name in files:
                (tls / name).write_bytes((self.keys / name).read_bytes())
        (config / "config.json").write_text(json.dumps({"currentContext": CONTEXT}))
        return {"DOCKER_CONFIG": str(config), "DOCKER_HOST": ""}

    def trusted(self) -> dict[str, str]:
        """The same without `ca.pem`; this machine, as far as the command can see, trusts the engine's authority."""
        return {**self.context(files=KEYS[1:]), "SSL_CERT_FILE": str(self.keys / "ca.pem")}

    def variables(self) -> dict[str, str]:
        """The environment that names it without a context."""
        return {"DOCKER_HOST": self.address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.keys)}

    def ssh(self) -> dict[str, str]:
        """The same through `ssh`: a program in its place runs the command here, as if it were there."""
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            "#!/bin/sh\n"
            'while [ "$1" != -- ]; do shift; done\n'
            '[ "$2" = far-host ] || { echo "$2: no such host" >&2; exit 255; }\n'
            f"shift 2\nexport DOCKER_HOST={self.engine.address}\nunset DOCKER_CONTEXT DOCKER_CONFIG\nexec $*\n"
        )
        program.chmod(0o755)
        return {"DOCKER_HOST": "ssh://me@far-host", "PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def far(docker_client: docker.DockerClient, tiny_image: str) -> Iterator[Far]:
    keys, folder = (Path(tempfile.mkdtemp(prefix=f"moorage-{name}-")) for name in ("keys", "far"))
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="moorage-engine-")), certificates=keys)
    certificates.write(keys, engine.far_host)
    engine.start()
    client = engine.client()
    client.images.load(b"".join(docker_client.images.get(tiny_image).save(named=True)))
    client.close()
    yield Far(engine, keys, folder)
    engine.end()


def counts(client: docker.DockerClient, name: str) -> dict[str, int]:
    """How many things an engine has that bear the stack's name."""
    project = {"label": f"com.docker.compose.project={name}"}
    return {
        "containers": len(client.containers.list(all=True, ignore_removed=True, filters=project)),
        "networks": len(client.networks.list(filters=project)),
        "volumes": len(client.volumes.list(filters=project)),
        "images": sum(name in tag for image in client.api.images() for tag in image["RepoTags"] or ()),
    }


class Both:
    """A project, and how much of it is on either engine."""

    def __init__(self, project: Project, far: Far, near: docker.DockerClient, image: str) -> None:
        self.project, self.far, self.near, self.image = project, far, near, image
        self.there = far.engine.client()
        project.write("Dockerfile", f"FROM {image}\nRUN echo built > /built\n")
        self.define(1)

    def define(self, version: int, ready: str = "true") -> None:
        self.project.compose(SHOP.format(image=self.image, version=version, ready=ready))

    def here(self) -> dict[str, int]:
        return counts(self.near, self.project.name)

    def far_away(self) -> dict[str, int]:
        return counts(self.there, self.project.name)

    def ids(self) -> list[str]:
        found = self.there.containers.list(
            ignore_removed=True, filters={"label": f"com.docker.compose.project={self.project.name}"}
        )
        return sorted(one.id for one in found)


@pytest.fixture
def both(project: Project, far: Far, docker_client: docker.DockerClient, tiny_image: str) -> Iterator[Both]:
    one = Both(project, far, docker_client, tiny_image)
    yield one
    one.there.close()


@contextmanager
def named(both: Both, how: str) -> Iterator[None]:
    """The far engine is named so, for all commands of the project."""
    ways = {
        "the current context": both.far.context,
        "DOCKER_CONTEXT": lambda: {**both.far.context(), "DOCKER_CONTEXT": CONTEXT},
        "a context that is not checked": lambda: both.far.context(unchecked=True),
        "a context that is not checked, without an authority": lambda: both.far.context(unchecked=True, files=KEYS[1:]),
        "a context of an authority that the machine trusts": both.far.trusted,
        "DOCKER_HOST": both.far.variables,
        "ssh": both.far.ssh,
        "a context through ssh": lambda: {**both.far.ssh(), **both.far.context("ssh://me@far-host", files=())},
    }
    both.project.env.update(ways[how]())
    yield
    both.project.moorage("down", "--volumes", "--release-ports")


WAYS = (
    *("the current context", "DOCKER_CONTEXT", "a context that is not checked", "DOCKER_HOST"),
    *("a context that is not checked, without an authority", "a context of an authority that the machine trusts"),
    *("ssh", "a context through ssh"),
)


@pytest.mark.parametrize("how", WAYS)
def test_all_of_a_stack_is_on_the_engine_that_is_named(both, how, record_property):
    nothing, moorage = both.here(), both.project.moorage
    assert set(nothing.values()) == set(both.far_away().values()) == {0}
    with named(both, how):
        assert "Docker Engine" in (said := moorage("doctor", exit_code=None).stdout)
        assert ("far-host" if "ssh" in how else both.far.address) in said
        up = moorage("up", "--json").json
        assert both.far.engine.far_host in up["engine"] or "far-host" in up["engine"]
        full = both.far_away()
        assert full["containers"] == 2
        assert full["networks"] == full["volumes"] == 1
        assert full["images"] >= 1
        assert up["engine"] in moorage("status").stdout
        assert moorage("exec", "web", "--", "cat", "/built").stdout == "built\n"
        assert moorage("run", "web", "--", "cat", "/built").stdout == "built\n"
        assert "started 1" in moorage("logs", "web").stdout
        before = both.ids()
        both.define(2, ready="false")
        moorage("up", "--wait-timeout", "2", exit_code=5)
        assert both.far_away() == full, "undone where it was done"
        assert before[0] in both.ids() or before[1] in both.ids()
        assert "started 1" in moorage("logs", "web").stdout
        snapshot = both.project.path / "data.snapshot"
        moorage("volumes", "snapshot", "data", "--output", str(snapshot))
        moorage("exec", "db", "--", "rm", "/data/hook")
        moorage("volumes", "restore", str(snapshot), "data", "--force")
        assert moorage("exec", "db", "--", "cat", "/data/hook").stdout == "hooked\n"
        moorage("restart")
        moorage("stop")
        moorage("start")
        assert both.here() == nothing, "the machine's own engine has nothing of it"
    gone = both.far_away()
    assert (gone["containers"], gone["networks"], gone["volumes"], both.here()) == (0, 0, 0, nothing)
    what = {f"{key} on the far engine": number for key, number in full.items()}
    record_property(COUNTS, {"of": f"named by {how}", "how": {**what, "on the near one": sum(both.here().values())}})


@pytest.mark.parametrize("how", ["the current context", "ssh"])
def test_postgresql_is_dumped_and_loaded_there(both, how, docker_client):
    """What is loaded ends with its input, which has to be told through TLS, and through `ssh`."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=True).stdout
    image = next(line.partition("=")[2] for line in said.splitlines() if line.startswith("POSTGRES_IMAGE="))
    both.there.images.load(docker_client.images.get(image).save(named=True))
    both.project.compose(POSTGRES.format(image=image))
    moorage, snapshot = both.project.moorage, str(both.project.path / "data.snapshot")

    def sql(text: str) -> str:
        return moorage("exec", "db", "--", "sh", "-c", f'{SQL} "{text}"').stdout.strip()

    with named(both, how):
        moorage("up")
        sql("create table words as select n, md5(n::text) from generate_series(1, 100000) n")
        moorage("volumes", "snapshot", "data", "--output", snapshot)
        sql("drop table words")
        moorage("volumes", "restore", snapshot, "data", "--force")
        assert sql("select count(*), max(n) from words") == "100000|100000"


def test_ports_are_refused_and_nothing_is_done(both):
    """They would be leased and asked on this machine, and be open on the other one."""
    both.project.compose(f"services: {{web: {{image: '{both.image}', command: sleep 3600, ports: ['8080:80']}}}}")
    with named(both, "the current context"):
        refused = both.project.moorage("up", exit_code=2).stderr
        assert "services.web.ports: the engine at" in refused
        assert "is on another machine" in refused
        assert both.project.moorage("plan", exit_code=2).stdout == ""
        assert set(both.far_away().values()) == {0}


def test_what_else_would_be_asked_over_the_network_is_told(both):
    """`ci` refuses ports and probes as `up` does; what has none works there, and no verb makes up an address."""
    moorage, image = both.project.moorage, both.image
    web = "services: {{web: {{image: '{image}', init: true, command: httpd -f -p 80, {more}}}}}"
    probe = "x-moorage: {ready: {http: ':80/'}}"
    with named(both, "DOCKER_HOST"):
        for key, more in {"ports": "ports: ['80']", "x-moorage.ready": probe}.items():
            both.project.compose(web.format(image=image, more=more))
            for verb in (["up"], ["ci", "--name-prefix", both.project.name, "--", "true"]):
                refused = moorage(*verb, exit_code=2)
                assert f"services.web.{key}" in refused.stderr, refused
                assert "is on another machine" in refused.stderr
                assert "run moorage on that machine" in refused.stderr
            assert set(both.far_away().values()) == {0}
        both.project.compose(web.format(image=image, more="x-moorage: {ready: {exec: 'true'}}"))
        there = moorage("ci", "--name-prefix", both.project.name, "--", "sh", "-c", "env; exit 9", exit_code=9).stdout
        assert "MOORAGE_STACK=" in there
        assert "MOORAGE_URL_" not in there
        assert both.far_away()["containers"] == 0
        moorage("up")
        assert moorage("env").stdout.strip() == f"export MOORAGE_STACK={both.project.name}", "and no address"
        assert json.loads(moorage("ports", "--json").stdout) == []
        assert "publishes no port" in moorage("open", "web", exit_code=2).stderr
        moorage("health")


def test_a_stack_on_another_engine_is_not_taken_for_gone(both):
    """What came up there, and is then looked at from here: nothing is forgotten, nothing is said to be done."""
    moorage, elsewhere = both.project.moorage, both.far.context()
    both.project.env.update(elsewhere)
    moorage("up")
    full, ids = both.far_away(), both.ids()
    here = {"DOCKER_CONFIG": str(both.project.path), "DOCKER_HOST": ""}
    for verb in (["up"], ["down"], ["restart"], ["stop"], ["ports", "release"], ["rollback"]):
        refused = moorage(*verb, exit_code=None, **here)
        assert (refused.returncode, "it is on the engine at" in refused.stderr) == (2, True), refused
        assert f"DOCKER_CONTEXT={CONTEXT}" in refused.stderr
    assert "it is on the engine at" in moorage("status", **here).stdout
    swept = [
        one for one in moorage("sweep", "--json", exit_code=None, **here).json if one["stack"] == both.project.name
    ]
    assert [(one["what"], one["swept"]) for one in swept] == [("on another engine", False)]
    assert (both.far_away(), both.ids()) == (full, ids)
    assert set(both.here().values()) == {0}
    moorage("down", "--volumes", "--release-ports")
    assert both.far_away()["containers"] == 0


def test_a_start_that_was_killed_there_is_undone_there(both):
    """Its record stays open until a command on that engine undoes it."""
    moorage = both.project.moorage
    both.project.env.update(both.far.context())
    both.define(1, ready="false")
    process = both.project.start("up", "--wait-timeout", "300")
    deadline = time.monotonic() + 120
    while len(both.ids()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    here = {"DOCKER_CONFIG": str(both.project.path), "DOCKER_HOST": ""}
    assert "it is on the engine at" in moorage("down", exit_code=2, **here).stderr
    moorage("sweep", exit_code=None, **here)
    assert both.far_away()["containers"] == 2
    moorage("sweep")
    left = both.far_away()
    assert (left["containers"], left["networks"], left["volumes"]) == (0, 0, 0)
    assert set(both.here().values()) == {0}
