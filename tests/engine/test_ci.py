"""`moorage ci`: a stack for one command, its exit code, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.rules.addresses import line_of_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MachineState, Project

WEB = """
    services:
      web:
        image: {image}
        init: true
        command: ["sh", "-c", "echo web says hello; echo '::error::not ours'; echo pong > /tmp/ping; httpd -f -p 8000 -h /tmp"]
        environment: {{API_TOKEN: token-of-web}}
        ports: ["8000"]
        volumes: ["data:/data"]
      back.end-2:
        image: {image}
        init: true
        command: ["sh", "-c", "{backend}"]
        depends_on: [web]
        x-moorage: {{ready: {{log: up}}, settle: 0}}
    volumes: {{data: {{}}}}
"""


@pytest.fixture
def web(project: Project, tiny_image: str, moorage_home: Path) -> Project:
    return _written(project, tiny_image, "echo up; sleep 3600")


@pytest.fixture
def broken(project: Project, tiny_image: str, moorage_home: Path) -> Project:
    return _written(project, tiny_image, "echo no table users; exit 7")


def _written(project: Project, image: str, backend: str) -> Project:
    return project.compose(WEB.format(image=image, backend=backend).replace(", settle: 0", ""))


@pytest.fixture(autouse=True)
def nothing_left(machine_state: MachineState, moorage_home: Path) -> Iterator[None]:
    """Each of these tests ends with no container, network, volume, image, lease, record or lock of its stack."""
    yield
    tags = [tag for image in machine_state.client.api.images() for tag in image["RepoTags"] or ()]
    assert [tag for tag in tags if machine_state.prefix in tag] == []
    assert _leases(moorage_home) == []
    assert list((moorage_home / "temporary").glob("*")) == []
    assert [path.name for path in (moorage_home / "locks").glob("*.lock")] == []
    assert list((moorage_home / "generations").glob("*")) == []


def _leases(home: Path) -> list[Any]:
    connection = sqlite3.connect(home / "hub.db")
    try:
        return connection.execute("SELECT stack FROM leases UNION SELECT name FROM stacks").fetchall()
    finally:
        connection.close()


SHOW = (
    """wget -qO- "$MOORAGE_URL_WEB_8000/ping"; echo "$MOORAGE_STACK $MOORAGE_HOST_WEB_8000 $MOORAGE_PORT_WEB_8000" """
)


def test_command_finds_its_stack(web: Project) -> None:
    done = web.moorage("ci", "--artifacts", "kept", "--junit", "reports", "--", "sh", "-c", SHOW)
    pong, facts = done.stdout.splitlines()
    stack, host, port = facts.split()
    assert pong == "pong"
    assert stack.startswith(f"{web.name}-ci-")
    assert host == "127.0.0.1"
    kept = web.path / "kept"
    assert f"MOORAGE_PORT_WEB_8000={port}" in (kept / "ports.env").read_text().splitlines()
    ports = json.loads((kept / "ports.json").read_text())
    assert ports["services"]["web"]["8000/tcp"] == {"host": host, "port": int(port), "url": f"http://{host}:{port}"}
    assert not (kept / "logs").exists()
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    assert 'name="web"' in (web.path / "reports" / "moorage.xml").read_text()
    assert _runs(kept / "hub.db") == [(stack, "up", "committed")]


def _runs(history: Path) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(history)
    try:
        records = [json.loads(text) for (text,) in connection.execute("SELECT record FROM runs")]
    finally:
        connection.close()
    return [(record["stack"], record["operation"], record["outcome"]) for record in records]


def test_exit_code_and_artifacts_of_a_failing_command(web: Project, tmp_path: Path) -> None:
    summary, report = tmp_path / "summary.md", tmp_path / "r" / "tests.xml"
    report.parent.mkdir()
    report.write_text("<testsuite><testcase classname='a' name='b'><failure/></testcase></testsuite>")
    done = web.moorage(
        *("ci", "--artifacts", "kept", "--junit", str(report.parent), "--", "sh", "-c", "exit 3"),
        exit_code=3,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    kept = web.path / "kept"
    assert "web says hello" in (kept / "logs" / "web-1.log").read_text()
    assert json.loads((kept / "inspect" / "web-1.json").read_text())["state"] == "running"
    assert "token-of-web" not in (kept / "compose.json").read_text()
    assert "::group::moorage up" in done.stderr
    assert done.stderr.count("::group::") == done.stderr.count("::endgroup::")
    lines = done.stderr.splitlines()
    evil = lines.index(": :error::not ours")  # a command no more; and where it stands GitHub obeys none
    assert any(line.startswith("::stop-commands::") for line in lines[evil - 2 : evil])
    assert "exit code 3" in summary.read_text()
    assert "| tests.xml | 1 | 1 | 0 |" in summary.read_text()
    assert "`a.b`" in summary.read_text()
    assert "ready web" in summary.read_text()


def test_broken_service_is_5_with_reason_and_log(broken: Project, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = broken.moorage(
        *("ci", "--artifacts", "kept", "--junit", "reports", "--", "sh", "-c", "echo ran"),
        exit_code=5,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert done.stdout == ""
    for text in (done.stderr, summary.read_text()):
        assert "no table users" in text
        assert "ended with exit code 7" in text
    line = line_of_service((broken.path / "compose.yaml").read_text(), "back.end-2")
    assert f"::error file={broken.path / 'compose.yaml'},line={line},".replace(f"{broken.path}/", "") in done.stderr
    assert "no table users" in (broken.path / "kept" / "logs" / "back.end-2-1.log").read_text()
    assert "<error" in (broken.path / "reports" / "moorage.xml").read_text()
    assert _runs(broken.path / "kept" / "hub.db")[0][2] == "undone"


def test_gitlab_sections(web: Project) -> None:
    done = web.moorage("ci", "--", "false", exit_code=1, GITLAB_CI="true")
    starts, ends = (done.stderr.count(f"\x1b[0Ksection_{word}:") for word in ("start", "end"))
    assert starts == ends >= 3
    assert "[collapsed=true]" in done.stderr


def test_command_that_does_not_exist(web: Project) -> None:
    done = web.moorage("ci", "--json", "--", "no-such-program", "--json", exit_code=127)
    assert "no-such-program: No such file" in done.stderr
    assert "could not be started" in done.stderr
    assert (done.json["up"], done.json["error"]["exit_code_of_command"]) == (True, 127)
    done = web.moorage("ci", "--jsn", "--", "true", exit_code=2)
    assert "--jsn: no such option" in done.stderr
    assert "create" not in done.stderr


def test_json_is_all_of_stdout(web: Project) -> None:
    script = 'echo said; echo "<testsuite/>" > "$MOORAGE_JUNIT_DIR/own.xml"; exit 3'
    done = web.moorage("ci", "--json", "--junit", "reports", "--", "sh", "-c", script, exit_code=3)
    assert (done.json["exit_code"], done.json["error"]) == (3, None)
    assert "said" in done.stderr.splitlines()


def test_timeout_ends_the_command_and_all_it_started(web: Project) -> None:
    done = web.moorage("ci", "--timeout", "0.5", "--", "sh", "-c", "sleep 60; echo late", exit_code=124)
    assert "late" not in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 42), (signal.SIGINT, 43)], ids=str)
def test_signals_reach_the_command(web: Project, number: signal.Signals, code: int) -> None:
    script = "trap 'exit 42' TERM; trap 'exit 43' INT; trap 'exit 44' HUP; echo begun; while :; do sleep 0.1; done"
    process = web.start("ci", "--", "sh", "-c", script)
    assert _first_line(process) == "begun"
    process.send_signal(number)
    process.communicate(timeout=240)
    assert process.returncode == code


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _until(process: subprocess.Popen[str], words: str) -> None:
    """Read its stderr until it says the words."""
    assert process.stderr is not None
    said = []
    while words not in (line := process.stderr.readline()):
        assert line, f"it ended without {words!r}: {''.join(said)}"
        said.append(line)


@pytest.fixture
def slow(project: Project, tiny_image: str, moorage_home: Path) -> Project:
    """Is built for three seconds, is never ready, and does not end when asked to."""
    project.write("Dockerfile", f"FROM {tiny_image}\nRUN sleep 3\n")
    return project.compose("""
        services:
          web:
            build: .
            command: [sh, -c, "trap '' TERM; echo begun; while :; do sleep 1; done"]
            volumes: ["data:/data", "/anonymous"]
            ports: ["8000"]
            x-moorage: {ready: {log: "${READY:-never}"}}
        volumes: {data: {}}
    """)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.exhaustive)], ids=str)
def test_signals_while_it_comes_up(slow: Project, number: signal.Signals) -> None:
    process = slow.start("ci", "--", "true")
    _until(process, "start web")
    process.send_signal(number)
    process.communicate(timeout=240)
    assert process.returncode == 130


def test_signals_while_it_is_removed_do_not_keep_it_from_that(slow: Project) -> None:
    slow.env["READY"] = "begun"
    process = slow.start("ci", "--", "sh", "-c", "exit 7")
    _until(process, "moorage down")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 7
    assert "removing the stack, please wait" in said


@pytest.mark.parametrize(
    ("phase", "ready", "verb"),
    [
        ("build web", "never", "doctor"),
        pytest.param("start web", "never", "plan", marks=pytest.mark.exhaustive),
        pytest.param("moorage down", "begun", "ports", marks=pytest.mark.exhaustive),
    ],
)
def test_after_kill_9_of_any_phase_the_next_call_cleans_up(
    slow: Project, machine_state: MachineState, phase: str, ready: str, verb: str
) -> None:
    slow.env["READY"] = ready
    process = slow.start("ci", "--", "true")
    _until(process, phase)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = slow.moorage(verb)
    assert "was killed" in done.stderr
    machine_state.assert_same()
    assert "was killed" not in slow.moorage(verb).stderr


def test_after_kill_9_the_next_call_cleans_up(web: Project, machine_state: MachineState) -> None:
    # A command, what it started, and what made a session of its own and ignores SIGTERM.
    daemon = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
    process = web.start("ci", "--", "sh", "-c", f'setsid sh -c "{daemon}" & sleep 1000')
    assert _first_line(process) == "begun"
    process.kill()
    process.wait(240)
    assert machine_state.now()["containers"]
    for asked in ("--help", "status -h", "sweep --dry-run"):  # none of these does anything
        web.moorage(*asked.split())
    assert machine_state.now()["containers"]
    done = web.moorage("status", "--json")
    assert done.json["state"] == "absent"
    assert "was killed" in done.stderr
    process.communicate(timeout=240)  # it ends: nobody has its streams any more
    machine_state.assert_same()
    assert "was killed" not in web.moorage("ls").stderr


def test_output_that_nobody_reads_any_more(web: Project, machine_state: MachineState) -> None:
    process = web.start("ci", "--", "sh", "-c", "read line < go; exit 3", stderr=subprocess.PIPE)
    os.mkfifo(web.path / "go")
    _until(process, "ready web")
    assert process.stderr is not None
    assert process.stdout is not None
    for stream in (process.stderr, process.stdout):
        stream.close()
    (web.path / "go").write_text("\n")
    assert process.wait(60) == 3
    machine_state.assert_same()


def test_a_definition_that_cannot_be_read(web: Project, tmp_path: Path) -> None:
    (web.path / "compose.yaml").write_text("services:\n  web:\n    image: x\n    imagee: y\n")
    summary = tmp_path / "summary.md"
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = web.moorage("ci", "--artifacts", "kept", "--junit", "reports", "--", "true", exit_code=2, **env)
    assert "::error file=compose.yaml" in done.stderr
    for said in (done.stderr, summary.read_text()):
        assert "imagee" in said
    result = json.loads((web.path / "kept" / "result.json").read_text())
    assert (result["up"], result["exit_code"], result["error"]["exit_code"]) == (False, None, 2)
    assert "imagee" in (web.path / "reports" / "moorage.xml").read_text()
    web.moorage("ls")  # a registry, for the look at it


def test_artifacts_that_cannot_be_written_change_nothing_else(web: Project) -> None:
    command = "rm -r kept; : > kept; exit 6"
    done = web.moorage("ci", "--artifacts", "kept", "--", "sh", "-c", command, exit_code=6)
    assert "not saved" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_living_ci_is_left_alone(web: Project, machine_state: MachineState) -> None:
    process = web.start("ci", "--", "sh", "-c", "echo begun; read line < go; exit 0")
    os.mkfifo(web.path / "go")
    assert _first_line(process) == "begun"
    assert [stack["state"] for stack in web.moorage("ls", "--json").json] == ["running"]
    (web.path / "go").write_text("\n")
    process.communicate(timeout=240)
    assert process.returncode == 0


def test_two_at_once_do_not_meet(web: Project) -> None:
    both = [web.start("ci", "--", "sh", "-c", SHOW) for _ in range(2)]
    said = [process.communicate(timeout=240)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [lines[0] for lines in said] == ["pong", "pong"]
    assert said[0][1] != said[1][1]


def test_usage(web: Project) -> None:
    assert "moorage ci -- " in web.moorage("ci", exit_code=2).stderr
    for timeout in ("0", "-1", "nan", "1e99"):
        assert "--timeout" in web.moorage("ci", f"--timeout={timeout}", "--", "true", exit_code=2).stderr
    web.moorage("ls")  # a registry, for the look at it
