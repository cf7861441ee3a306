"""The Dev Container feature: its `install.sh` in a container, run as its tools run it, with the wheel in place of the index."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.leftovers import remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from docker.models.containers import Container

pytestmark = [pytest.mark.engine, pytest.mark.packaging, pytest.mark.timeout(600)]

FEATURE = ROOT / "deploy" / "devcontainer" / "src" / "moorage"
LIBRARIES = Path(sysconfig.get_path("purelib"))
USER = "vscode"


@dataclass
class Image:
    """A container in the place of the image that is built, with a user who is to work in it."""

    container: Container
    wheel: str

    def sh(self, text: str, user: str = "root", code: int = 0, **env: str) -> str:
        """Run a script in it; gives its output."""
        done = self.container.exec_run(["sh", "-c", text], user=user, environment=env)
        said = done.output.decode()
        assert done.exit_code == code, said
        return said

    def install(self, code: int = 0, **options: str) -> str:
        """As the tools do: options, by default those of the feature, and the user in the environment; in its folder."""
        declared = json.loads((FEATURE / "devcontainer-feature.json").read_text())["options"]
        values = {name: str(one["default"]).lower() for name, one in declared.items()} | options
        env = {name.upper(): value for name, value in values.items()}
        env |= {"_REMOTE_USER": USER, "_REMOTE_USER_HOME": f"/home/{USER}", "_CONTAINER_USER": "root"}
        return self.sh("cd /feature && chmod +x ./install.sh && ./install.sh", code=code, **env)


@pytest.fixture
def image(docker_client: docker.DockerClient, wheel: Path, stack_prefix: str, tmp_path: Path) -> Iterator[Image]:
    """The stand-in for a Python image; pip asks no index, and finds the libraries of these tests."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=True).stdout
    name = next(line.partition("=")[2] for line in said.splitlines() if line.startswith("PYTHON_IMAGE="))
    (libraries := tmp_path / "libraries").mkdir()
    for entry in LIBRARIES.iterdir():
        if "moorage" not in entry.name and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    binds = {str(place): {"bind": str(place), "mode": "ro"} for place in (LIBRARIES, libraries, wheel.parent)}
    container = docker_client.containers.run(
        name,
        ["sleep", "infinity"],
        name=f"{stack_prefix}-devcontainer",
        user="root",
        init=True,
        detach=True,
        network_mode="none",
        volumes=binds,
        environment={"PYTHONPATH": str(libraries), "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1"},
    )
    one = Image(container, str(wheel))
    one.sh(f"useradd --create-home --shell /bin/bash {USER} && : >/home/{USER}/.bashrc")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(FEATURE, "feature")
    container.put_archive("/", packed.getvalue())
    yield one
    remove(docker_client, stack_prefix)


def test_the_container_s_user_has_it(image: Image) -> None:
    image.install(package=image.wheel)
    assert image.sh("cd && moorage --version", user=USER).strip()
    where = image.sh("cd / && /opt/moorage/bin/python -c 'import moorage; print(moorage.__file__)'", user=USER)
    assert where.startswith("/opt/moorage/")
    assert "engine" in image.sh("cd && moorage doctor --json", user=USER, code=4), "there is none in here"
    image.sh("cd && moorage init team && test -f team/prefect.yaml", user=USER)
    assert image.sh(f"find /opt/moorage -user {USER} -o -perm -o+w ! -type l") == "", "root's, and nobody writes to it"
    # The words of the line, as bash hands them to a completion.
    asked = ". ~/.bashrc; COMP_WORDS=(moorage stat); COMP_CWORD=1; _moorage; echo ${COMPREPLY[@]}"
    assert set(image.sh(f"bash --norc -c '{asked}'", user=USER).split()) == {"stats", "status"}


def test_installed_twice_is_the_newer_one(image: Image) -> None:
    """An image is often built on one that has the feature already."""
    image.install(package=image.wheel)
    image.install(package=image.wheel, completion="false")
    assert image.sh("cd && moorage --version", user=USER).strip()


def test_without_completion(image: Image) -> None:
    image.install(package=image.wheel, completion="false")
    assert image.sh("cat ~/.bashrc", user=USER) == ""


@pytest.mark.parametrize("version", ["$(touch /injected)", "1; touch /injected", "--help", "a b", "x\ny"])
def test_a_version_is_a_version(image: Image, version: str) -> None:
    said = image.install(code=1, version=version)
    assert "is none" in said
    image.sh("test ! -e /injected && test ! -e /opt/moorage")


def test_what_pip_cannot_install_is_said(image: Image) -> None:
    said = image.install(code=1, version="77.7")
    assert "pip could not install moorage==77.7" in said


def test_without_python_it_says_what_to_do(image: Image) -> None:
    image.sh("rm -f /usr/bin/apt-get; for one in $(which -a python3 python3.11); do rm -f $one; done")
    said = image.install(code=1, package=image.wheel)
    assert "Python 3.11 or later" in said
    assert "features/python" in said


def test_its_script_is_clean_and_its_options_are_used() -> None:
    script = FEATURE / "install.sh"
    assert os.access(script, os.X_OK)
    declared = json.loads((FEATURE / "devcontainer-feature.json").read_text())
    assert declared["id"] == FEATURE.name
    readme = (FEATURE / "README.md").read_text()
    for name in declared["options"]:
        assert f"${{{name.upper()}:-" in script.read_text()
        assert f"| `{name}` |" in readme
