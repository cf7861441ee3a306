"""Stacks of several shapes, each brought up by both programs in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.conftest import ROUNDS, Both

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600), pytest.mark.usefixtures("warm_hub")]
Figures = Callable[..., None]
CHAIN = ("a", "b", "c", "d")
LONG_CHECKS_S = 30


def chain(image: str, interval_s: int, *, last: str = "0") -> str:
    """Four, each after the health of the one before, which it has at the first look."""
    lines = ["services:"]
    for before, name in zip((None, *CHAIN), CHAIN, strict=False):
        needs = f"depends_on: {{{before}: {{condition: service_healthy}}}}, " if before else ""
        version = last if name == CHAIN[-1] else "0"
        lines.append(
            f'  {name}: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s, {needs}'
            f'environment: {{VERSION: "{version}"}}, healthcheck: {{test: [CMD, "true"], interval: {interval_s}s}}}}'
        )
    return "\n".join(lines) + "\n"


def independent(image: str, number: int) -> str:
    one = f'{{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s}}'
    return "services:\n" + "".join(f"  s{n}: {one}\n" for n in range(number))


def floor_s(both: Both, client: docker.DockerClient) -> float:
    """What nobody can do without: creating them, and in the chain one start and one good check after the other."""
    both.compose("create")
    began = time.perf_counter()
    for name in CHAIN:
        container = f"{both.path.name}-c-{name}-1"
        client.api.start(container)
        made = client.api.exec_create(container, ["true"])["Id"]
        client.api.exec_start(made)
    took_s = time.perf_counter() - began
    both.compose("down", "-v", "-t", "0")
    return took_s


@pytest.mark.parametrize(("interval_s", "bound"), [(1, 0.65), (5, 0.20), (30, 0.04)])
def test_chain(
    both: Both, tiny_image: str, docker_client: docker.DockerClient, figure: Figures, interval_s: int, bound: float
) -> None:
    both.write(chain(tiny_image, interval_s))
    rounds = ROUNDS if interval_s < LONG_CHECKS_S else 3
    for _ in range(rounds):
        both.note("floor", floor_s(both, docker_client))
        both.note("compose", both.compose("up", "-d", "--wait"))
        both.note("compose down", both.compose("down", "-v", "-t", "0"))
        both.note("moorage", both.moorage("up"))
        both.note("moorage down", both.moorage("down"))
    ratio = both.median("moorage") / both.median("compose")
    how = f"{both.how('moorage', 'compose')}; starts and checks alone {both.median('floor'):.2f} s"
    figure(f"chain of 4, checks every {interval_s} s", ratio, bound, "×", how, order=2)
    if interval_s == 1:
        ratio = both.median("moorage down") / both.median("compose down")
        figure("down, 4 services", ratio, 1.3, "×", both.how("moorage down", "compose down"), order=6)


def test_independent(both: Both, tiny_image: str, figure: Figures) -> None:
    both.write(independent(tiny_image, 8))
    for _ in range(ROUNDS):
        both.note("compose", both.compose("up", "-d", "--wait"))
        both.compose("down", "-v", "-t", "0")
        both.note("moorage", both.moorage("up"))
        both.moorage("down")
    ratio = both.median("moorage") / both.median("compose")
    figure("8 independent services without checks", ratio, 1.2, "×", both.how("moorage", "compose"), order=3)


def test_again_and_one_changed(both: Both, tiny_image: str, figure: Figures) -> None:
    both.write(chain(tiny_image, 5))
    both.compose("up", "-d", "--wait")
    both.moorage("up")
    for number in range(ROUNDS):
        both.note("compose again", both.compose("up", "-d", "--wait"))
        both.note("moorage again", both.moorage("up"))
        both.write(chain(tiny_image, 5, last=str(number + 1)))
        both.note("compose changed", both.compose("up", "-d", "--wait"))
        both.note("moorage changed", both.moorage("up"))
    again = both.median("moorage again")
    figure(
        "up of what is up, both",
        again / both.median("compose again"),
        0.1,
        "×",
        both.how("moorage again", "compose again"),
        order=4,
    )
    figure("up of what is up, whole process", again, 0.2, "s", f"median of {ROUNDS}", order=4)
    ratio = both.median("moorage changed") / both.median("compose changed")
    figure("one service of four changed", ratio, 0.5, "×", both.how("moorage changed", "compose changed"), order=5)


def test_a_start_that_fails(both: Both, tiny_image: str, figure: Figures) -> None:
    """The last of the chain ends with exit code 1. Compose leaves what it has started; taking that away is its time too."""
    both.write(chain(tiny_image, 5) + f'  e: {{image: "{tiny_image}", command: ["false"], depends_on: [d]}}\n')
    for _ in range(ROUNDS):
        failed = both.compose("up", "-d", "--wait", exit_code=1)
        both.note("compose", failed + both.compose("down", "-v", "-t", "0"))
        both.note("moorage", both.moorage("up", exit_code=5))
    ratio = both.median("moorage") / both.median("compose")
    figure("a start that fails, undone", ratio, 0.5, "×", both.how("moorage", "compose"), order=7)
