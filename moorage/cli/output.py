"""Output: JSON and results to stdout, messages to stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from moorage.errors import MoorageError
from moorage.show.formatting import json_without_commands, without_commands

_BEAT_S = 4.0
_PLAINER = str.maketrans({"→": "->", "─": "-", "…": "...", "█": "#"})


def as_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    _print_json(value)


def _print_json(value: Any) -> None:
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    text = json.dumps(value, indent=2, ensure_ascii=ascii_only, default=str)
    sys.stdout.write(json_without_commands(text) + "\n")


def say(text: str) -> None:
    """Print text on stdout."""
    sys.stdout.write(_fitting(text, sys.stdout))


def say_run(found: Mapping[str, Any]) -> None:
    """Where the flow run of a verb is shown; nothing, if there was none."""
    if url := found.get("flow_run_url"):
        say(f"run: {url}")


def remark(text: str) -> None:
    """Print a message on stderr, so that stdout carries only data. Does nothing if the terminal is gone.

    Whatever other people's words are in it, no CI server takes them for commands.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write(_fitting(without_commands(text), sys.stderr))
        sys.stderr.flush()


def _fitting(text: str, stream: TextIO) -> str:
    """The text in characters that the stream can encode: LANG=C has no arrows."""
    lines, encoding = text.rstrip("\n") + "\n", stream.encoding or "utf-8"
    try:
        lines.encode(encoding)
    except UnicodeEncodeError:
        return lines.translate(_PLAINER).encode(encoding, "replace").decode(encoding)
    return lines


@contextmanager
def patient_remarks() -> Iterator[Callable[[str], None]]:
    """`remark`, plus a line that says what is still going on whenever nothing was printed for a while."""
    last, ended = [("working", time.monotonic())], threading.Event()

    def say_line(text: str) -> None:
        last[0] = (text, time.monotonic())
        remark(text)

    def beat() -> None:
        said_at = 0.0
        while not ended.wait(_BEAT_S / 4):
            text, began = last[0]
            if time.monotonic() - max(began, said_at) >= _BEAT_S:
                said_at = time.monotonic()
                remark(f"still: {text} ({said_at - began:.0f} s)")

    thread = threading.Thread(target=beat, name="moorage-patience", daemon=True)
    thread.start()
    try:
        yield say_line
    finally:
        ended.set()
        thread.join()


def show_error(error: MoorageError, *, as_json: bool) -> int:
    """Show an error in the requested format; returns its exit code."""
    from moorage.show.text import error_text

    if as_json:
        _print_json(error.as_dict())
    remark(error_text(error))
    return error.exit_code
