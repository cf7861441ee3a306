"""What others wrote, read within limits: no more bytes than are asked for, no waiting, no devices.

A pipe has no end until somebody writes to it, `/dev/zero` never has one, and a sparse file of a terabyte is made in a
moment. So files of projects, of Docker's and of git's settings, reports and snapshots are opened and read here only,
and so is what programs print; `reads_without_end` in `tests/architecture/house.py` looks whether anything else reads.
"""

from __future__ import annotations

import errno
import io
import json
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TEXT_BYTES = 256 << 10
"""Most that is read of what people write by hand: env files, ignore files, Dockerfiles."""
SETTINGS_BYTES = 4 << 20
"""Most that is read of files that programs write for themselves: `config.json`, a failure report."""
REPORT_BYTES = 64 << 20
"""Most that is read of one test report."""
_PIECE = 1 << 16
_GRACE_S = 5.0
"""How long a program of `run` has to end once it is asked to: git removes its locks, and a working tree begun."""


def _no_more(_waited_s: float) -> float:
    return 0.0


class TooMuchError(OSError):
    """There is more than may be read. An OSError, because for callers it is a file that cannot be read."""

    def __init__(self, path: Path | str, limit_bytes: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {amount(limit_bytes)}", str(path))


class NotAFileError(OSError):
    """A pipe, a device, a socket or a folder."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


def amount(number: int) -> str:
    """`256 KiB`, `4 MiB`: the largest unit that leaves a whole number."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size and number % size == 0:
            return f"{number // size} {unit}"
    return f"{number} bytes"


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading, without waiting. Raises OSError: NotAFileError for whatever else is there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:  # a NUL byte in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(path)
    return io.BufferedReader(_WithoutWaiting(descriptor, "rb"))


class _WithoutWaiting(io.FileIO):
    """A file that has something to read or an end; some of the kernel's have neither."""

    def readinto(self, buffer: Any) -> int:
        """As usual. Raises OSError where there is nothing to read now."""
        number = super().readinto(buffer)
        if number is None:
            raise OSError(errno.EAGAIN, "nothing to read, and no end", self.name)
        return number


def beginning_of(path: Path, limit_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether that is all. Raises OSError."""
    with open_file(path) as file:
        content = file.read(limit_bytes + 1)
    return content[:limit_bytes], len(content) <= limit_bytes


def bytes_of(path: Path, limit_bytes: int) -> bytes:
    """All of a file. Raises OSError: TooMuchError if it is larger."""
    content, whole = beginning_of(path, limit_bytes)
    if not whole:
        raise TooMuchError(path, limit_bytes)
    return content


def text_of(path: Path, limit_bytes: int = TEXT_BYTES, *, errors: str = "replace") -> str:
    """All of a file as text, line ends as in Python. Raises OSError; with `errors="strict"` UnicodeDecodeError."""
    return bytes_of(path, limit_bytes).decode(errors=errors).replace("\r\n", "\n")


def json_of(path: Path, limit_bytes: int = SETTINGS_BYTES) -> Any:
    """What a JSON file says. Raises OSError, and ValueError if it is none."""
    return parsed_json(bytes_of(path, limit_bytes))


def parsed_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_at_most(stream: Any, limit_bytes: int, of: str, within_s: float) -> bytes:
    """All of a stream that has `read1`. Raises TooMuchError, which calls it `of`, and TimeoutError if it takes longer.

    A byte a second is never late for the timeout of a socket.
    """
    content = bytearray()
    until = time.monotonic() + within_s
    while piece := stream.read1(min(_PIECE, limit_bytes + 1 - len(content))):
        content += piece
        if len(content) > limit_bytes:
            raise TooMuchError(of, limit_bytes)
        if time.monotonic() > until:
            raise TimeoutError(f"{of} has no end within {within_s:g} s")
    return bytes(content)


def run(
    command: Sequence[str],
    env: Mapping[str, str],
    timeout_s: float,
    cwd: str | None = None,
    more_s: Callable[[float], float] = _no_more,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without input, and take what it prints, at most 64 MiB. `more_s` as in `answer_of`.

    Where it is not to go on (Ctrl-C among the reasons), it is asked to end before it is killed.

    Raises OSError (TooMuchError among them), subprocess.TimeoutExpired, and ValueError for a NUL byte.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    out, err = (os.fsdecode(text) for text in answer_of(process, b"", timeout_s, REPORT_BYTES, more_s, _GRACE_S))
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def answer_of(
    process: subprocess.Popen[Any],
    stdin: bytes,
    timeout_s: float,
    limit_bytes: int,
    more_s: Callable[[float], float] = _no_more,
    grace_s: float = 0.0,
) -> tuple[bytes, bytes]:
    """What a program writes to stdout and stderr until it ends, given `stdin`. The program has its own session.

    It is killed, with its children, if that takes longer than `timeout_s` or is more than `limit_bytes` in all. When
    the time is over, `more_s` is asked how much longer it may take, given the seconds that have passed; 0 or less: not
    any. `grace_s` as in `kill`. Raises subprocess.TimeoutExpired, TooMuchError.
    """
    try:
        found = _collected(process, stdin, timeout_s, limit_bytes, more_s)
        process.wait(timeout_s)
    except BaseException:
        kill(process, grace_s)
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()
    return found


def kill(process: subprocess.Popen[Any], grace_s: float = 0.0) -> None:
    """Kill a program that has its own session, with its children, and reap it; more than 0: ask it to end first."""
    try:
        if grace_s > 0:
            _send(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
    finally:  # whoever cannot wait presses Ctrl-C again
        _send(process, signal.SIGKILL)
        process.wait()


def _send(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, number)


def _collected(
    process: subprocess.Popen[Any], stdin: bytes, timeout_s: float, limit_bytes: int, more_s: Callable[[float], float]
) -> tuple[bytes, bytes]:
    began = time.monotonic()
    end = began + timeout_s
    found = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe}
    with selectors.DefaultSelector() as waiting:
        for pipe in found:
            waiting.register(pipe, selectors.EVENT_READ)
        if process.stdin and stdin:
            os.set_blocking(process.stdin.fileno(), False)
            waiting.register(process.stdin, selectors.EVENT_WRITE)
        elif process.stdin:
            process.stdin.close()
        while waiting.get_map():
            left_s = end - time.monotonic()
            if left_s <= 0:
                waited_s = time.monotonic() - began
                left_s = more_s(waited_s)
                if left_s <= 0:
                    raise subprocess.TimeoutExpired(process.args, waited_s)
                end = time.monotonic() + left_s
            for key, _ in waiting.select(left_s):
                if key.fileobj is process.stdin:
                    stdin = _sent(key.fd, stdin)
                    if not stdin:
                        waiting.unregister(key.fileobj)
                        process.stdin.close()
                elif piece := os.read(key.fd, _PIECE):
                    found[key.fileobj] += piece  # type: ignore[index]
                    if sum(map(len, found.values())) > limit_bytes:
                        raise TooMuchError("its output", limit_bytes)
                else:
                    waiting.unregister(key.fileobj)
    texts = [bytes(found[pipe]) if pipe in found else b"" for pipe in (process.stdout, process.stderr)]
    return texts[0], texts[1]


def _sent(pipe: int, data: bytes) -> bytes:
    """What is left to send; nothing if nobody reads any more."""
    try:
        return data[os.write(pipe, data[:_PIECE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""
