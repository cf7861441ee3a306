"""Progress as plain lines, and what it gathers from events."""

from __future__ import annotations

import io
import os
import re
import threading
import time
from datetime import UTC, datetime

import pytest

from moorage.errors import InterruptedRunError, NotReadyError
from moorage.model.event import Action, Event
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.show import progress_plain
from moorage.show.outlet import Outlet
from moorage.show.progress import Progress
from moorage.show.progress_state import ProgressState, RowState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def event(action: Action, step: str = "", message: str = "", stack: str = "shop", **keys: object) -> Event:
    kind, _, service = step.partition(" ")
    del kind
    return Event.model_validate(
        {
            "at": NOW,
            "stack": stack,
            "action": action,
            "step": step,
            "message": message,
            "service": service or None,
            **keys,
        }
    )


STORY = (
    event(Action.NOTICE, message="volumes.data: shared"),
    event(Action.STARTED, "lease", "2 ports"),
    event(Action.DONE, "lease", "db 5432 at 127.0.0.1:5432, web 80 at 127.0.0.1:8080", elapsed_s=0.01),
    event(Action.STARTED, "build web", "its sources changed"),
    event(Action.PROGRESS, "build web", "\x1b[32m#1 RUN\tpip\x1b[0m\rinstall"),
    event(Action.PROGRESS, "build web", "   "),
    event(Action.DONE, "build web", "built shop-web", elapsed_s=12.3),
    event(Action.STARTED, "create", "2 services"),
    event(Action.PROGRESS, "create", "Network shop_default Created"),
    event(Action.DONE, "create", "generation 3", elapsed_s=0.2),
    event(Action.STARTED, "start db", "it does not exist yet"),
    event(Action.DONE, "start db", "started", elapsed_s=0.05),
    event(Action.STARTED, "ready db"),
    event(Action.DONE, "ready db", "ready", elapsed_s=0.314),
    event(Action.STARTED, "start web"),
    event(Action.SKIPPED, "start web", "already running", elapsed_s=0.01),
    event(Action.STARTED, "ready web"),
    event(Action.DONE, "ready web", "ready", elapsed_s=1.0),
)
FAILURE = (
    event(Action.STARTED, "ready web"),
    event(Action.STARTED, "ready db"),
    event(Action.FAILED, "ready web", "services.web: ended with exit code 1\nmore", elapsed_s=0.5),
    event(Action.NOTICE, message="undoing"),
    event(Action.STARTED, "start db"),
    event(Action.DONE, "start db", "started", elapsed_s=0.1),
    event(Action.UNDONE, message="undone: generation 2 is in place again"),
)


def plain_text(*events: Event, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    progress = Progress(stream, live=False)
    progress.__enter__()
    for one in events:
        progress(one)
    progress.__exit__(type(error) if error else None, error, None)
    return stream.getvalue()


def test_plain_lines():
    *lines, last = plain_text(*STORY).splitlines()
    assert lines == [
        "note: volumes.data: shared",
        "lease  db 5432 at 127.0.0.1:5432",
        "lease  web 80 at 127.0.0.1:8080",
        "build web: its sources changed",
        "  web | install",
        "build web (12.3 s)",
        "  create | Network shop_default Created",
        "create: generation 3 (0.20 s)",
        "start db",
        "ready db (0.31 s)",
        "start web: already running",
        "ready web (1.00 s)",
    ]
    assert last.startswith("shop: 2 services ready in 0.0")


def test_a_failure_and_its_undo_in_plain_lines():
    *lines, last = plain_text(*FAILURE, error=NotReadyError("x")).splitlines()
    assert lines == [
        "FAILED ready web after 0.50 s: services.web: ended with exit code 1",
        "undoing",
        "undo: start db",
        "undone: generation 2 is in place again",
    ]
    assert last.startswith("shop: failed and undone after 0.0")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (InterruptedRunError("x"), "interrupted"),
        (NotReadyError("x"), "failed"),
        (ValueError("x"), "failed"),
    ],
)
def test_how_it_ended(error, said):
    assert plain_text(event(Action.STARTED, "ready db"), error=error).startswith(f"shop: {said} after")


def test_an_incomplete_undo():
    shown = plain_text(
        event(Action.NOTICE, message="undoing"), event(Action.UNDONE, message="left: volume a"), error=ValueError()
    )
    assert shown.splitlines()[:2] == ["undoing", "left: volume a"]
    assert "failed and not completely undone" in shown


def test_down():
    steps = (
        event(Action.DONE, "stop db", "stopped", elapsed_s=0.4),
        event(Action.DONE, "remove", "1 containers, 1 networks"),
    )
    shown = plain_text(*steps).splitlines()
    assert shown[:2] == ["stop db (0.40 s)", "remove: 1 containers, 1 networks"]
    assert shown[2].startswith("shop: 1 service stopped, removed in")


def test_a_retry():
    shown = plain_text(event(Action.RETRY, "start db", "port 5432 was taken: leasing another"))
    assert shown == "retry start db: port 5432 was taken: leasing another\n"


def test_nothing_happened_nothing_said():
    assert plain_text() == ""


