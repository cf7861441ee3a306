"""Progress of a run: one line per service on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from moorage.model.event import Action, Event
from moorage.show import progress_plain
from moorage.show.outlet import Outlet
from moorage.show.progress_state import ProgressState, begins_undo

if TYPE_CHECKING:
    from moorage.show.progress_live import Display

_TICK_S = 0.5


class Progress:
    """Shows events as they arrive; may be called from any thread. Use it as a context manager.

    `live` asks for lines that change in place. Without a terminal (or with `TERM=dumb`) it prints plain lines without
    control characters instead. If the stream breaks (a closed pipe), it goes silent and never breaks the run.
    """

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._out = Outlet(stream)
        self._live = live and stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
        self._lock = threading.Lock()
        self._board = ProgressState(time.monotonic())
        self._display: Display | None = None
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._board.began = self._board.last_event_at = time.monotonic()
        if self._live:
            from moorage.show.progress_live import Display

            self._display = Display(self._out, self._board, self._lock)
            self._display.start()
        else:
            self._heart = threading.Thread(target=self._beat, name="moorage-progress", daemon=True)
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with self._lock:
            now = time.monotonic()
            self._board.end(now)
            summary = self._board.summary(error, now)
        if self._display:
            self._display.stop(summary)
        elif summary:
            self._out.line(summary[1])

    def __call__(self, event: Event) -> None:
        """Show one event. Does nothing after the end."""
        if self._ended.is_set():
            return
        with self._lock:
            undoing = event.stack in self._board.undoing
            self._board.update(event, time.monotonic())
            lines = list(progress_plain.lines(event, self._board, undoing=undoing)) if not self._display else []
            for line in lines:
                self._out.line(line)
        if self._display and event.action in (Action.NOTICE, Action.RETRY) and not begins_undo(event):
            self._display.notice(progress_plain.notice(event))

    def _beat(self) -> None:
        while not self._ended.wait(_TICK_S):
            with self._lock:
                line = progress_plain.still(self._board, time.monotonic())
                if line and not self._ended.is_set():
                    self._out.line(line)
