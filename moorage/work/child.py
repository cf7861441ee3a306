"""The command of `moorage ci`: run to its end, signals passed on to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

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
    at_terminal = sys.stdin is not None and _is_terminal()
    try:
        # At a terminal it stays in the foreground, where the terminal itself sends Ctrl-C to both.
        process = subprocess.Popen(command, env=dict(environment), process_group=None if at_terminal else 0)
    except OSError as error:
        message = f"{command[0]}: {error.strerror or error}"
        raise DefinitionError(message, hint="After `--` comes a program with its arguments, no shell syntax.") from None
    with _passed_on(process, own_group=not at_terminal):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            on_timeout()
            _end(process, own_group=not at_terminal)
            return TIMED_OUT
    return code if code >= 0 else 128 - code


def _is_terminal() -> bool:
    with suppress(ValueError, OSError):
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


@contextmanager
def _passed_on(process: subprocess.Popen[bytes], *, own_group: bool) -> Iterator[None]:
    def pass_on(number: int, _frame: Any) -> None:
        if own_group or number != signal.SIGINT:
            _send(process, number, own_group=own_group)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(process: subprocess.Popen[bytes], number: int, *, own_group: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if own_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _end(process: subprocess.Popen[bytes], *, own_group: bool) -> None:
    _send(process, signal.SIGTERM, own_group=own_group)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _send(process, signal.SIGKILL, own_group=own_group)
        process.wait()


@contextmanager
def undisturbed(say: Callable[[], None]) -> Iterator[None]:
    """Signals do not end what is done in here; `say` is called for each. Main thread only."""
    before = {number: signal.signal(number, lambda *_: say()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
