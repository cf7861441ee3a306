"""Log lines for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.model.log import LogLine
from moorage.show.loglines import LogView

AT_NS = 1_800_000_000_000_000_007


def line(text: str, service: str = "web") -> LogLine:
    return LogLine(AT_NS, service, 1, f"shop-{service}-1", "stdout", text)


def view(**how: Any) -> LogView:
    return LogView(["web", "backend"], **{"colour": False, **how})


def test_each_service_in_its_colour_and_one_column() -> None:
    shown = view(colour=True)
    assert shown.text(line("hi")) == "\x1b[33mweb-1     |\x1b[0m hi"
    assert shown.text(line("hi", "backend")) == "\x1b[36mbackend-1 |\x1b[0m hi"
    assert view().text(line("hi")) == "web-1     | hi"


@pytest.mark.parametrize("colour", [False, True])
def test_what_a_program_writes_does_nothing_to_the_terminal(colour: bool) -> None:
    shown = view(colour=colour, prefix=False).text(line("\x1b]0;title\x07\x1b[2Ja\x1b[31mb\x9bc\u202e\rd"))
    assert "\x1b[31m" in shown if colour else "\x1b" not in shown
    assert not set(shown.replace("\x1b[31m", "").replace("\x1b[0m", "")) & set("\x1b\x07\x9b\u202e\r")


def test_times_and_secrets() -> None:
    shown = view(timestamps=True, prefix=False, hide=lambda text: text.replace("hush", "****"))
    assert shown.text(line("hush!")) == "2027-01-15T08:00:00.000000007Z ****!"
    assert json.loads(shown.json(line("hush!\x00"))) == {
        "time": "2027-01-15T08:00:00.000000007Z",
        "service": "web",
        "number": 1,
        "container": "shop-web-1",
        "stream": "stdout",
        "message": "****!\x00",
    }
