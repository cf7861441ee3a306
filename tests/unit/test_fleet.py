"""Many stacks at once: which ones, how many at the same time, and what one of them cannot do to another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moorage.errors import DefinitionError, FleetError, InterruptedRunError, NotReadyError
from moorage.model.fleet import FleetMember, FleetRow, FleetVerb
from moorage.rules import fleet as rules
from moorage.show.fleet_text import fleet_text
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.fleet import directories, listed
from moorage.work.operations.fleet import fleet, refuse_failures
from moorage.work.runs.context import Context


@pytest.fixture
def place(tmp_path):
    for name, file in (("b", "compose.yaml"), ("a", "docker-compose.yml"), ("c", "README"), (".d", "compose.yml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("services: {}")
    (tmp_path / "file").write_text("")
    return tmp_path


def names(found):
    return [one.name for one in found]


def test_a_pattern_finds_directories_with_a_compose_file(place):
    assert names(directories(["*"], place)) == ["a", "b"]
    assert names(directories([str(place / "[bc]")], Path("/"))) == ["b"]


def test_each_is_there_once_in_the_order_given(place):
    (place / "link").symlink_to(place / "b")
    assert names(directories(["b", "*", "./a", "link"], place)) == ["b", "a"]


def test_a_directory_may_have_a_name_that_looks_like_a_pattern(place):
    (place / "[x]").mkdir()
    (place / "[x]" / "compose.yaml").write_text("")
    assert names(directories(["[x]"], place)) == ["[x]"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("c", "c has no compose file"),
        ("file", "file is not a directory"),
        ("gone", "gone is not a directory"),
        ("z*", "z*: no directory with a compose file matches"),
        ("c*", "c*: no directory with a compose file matches"),
    ],
)
def test_what_is_not_there_is_refused(place, given, said):
    with pytest.raises(DefinitionError) as refused:
        directories(["a", given], place)
    assert said in str(refused.value)


def test_a_list_counts_from_its_own_place(place, monkeypatch):
    file = place / "fleet.txt"
    file.write_text("# ours\n\nb   # the second\n./a\r\n*\n")
    monkeypatch.chdir("/")
    assert names(directories(listed(file), Path("/"))) == ["b", "a"]


def test_a_list_that_cannot_be_read(place):
    with pytest.raises(DefinitionError, match="gone"):
        listed(place / "gone")
    (place / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError, match="binary"):
        listed(place / "binary")


class Deeds:
    """Does things to members, which take as long as the test says."""

    def __init__(self):
        self.going, self.most, self.begun, self.ended = 0, 0, [], []
        self.gate = asyncio.Event()
        self.errors = {}

    async def do(self, member):
        self.going += 1
        self.most = max(self.most, self.going)
        self.begun.append(member.stack)
        try:
            await self.gate.wait()
            if error := self.errors.get(member.stack):
                raise error
            return {"stack": member.stack, "state": "running", "changed": ["db"], "flow_run_id": "1"}
        finally:
            self.going -= 1
            self.ended.append(member.stack)


@pytest.fixture
def told():
    return []


@pytest.fixture
def context(told):
    return Context(fake_world(FakeMachine(), MemoryStore(), MemoryFiles(), emit=told.append))


def members(count):
    return [FleetMember(directory=Path(f"/srv/s{number}"), stack=f"s{number}") for number in range(count)]


async def settled():
    for _ in range(50):
        await asyncio.sleep(0)


async def test_so_many_at_once_and_rows_in_order(context):
    deeds = Deeds()
    going = asyncio.ensure_future(fleet(context, FleetVerb.UP, members(7), deeds.do, 3))
    await settled()
    assert deeds.begun == ["s0", "s1", "s2"]
    deeds.gate.set()
    rows = await going
    assert deeds.most == 3
    assert [row.stack for row in rows] == [f"s{number}" for number in range(7)]
    assert {(row.state, row.changed, row.exit_code) for row in rows} == {("running", 1, 0)}


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (NotReadyError("services.db: ended", stack="s1"), "failed", 5),
        (DefinitionError("/srv/s1/compose.yaml: no services"), "failed", 2),
        (InterruptedRunError("cancelled"), "interrupted", 130),
        (ZeroDivisionError("of somebody"), "failed", 1),
    ],
)
async def test_one_that_fails_stops_no_other(context, told, error, state, code):
    deeds = Deeds()
    deeds.gate.set()
    deeds.errors["s1"] = error
    rows = await fleet(context, FleetVerb.UP, members(3), deeds.do, 1)
    assert [(row.state, row.exit_code) for row in rows] == [("running", 0), (state, code), ("running", 0)]
    assert [event.message for event in told] == [f"s1: {rows[1].error}"]
    with pytest.raises(FleetError, match="1 of 3 stacks failed: s1") as refused:
        refuse_failures(FleetVerb.UP, rows)
    assert refused.value.exit_code == 5
    assert [row["stack"] for row in refused.value.fields["rows"]] == ["s0", "s1", "s2"]


async def test_a_cancel_ends_those_under_way_and_begins_no_other(context):
    deeds = Deeds()
    going = asyncio.ensure_future(fleet(context, FleetVerb.UP, members(9), deeds.do, 2))
    await settled()
    assert len(deeds.begun) == 2
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert deeds.begun == ["s0", "s1"]
    assert sorted(deeds.ended) == ["s0", "s1"]


async def test_where_there_is_no_stack_nothing_is_done(context):
    deeds = Deeds()
    rows = await fleet(context, FleetVerb.DOWN, [FleetMember(directory=Path("/srv/new"))], deeds.do, 1)
    assert [(row.stack, row.state, row.exit_code) for row in rows] == [("/srv/new", "absent", 0)]
    assert deeds.begun == []


@pytest.mark.parametrize(
    ("cores", "free_bytes", "starts", "builds"),
    [(1, 64 << 30, 2, 1), (2, 64 << 30, 4, 1), (16, 64 << 30, 32, 8), (16, 1 << 30, 4, 8), (4, 0, 1, 2)],
)
def test_by_cores_and_memory(cores, free_bytes, starts, builds):
    assert (rules.at_once(cores, free_bytes), rules.builds_at_once(cores)) == (starts, builds)


def test_the_verdict_names_the_first_five():
    rows = [FleetRow(stack=f"s{number}", directory="/", state="failed", exit_code=5, error="x") for number in range(8)]
    assert rules.verdict(rows) == "8 of 8 stacks failed: s0, s1, s2, s3, s4 and 3 more"


def test_the_table_is_safe_to_print():
    rows = [
        FleetRow(stack="shop", directory="/srv/shop", state="running", changed=4, elapsed_s=5.25),
        FleetRow(stack="\x1b[31mx", directory="/srv/x", state="failed", elapsed_s=1, error="a\nb\x1b]0;", exit_code=5),
    ]
    assert "\x1b" not in fleet_text(rows)
    assert fleet_text(rows).splitlines()[-1] == "2 stacks, 1 failed"
    assert fleet_text(rows[:1]).splitlines()[-1] == "1 stack, none failed"
    assert fleet_text([]) == "no stacks"
