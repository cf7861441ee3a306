"""What `moorage/rules/values.py` refuses, the engine refuses too: no rule is too strict."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.program import find_program
from tests.counts import COUNTS
from tests.unit.test_impossible_values import IMPOSSIBLE, at

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = pytest.mark.engine


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_engine_takes_none_of_them(project: Project, tiny_image: str, record_property: Any) -> None:
    """Compose itself, without Moorage: nothing is created, or what is created does not start."""
    taken = []
    for key, value in IMPOSSIBLE:
        web = {"image": tiny_image, "command": ["sleep", "3600"], "init": True, **at(key, value)}
        if "healthcheck" in web:
            web["healthcheck"]["test"] = "true"
        text = {"services": {"web": web}, **({"networks": {"n": {}}} if "networks" in web else {})}
        (project.path / "compose.yaml").write_text(json.dumps(text))
        if _compose(project, "up", "-d", "--pull", "never") == 0:
            taken.append(f"{key}: {value!r}")
        _compose(project, "down", "--volumes", "--timeout", "0")
    (project.path / "compose.yaml").write_text("services: {}")
    record_property(
        COUNTS, {"of": "values that no engine takes", "how": {"refused": len(IMPOSSIBLE), "taken": len(taken)}}
    )
    assert not taken, taken


def _compose(project: Project, *arguments: str) -> int:
    command = [*find_program(None).program, "-p", project.name, *arguments]
    return subprocess.run(command, cwd=project.path, capture_output=True, check=False).returncode
