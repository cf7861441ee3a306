"""docs/engines.md is what `make test-engines` writes, of all engines and verbs; and what a cell says."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.engines import table
from tests.engines.cells import FAILS, WORKS, cell
from tests.engines.rows import ROWS, VERBS

DOCUMENT = ROOT / "docs" / "engines.md"
PASSED = {"test": "a::one", "outcome": "passed", "words": ""}
FAILED = {"test": "a::two", "outcome": "failed", "words": "E   expected exit 0\nerror: volume mt-1f-gw0-9: no\nmore"}


def test_the_document_is_what_a_run_writes():
    columns = table.read(DOCUMENT.read_text())
    assert table.text(columns) == DOCUMENT.read_text()
    assert set(columns) <= {row.title for row in ROWS}
    for title, column in columns.items():
        assert list(column) == [table.ENGINE, *VERBS], title
        assert not [one for one in column.values() if one.startswith(FAILS)], title


def test_what_is_written_is_read_again():
    works = {table.ENGINE: "Engine 1", **dict.fromkeys(VERBS, WORKS)}
    refuses = {**works, "logs": "no | logs", "down": "no down", "up": "no | logs", "ci": f"{FAILS}: a [b]"}
    text = table.text({"One, with a comma": works, "Two": refuses})
    assert table.read(text)["One, with a comma"] == works
    assert table.read(text)["Two"] == {**refuses, "logs": "no \\| logs", "up": "no \\| logs"}
    assert text.count("no down") == 1
    with pytest.raises(ValueError, match="is not what"):
        table.read(text.replace("Written by", "By"))


def test_cells():
    assert cell([PASSED], 1, None) == WORKS
    assert cell([PASSED], 2, None).startswith(f"{FAILS}: only 1 of 2")
    assert cell([], 1, None).startswith(FAILS)
    assert cell([PASSED, FAILED], 2, None) == f"{FAILS}: two: volume …: no"
    assert cell([PASSED, FAILED], 2, r"volume .*: no") == "volume …: no"
    assert cell([PASSED, FAILED], 2, "something else").startswith(f"{FAILS}: two")
    assert cell([PASSED, PASSED], 2, "no").startswith(FAILS), "what works is not refused"
