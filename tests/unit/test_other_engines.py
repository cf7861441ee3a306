"""What an engine that is not Docker's is told otherwise, what is taken otherwise of it, and what it is refused."""

from __future__ import annotations

import shlex

import pytest

from moorage.errors import UnsupportedByBackendError
from moorage.rules import engines

PODMAN = "Podman Engine"


def config(*test: str) -> dict:
    return {"name": "s", "services": {"web": {"image": "i", "healthcheck": {"test": [*test], "interval": "1s"}}}}


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost')"],
        ["sh", "-c", 'test "$$0" = a', ""],
        ["one", "two\tthree"],
    ],
)
def test_arguments_with_blanks_go_as_one_line(words):
    """Podman cuts them at blanks (containers/podman#26519); a line it hands to a shell as it is."""
    there = config("CMD", *words)
    told = engines.as_understood(PODMAN, there)["services"]["web"]["healthcheck"]
    kind, line = told["test"]
    assert (kind, shlex.split(line), told["interval"]) == ("CMD-SHELL", words, "1s")
    assert there == config("CMD", *words), "not the generation's own"
    assert engines.as_understood(engines.DOCKER, there) is there


@pytest.mark.parametrize("test", [["CMD", "pg_isready", "-q"], ["CMD-SHELL", "exit 0 || exit 1"], ["NONE"], []])
def test_other_checks_go_as_they_are(test):
    assert engines.as_understood(PODMAN, config(*test)) == config(*test)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("docker.io/moorage/shop/web:id-1", "moorage/shop/web:id-1"),
        ("docker.io/library/busybox:1.36", "busybox:1.36"),
        ("localhost/moorage-base/tiny:1", "moorage-base/tiny:1"),
        ("quay.io/moorage/x:1", "quay.io/moorage/x:1"),
    ],
)
def test_names_of_images_without_the_registry_that_podman_puts_before_them(tag, name):
    assert engines.own_name(PODMAN, tag) == name
    assert engines.own_name(engines.DOCKER, tag) == tag


def test_files_of_a_volume_are_refused_by_name():
    with pytest.raises(UnsupportedByBackendError, match="volume data: Podman Engine gives out files without") as caught:
        engines.refuse_files(PODMAN, "data")
    assert "podman volume export" in str(caught.value.hint)
    engines.refuse_files(engines.DOCKER, "data")
