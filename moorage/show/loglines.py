"""Log lines for people and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from moorage.model.log import LogLine
from moorage.show.formatting import clean, json_without_commands

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Terminal colours: cyan, yellow, green, magenta, blue, and their bright variants."""
_RESET = "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class LogView:
    """Lines as `shop-web-1 | text`, each service in a colour of its own."""

    def __init__(
        self,
        services: Iterable[str],
        *,
        colour: bool,
        prefix: bool = True,
        timestamps: bool = False,
        hide: Callable[[str], str] = lambda text: text,
    ) -> None:
        names = sorted(services)
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)} if colour else {}
        self._prefix = prefix
        self._timestamps = timestamps
        self._hide = hide
        self._width = max((len(name) for name in names), default=0) + len("-1")

    def text(self, line: LogLine) -> str:
        """One line, without a line end. On a terminal the program's colours are kept; other escapes are removed."""
        words = self._words(self._hide(line.text))
        stamp = f"{stamp_text(line.at_ns)} " if self._timestamps else ""
        if not self._prefix:
            return stamp + words
        head = f"{line.service}-{line.number}".ljust(self._width) + " |"
        colour = self._colours.get(line.service)
        return f"\x1b[{colour}m{head}{_RESET} {stamp}{words}" if colour else f"{head} {stamp}{words}".rstrip()

    def json(self, line: LogLine) -> str:
        """One line as a JSON object: time, service, number, container, stream, message."""
        facts = {
            "time": stamp_text(line.at_ns),
            "service": line.service,
            "number": line.number,
            "container": line.container,
            "stream": line.stream,
            "message": self._hide(line.text),
        }
        return json_without_commands(json.dumps(facts, ensure_ascii=False))

    def _words(self, text: str) -> str:
        if not self._colours or "\x1b" not in text:
            return clean(text)
        parts = _COLOUR.split(text)
        codes = [*_COLOUR.findall(text), _RESET]
        return "".join(clean(part) + code for part, code in zip(parts, codes, strict=True))


def stamp_text(at_ns: int) -> str:
    """A UTC time with nanoseconds, in the format of `docker logs --timestamps`."""
    seconds, rest = divmod(at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
