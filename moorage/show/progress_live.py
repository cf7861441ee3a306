"""The live display on a terminal: one line per service, changing in place. Rich is imported only when needed."""

from __future__ import annotations

import threading
import time
from typing import IO, TYPE_CHECKING, cast

from moorage.show.formatting import seconds
from moorage.show.progress_state import UNDO, ProgressState, Row, RowState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from moorage.show.outlet import Outlet

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_FRAMES = "|/-\\"
_FRAMES_A_SECOND = 10
_MARKS = {RowState.WAITING: "·", RowState.DONE: "✓", RowState.FAILED: "✗", RowState.CUT: "-"}
_ASCII_MARKS = {RowState.WAITING: ".", RowState.DONE: "+", RowState.FAILED: "x", RowState.CUT: "-"}
_STYLES = {
    RowState.WAITING: "dim",
    RowState.RUNNING: "cyan",
    RowState.DONE: "green",
    RowState.FAILED: "bold red",
    RowState.CUT: "dim",
}
_DOING = {
    "lease": ("leasing", "leased"),
    "build": ("building", "built"),
    "pull": ("pulling", "pulled"),
    "create": ("creating", "created"),
    "stop": ("stopping", "stopped"),
    "start": ("starting", "started"),
    "ready": ("getting ready", "ready"),
    "remove": ("removing", "removed"),
    UNDO: ("undoing", "undone"),
}
_SPARE_LINES = 3
"""Terminal lines that are not used: for the text above, and for the cursor."""


class Display:
    """Shows progress on a terminal until it is stopped. `board` is only read while holding `lock`."""

    def __init__(self, out: Outlet, board: ProgressState, lock: threading.Lock) -> None:
        from rich.live import Live

        from moorage.show.outlet import terminals

        self._board, self._lock = board, lock
        self._final = False
        plain = not out.can(_FRAMES + "✓✗·…")
        self._frames, self._marks = (_ASCII_FRAMES, _ASCII_MARKS) if plain else (_FRAMES, _MARKS)
        self._console = _console(out)
        to_stdout, to_stderr = terminals()
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_A_SECOND,
            redirect_stdout=to_stdout,  # output to a file or pipe must not be redirected to the terminal
            redirect_stderr=to_stderr,
            vertical_overflow="crop",
        )

    def start(self) -> None:
        """Start the display."""
        self._live.start(refresh=True)

    def stop(self, summary: tuple[bool, str] | None) -> None:
        """Stop, and leave the last state of all rows and a summary on the terminal."""
        from rich.text import Text

        self._final = True
        self._live.stop()
        if summary:
            well, said = summary
            mark = RowState.DONE if well else RowState.FAILED
            self._console.print(Text(f"{self._marks[mark]} {said}", style=_STYLES[mark]), soft_wrap=True)

    def notice(self, said: str) -> None:
        """Print a line above the rows."""
        from rich.text import Text

        self._console.print(Text(said, style="yellow"), soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        with self._lock:
            rows, hidden = self._shown()
            table = self._table(rows, now)
            pause = not self._final and not self._board.running
            if pause:
                table.add_row(self._mark(None, now), Text(self._board.pause(), style="dim"), "", "", "")
        if self._final:
            return table
        # The cursor stays visible and below the rows, so a killed process leaves the terminal in order.
        return Group(table, Text(f"  … {hidden} more", style="dim"), "") if hidden else Group(table, "")

    def _shown(self) -> tuple[list[Row], int]:
        """The rows that fit on the terminal, in order, and how many do not; finished rows are hidden first."""
        rows = self._board.ordered
        room = max(self._console.size.height - _SPARE_LINES, 1)
        if self._final or len(rows) < room:
            return rows, 0
        urgent = sorted(range(len(rows)), key=lambda i: (_urgency(rows[i]), i))[: room - 1]
        return [rows[i] for i in sorted(urgent)], len(rows) - len(urgent)

    def _table(self, rows: list[Row], now: float) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(self._console.width // 3, 8))
        table.add_column(no_wrap=True, min_width=len("getting ready"))  # so that the columns do not jump
        table.add_column(no_wrap=True, min_width=len("12.3 s"), justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows:
            took = now - row.began if row.mark == RowState.RUNNING else row.elapsed_s
            table.add_row(
                self._mark(row, now),
                Text(self._board.label(row), style="dim" if row.mark in (RowState.WAITING, RowState.CUT) else ""),
                Text(_phase(row), style=_STYLES[row.mark]),
                Text(_took(took, row), style="dim"),
                Text(_said(row), style="red" if row.mark == RowState.FAILED else "dim"),
            )
        return table

    def _mark(self, row: Row | None, now: float) -> RenderableType:
        from rich.text import Text

        if row is None or row.mark == RowState.RUNNING:
            return Text(self._frames[int(now * _FRAMES_A_SECOND) % len(self._frames)], style=_STYLES[RowState.RUNNING])
        return Text(self._marks[row.mark], style=_STYLES[row.mark])


def _urgency(row: Row) -> int:
    return {RowState.RUNNING: 0, RowState.FAILED: 1, RowState.WAITING: 2, RowState.CUT: 3, RowState.DONE: 4}[row.mark]


def _phase(row: Row) -> str:
    doing, done = _DOING.get(row.kind, (row.kind, row.kind))
    if row.mark == RowState.FAILED:
        said = f"{row.kind} failed" if row.kind != "ready" else "not ready"
    elif row.mark == RowState.CUT:
        said = "cut short"
    elif row.mark == RowState.WAITING and row.elapsed_s is None:
        said = "waiting"
    else:
        said = doing if row.mark == RowState.RUNNING else done
    return f"undo: {said}" if row.undo and row.kind != UNDO else said


def _took(took_s: float | None, row: Row) -> str:
    if took_s is None:
        return ""
    return f"{took_s:.1f} s" if row.mark == RowState.RUNNING and took_s < 60 else seconds(took_s)


def _said(row: Row) -> str:
    """Text at the end of the line: output, ports, an error; nothing that the phase already says."""
    if row.mark == RowState.DONE and row.kind in ("ready", "stop") and row.said in ("ready", "stopped"):
        return ""
    return row.waits if row.mark == RowState.WAITING else row.said


def _console(out: Outlet) -> Console:
    """A console on this stream that does not hide the cursor."""
    from rich.console import Console

    class Terminal(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    return Terminal(file=cast("IO[str]", out), force_terminal=True, highlight=False, emoji=False, markup=False)
