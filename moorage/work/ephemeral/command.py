"""The command of `moorage ci`: run to its end, signals passed on to it, nothing of it left running."""

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
"""As with timeout(1)."""
CANNOT_EXECUTE = 126
NOT_FOUND = 127
"""As with any shell."""
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
    """Run a command, an argument list without a shell; gives its exit code, 128 + n if signal n ended it.

    SIGINT, SIGTERM and SIGHUP of this process go on to the command and all that it started. After `timeout_s` (None:
    no limit) it gets SIGTERM and the exit code is 124. Ten seconds after a SIGTERM, a SIGHUP or a second signal it gets
    SIGKILL. What it leaves running in its process group is ended. `say` is told what is done to it. `stdout` is a file
    descriptor (None: this process's own). Raises DefinitionError (field exit_code_of_command: 126 or 127): it cannot be
    started.
    """
    child = _Child(say, own_group=not _is_terminal())
    with _signals_to(child.signal):
        child.start(command, environment, stdout)
        try:
            code = child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            say(f"{command[0]} has run for {timeout_s:g} s: ending it")
            child.end()
            code = TIMED_OUT
        finally:
            child.end_rest()
    return code if code >= 0 else 128 - code


class _Child:
    """A process that signals are sent to; those that come before it has begun wait for it."""

    process: subprocess.Popen[bytes]

    def __init__(self, say: Callable[[str], None], *, own_group: bool) -> None:
        # At a terminal it stays in the foreground, where the terminal itself sends Ctrl-C to both.
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
            hint = "After `--` comes a program with its arguments, no shell syntax."
            raise DefinitionError(message, hint=hint, exit_code_of_command=code) from None
        self._begun = True
        for number in self._waiting:
            self._pass_on(number)

    def signal(self, number: int) -> None:
        """Pass a signal of ours on to it."""
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
        """SIGTERM, and SIGKILL where that does not help."""
        self._send(signal.SIGTERM)
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            self.process.wait()

    def end_rest(self) -> None:
        """End what the command left running in its group: the stack it was made for goes too."""
        if self._last_resort:
            self._last_resort.cancel()
        if not (self._begun and self._own_group and self._group_lives()):
            return
        self._say("ending what the command left running")
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + _REST_GRACE_S
        while self._group_lives():
            if time.monotonic() >= deadline:  # also when only zombies are left, which nobody reaps
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
    """Signals go to `handle`; those that this process was started to ignore (nohup, `&` in a script) stay ignored."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda got, _frame: handle(got)) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Signals while it is entered: each is said; the first ends what is done under `heard`, and only that.

    Main thread only. Anywhere else a KeyboardInterrupt could come in the middle of the removal of a stack.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._raising = False
        self._came = False

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Signals end nothing in here, but what is done under `heard`."""
        with _signals_to(lambda _number: self._signal()):
            yield

    @contextmanager
    def heard(self) -> Iterator[None]:
        """A signal ends what is done in here, by KeyboardInterrupt; one that came before does so at once."""
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
