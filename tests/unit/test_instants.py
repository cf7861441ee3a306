"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from moorage.errors import DefinitionError
from moorage.rules.instants import nanoseconds

NOW = datetime(2026, 11, 21, 8, 0, 0, tzinfo=timezone(timedelta(hours=2)))
SIX = int(datetime(2026, 11, 21, 6, 0, 0, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10m", SIX - 600 * 10**9),
        ("1h30m", SIX - 5400 * 10**9),
        ("90", SIX - 90 * 10**9),
        ("2026-11-21T06:00:00Z", SIX),
        ("2026-11-21T08:00:00", SIX),
        ("2026-11-21T06:00:00.123456789Z", SIX + 123456789),
        ("2026-11-21T06:00:00.5Z", SIX + 500_000_000),
        ("2026-11-21", SIX - 8 * 3600 * 10**9),
        (str(SIX // 10**9), SIX),
        (f"{SIX // 10**9}.000000001", SIX + 1),
    ],
)
def test_written_in_many_ways(text, ns):
    assert nanoseconds(text, "--since", NOW) == ns


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "-5m", "10 minutes"])
def test_anything_else_is_an_error_that_names_the_option(text):
    with pytest.raises(DefinitionError, match="--since"):
        nanoseconds(text, "--since", NOW)
