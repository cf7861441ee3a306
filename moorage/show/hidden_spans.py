"""Finds many values in a text at once. The time it takes grows with the text, hardly with the number of values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from moorage.show.secret_forms import SHORTEST, Encoded, can_hide

_CODE = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_CODE_BACKWARD = re.compile(r"[A-Za-z0-9+/_-]*")
_HEADS = (SHORTEST, 2 * SHORTEST)
"""Lengths of heads: a value is found by the longest that it has."""
_LONGEST_CODE = 8192
"""Characters of code that are hidden before a value in it, and as many after it."""


class HiddenSpans:
    """Where the values are. An expression with all of them as alternatives would try each one at each character.

    So only their heads are looked up, by the first characters at each place; few values have the same.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._by_head: dict[int, dict[str, list[str]]] = {length: defaultdict(list) for length in _HEADS}
        for value in sorted(filter(can_hide, values), key=lambda one: (-len(one), one)):
            length = max(length for length in _HEADS if length <= len(value))
            self._by_head[length][value[:length]].append(value)

    def hidden(self, text: str, mark: str) -> str:
        """The text with `mark` in place of each value; of those that overlap, in place of all together."""
        shown, at = [], 0
        for begin, end in self._merged(text):
            shown += [text[at:begin], mark]
            at = end
        return "".join([*shown, text[at:]]) if shown else text

    def _merged(self, text: str) -> Iterator[tuple[int, int]]:
        begin = end = 0
        for first, last in self._found(text):
            if first < end:
                begin, end = min(begin, first), max(end, last)
                continue
            if end:
                yield begin, end
            begin, end = first, last
        if end:
            yield begin, end

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """The longest value at each place where one begins; the rest of a longer one would be a clue."""
        done = 0
        for begin, value in sorted(self._candidates(text), key=lambda one: (one[0], -len(one[1]))):
            first, last = begin, begin + len(value)
            if last <= done:
                continue
            if isinstance(value, Encoded):
                first, last = _whole_code(text, begin, last)
            done = last
            yield first, last

    def _candidates(self, text: str) -> Iterator[tuple[int, str]]:
        for length, known in self._by_head.items():
            if known:
                places = range(len(text) - length + 1)
                for at in [at for at in places if text[at : at + length] in known]:
                    value = next((one for one in known[text[at : at + length]] if text.startswith(one, at)), None)
                    if value is not None:
                        yield at, value


def _whole_code(text: str, begin: int, end: int) -> tuple[int, int]:
    """The code that a piece of it stands in: its ends hold bits of the secret."""
    before = _CODE_BACKWARD.match(text[max(0, begin - _LONGEST_CODE) : begin][::-1])
    after = _CODE.match(text, end, end + _LONGEST_CODE)
    return begin - (before.end() if before else 0), after.end() if after else end
