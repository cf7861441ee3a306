"""Entries of logs as engines send them: Docker's times have nine digits, Podman's as many as they need, and a zone."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import pytest

from moorage.adapters.engine import streams

DOCKER = b"2026-01-02T03:04:05.000000006Z "
NS = 1767323045 * 10**9


@dataclass
class Answer:
    """Of a container with a terminal, in pieces of that size."""

    data: bytes
    size: int

    def iter_content(self, _size):
        return iter([self.data[at : at + self.size] for at in range(0, len(self.data), self.size)])


def framed(*entries: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(struct.pack(">BxxxL", 1, len(one)) + one for one in entries))


@pytest.mark.parametrize(
    ("stamp", "at_ns"),
    [
        (DOCKER, NS + 6),
        (b"2026-01-02T03:04:05Z ", NS),
        (b"2026-01-02T03:04:05.5Z ", NS + 500_000_000),
        (b"2026-01-02T04:04:05.123456+01:00 ", NS + 123_456_000),
        (b"2026-01-01T19:04:05.1-08:00 ", NS + 100_000_000),
    ],
)
def test_times_of_other_lengths(stamp, at_ns):
    (short, long), last = streams._of_frames(framed(stamp + b"2\n", stamp + b"a longer line\n")), b"no end"
    assert (short.at_ns, short.data) == (at_ns, b"2\n")
    assert (long.at_ns, long.data) == (at_ns, b"a longer line\n")
    for size in (1, 7, 1 << 20):
        found = list(streams._of_terminal(Answer(stamp + b"2\n" + stamp + last, size)))
        assert [(one.at_ns, one.data) for one in found] == [(at_ns, b"2\n"), (at_ns, last)]


def test_what_has_no_time_is_no_log():
    with pytest.raises(ValueError, match="without its time"):
        list(streams._of_frames(framed(b"2026-01-02 03:04:05 one\n")))


@pytest.mark.parametrize("stamp", [DOCKER, b"2026-01-02T04:04:05.12+01:00 "])
def test_a_line_that_the_engine_has_cut(stamp):
    """Into entries of 16 KiB, each with its time; of a line without an end none is lost."""
    whole = b"x" * streams._ENTRY
    data = (stamp + whole) * 9 + stamp + b"end\n"
    for size in (999, 1 << 20):
        found = list(streams._of_terminal(Answer(data, size)))
        assert [one.data for one in found] == [whole] * 9 + [b"end\n"]


def test_a_time_that_is_cut_off_is_left_to_the_next_request():
    assert [one.data for one in streams._of_terminal(Answer(DOCKER + b"one\n" + DOCKER[:20], 5))] == [b"one\n"]
