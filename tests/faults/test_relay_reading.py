"""What only reads, through a relay that strikes one request: it tells all there is, or that it could not; never a part.

Of `--follow`, which goes on after an engine that was away, each line comes exactly once.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from moorage.errors import EngineError, MoorageError
from moorage.model.log import LogSpan
from moorage.model.request import SweepRequest
from moorage.work.operations.sweep import sweep
from moorage.work.queries.logs import Logs
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.faults.relay import Relay
from tests.faults.relayed import SEED, blows, settings_of, through
from tests.faults.table import RELAYED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from moorage.interfaces import World
    from tests.faults.stage import Stage

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(1800)]

MANY = int(os.environ.get("FAULTS_RELAY", "60"))
"""So many blows to each at most, every kind of request first: what follows asks the same again and again."""
LINES = 300
TALKS = f"for n in $(seq {LINES}); do echo line $n; done"


def logs(world: World, stack: str) -> list[str]:
    log = Logs(world, stack, ("talks",), LogSpan())
    lines = [line.text for line in log.past()]
    return told(log, lines)


def followed(world: World, stack: str) -> list[str]:
    """Until the stack has ended, which it has."""
    log = Logs(world, stack, ("talks",), LogSpan())
    past = [line.text for line in log.past(more=True)]
    return told(log, past + [line.text for bundle in log.follow() for line in bundle])


def told(log: Logs, lines: list[str]) -> list[str]:
    """The lines. Raises EngineError: the command says beside them that the engine does not give a log."""
    if log.unreadable:
        raise EngineError(str(log.unreadable))
    return lines


def state(world: World, stack: str) -> object:
    return asyncio.run(status(world, stack)).model_dump(mode="json")


def found_by_sweep(world: World, stack: str) -> object:
    return [(one.kind, one.what, one.error) for one in asyncio.run(sweep(Context(world), SweepRequest(dry_run=True)))]


READING: dict[str, Callable[[World, str], object]] = {
    "logs": logs,
    "logs --follow": followed,
    "status": state,
    "sweep --dry-run": found_by_sweep,
}


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """Before the engine of this machine."""
    with Relay(tmp_path / "relay.sock") as made:
        yield made


@pytest.fixture
def talking(stage: Stage, tiny_image: str) -> Iterator[Stage]:
    """A service that has said something and ended, and one that goes on."""
    goes_on = {"image": tiny_image, "command": ["sleep", "1000"], "stop_grace_period": "0s"}
    says = {"image": tiny_image, "command": ["sh", "-c", TALKS]}
    needs = {"depends_on": {"talks": {"condition": "service_completed_successfully"}}}
    stage.define(talks=says, rests={**goes_on, **needs})
    stage.do("up")
    stage.do("stop")
    yield stage
    stage.do("down")


def through_relay(relay: Relay, stage: Stage, read: Callable[[World, str], object]) -> object:
    """What it reads, or the error that it ends with."""
    with through(relay.address):
        world = open_world(lambda _event: None, settings_of(stage.home))
        try:
            return read(world, stage.name)
        except MoorageError as error:
            return error
        finally:
            world.store.close()


@pytest.mark.parametrize("name", READING)
def test_all_or_an_error(relay, talking, record_property, name):
    read = READING[name]
    relay.begin()
    expected = through_relay(relay, talking, read)
    assert not isinstance(expected, MoorageError), expected
    requests = tuple(relay.requests)
    wrong = []
    for blow in [one for one in blows(requests, SEED) if one.how != "kill"][:MANY]:
        relay.begin(blow)
        found = through_relay(relay, talking, read)
        relay.end()
        held = isinstance(found, MoorageError) or found == expected
        record_property(RELAYED, {"operation": name, "how": blow.how, "survived": held})
        if not held:
            kind = relay.struck.kind if relay.struck else "did not come"
            wrong.append(f"{blow}, {kind}: {found} in place of {expected}")
    assert not wrong, f"{len(wrong)} did not hold:\n" + "\n".join(wrong)
