"""Progress on a terminal: a real pseudo-terminal, read as a person would see it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from moorage.errors import NotReadyError
from moorage.model.event import Action, Event
from moorage.show.progress import Progress

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
    event(Action.PROGRESS, "build web", "#1 RUN pip install"),
    event(Action.DONE, "build web", "built shop-web", elapsed_s=12.3),
    event(Action.STARTED, "create", "2 services"),
    event(Action.DONE, "create", "generation 3", elapsed_s=0.2),
    event(Action.STARTED, "start db", "it does not exist yet"),
    event(Action.DONE, "start db", "started", elapsed_s=0.05),
    event(Action.STARTED, "ready db"),
    event(Action.DONE, "ready db", "ready", elapsed_s=0.314),
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


SCRIPT = """
import sys, time
from datetime import datetime, timezone
from moorage.model.event import Action, Event
from moorage.show.progress import Progress
with Progress(sys.stderr, live=True) as progress:
    event = Event(at=datetime.now(timezone.utc), stack="shop", action=Action.STARTED, step="ready db", service="db")
    progress(event)
    print("between", file=sys.stderr)
    print("data on stdout", flush=True)
    time.sleep(30)
"""


class Terminal:
    """A pseudo-terminal whose other side is read as it is written."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding=encoding)
        self._shown: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                return
            if not piece:
                return
            self._shown.append(piece)

    @property
    def so_far(self) -> str:
        return b"".join(self._shown).decode()

    def close(self) -> str:
        """Everything that was shown."""
        self.stream.close()
        self._reader.join(10)
        os.close(self._ours)
        return self.so_far


@pytest.fixture
def xterm(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "60"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    return monkeypatch


def on_terminal(*events: Event, error: BaseException | None = None, encoding: str = "utf-8") -> str:
    terminal = Terminal(encoding)
    try:
        with Progress(terminal.stream, live=True) as progress:
            for one in events:
                progress(one)
                time.sleep(0.01)
            if error:
                raise error
    except type(error or ValueError()):
        pass
    return terminal.close()


def screen(shown: str) -> list[str]:
    """What stands on the screen in the end: lines, cursor up and erase line are all that is understood."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", shown):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row].ljust(column)[:column] + piece + lines[row][column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines if line.strip()]


def test_live_lines_change_in_place(xterm):
    shown = on_terminal(*STORY)
    *rows, last = screen(shown)
    assert rows == [
        "note: volumes.data: shared",
        "✓ lease  leased        0.01 s db 5432 at 127.0.0.1:5432, we…",
        "✓ create created       0.20 s generation 3",
        "✓ web    ready         1.00 s",
        "✓ db     ready         0.31 s",
    ]
    assert re.match(r"✓ shop: 2 services ready in \d+\.\d", last)
    assert "\x1b[?25l" not in shown, "the cursor was hidden: a killed process would leave it so"


def test_live_failure(xterm):
    xterm.setenv("COLUMNS", "200")
    shown = screen(on_terminal(*FAILURE, error=NotReadyError("x")))
    assert [re.sub(r" +\d+\.\d+ s", " T", line) for line in shown] == [
        "✗ web  not ready T services.web: ended with exit code 1",
        "· db   undo: started T",
        "✓ undo undone T generation 2 is in place again",
        "✗ shop: failed and undone after T",
    ]


def test_ctrl_c_leaves_the_terminal_clean(xterm):
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=terminal.stream, text=True
    )
    assert process.stdout
    with process.stdout as stdout:
        assert stdout.readline() == "data on stdout\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    rows = screen(terminal.close())
    assert rows[0] == "between"
    assert rows[1].startswith("- db cut short")
    assert rows[2].startswith("✗ shop: interrupted after")
    assert rows[3].startswith("Traceback")


def test_no_color(xterm):
    color = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    assert color.search(on_terminal(*STORY[-2:]))
    xterm.setenv("NO_COLOR", "1")
    assert not color.search(on_terminal(*STORY[-2:]))


def test_a_dumb_terminal_gets_plain_lines(xterm):
    xterm.setenv("TERM", "dumb")
    shown = on_terminal(*STORY)
    assert CONTROL.findall(shown.replace("\r\n", "\n")) == []
    assert "ready db (0.31 s)" in shown


def test_a_terminal_without_unicode(xterm):
    assert screen(on_terminal(*STORY, encoding="ascii"))[-1].startswith("+ shop: 2 services ready")


def test_more_rows_than_the_terminal_has_lines(xterm):
    xterm.setenv("LINES", "10")
    terminal = Terminal()
    with Progress(terminal.stream, live=True) as progress:
        for number in range(30):
            progress(event(Action.STARTED, f"ready s{number}"))
        deadline = time.monotonic() + 60
        while "… 24 more" not in terminal.so_far and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = terminal.close()
    assert "… 24 more" in shown
    assert len([line for line in screen(shown) if re.match(r"- s\d+ +cut short", line)]) == 30
