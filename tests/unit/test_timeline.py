"""Timelines: rows, waits, the critical path, what was slower than usual; as text and as SVG."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from moorage.errors import DefinitionError
from moorage.model.state import RunRecord, Span
from moorage.model.timeline import Phase
from moorage.rules.timeline import chart
from moorage.show.text import runs_text
from moorage.show.timeline_svg import timeline_svg
from moorage.show.timeline_text import tick_label, tick_s, timeline_text
from moorage.testing import MemoryStore
from moorage.work.queries.timeline import timeline

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)


def span(step, began_s, ended_s, *needs, outcome="done"):
    kind, _, service = step.partition(" ")
    return Span(
        step=step, kind=kind, service=service or None, began_s=began_s, ended_s=ended_s, needs=needs, outcome=outcome
    )


SHOP = (
    span("lease", 0.0, 0.1),
    span("build web", 0.1, 3.0, "lease"),
    span("create", 3.0, 4.0, "lease", "build web"),
    span("start db", 4.0, 4.5, "create"),
    span("start cache", 4.0, 4.2, "create"),
    span("ready cache", 4.2, 4.4, "start cache"),
    span("ready db", 4.5, 8.0, "start db"),
    span("start web", 8.0, 8.5, "create", "ready db", "ready cache"),
    span("ready web", 8.5, 10.0, "start web"),
)


def record(spans=SHOP, **facts):
    given = {"id": "r1", "operation": "up", "outcome": "committed", "generation": 3, **facts}
    return RunRecord(stack="shop", pid=1, host="h", started_at=AT, finished_at=AT, spans=spans, **given)


def phases(found):
    return {
        row.service: [(segment.phase, segment.began_s, segment.ended_s) for segment in row.segments]
        for row in found.rows
    }


def test_rows_and_waits():
    found = chart(record(), {})
    assert phases(found) == {
        "": [(Phase.LEASE, 0.0, 0.1), (Phase.CREATE, 3.0, 4.0)],
        "db": [(Phase.START, 4.0, 4.5), (Phase.READY, 4.5, 8.0)],
        "cache": [(Phase.START, 4.0, 4.2), (Phase.READY, 4.2, 4.4)],
        "web": [
            (Phase.IMAGE, 0.1, 3.0),
            (Phase.WAIT, 3.0, 8.0),
            (Phase.START, 8.0, 8.5),
            (Phase.READY, 8.5, 10.0),
        ],
    }
    assert found.rows[-1].segments[1].on == "ready db"
    assert found.whole_s == 10.0


def test_the_critical_path_is_what_held_up_the_whole():
    found = chart(record(), {})
    assert found.critical == (
        "lease",
        "build web",
        "create",
        "start db",
        "ready db",
        "start web",
        "ready web",
    )
    assert {row.service: row.critical for row in found.rows} == {"": True, "db": True, "cache": False, "web": True}


@pytest.mark.parametrize(
    ("before", "slow"),
    [
        ((1.0, 1.2, 1.1), True),
        ((1.0, 1.2), False),  # too few to know
        ((3.9, 4.1, 4.0), False),  # as always
        ((2.9, 2.8, 2.7), False),  # somewhat more
        ((), False),
    ],
)
def test_slower_than_usual(before, slow):
    found = chart(record(), {"db": before, "cache": (0.1, 0.1, 0.1)})
    assert [one.service for one in found.slow] == (["db"] if slow else [])


def test_a_step_that_failed():
    cut = (*SHOP[:-1], span("ready web", 8.5, 70.0, "start web", outcome="failed"))
    found = chart(record(cut, outcome="undone"), {})
    assert found.rows[-1].segments[-1].failed
    assert "FAILED after 1 m 02 s" in timeline_text(found)
    assert 'class="failed critical"' in timeline_svg(found)


def test_what_is_no_start():
    assert not record(()).has_timeline
    assert not record((span("stop web", 0, 1),)).has_timeline
    assert record().has_timeline


def test_as_text():
    text = timeline_text(chart(record(), {"db": (1.0, 1.0, 1.0)}), columns=70)
    lines = text.splitlines()
    assert lines[0] == "shop: up of 2026-11-21 09:00:00 UTC, generation 3, committed, 10.0 s"
    assert lines[3].startswith("(stack) * ░")
    assert [line.split()[:2] for line in lines[3:7]] == [
        ["(stack)", "*"],
        ["db", "*"],
        ["cache", lines[5].split()[1]],
        ["web", "*"],
    ]
    assert max(map(len, lines[2:7])) <= 70
    assert "· waiting for others" in text
    assert lines[-1] == "! db took 4.00 s to become ready, 4.0 times its usual 1.00 s (median of 3 starts)"


@pytest.mark.parametrize(
    ("whole_s", "most", "step_s", "labels"),
    [
        (0.8, 8, 0.1, ["0.0 s", "0.1 s"]),
        (10, 8, 2, ["0 s", "2 s"]),
        (100, 8, 15, ["0 s", "15 s"]),
        (900, 8, 120, ["0:00 min", "2:00 min"]),
    ],
)
def test_axis(whole_s, most, step_s, labels):
    assert tick_s(whole_s, most) == step_s
    assert [tick_label(number * step_s, step_s) for number in range(2)] == labels


def test_svg_is_xml_whatever_the_names():
    hostile = "a<script>alert('1')</script>&\x1b[31m"
    spans = (span("create", 0, 1), span(f"start {hostile}", 1, 2, "create"), span(f"ready {hostile}", 2, 3))
    svg = timeline_svg(chart(record(spans), {hostile: (0.1, 0.1, 0.1)}))
    root = ET.fromstring(svg)
    assert not [one for one in root.iter() if "script" in one.tag]
    assert "\x1b" not in svg
    assert "prefers-color-scheme: dark" in svg
    assert root.attrib["viewBox"].startswith("0 0 960 ")


def test_nothing_stands_outside_of_the_picture():
    root = ET.fromstring(timeline_svg(chart(record(), {"db": (1.0, 1.0, 1.0)})))
    wide, high = (float(root.attrib[key]) for key in ("width", "height"))
    for one in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(one.attrib["x"]) <= float(one.attrib["x"]) + float(one.attrib["width"]) <= wide
        assert 0 <= float(one.attrib["y"]) <= high


def test_an_empty_run_is_drawn_too():
    spans = (span("start web", 0.0, 0.0), span("ready web", 0.0, 0.0, "start web"))
    found = chart(record(spans), {})
    assert timeline_text(found)
    assert ET.fromstring(timeline_svg(found)) is not None


class _World:
    def __init__(self, store):
        self.store = store


def test_the_last_start_is_compared_with_those_before():
    store = MemoryStore()
    for number in range(5):
        store.update_run(record(id=f"r{number}"))
        store.add_timing("shop", "db", 1, "ready", 1.0 if number < 4 else 4.0, AT)
    store.update_run(record((span("stop db", 0, 1),), id="r5", operation="stop"))
    found = timeline(_World(store), "shop")
    assert (found.run, found.slow[0].starts, found.slow[0].usual_s) == ("r4", 4, 1.0)
    earlier = timeline(_World(store), "shop", "r3")
    assert earlier.run == "r3"
    assert earlier.slow[0].starts == 3


def test_a_run_by_the_beginning_of_its_id():
    store = MemoryStore()
    for name in ("ab1", "ab2", "cd1"):
        store.update_run(record(id=name))
    store.update_run(record((span("stop db", 0, 1),), id="ef1", operation="stop"))
    assert timeline(_World(store), "shop", "c").run == "cd1"
    assert timeline(_World(store), "shop", "ab1").run == "ab1"
    with pytest.raises(DefinitionError, match="'ab' is the beginning of several runs") as several:
        timeline(_World(store), "shop", "ab")
    assert several.value.hint == "They are: ab2, ab1."
    for name in ("ef1", "ab12"):
        with pytest.raises(DefinitionError, match=f"no run '{name}' that started something") as none:
            timeline(_World(store), "shop", name)
        assert none.value.hint == "There are: cd1, ab2, ab1."
    with pytest.raises(DefinitionError, match="no start on record"):
        timeline(_World(store), "blog")


def test_history_prints_what_timeline_takes():
    """By the id alone, as a person copies it."""
    store = MemoryStore()
    for name in ("0123456789ab", "0123456789ac"):
        store.update_run(record(id=name))
    printed = [line.split()[0] for line in runs_text(store.runs("shop")).splitlines()[1:]]
    assert [timeline(_World(store), "shop", name).run for name in printed] == ["0123456789ac", "0123456789ab"]
