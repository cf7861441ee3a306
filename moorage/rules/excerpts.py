"""Ends of long outputs, cut where nothing is torn apart: of a secret that is cut, the rest would not be recognised."""

from __future__ import annotations


def end_of(output: bytes, most: int) -> bytes:
    """The last whole lines of at most `most` bytes; of a line that is longer the last whole words, maybe none."""
    if len(output) <= most:
        return output
    kept = output[-most - 1 :]  # with the byte before, which may be a line end
    for gap in (b"\n", b" "):
        _, found, rest = kept.partition(gap)
        if found and rest.strip():
            return rest
    return b""


def quoted(foreign: object, most: int = 60) -> str:
    """Something that others have written, in quotation marks, on one line, without what a terminal would obey."""
    text = foreign if isinstance(foreign, str) else str(foreign)[: most + 1]
    return repr(text if len(text) <= most else f"{text[:most]}…")
