"""Saying things: JSON to stdout, words to stderr."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

from moorage.errors import MoorageError


def as_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def say(text: str) -> None:
    """Print words on stdout."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def remark(text: str) -> None:
    """Print words on stderr, where stdout carries data. A terminal that has gone changes nothing."""
    with suppress(OSError, ValueError):
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()


def show_error(error: MoorageError, *, as_json: bool) -> int:
    """Show an error the way that was asked for; gives its exit code."""
    from moorage.show.text import error_text

    if as_json:
        sys.stdout.write(json.dumps(error.as_dict(), indent=2, ensure_ascii=False, default=str) + "\n")
    remark(error_text(error))
    return error.exit_code
