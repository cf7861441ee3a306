"""Stages for the fault tests, and the table of what was survived."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import driver
from tests.faults.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

FAULTS = "faults"


@pytest.fixture
def stage(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient, tiny_image: str) -> Iterator[Stage]:
    """An empty directory whose stack can be put through faults; nothing of its prefix may be left at the end."""
    made = make_stage(tmp_path, stack_prefix, docker_client)
    yield made
    made.world.store.close()
    for tag in made.world.engine.tags(f"moorage/{made.name}/"):
        made.world.engine.untag(tag)


def make_stage(parent: Path, name: str, client: docker.DockerClient) -> Stage:
    """One more."""
    directory, home = parent / name, parent / "moorage-home"
    directory.mkdir()
    return Stage(directory, home, client, driver.world_of(driver.Deed("", directory, home)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many faults were tried, and survived, by operation and kind of fault."""
    tried: Counter[tuple[str, str]] = Counter()
    survived: Counter[tuple[str, str]] = Counter()
    for report in [one for many in terminalreporter.stats.values() for one in many if hasattr(one, "user_properties")]:
        for key, row in report.user_properties:
            if key == FAULTS and report.when == "call":
                tried[row["operation"], row["how"]] += 1
                survived[row["operation"], row["how"]] += row["survived"]
    if tried:
        _print(terminalreporter, tried, survived)


def _print(reporter: Any, tried: Counter[tuple[str, str]], survived: Counter[tuple[str, str]]) -> None:
    hows = list(dict.fromkeys(how for _, how in tried))
    reporter.section("faults survived / tried")
    reporter.write_line(f"{'':24}" + "".join(f"{how:>18}" for how in hows))
    for operation in dict.fromkeys(operation for operation, _ in tried):
        cells = [f"{survived[operation, how]} / {tried[operation, how]}" for how in hows]
        reporter.write_line(f"{operation:24}" + "".join(f"{cell:>18}" for cell in cells))
    reporter.write_line(f"{'all':24}{sum(survived.values())} / {sum(tried.values())}")
