"""Every step of every operation: it raises, by an error of ours or by a foreign one; the process is killed before or after it.

The steps are those of the plan that the operation carries out, taken down in a run without faults; nothing is listed
here by hand. After the fault one `sweep` has to bring the machine to exactly the state before the run, or exactly the
committed one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from requests.exceptions import ChunkedEncodingError

from moorage.errors import MoorageError
from moorage.model.request import DownRequest
from moorage.testing import ForeignFault, around_every_call
from moorage.work.operations.down import down
from moorage.work.runs.context import Context
from tests.faults import driver
from tests.faults.driver import COMMIT, Fault
from tests.faults.stage import Stage, committed, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorage.model.step import Step

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

HOWS = ("raises", "foreign", "before", "after")
EVERY_CALL = 7
"""Of the calls of a whole operation on a real engine, so many are made before one that fails."""
SLEEP = ["sleep", "1000"]


def two_services(image: str, port: int, version: int) -> dict[str, dict[str, Any]]:
    """A database with a named and an anonymous volume, and what depends on it with a port."""
    db = {
        "image": image,
        "command": SLEEP,
        "volumes": ["data:/data", "/scratch"],
        "environment": {"VERSION": str(version)},
    }
    db["stop_grace_period"] = "0s"
    db["healthcheck"] = {"test": ["CMD", "true"], "interval": "5s"}
    depends = {"db": {"condition": "service_healthy"}}
    web = {
        "image": image,
        "command": ["httpd", "-f", "-p", "80"],
        "ports": [f"{port + version}:80"],
        "depends_on": depends,
    }
    return {"db": db, "web": web | {"environment": {"VERSION": str(version)}, "stop_grace_period": "0s"}}


def steps_of(stage: Stage, operation: str, **more: Any) -> list[str]:
    """Do the operation without a fault; gives its steps in the order in which they began."""
    seen: list[str] = []

    def act_of(run: Any) -> Any:
        inner = driver.directly(run)

        async def act(step: Step, needs: list[Any]) -> Any:
            seen.append(step.id)
            return await inner(step, needs)

        return act

    asyncio.run(driver.do(stage.world, stage.deed(operation, **more), act_of))
    return seen


class Case:
    """An operation that meets all faults: how to get to where it begins, what it is, and whether it commits."""

    def __init__(
        self, stage: Stage, operation: str, prepare: Callable[[], None], *, commits: bool, **more: Any
    ) -> None:
        self.stage, self.operation, self.prepare, self.more = stage, operation, prepare, more
        prepare()
        self.before = same(stage.state())
        self.steps = steps_of(stage, operation, **more) + ([COMMIT] if commits else [])
        self.reference = same(stage.state())

    def meets(self, fault: Fault) -> str:
        """Empty: survived. Else what is wrong."""
        if same(self.stage.state()) != self.before:
            self.prepare()
            self.before = same(self.stage.state())
        code = self.stage.fails(self.operation, fault, **self.more)
        if (code == -9) != (fault.how in ("before", "after")):
            return f"ended with {code}"
        if fault.how == "foreign" and code != (0 if fault.step == COMMIT else 5):
            return f"ended with {code}"
        return self.ends(code)

    def ends(self, code: int) -> str:
        """After a sweep all is as before, or as committed. Empty: so it is. `code`: how the operation ended."""
        self.stage.sweep()
        state = same(self.stage.state())
        if state in (self.before, committed(self.reference, self.before, state)):
            return ""
        wanted = self.before
        return f"ended with {code}; differs in " + "; ".join(
            f"{key}: {state[key]} instead of {wanted[key]}" for key in state if state[key] != wanted[key]
        )


def run_matrix(case: Case, name: str, record: Callable[[str, Any], None]) -> None:
    """All faults at all steps; the failures, if any, are told at the end."""
    failures = []
    for step in case.steps:
        for how in HOWS:
            wrong = case.meets(Fault(step, how))
            record("faults", {"operation": name, "how": how, "survived": not wrong})
            if wrong:
                failures.append(f"{name}, {step} {how}: {wrong}")
    assert not failures, "\n".join(failures)


def meets_foreign(case: Case, fault: ForeignFault) -> str:
    """The same with an exception out of one call of an adapter, be it a look; in this process."""
    stage = case.stage
    if same(stage.state()) != case.before:
        case.prepare()
        case.before = same(stage.state())
    world, code = around_every_call(stage.world, fault), 0
    try:
        asyncio.run(driver.do(world, stage.deed(case.operation, **case.more)))
    except MoorageError as error:
        code = error.exit_code
    assert code in (0, 5, 6), code
    return case.ends(code)


def run_foreign(case: Case, name: str, record: Callable[[str, Any], None]) -> None:
    """Out of every seventh call of the operation, before it is done and after, comes what nobody expects."""
    case.prepare()
    case.before = same(case.stage.state())
    counting = ForeignFault(None, RuntimeError)
    assert not meets_foreign(case, counting)
    failures = []
    for n in range(1, len(counting.calls) + 1, EVERY_CALL):
        for after in (False, True):
            fault = ForeignFault(n, lambda: ChunkedEncodingError("made to fail"), after=after)
            wrong = meets_foreign(case, fault)
            record("faults", {"operation": name, "how": "foreign call", "survived": not wrong})
            if wrong:
                failures.append(f"{name}, {'after' if after else 'before'} {fault.calls[n - 1]}: {wrong}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def versions(stage: Stage, tiny_image: str, wanted_port: int) -> Callable[[int], None]:
    """Writes the definition, as it is in a version."""
    return lambda version: stage.define(**two_services(tiny_image, wanted_port, version))


def forget(stage: Stage) -> None:
    """No trace of the stack."""
    asyncio.run(down(Context(stage.world), DownRequest(stack=stage.name, volumes=True, release_ports=True)))


@pytest.mark.exhaustive
def test_first_up(stage, versions, record_property):
    versions(1)
    case = Case(stage, "up", lambda: forget(stage), commits=True)
    assert case.steps == ["lease", "create", "start db", "ready db", "start web", "ready web", COMMIT]
    run_matrix(case, "up (first)", record_property)


@pytest.mark.exhaustive
def test_up_of_a_change(stage, versions, record_property):
    def prepare():
        forget(stage)
        versions(1)
        stage.do("up")
        versions(2)

    run_matrix(Case(stage, "up", prepare, commits=True), "up (change)", record_property)


@pytest.mark.exhaustive
def test_down(stage, versions, record_property):
    versions(1)
    run_matrix(Case(stage, "down", lambda: stage.do("up"), commits=False), "down", record_property)


@pytest.mark.exhaustive
def test_stop(stage, versions, record_property):
    versions(1)
    run_matrix(Case(stage, "stop", lambda: stage.do("up"), commits=False), "stop", record_property)


@pytest.mark.exhaustive
def test_start(stage, versions, record_property):
    def prepare():
        stage.do("up")
        stage.do("stop")

    versions(1)
    run_matrix(Case(stage, "start", prepare, commits=False), "start", record_property)


@pytest.mark.exhaustive
@pytest.mark.parametrize("recreate", [False, True], ids=["same containers", "new containers"])
def test_restart(stage, versions, record_property, recreate):
    versions(1)
    case = Case(stage, "restart", lambda: stage.do("up"), commits=False, recreate=recreate)
    create = ["create"] * recreate
    assert case.steps == ["stop web", "stop db", *create, "start db", "ready db", "start web", "ready web"]
    run_matrix(case, "restart" + " --recreate" * recreate, record_property)


@pytest.mark.exhaustive
def test_rollback(stage, versions, record_property):
    def prepare():
        if stage.world.store.stack(stage.name) is None:
            versions(1)
            stage.do("up")
            versions(2)
            stage.do("up")
        else:
            stage.do("rollback", to=2)

    case = Case(stage, "rollback", prepare, commits=True, to=1)
    run_matrix(case, "rollback", record_property)


@pytest.mark.exhaustive
@pytest.mark.parametrize("operation", ["up", "stop"])
def test_foreign_exceptions_out_of_real_calls(stage, versions, record_property, operation):
    def prepare():
        forget(stage)
        versions(1)
        stage.do("up")
        if operation == "up":
            versions(2)

    run_foreign(Case(stage, operation, prepare, commits=operation == "up"), operation, record_property)