def test_several_stacks_are_told_apart():
    shown = plain_text(
        event(Action.DONE, "ready db", stack="a"), event(Action.DONE, "ready db", stack="b")
    ).splitlines()
    assert shown[1] == "b: ready db"
    assert shown[2].startswith("a, b: 2 services ready")


def test_no_control_characters_in_plain_lines():
    hostile = "\x1b]0;x\x07\x1b[2J\x1b[1;1Hgone\x08\x7f\x9b5m\t\r\u202e"
    events = [event(action, "build web", hostile) for action in Action]
    assert CONTROL.findall(plain_text(*events, event(Action.NOTICE, message=hostile))) == []


def test_live_without_a_terminal_is_plain():
    stream = io.StringIO()
    with Progress(stream, live=True) as progress:
        progress(event(Action.DONE, "ready db", elapsed_s=1))
    assert CONTROL.findall(stream.getvalue()) == []


def test_a_sign_of_life_after_two_seconds_then_every_ten():
    board = ProgressState(0.0)
    board.update(event(Action.STARTED, "build web"), 1.0)
    said = [(now, line) for now in range(30) if (line := progress_plain.still(board, now))]
    assert said == [(3, "still: build web (2 s)"), (13, "still: build web (12 s)"), (23, "still: build web (22 s)")]


def test_signs_of_life_of_several_steps_share_a_line():
    board = ProgressState(0.0)
    for step in ("build web", "pull db"):
        board.update(event(Action.STARTED, step), 0.0)
    assert progress_plain.still(board, 2.0) == "still: build web (2 s), pull db (2 s)"
    board.update(event(Action.DONE, "pull db"), 3.0)
    assert progress_plain.still(board, 12.0) == "still: build web (12 s)"


def test_signs_of_life_between_the_steps():
    board = ProgressState(0.0)
    assert progress_plain.still(board, 1.0) is None
    assert progress_plain.still(board, 2.5) == "still: planning (2 s)"
    assert progress_plain.still(board, 3.0) is None
    board.update(event(Action.DONE, "ready db"), 4.0)
    assert progress_plain.still(board, 5.0) is None
    assert progress_plain.still(board, 6.5) == "still: finishing (2 s)"


def test_the_heart_beats(monkeypatch):
    monkeypatch.setattr(progress_plain, "FIRST_BEAT_S", 0.01)
    monkeypatch.setattr("moorage.show.progress._TICK_S", 0.01)
    stream = io.StringIO()
    with Progress(stream, live=False) as progress:
        progress(event(Action.STARTED, "ready db"))
        deadline = time.monotonic() + 60
        while "still" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "still: ready db (0 s)\n" in stream.getvalue()


def test_a_service_goes_through_its_phases():
    board = ProgressState(0.0)
    plan = Plan(
        stack="shop",
        operation=Operation.UP,
        steps=(
            Step(kind=StepKind.CREATE),
            Step(kind=StepKind.START, service="db", needs=("create",)),
            Step(kind=StepKind.START, service="web", needs=("create", "ready db")),
        ),
    )
    planned = event(Action.PLANNED, details={"plan": plan.model_dump(mode="json")})
    board.update(planned, 0.0)
    assert list(progress_plain.lines(planned, board, undoing=False)) == []
    db, web = board.rows["shop", "db"], board.rows["shop", "web"]
    assert (db.mark, db.waits, web.waits) == (RowState.WAITING, "", "after ready db")
    marks = []
    for one in STORY:
        board.update(one, 1.0)
        marks.append(web.mark)
    assert [m for m, before in zip(marks, [None, *marks], strict=False) if m != before] == [
        RowState.WAITING,
        RowState.RUNNING,
        RowState.WAITING,
        RowState.RUNNING,
        RowState.WAITING,
        RowState.RUNNING,
        RowState.DONE,
    ]
    assert [row.name for row in board.ordered] == ["lease", "create", "db", "web"]


def test_an_undo_cuts_what_was_under_way_short():
    board = ProgressState(0.0)
    for number, one in enumerate(FAILURE[:4]):
        board.update(one, float(number))
    assert {row.name: row.mark for row in board.ordered} == {
        "web": RowState.FAILED,
        "db": RowState.CUT,
        "undo": RowState.RUNNING,
    }
    assert board.rows["shop", "db"].elapsed_s == 2.0


def test_events_from_many_threads_lose_nothing():
    stream = io.StringIO()
    with Progress(stream, live=False) as progress:

        def tell(name: str) -> None:
            for i in range(200):
                progress(event(Action.PROGRESS, f"build {name}", f"line {i}"))

        threads = [threading.Thread(target=tell, args=(f"s{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = stream.getvalue().splitlines()[:-1]
    assert sorted(lines) == sorted(f"  s{n} | line {i}" for n in range(8) for i in range(200))


def test_a_broken_pipe_breaks_no_run():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as stream:
        with Progress(stream, live=False) as progress:
            for one in STORY:
                progress(one)
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # so that closing has somewhere to flush to


def test_an_encoding_without_the_characters():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Outlet(stream).line("→ ü \ud800")
    assert raw.getvalue() == b"? ? ?\n"


def test_after_the_end_nothing_is_said():
    stream = io.StringIO()
    with Progress(stream, live=False) as progress:
        pass
    progress(STORY[-1])
    assert stream.getvalue() == ""
