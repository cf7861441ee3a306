"""The structure as it is drawn, and that nothing in it goes round in a circle."""

from __future__ import annotations

from tests.architecture import drawing, house
from tests.architecture.house import Source


def test_contributing_shows_the_house_as_it_is():
    text = drawing.CONTRIBUTING.read_text()
    assert drawing.BEGIN in text
    assert drawing.drawn(text) == text, "`python -m tests.architecture.drawing` draws it again"


def test_no_circle_between_modules():
    assert house.circles(house.imports_of_ours(house.sources(*drawing.PACKAGES), late=True)) == []


def test_no_circle_between_rooms():
    assert house.circles(drawing.arrows()) == []


def test_a_circle_is_found():
    texts = {"moorage/rules/a.py": "from moorage.rules import b", "moorage/rules/b.py": "import moorage.rules.a"}
    graph = house.imports_of_ours([Source(path, text) for path, text in texts.items()], late=True)
    assert house.circles(graph) == [["moorage.rules.a", "moorage.rules.b"]]
