"""One start reads its definition once, and what it is built from no more often than it plans."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from moorage.model.definition import Source
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.properties.memory import STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

READS = ("config", "begin_config", "raw_config", "extensions", "interpolate", "variables")


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


class Counting:
    """Counts the calls of an adapter."""

    def __init__(self, inner: Any, calls: Counter[str]) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def counted(*arguments: Any, **more: Any) -> Any:
            self._calls[name] += 1
            return found(*arguments, **more)

        return counted


def calls_of_up(stack: Transactions) -> Counter[str]:
    world, calls = stack.world(), Counter[str]()
    counted = replace(world, compose=Counting(world.compose, calls), contexts=Counting(world.contexts, calls))
    asyncio.run(up(Context(counted), UpRequest(source=Source(directory=stack.folder))))
    return calls


def test_the_definition_is_read_once(stack: Transactions) -> None:
    stack.write({"web": service(ports=["8000:80"]), "db": service()})
    calls = calls_of_up(stack)
    assert {name: calls[name] for name in READS if calls[name]} == {"begin_config": 1, "raw_config": 1}
    assert calls["create"] == 1
    again = calls_of_up(stack)
    assert {name: again[name] for name in READS if again[name]} == {"begin_config": 1, "raw_config": 1}
    assert not again["create"]


def test_build_steps_digest_nothing(stack: Transactions) -> None:
    """Ten services that are built: twice a plan before, and once a build and pull step, was 130 digests."""
    inline = 'FROM app:1\nCMD ["sleep", "600"]'
    build = {"context": ".", "dockerfile_inline": inline}
    built = {f"s{n}": {"image": f"far:built{n}", "build": build} for n in range(10)}
    stack.write(built)
    calls = calls_of_up(stack)
    assert calls["build"] == 10
    assert calls["digest"] <= 2 * 10


def test_a_lease_behind_a_variable_stays_when_its_wanted_port_is_free_again(stack: Transactions) -> None:
    url = {"URL": "http://localhost:${WEB:-8000}"}
    stack.write({"web": service(ports=["${WEB:-8000}:80"], environment=url)})
    stack.machine.busy_ports.add((8000, "tcp"))
    assert calls_of_up(stack)["create"] == 1
    (box,) = stack.machine.of_project(STACK)
    stack.machine.busy_ports.clear()
    assert not calls_of_up(stack)["create"]
    assert stack.machine.of_project(STACK) == [box]
    (lease,) = stack.world().store.leases(STACK)
    assert lease.port != lease.wanted == 8000
    assert box.environment == {"URL": f"http://localhost:{lease.port}"}
