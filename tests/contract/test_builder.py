"""Image builders: one suite for Compose's, Dagger's and the one in memory. What they make is the same in use.

Dagger's is the real adapter with the real SDK; its session is carried out on the Docker engine (`dagger_server`).
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.build_context import BuildContexts
from moorage.adapters.compose.builder import ComposeBuilder
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.dagger.builder import DaggerBuilder
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import ImageError
from moorage.model.image import BuildSpec, BuiltImage
from moorage.rules import templates
from moorage.rules.reading import unescaped
from moorage.settings import Settings
from moorage.testing import FakeBuilder, FakeCompose, FakeEngine, FakeMachine
from tests.conftest import ROOT


@dataclass
class Yard:
    """A builder, and a context to try it with."""

    builder: Any
    engine: Any
    stack: str
    base: str
    context: Path
    client: Any = None
    said: list[str] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f"{self.stack}-web"

    def build(self, text: str, tag: str | None = None, **more: Any) -> BuiltImage:
        (self.context / "Dockerfile").write_text(text.format(base=self.base))
        build = {"context": str(self.context), "dockerfile": "Dockerfile", **more}
        service = {"build": build, "image": tag or self.tag}
        file = self.context.parent / "build.json"
        file.write_text(json.dumps({"name": self.stack, "services": {"web": service}}))
        spec = BuildSpec(stack=self.stack, service="web", tag=tag or self.tag, file=file, build=build)
        return self.builder.build(spec, self.said.append)

    def config(self, tag: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.client.api.inspect_image(tag or self.tag)["Config"]
        return found

    def files(self) -> str:
        """What lies in /app of the built image."""
        command = ["sh", "-c", "cd /app && find . -type f | sort"]
        return self.client.containers.run(self.tag, command, remove=True, entrypoint="").decode()


@pytest.fixture(
    params=[
        "fake",
        pytest.param("compose", marks=pytest.mark.engine),
        pytest.param("dagger", marks=pytest.mark.engine),
    ]
)
def yard(request, tmp_path, stack_prefix):
    context = tmp_path / "context"
    context.mkdir()
    if request.param == "fake":
        machine = FakeMachine()
        machine.add_image("tiny:1")
        engine = FakeEngine(machine)
        yield Yard(FakeBuilder(FakeCompose(machine), engine), engine, stack_prefix, "tiny:1", context)
        return
    client, base = request.getfixturevalue("docker_client"), request.getfixturevalue("tiny_image")
    settings = Settings()
    real = DockerEngine(settings)
    builder: Any = ComposeBuilder(ComposeCli(settings), real)
    if request.param == "dagger":
        request.getfixturevalue("session").docker = client
        builder = DaggerBuilder(settings, real)
    yield Yard(builder, real, stack_prefix, base, context, client)
    real.client.close()


def test_can_be_used(yard):
    assert yard.builder.preflight().usable


def test_builds_under_its_tag(yard):
    built = yard.build('FROM {base}\nCMD ["sleep", "600"]\n', labels={"moorage.build": "b1", "words": "two of them"})
    assert built.tag == yard.tag
    image_id, marks = yard.engine.image(yard.tag)
    assert built.image_id == image_id
    assert built.repo_digest is None
    assert (marks["moorage.build"], marks["words"]) == ("b1", "two of them")


def test_again_with_other_content_moves_the_tag(yard):
    first = yard.build('FROM {base}\nCMD ["sleep", "600"]\n')
    second = yard.build('FROM {base}\nCMD ["sleep", "601"]\n')
    assert first.image_id != second.image_id
    assert yard.engine.image(yard.tag)[0] == second.image_id


def test_a_failure_leaves_no_image_and_says_why(yard):
    with pytest.raises(ImageError, match=r"services\.web: build failed") as caught:
        yard.build("FROM {base}\nCOPY missing /\n")
    assert caught.value.fields["service"] == "web"
    assert "missing" in str(caught.value) + caught.value.fields["log"]
    assert yard.engine.image(yard.tag) is None


REAL = pytest.mark.parametrize(
    "yard",
    [pytest.param("compose", marks=pytest.mark.engine), pytest.param("dagger", marks=pytest.mark.engine)],
    indirect=True,
)


@REAL
def test_the_image_is_the_dockerfile_s(yard):
    yard.build(
        """FROM {base} AS first
