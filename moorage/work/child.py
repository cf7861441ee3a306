"""The command of `moorage ci`: run to its end, signals passed on to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from moorage.errors import DefinitionError

TIMED_OUT = 124
"""As with timeout(1)."""
_GRACE_S = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float | None,
    on_timeout: Callable[[], None] = lambda: None,
) -> int:
    """Run a command, an argument list without a shell; gives its exit code, 128 + n if signal n ended it.

    SIGINT, SIGTERM and SIGHUP of this process go on to the command and all that it started. After `timeout_s` (None:
    no limit) it gets SIGTERM, ten seconds later SIGKILL, and the exit code is 124. Raises DefinitionError: it cannot
    be started.
    """
    child = _Child(own_group=not _is_terminal())
    with _signals_to(child.signal):
        child.start(command, environment)
        try:
            code = child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            on_timeout()
            child.end()
            return TIMED_OUT
    return code if code >= 0 else 128 - code


class _Child:
    """A process that signals are sent to; those that come before it has begun wait for it."""

    process: subprocess.Popen[bytes]

    def __init__(self, *, own_group: bool) -> None:
        # At a terminal it stays in the foreground, where the terminal itself sends Ctrl-C to both.
        self._own_group = own_group
        self._begun = False
        self._waiting: list[int] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        try:
            group = 0 if self._own_group else None
            self.process = subprocess.Popen(command, env=dict(environment), process_group=group)
        except OSError as error:
            message = f"{command[0]}: {error.strerror or error}"
            hint = "After `--` comes a program with its arguments, no shell syntax."
            raise DefinitionError(message, hint=hint) from None
        self._begun = True
        for number in self._waiting:
            self.send(number)

    def signal(self, number: int) -> None:
        if not self._begun:
            self._waiting.append(number)
        elif self._own_group or number != signal.SIGINT:
            self.send(number)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        self.send(signal.SIGTERM)
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()


def _is_terminal() -> bool:
    with suppress(ValueError, OSError):
        return sys.stdin is not None and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


@contextmanager
def _signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    before = {number: signal.signal(number, lambda got, _frame: handle(got)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed(say: Callable[[], None]) -> Iterator[None]:
    """Signals do not end what is done in here; `say` is called for each. Main thread only."""
    with _signals_to(lambda _number: say()):
        yield
