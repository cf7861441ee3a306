"""Patterns that people write, in an engine whose time grows with the text only: RE2.

Python's own tries all ways to read a pattern: `^(a+)+$` on a line of forty letters takes longer than anybody waits, and
no signal ends it. RE2 has neither look-ahead nor back-references: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

from typing import Any

from moorage.errors import DefinitionError

_MOST_BYTES = 8 << 20
"""Most memory of a compiled pattern: `(x{1000}){1000}` is short, too."""
_LONGEST = 64 << 10
_LONGEST_REASON = 200
"""Of what RE2 says, which quotes the pattern."""


def line_pattern(text: str, where: str) -> Any:
    """A pattern for `search` in a log; `^` and `$` stand for the ends of lines. Raises DefinitionError."""
    try:
        return compiled(f"(?m){text}")
    except ValueError as error:
        message = f"{where}: {text[:_LONGEST_REASON]!r} is not a regular expression: {error}"
        hint = (
            "The syntax is RE2's, without look-ahead, look-behind and back-references, and with \\z for \\Z: "
            "https://github.com/google/re2/wiki/Syntax. What no pattern says, a health check can."
        )
        raise DefinitionError(message, key=where, hint=hint) from None


def compiled(pattern: str) -> Any:
    """The pattern, with `search` and `fullmatch` for texts that are `matchable`. Raises ValueError with the reason."""
    import re2  # costs 10 ms, and few projects have patterns

    if len(pattern) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST >> 10} KiB")
    options = re2.Options()
    options.log_errors, options.max_mem = False, _MOST_BYTES
    try:
        return re2.compile(matchable(pattern), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "no reason given"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(text if len(text) < _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…") from None


_ODD_BYTES = {0xD800 + low: 0x10F800 + low for low in range(0x800)}
"""Python's stand-ins for bytes that are not UTF-8 → characters for private use, which RE2 takes."""


def matchable(text: str) -> str:
    """The text as RE2 takes it: bytes that are not UTF-8 have characters of their own."""
    return text if text.isascii() else text.translate(_ODD_BYTES)
