"""What next, after words of the engine that Compose passes on."""

from __future__ import annotations

import pytest

from moorage.adapters.compose.errors import engine_error

_NETWORK = "failed to create network shop_default: Error response from daemon: "
NO_SUBNET = (
    f"{_NETWORK}could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    f"{_NETWORK}all predefined address pools have been fully subnetted",
)
"""Of engine 20.10, and of 24 and later."""


@pytest.mark.parametrize("words", NO_SUBNET)
def test_an_engine_without_subnets(words):
    hint = engine_error(words, "create").hint
    assert hint
    assert "docker network prune" in hint
    assert "MOORAGE_SUBNETS" in hint


def test_other_words_have_no_such_hint():
    assert engine_error("failed to create network x: Pool overlaps with other one", "create").hint.startswith("Another")
    assert engine_error("something else", "create").hint is None
