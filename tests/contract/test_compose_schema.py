"""The keys that the repository knows are those of the Compose that is installed."""

from __future__ import annotations

from pathlib import Path

from moorage.adapters.compose.program import find_program
from tests import compose_schema


def test_compose_knows_no_other_keys() -> None:
    """`python -m tests.compose_schema` renews them; then `tests/unit/test_keys.py` says what is to be looked at."""
    program = Path(find_program(None).program[-1])
    assert compose_schema.keys_of(compose_schema.schema_in(program)) == compose_schema.known()
