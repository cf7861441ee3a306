"""The wheel, and environments with it, without this checkout, beside a project that owns `tasks`, `flows` and `blocks`."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

DECOYS = ("tasks", "flows", "blocks")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a directory whose packages have our names."""

    bin: Path
    decoy: Path

    def run(self, *command: str, code: int = 0, **env: str) -> str:
        """Run a program of the environment in the decoy; gives stdout."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.decoy,
            env={**_clean_environment(), **env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def decoy_in(place: Path) -> Path:
    """A directory whose packages have our names."""
    for name in DECOYS:
        (place / name).mkdir()
        (place / name / "__init__.py").write_text("raise RuntimeError('a decoy was imported')\n")
    return place


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("PYTEST_")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel: the one that was built before ($MOORAGE_WHEEL), else built from the checkout as it is."""
    if built := os.environ.get("MOORAGE_WHEEL"):
        return Path(built).absolute()
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment of its own with the wheel; the libraries are those of this one, but not its editable moorage.

    `make packaging` names one ($MOORAGE_WHEEL_ENV) into which pip has installed wheel and libraries.
    """
    decoy = decoy_in(tmp_path_factory.mktemp("decoy"))
    if fresh := os.environ.get("MOORAGE_WHEEL_ENV"):
        return Installed(Path(fresh).absolute() / "bin", decoy)
    place = tmp_path_factory.mktemp("env")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(place)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)}))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    _link_libraries(Path(sysconfig.get_path("purelib")), site)
    script = place / "bin" / "moorage"
    script.write_text(f"#!{place / 'bin' / 'python'}\nimport sys\nfrom moorage.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return Installed(place / "bin", decoy)


def _link_libraries(theirs: Path, ours: Path) -> None:
    """Link each installed package; a path file would bring the editable moorage with it."""
    for entry in theirs.iterdir():
        if "moorage" not in entry.name and entry.suffix != ".pth" and not (ours / entry.name).exists():
            (ours / entry.name).symlink_to(entry)
    compose = Path(sys.executable).with_name("docker-compose")
    if compose.exists():  # a program, not a script of that environment
        (ours.parents[2] / "bin" / compose.name).symlink_to(compose)