RUN echo first > /which
FROM {base} AS last
ARG WORD=none
ENV WORD=$WORD
RUN echo last > /which
FROM first AS unused
FROM last
USER 1234:5678
WORKDIR /srv
EXPOSE 8000
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -u; cat /which; echo $WORD"]
""",
        args={"WORD": "given"},
    )
    config = yard.config()
    assert config["User"] == "1234:5678"
    assert config["WorkingDir"] == "/srv"
    assert config["Entrypoint"] == ["/bin/sh", "-c"]
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert yard.client.containers.run(yard.tag, remove=True).decode().split() == ["1234", "last", "given"]


@REAL
def test_a_target(yard):
    yard.build("FROM {base} AS one\nENV STAGE=one\nFROM one AS two\nENV STAGE=two\n", target="one")
    assert "STAGE=one" in yard.config()["Env"]


@REAL
def test_what_is_ignored_is_not_there(yard):
    for name in ("kept.txt", "secret.key", "deep/kept.txt", "deep/secret.key", "deep/deeper/back.key"):
        (yard.context / name).parent.mkdir(exist_ok=True, parents=True)
        (yard.context / name).write_text(name)
    (yard.context / ".dockerignore").write_text(
        "# a comment\n**/*.key\n!deep/deeper/back.key\nDockerfile\n.dockerignore\n"
    )
    yard.build("FROM {base}\nWORKDIR /app\nCOPY . .\n")
    assert yard.files().split() == ["./deep/deeper/back.key", "./deep/kept.txt", "./kept.txt"]


@REAL
def test_a_dockerfile_outside_of_the_context(yard):
    (yard.context / "kept.txt").write_text("kept")
    outside = yard.context.parent / "web.Dockerfile"
    outside.write_text(f"FROM {yard.base}\nWORKDIR /app\nCOPY . .\nENV FROM_OUTSIDE=1\n")
    yard.build("FROM nothing-that-is-there\n", dockerfile=str(outside))
    assert "FROM_OUTSIDE=1" in yard.config()["Env"]
    assert yard.files().split() == ["./Dockerfile", "./kept.txt"]


@REAL
def test_more_names(yard):
    more = f"{yard.stack}-other:2"
    yard.build("FROM {base}\nENV A=1\n", tags=[more])
    assert yard.engine.image(more)[0] == yard.engine.image(yard.tag)[0]


# --- archives ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def loader(request):
    """An engine that loads archives."""
    if request.param == "fake":
        return FakeEngine(FakeMachine())
    return DockerEngine(Settings())


@pytest.mark.engine
def test_an_archive_is_loaded(loader, docker_client, tiny_image, stack_prefix, tmp_path):
    archive = tmp_path / "image.tar"
    image_id = docker_client.images.get(tiny_image).id
    with archive.open("wb") as file:
        for chunk in docker_client.api.get_image(image_id):
            file.write(chunk)
    assert loader.load(archive) == image_id
    loader.tag(image_id, f"{stack_prefix}:1")
    assert loader.image(f"{stack_prefix}:1")[0] == image_id
    assert loader.repo_digest(f"{stack_prefix}:1") is None


def test_what_is_no_archive_is_no_image(loader, tmp_path):
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as empty:
        empty.addfile(tarfile.TarInfo("nothing"))
    with pytest.raises(ImageError, match="loaded no image"):
        loader.load(archive)


# --- projects without a Dockerfile ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base_images(engine_answers):
    """NAME=image of the base images that are there."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)


def by_recipe(yard, **args):
    """Build the context as `up` does where it has no Dockerfile."""
    service = {"build": {"context": str(yard.context), "dockerfile": "Dockerfile", "args": args}}
    config = {"name": yard.stack, "services": {"web": service}}
    survey = BuildContexts().survey
    templates.fill_in(config, survey)
    recipe = templates.recipe_of(service, survey)
    assert recipe is not None
    text = unescaped(service["build"].pop("dockerfile_inline"))
    outside = yard.context.parent / "web.Dockerfile"
    outside.write_text(text)
    build = {**service["build"], "dockerfile": str(outside)}
    file = yard.context.parent / "build.json"
    file.write_text(json.dumps({"name": yard.stack, "services": {"web": {"build": build, "image": yard.tag}}}))
    spec = BuildSpec(stack=yard.stack, service="web", tag=yard.tag, file=file, build=build, recipe=recipe)
    return yard.builder.build(spec, yard.said.append)


def lay_out(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@REAL
def test_a_python_project(yard, base_images):
    lay_out(
        yard.context,
        {
            "requirements.txt": "# nothing\n",
            "app/main.py": "import os, sys\nprint(os.getuid(), sorted(os.listdir('.')), os.access('.', os.W_OK))\n",
            "[odd] $name*?.txt": "odd",
            "[o] ${folder}/[odd] $name*?.txt": "odd",
            ".env": "SECRET=1",
            "notes.key": "secret",
            ".dockerignore": "*.key\n",
        },
    )
    by_recipe(yard, PYTHON_IMAGE=base_images["PYTHON_IMAGE"])
    config = yard.config()
    assert (config["User"], config["WorkingDir"]) == ("10001:10001", "/srv")
    assert config["Labels"]["moorage.template"] == "python"
    assert config["Cmd"] == ["python", "-m", "app.main"]
    assert "8000/tcp" in config["ExposedPorts"]
    said = yard.client.containers.run(yard.tag, remove=True).decode()
    assert said.strip() == "10001 ['[o] ${folder}', '[odd] $name*?.txt', 'app', 'requirements.txt'] False"


@pytest.mark.exhaustive
@REAL
def test_a_node_project(yard, base_images):
    scripts = {"start": "node server.mjs", "build": "node -e \"require('fs').writeFileSync('made', 'made')\""}
    lay_out(
        yard.context,
        {
            "package.json": json.dumps({"name": "web", "version": "1.0.0", "scripts": scripts}),
            "server.mjs": "import fs from 'node:fs';\nconsole.log(process.getuid() > 0, fs.readFileSync('made', 'utf8'))\n",
            "node_modules/x/index.js": "of this machine",
        },
    )
    by_recipe(yard, NODE_IMAGE=base_images["NODE_IMAGE"])
    config = yard.config()
    assert (config["User"], config["Cmd"]) == ("node", ["npm", "start"])
    assert config["Labels"]["moorage.template"] == "node"
    assert yard.client.containers.run(yard.tag, remove=True).decode().split()[-2:] == ["true", "made"]
