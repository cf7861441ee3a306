"""What a run says of a verb: it works, or the sentence of Moorage that refuses it, or it fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

WORKS = "works"
FAILS = "FAILS"
_SENTENCES = (
    re.compile(r"^(?:E\s+)?error: (.+)$", re.MULTILINE),
    re.compile(r"^E\s+moorage\.errors\.\w+: (.+)$", re.MULTILINE),
)
_NAMES = re.compile(r"\bmt-[0-9a-z-]+")
_LONGEST = 200


def cell(outcomes: Sequence[dict[str, Any]], expected: int, refused: str | None) -> str:
    """The cell of a verb. `expected`: how many tests it has at least; `refused`: what its refusal has to say, if any."""
    wrong = [one for one in outcomes if one["outcome"] != "passed"]
    if not wrong and len(outcomes) >= expected and refused is None:
        return WORKS
    if refused is not None:
        if not wrong:
            return f"{FAILS}: it works, and a refusal was expected"
        for one in wrong:
            if sentence := next((s for s in sentences(one["words"]) if re.search(refused, s)), None):
                return sentence
    if not wrong:
        return f"{FAILS}: only {len(outcomes)} of {expected} tests were run"
    said = next(iter(sentences(wrong[0]["words"])), wrong[0]["words"].strip().rpartition("\n")[2])
    return f"{FAILS}: {wrong[0]['test'].rpartition('::')[2]}: {said[:_LONGEST]}"


def sentences(words: str) -> list[str]:
    """The errors of Moorage in the report of a test, without names that are other ones each time."""
    return [_NAMES.sub("…", found) for pattern in _SENTENCES for found in pattern.findall(words)]
