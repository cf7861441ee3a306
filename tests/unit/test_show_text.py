"""State, leases, history and errors as plain text."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from moorage.errors import BusyError, DefinitionError, ImageError, NotReadyError, UndoIncompleteError
from moorage.model.generation import GenerationRecord
from moorage.model.lease import Lease, LeaseKey
from moorage.model.state import BoundPort, RunRecord, ServiceStatus, StackRecord, StackState, StackStatus
from moorage.show import formatting
from moorage.show.text import error_text, history_text, leases_text, runs_text, stacks_text, status_text, summary_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = "sha256:0123456789abcdef" + "0" * 48


def bound(target: int, published: int, host_ip: str = "127.0.0.1", protocol: str = "tcp") -> BoundPort:
    return BoundPort.model_validate(
        {"target": target, "protocol": protocol, "host_ip": host_ip, "published": published}
    )


def status(**services: ServiceStatus) -> StackStatus:
    return StackStatus(stack="shop", path="/projects/shop", state=StackState.RUNNING, generation=3, services=services)


def test_status():
    shown = status_text(
        status(
            backend=ServiceStatus(
                state="running",
                ready=True,
                containers=("a", "b"),
                image_id=IMAGE,
                time_to_ready_s=1.234,
                ports=(bound(8000, 8010), bound(9229, 9229)),
            ),
            db=ServiceStatus(
                state="running", ready=True, image_id=IMAGE, time_to_ready_s=0.3, ports=(bound(5432, 5433),)
            ),
            job=ServiceStatus(state="exited", ready=True, exit_code=0),
        )
    )
    assert shown == (
        "shop  running  generation 3  /projects/shop\n"
        "\n"
        "SERVICE  STATE                   READY  PORTS                         TIME TO READY  IMAGE\n"
        "backend  running (2 containers)  yes    http://localhost:8010 (8000)  1.23 s         0123456789ab\n"
        "                                        127.0.0.1:9229->9229/tcp\n"
        "db       running                 yes    127.0.0.1:5433->5432/tcp      0.30 s         0123456789ab\n"
        "job      exited (0)              yes    -                             -              -"
    )


def test_status_without_urls():
    one = status(web=ServiceStatus(state="running", ready=True, ports=(bound(80, 8080),)))
    assert "127.0.0.1:8080->80/tcp" in status_text(one, urls=False)
    assert "http://localhost:8080 (80)" in status_text(one)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"state": "exited", "exit_code": 137, "oom_killed": True}, "exited (137, out of memory)"),
        ({"state": "restarting", "exit_code": 1, "restarts": 3}, "restarting (1, 3 restarts)"),
        ({"state": "running", "exit_code": 0, "restarts": 1}, "running (1 restart)"),
        ({"state": "running", "engine_health": "unhealthy"}, "no (unhealthy)"),
        ({"state": "absent"}, "absent"),
    ],
)
def test_what_is_wrong_with_a_service(service, said):
    assert said in status_text(status(web=ServiceStatus(ready=False, **service)))


def test_an_absent_stack():
    absent = StackStatus(stack="shop", path=None, state=StackState.ABSENT, generation=None, services={})
    assert status_text(absent) == "shop  absent  no generation yet"


def test_summary():
    one = status(web=ServiceStatus(state="running", ready=True, time_to_ready_s=0.5, ports=(bound(80, 8080),)))
    assert summary_text(one, 3.456, "http://127.0.0.1:4200/runs/flow-run/1", ["web"]).splitlines() == [
        "shop is running, generation 3, 1 of 1 service started, 3.46 s",
        "",
        "SERVICE  STATE    READY  PORTS                       TIME TO READY",
        "web      running  yes    http://localhost:8080 (80)  0.50 s",
        "",
        "run: http://127.0.0.1:4200/runs/flow-run/1",
    ]
    assert summary_text(one, 0.1, None, []).splitlines()[0] == "shop is running, generation 3, 0.10 s"


@pytest.mark.parametrize(
    ("port", "url"),
    [
        (bound(8000, 8010), "http://localhost:8010"),
        (bound(443, 8443, "0.0.0.0"), "https://localhost:8443"),
        (bound(80, 80, "192.0.2.7"), "http://192.0.2.7:80"),
        (bound(80, 8080, "2001:db8::1"), "http://[2001:db8::1]:8080"),
        (bound(80, 8080, "::"), "http://localhost:8080"),
        (bound(5432, 8000), None),
        (bound(6379, 6379), None),
        (bound(80, 80, protocol="udp"), None),
    ],
)
def test_urls(port, url):
    assert formatting.url_of(port) == url


def test_twins_of_both_ip_versions_are_shown_once():
    ports = (bound(80, 8080, "0.0.0.0"), bound(80, 8080, "::"), bound(22, 2222, "::"), bound(80, 8080, "0.0.0.0"))
    assert [port.host_ip for port in formatting.without_twins(ports)] == ["::", "0.0.0.0"]


def test_stacks():
    records = [
        StackRecord(name="shop", path="/projects/shop", created_at=NOW, generation=3),
        StackRecord(
            name="shop-feature", path="/w/ü", created_at=NOW, branch="feature/x", expires_at=NOW + timedelta(hours=3)
        ),
        StackRecord(name="old", path="/w/old", created_at=NOW, expires_at=NOW - timedelta(days=2)),
    ]
    states = {"shop": StackState.RUNNING, "shop-feature": "stopped"}
    assert stacks_text(records, states, now=NOW).splitlines() == [
        "STACK         STATE    GENERATION  BRANCH     EXPIRES     PATH",
        "shop          running  3           -          -           /projects/shop",
        "shop-feature  stopped  -           feature/x  in 3 h      /w/ü",
        "old           -        -           -          2 days ago  /w/old",
    ]
    assert "moorage up" in stacks_text([], {})


def test_leases():
    def lease(service: str, port: int, **keys: object) -> Lease:
        key = LeaseKey(stack="shop", service=service, target=8000)
        return Lease.model_validate({"key": key, "port": port, "since": NOW - timedelta(minutes=5), **keys})

    leases = [
        lease("web", 8010, wanted=8000),
        lease("api", 9000, count=3, wanted=9000, run="abc"),
        lease("six", 9100, host_ip="::1"),
    ]
    assert leases_text(leases, now=NOW).splitlines() == [
        "STACK  SERVICE  PORT      LEASED               WANTED  SINCE",
        "shop   web      8000/tcp  127.0.0.1:8010       8000    5 min ago",
        "shop   api      8000/tcp  127.0.0.1:9000-9002  -       5 min ago, not committed yet",
        "shop   six      8000/tcp  [::1]:9100           -       5 min ago",
    ]
    assert leases_text([]) == "no ports leased"


def test_history():
    records = [
        GenerationRecord(
            stack="shop",
            number=2,
            digest="d",
            created_at=NOW - timedelta(minutes=1),
            run="r",
            outcome="current",
            changed=("backend", "web"),
            time_to_ready_s=65,
            by="susan",
        ),
        GenerationRecord(
            stack="shop", number=1, digest="d", created_at=NOW - timedelta(days=1), run="r", outcome="undone"
        ),
    ]
    assert history_text(records, now=NOW).splitlines() == [
        "GENERATION  DIGEST  OUTCOME  CREATED    TOOK      CHANGED       BY",
        "2           d       current  1 min ago  1 m 05 s  backend, web  susan",
        "1           d       undone   1 day ago  -         -             -",
    ]
    assert history_text([]) == "no generations yet"


def test_runs():
    began = NOW - timedelta(minutes=5)
    known = {"stack": "shop", "pid": 7, "host": "laptop", "started_at": began}
    records = [
        RunRecord(id="b", operation="rollback", user="susan", flow_run_id="1f", **known),
        RunRecord(
            **{"id": "a", "operation": "up", "outcome": "committed", "generation": 3, **known},
            finished_at=began + timedelta(seconds=4.25),
        ),
    ]
    assert runs_text(records, now=NOW).splitlines() == [
        "RUN  OPERATION  OUTCOME     BEGAN      TOOK    GENERATION  BY                   FLOW RUN",
        "b    rollback   unfinished  5 min ago  -       -           susan@laptop, pid 7  1f",
        "a    up         committed   5 min ago  4.25 s  3           laptop, pid 7        -",
    ]
    assert runs_text([]) == "no runs yet"


def not_ready(**fields: object) -> NotReadyError:
    return NotReadyError(
        "services.backend: ended with exit code 1; last probe: healthcheck: exit code 7: no route\nto host",
        **{
            "hint": "Its last log lines are in the failure report.",
            "service": "backend",
            "reason": "exited",
            "exit_code_of_service": 1,
            "probe": "healthcheck: exit code 7: no route\nto host",
            "log": "\x1b[31mTraceback\x1b[0m\nValueError: x\n",
            "waited_s": 1.5,
            "report": "/home/of/failures/shop.json",
            "undone": True,
            **fields,
        },
    )


def test_a_service_that_did_not_become_ready():
    error = pickle.loads(pickle.dumps(not_ready()))
    assert error_text(error).splitlines() == [
        "error: services.backend: ended with exit code 1",
        "  reason:     exited",
        "  exit code:  1",
        "  waited:     1.50 s",
        "  last probe: healthcheck: exit code 7: no route",
        "              to host",
        "",
        "── last log lines of backend ───────────────────────────────",
        "Traceback",
        "ValueError: x",
        "────────────────────────────────────────────────────────────",
        "undo: complete, everything is as it was before",
        "report: /home/of/failures/shop.json",
        "→ Its last log lines are in the failure report.",
    ]


def test_only_the_last_fifty_log_lines():
    shown = error_text(not_ready(log="\n".join(f"line {i}" for i in range(500))))
    assert "line 449\n" not in shown
    assert "line 450\n" in shown


def test_log_lines_given_as_a_list():
    error = ImageError("services.web: build failed: x", service="web", log=["one", "two"])
    assert "one\ntwo" in error_text(error)


def test_short_errors():
    error = DefinitionError(
        'services.web.depends_on: no service "databse"', hint='Did you mean "database"?', service="web"
    )
    assert error_text(error) == 'error: services.web.depends_on: no service "databse"\n→ Did you mean "database"?'
    assert error_text(BusyError("shop: busy")) == "error: shop: busy"


def test_kept_on_purpose():
    assert "undo: none, everything was left as it is" in error_text(not_ready(undone=False))


def test_an_undo_that_failed_says_what_is_left_and_what_removes_it():
    error = UndoIncompleteError(
        "shop: x",
        hint="`moorage down --name shop` removes what is left.",
        left=["volume a", "network b"],
        command="moorage down --name shop",
    )
    assert error_text(error).splitlines()[1:] == [
        "undo: left: volume a",
        "undo: left: network b",
        "→ `moorage down --name shop` removes what is left.",
    ]
    error.hint = None
    assert error_text(error).endswith("undo: `moorage down --name shop` removes what is left")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0.00 s"),
        (-1, "0.00 s"),
        (0.314, "0.31 s"),
        (9.999, "10.0 s"),
        (59.99, "1 m 00 s"),
        (125, "2 m 05 s"),
        (3780, "1 h 03 m"),
    ],
)
def test_seconds(value, said):
    assert formatting.seconds(value) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain → ü 例", "plain → ü 例"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk=\x07", ""),
        ("10%\r50%\r100%\n", "100%\n"),
        ("a\r\nb", "a\nb"),
        ("bell\x07 back\x08space \x9b31m", "bell backspace 31m"),
        ("safe\u202eevil", "safeevil"),
        ("half \ud800", "half \ufffd"),
        ("\x1b", ""),
    ],
)
def test_clean(text, shown):
    assert formatting.clean(text) == shown


def test_wide_characters_are_aligned():
    assert formatting.table(("A", "B"), [("例え", "x"), ("e\u0301", "y")]) == "A     B\n例え  x\ne\u0301     y"


def test_an_error_message_cannot_command_the_terminal():
    assert "\x1b" not in error_text(not_ready(probe="\x1b]0;x\x07", reason="\x1b[2J", report="/x"))


def test_text_needs_no_rich():
    code = "import sys, moorage.show.text, moorage.show.redaction, moorage.show.progress; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_of_a_message_that_quotes_a_megabyte_beginning_and_end_are_shown():
    message = f"services.web.pull_policy: '{'x' * 1_000_000}' is not possible"
    shown = error_text(DefinitionError(message, hint="Mend it."))
    assert shown.startswith("error: services.web.pull_policy: 'xxx")
    assert shown.endswith("xxx' is not possible\n→ Mend it.")
    assert "characters …" in shown
    assert len(shown) < 7000
    assert error_text(DefinitionError("x" * 5000)) == f"error: {'x' * 5000}"
