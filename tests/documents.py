"""The examples in the documents, for the tests that run them."""

from __future__ import annotations

import re
from textwrap import dedent

from tests.conftest import ROOT


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language in a document, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, f"{document} has no block of {language}"
    return [dedent(block) for block in found]


def block_with(document: str, language: str, words: str) -> str:
    """The one block that has these words."""
    (found,) = [block for block in blocks(document, language) if words in block]
    return found
