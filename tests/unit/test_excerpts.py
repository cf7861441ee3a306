"""Ends of long outputs: nothing is torn apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.rules.excerpts import end_of


@pytest.mark.parametrize(
    ("output", "end"),
    [
        (b"short", b"short"),
        (b"first line\nlast line\n", b"last line\n"),
        (b"first\n0123456789", b"0123456789"),
        (b"words of a long line", b"long line"),
        (b"a-word-that-is-longer-than-the-end", b""),
        (b"x" * 40 + b"\n", b""),
    ],
)
def test_ends(output, end):
    assert end_of(output, 10) == end


@given(st.lists(st.sampled_from([b"pass-word-1", b" ", b"\n", b"ab"]), max_size=30), st.integers(1, 40))
def test_no_word_is_cut(pieces, most):
    output = b"".join(pieces)
    end = end_of(output, most)
    assert len(end) <= most
    assert output.endswith(end)
    assert not end or end == output or output[-len(end) - 1 :][:1] in (b"\n", b" ")
