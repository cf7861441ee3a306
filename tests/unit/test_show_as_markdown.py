"""State, plans and failures as Markdown."""

from __future__ import annotations

import pytest

from moorage.errors import NotReadyError
from moorage.model.state import BoundPort, ServiceStatus, StackState, StackStatus
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.show.as_markdown import code, escaped, failure_markdown, fenced, plan_markdown, services_markdown


def test_services():
    port = BoundPort(target=8000, protocol="tcp", host_ip="127.0.0.1", published=8010)
    database = BoundPort(target=5432, protocol="tcp", host_ip="127.0.0.1", published=5432)
    status = StackStatus(
        stack="my_shop",
        path=None,
        state=StackState.RUNNING,
        generation=2,
        services={
            "web": ServiceStatus(state="running", ready=True, ports=(port,), time_to_ready_s=1, image_id="sha256:abc"),
            "db_1": ServiceStatus(state="running", ready=False, ports=(database,)),
        },
    )
    assert services_markdown(status).splitlines() == [
        "**my\\_shop** is running, generation 2",
        "",
        "| Service | State | Ready | Ports | Time to ready | Image |",
        "| --- | --- | --- | --- | --- | --- |",
        "| web | running | yes | [http://localhost:8010](http://localhost:8010) (8000) | 1.00 s | `abc` |",
        "| db\\_1 | running | no | `127.0.0.1:5432->5432/tcp` |  | `-` |",
    ]


def test_plan():
    steps = (
        Step(kind=StepKind.CREATE, why="1 service", undo="remove what it created", detail=("db: a | b",)),
        Step(kind=StepKind.START, service="db", needs=("create",), why="it does not exist yet"),
    )
    plan = Plan(
        stack="shop", operation=Operation.UP, steps=steps, unchanged=("web",), notices=("volumes.data: <shared>",)
    )
    assert plan_markdown(plan).splitlines() == [
        "**shop**: up, 2 steps",
        "",
        "| # | Step | Why | After | Undo |",
        "| --- | --- | --- | --- | --- |",
        "| 1 | create | 1 service<br>db: a \\| b |  | remove what it created |",
        "| 2 | start db | it does not exist yet | create |  |",
        "",
        "Unchanged: web",
        "",
        "- volumes.data: &lt;shared&gt;",
    ]
    assert plan_markdown(Plan(stack="shop", operation=Operation.UP, steps=())) == "**shop**: nothing to do"


def test_failure():
    error = NotReadyError(
        "services.web: ended | with `1`",
        hint="Look.",
        service="web",
        reason="exited",
        exit_code_of_service=1,
        probe="```\nno",
        log="one\ntwo",
        waited_s=2.0,
        undone=True,
        report="/x/y|z.json",
    )
    report = {
        "services": [
            {
                "service": "web",
                "state": "exited",
                "exit_code": 1,
                "oom_killed": False,
                "restarts": 0,
                "log": ["a", "```b"],
            },
            {"error": "no engine"},
        ]
    }
    shown = failure_markdown(error.as_dict(), report).splitlines()
    assert shown[:5] == ["### NotReadyError", "", "services.web: ended \\| with \\`1\\`", "", "→ Look."]
    assert "- Exit code: 1" in shown
    assert "- Undo: complete" in shown
    assert "- Report: `/x/y\\|z.json`" in shown
    assert shown.count("````text") == 2
    assert "| web | exited |  | 1 | False | 0 |" in shown
    assert "<details><summary>Log of web</summary>" in shown


def test_failure_with_little_known():
    assert failure_markdown({"message": "x"}).splitlines() == ["### Error", "", "x"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("`a`", "\\`a\\`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines", "two<br>lines"),
        ("\x1b[31mred", "red"),
        (None, "None"),
    ],
)
def test_escaped(text, shown):
    assert escaped(text) == shown


def test_code_with_backticks_within():
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"


def test_a_fence_is_longer_than_any_within():
    assert fenced("````\nx") == ["`````text", "````", "x", "`````"]


def test_a_log_of_endless_lines_does_not_make_an_endless_summary():
    report = {"services": [{"service": f"s{n}", "log": ["x" * 1_000_000] * 60} for n in range(3)]}
    shown = failure_markdown({"message": "x", "service": "s0", "log": ["y" * 1_000_000] * 60}, report)
    assert len(shown) < 250_000
    assert "… (1000000 characters)" in shown
