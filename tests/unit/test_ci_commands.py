"""Other people's words on the console of a CI job: none of them is obeyed, whatever verb prints them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from moorage.cli import output
from moorage.cli.world import note
from moorage.errors import DefinitionError, ImageError, NotReadyError
from moorage.model.event import Action, Event
from moorage.model.log import LogLine
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.show.console import console
from moorage.show.formatting import clean
from moorage.show.loglines import LogView
from moorage.show.progress import Progress
from moorage.show.text import error_text, plan_text

HOSTILE = [
    "::error::broken",
    "::error file=a.py,line=1::broken",
    "\t ::add-mask::a",
    "\u00a0::stop-commands::x",
    "::set-output name=x::y",
    "\x1b[0m::warning::x",
    "progress\r::notice::x",
    "##[error]broken",
    "it says ##[add-mask]a",
    "##vso[task.setvariable variable=x]y",
    "it says ##vso[task.complete result=Failed;]x",
    "##teamcity[buildStop comment='x' readdToQueue='false']",
    "\x1b[0Ksection_start:1:x\r\x1b[0Kx",
    "x\u2028::error::x",
    "x\x85::error::x",
]


def obeyed(text: str) -> list[str]:
    """The lines that a CI server would take for commands; GitHub's rules are those of its runner, ActionCommand.cs."""
    found = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        trimmed = line.lstrip()
        if trimmed.startswith("::") and "::" in trimmed[2:] and trimmed[2:].partition("::")[0].strip():
            found.append(line)
        place = line.find("##[")
        if place >= 0 and "]" in line[place:]:
            found.append(line)
        if any(mark in line for mark in ("##vso[", "##teamcity[", "\x1b[0Ksection_")):
            found.append(line)
    return found


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return f"before\n{text}\n\n  {text}\nafter"


def test_they_would_be() -> None:
    assert [text for text in HOSTILE[:12] if not obeyed(text)] == ["\x1b[0m::warning::x"]


def test_reports(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [
        NotReadyError(
            f"services.web: {hostile}", hint=hostile, service="web", log=hostile, probe=hostile, reason=hostile
        ),
        ImageError(hostile, log=hostile.split("\n"), undone=hostile, left=[hostile]),
        DefinitionError(hostile),
    ]
    for error in errors:
        assert obeyed(error_text(error)) == []
        output.show_error(error, as_json=True)
    output.remark(hostile.replace("\r", "").replace("\x1b", ""))
    printed = capsys.readouterr()
    assert obeyed(printed.err) == obeyed(printed.out) == []
    assert json.dumps(hostile)[1:-1] in json.dumps([error.as_dict() for error in errors])


def test_notes_of_no_stack(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    note(Event(at=datetime.now(UTC), stack="", action=Action.NOTICE, message=hostile))
    printed = capsys.readouterr().err
    assert printed.startswith("note: before")
    assert obeyed(printed) == []
    assert not {"\x1b", "\r"} & {*printed}


def test_json_says_the_same_as_before(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"a": [hostile], hostile: 1})
    printed = capsys.readouterr().out
    assert obeyed(printed) == []
    assert json.loads(printed) == {"a": [hostile], hostile: 1}


def test_progress(hostile: str) -> None:
    stream = io.StringIO()
    with Progress(stream, live=False) as progress:
        for action in Action:
            for step in ("build web", "lease web", "create", "ready web", ""):
                progress(
                    Event(at=datetime.now(UTC), stack="shop", step=step, action=action, message=hostile, service="web")
                )
    assert stream.getvalue()
    assert obeyed(stream.getvalue()) == []


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("colour", [True, False])
def test_logs(hostile: str, *, prefix: bool, colour: bool) -> None:
    view = LogView(["web"], colour=colour, prefix=prefix)
    for text in hostile.split("\n"):
        line = LogLine(at_ns=1, service="web", number=1, container="c", stream="stdout", text=text)
        assert obeyed(view.text(line).replace("\x1b[0m", "").replace("\x1b[36m", "")) == []
        assert obeyed(view.json(line)) == []
        assert json.loads(view.json(line))["message"] == text


def test_plans(hostile: str) -> None:
    step = Step(kind=StepKind.CREATE, why=hostile, detail=(hostile,), undo="nothing")
    assert obeyed(plan_text(Plan(stack="shop", operation=Operation.UP, steps=(step,), notices=(hostile,)))) == []


@pytest.mark.parametrize("server", [{}, {"GITHUB_ACTIONS": "true"}, {"GITLAB_CI": "true"}])
def test_what_ci_quotes(hostile: str, server: dict[str, str]) -> None:
    stream = io.StringIO()
    console(server, stream).quote(hostile)
    lines = stream.getvalue().splitlines()
    assert obeyed("\n".join(lines[1:-1] if "GITHUB_ACTIONS" in server else lines)) == []


def test_what_only_looks_like_it_is_left_alone() -> None:
    for text in (
        "::1 - - GET /",
        '::1 - - "GET /?q=std::vector"',
        "std::vector<a::b>",
        "## Heading",
        "a[##]",
        "section_start:",
        "::",
    ):
        assert clean(text) == text
