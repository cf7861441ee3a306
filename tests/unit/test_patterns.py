"""Patterns of users: what they say is found, in a time that grows with the text and nothing else."""

from __future__ import annotations

import pytest

from moorage.errors import DefinitionError
from moorage.rules.patterns import compiled, line_pattern, matchable
from moorage.work.queries.log_search import Search


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(a*)*b", "^(\\w+\\s?)*$", "a{1,900}a{1,900}b"])
def test_what_takes_pythons_engine_longer_than_anybody_waits(pattern):
    assert not line_pattern(pattern, "x").search("a" * 100_000 + "!")


@pytest.mark.parametrize(
    "pattern", ["(", "(?<=a)b", "(?=a)", "(a)\\1", "[z-a]", "((x{500}){500}){500}", "(" * 60_000, "a" * 70_000, "*"]
)
def test_what_is_refused_says_where(pattern):
    with pytest.raises(DefinitionError, match=r"^services\.x: '") as caught:
        line_pattern(pattern, "services.x")
    assert len(str(caught.value)) < 1000
    assert "RE2" in str(caught.value.hint)


def test_lines():
    pattern = line_pattern("^ready$", "x")
    assert pattern.search("one\nready\ntwo")
    assert not pattern.search("not ready")


def test_bytes_that_are_no_text():
    assert compiled("caf\udce9?$").search(matchable("x caf\udce9"))
    assert not compiled("caf\udce9$").search(matchable("x caf\udce8"))


def lines(count, last="ready to accept\n"):
    return [b"line %d of many\n" % number for number in range(count)] + [last.encode()]


@pytest.mark.parametrize("count", [0, 1, 1000, 70_000])
def test_a_log_is_searched_to_its_end(count):
    search = Search(line_pattern("^ready to accept$", "x"))
    assert any(search.matches(record) for record in lines(count)) or search.matches_rest()
    search = Search(line_pattern("^ready to accept$", "x"))
    assert not any(search.matches(record) for record in lines(count, "not yet\n"))
    assert not search.matches_rest()


def test_what_has_several_lines_is_found_across_pieces():
    for shift in range(0, 60, 7):
        search = Search(line_pattern("one\ntwo", "x"))
        filler = b"x" * 99 + b"\n"
        records = [filler] * 10_485 + [b"y" * shift + b"\n", b"one\n", b"two\n", *[filler] * 12_000]
        assert any(search.matches(record) for record in records) or search.matches_rest(), shift


def test_little_of_a_log_is_in_memory():
    search = Search(line_pattern("never", "x"))
    for _ in range(300):
        search.matches(b"x" * 16_384)
        assert len(search._pool) <= 2 << 20
