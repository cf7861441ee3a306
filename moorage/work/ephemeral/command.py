"""Runs the command of `moorage ci`: passes signals on to it, and ends everything that it leaves running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from moorage.errors import DefinitionError

TIMED_OUT = 124
"""Same as timeout(1)."""
CANNOT_EXECUTE = 126
NOT_FOUND = 127
"""Same as in a shell."""
_GRACE_S = 10.0
_REST_GRACE_S = 2.0
_POLL_S = 0.02
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float | None,
    say: Callable[[str], None] = lambda _text: None,
    stdout: int | None = None,
) -> int:
    """Run a command, an argument list without a shell; returns its exit code, 128 + n if signal n ended it.

    Passes SIGINT, SIGTERM and SIGHUP on to the command and all processes that it started. After `timeout_s` (None: no
    limit) it gets SIGTERM and the exit code is 124. Ten seconds after a SIGTERM, a SIGHUP or a second signal it gets
    SIGKILL. Processes that it leaves in its process group are ended. `say` receives messages about all this. `stdout`
    is a file descriptor (None: our own). Raises DefinitionError (field exit_code_of_command: 126 or 127) if it cannot
    be started.
    """
    child = _Child(say, own_group=not _is_terminal())
    with _signals_to(child.signal):
        child.start(command, environment, stdout)
        try:
            code = child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            say(f"{command[0]} has been running for {timeout_s:g} s: ending it")
            child.end()
            code = TIMED_OUT
        finally:
            child.end_rest()
    return code if code >= 0 else 128 - code


class _Child:
    """A process that receives signals; signals that arrive before it has begun are delivered then."""

    process: subprocess.Popen[bytes]

    def __init__(self, say: Callable[[str], None], *, own_group: bool) -> None:
        # On a terminal it stays in the foreground, where the terminal itself sends Ctrl-C to both.
        self._own_group = own_group
        self._say = say
        self._begun = False
        self._waiting: list[int] = []
        self._signals = 0
        self._last_resort: threading.Timer | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str], stdout: int | None) -> None:
        try:
            group = 0 if self._own_group else None
            self.process = subprocess.Popen(command, env=dict(environment), process_group=group, stdout=stdout)
        except (OSError, ValueError) as error:
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
            message = f"{command[0]}: {getattr(error, 'strerror', None) or error}"
            hint = "Give a program with its arguments after `--`, without shell syntax."
            raise DefinitionError(message, hint=hint, exit_code_of_command=code) from None
        self._begun = True
        for number in self._waiting:
            self._pass_on(number)

    def signal(self, number: int) -> None:
        """Pass one of our signals on to it."""
        if self._begun:
            self._pass_on(number)
        else:
            self._waiting.append(number)

    def _pass_on(self, number: int) -> None:
        self._signals += 1
        if self._own_group or number != signal.SIGINT:
            self._send(number)
        if self._last_resort is None and (number != signal.SIGINT or self._signals > 1):
            self._last_resort = threading.Timer(_GRACE_S, self._kill)
            self._last_resort.daemon = True
            self._last_resort.start()

    def _kill(self) -> None:
        if self.process.returncode is None:
            self._say("it has not ended: killing it")
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def end(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        self._send(signal.SIGTERM)
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            self.process.wait()

    def end_rest(self) -> None:
        """End processes that the command left in its group: their stack is removed too."""
        if self._last_resort:
            self._last_resort.cancel()
        if not (self._begun and self._own_group and self._group_lives()):
            return
        self._say("ending what the command left running")
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + _REST_GRACE_S
        while self._group_lives():
            if time.monotonic() >= deadline:  # even if only zombies are left, which nobody reaps
                self._send(signal.SIGKILL)
                return
            time.sleep(_POLL_S)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except OSError:
            return False
        return True


def _is_terminal() -> bool:
    with suppress(ValueError, OSError):
        return sys.stdin is not None and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


@contextmanager
def _signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Send signals to `handle`; those that were ignored when this process started (nohup, `&`) stay ignored."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda got, _frame: handle(got)) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Handles signals: each is reported; the first one ends the code under `heard`, and only that.

    Main thread only. Elsewhere, a KeyboardInterrupt could arrive in the middle of the removal of a stack.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._raising = False
        self._came = False

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """In this block signals end only the code under `heard`."""
        with _signals_to(lambda _number: self._signal()):
            yield

    @contextmanager
    def heard(self) -> Iterator[None]:
        """A signal ends the code in this block with KeyboardInterrupt; an earlier one does so at once."""
        self._raising = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._raising = False

    def _signal(self) -> None:
        self._came = True
        if self._raising:
            self._raising = False
            raise KeyboardInterrupt
        self._say()
