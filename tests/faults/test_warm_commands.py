"""Commands that are forked from the hub's template are what they would be otherwise, and end as they would."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.faults.interrupting import Scene, ended, line_of
from tests.faults.test_warm_runs import template
from tests.orchestrated.conftest import PATIENCE_S, python, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(900)]

MOORAGE = str(Path(sys.executable).with_name("moorage"))
WARM, HERE = {"MOORAGE_HUB_WARM_COMMANDS": "true"}, {"MOORAGE_HUB_WARM_COMMANDS": "false"}
OF_STATUS = ("Umask", "SigBlk", "SigIgn", "Cpus_allowed_list", "Uid", "Gid", "Groups")


@pytest.fixture
def warm(scene: Scene) -> Scene:
    """A scene whose commands are forked."""
    template(scene.hub)
    scene.project.env.update(WARM)
    return scene


@pytest.fixture
def idle(warm: Scene) -> Iterator[Scene]:
    """One in which nothing is started."""
    warm.project.compose(f'services: {{web: {{image: "{warm.image}"}}}}')
    yield warm
    warm.assert_nothing_left()


def forked_for(scene: Scene, going: subprocess.Popen[str]) -> psutil.Process:
    """The process that was forked for a command, by what it writes to; other tests have runs of the same template."""
    output = Path(f"/proc/{going.pid}/fd/2").readlink()
    found: list[psutil.Process] = []

    def there() -> bool:
        for guard in psutil.Process(template(scene.hub)).children():
            with suppress(psutil.NoSuchProcess, OSError):
                found.extend(one for one in guard.children() if Path(f"/proc/{one.pid}/fd/2").readlink() == output)
        return bool(found)

    wait_for(there, PATIENCE_S)
    return found[0]


def attributes(pid: int, given: int) -> dict[str, Any]:
    """What the kernel tells of a process; `given`: a descriptor that it was called with."""
    proc = Path("/proc") / str(pid)
    lines = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return {
        **{name: lines[name].strip() for name in OF_STATUS},
        "limits": (proc / "limits").read_text(),
        "directory": str((proc / "cwd").readlink()),
        "descriptors": {number: str((proc / "fd" / str(number)).readlink()) for number in (0, 1, 2, given)},
        "niceness": psutil.Process(pid).nice(),
    }


def gone_odd() -> None:
    """A process that has little of what is usual."""
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, 800))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    os.nice(3)


def test_it_has_all_that_it_would_have_here(warm: Scene) -> None:
    """Limits, masks, niceness, processors, what is ignored and blocked, directory, descriptors."""
    log = warm.gated().project.path / "log"
    given = os.open(warm.project.path / "compose.yaml", os.O_RDONLY)
    seen = []
    for where in (WARM, HERE):
        with log.open("w") as stream:
            streams: dict[str, Any] = {"stdout": stream, "stderr": stream, "pass_fds": [given]}
            warm.project.env.update(where)
            going = warm.start("up", preexec_fn=gone_odd, **streams)
        warm.waits()
        seen.append(attributes(forked_for(warm, going).pid if where == WARM else going.pid, given))
        going.send_signal(signal.SIGTERM)
        assert going.wait(PATIENCE_S) == 130
    os.close(given)
    assert seen[0] == seen[1]
    assert "700" in seen[0]["limits"]
    warm.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_undoes_it(warm: Scene, number: signal.Signals) -> None:
    going = warm.gated().start("up")
    warm.waits()
    forked_for(warm, going)
    going.send_signal(number)
    code, said = ended(going)
    assert (code, "interrupted: undoing what was done" in said) == (130, True), said
    warm.assert_nothing_left()


def test_the_third_signal_quits(warm: Scene) -> None:
    going = warm.gated('[sh, -c, "trap true TERM; while true; do sleep 1; done"]', grace="1h").start("up")
    warm.waits()
    going.send_signal(signal.SIGINT)
    line_of(going, "interrupted: undoing what was done")
    going.send_signal(signal.SIGINT)
    line_of(going, "still undoing")
    going.send_signal(signal.SIGINT)
    assert ended(going)[0] == 130
    warm.sweep()
    warm.assert_nothing_left()


def test_killed_it_is_gone_at_once(warm: Scene) -> None:
    going = warm.gated().start("up")
    warm.waits()
    doing = forked_for(warm, going)
    going.kill()
    assert ended(going)[0] == -signal.SIGKILL
    doing.wait(PATIENCE_S)
    warm.sweep()
    warm.assert_nothing_left()


@pytest.mark.parametrize("whom", ["the command", "its guard"])
def test_what_is_killed_behind_its_back(warm: Scene, whom: str) -> None:
    going = warm.gated().start("up")
    warm.waits()
    doing = forked_for(warm, going)
    (doing if whom == "the command" else doing.parent()).kill()
    assert ended(going)[0] == -signal.SIGKILL
    doing.wait(PATIENCE_S)
    warm.sweep()
    warm.assert_nothing_left()


def test_stopped_and_continued(warm: Scene) -> None:
    """As by Ctrl-Z and `fg`."""
    going = warm.gated().start("up")
    warm.waits()
    doing = forked_for(warm, going)
    going.send_signal(signal.SIGTSTP)
    for one in (doing, psutil.Process(going.pid)):
        wait_for(lambda one=one: one.status() == psutil.STATUS_STOPPED, PATIENCE_S)
    going.send_signal(signal.SIGCONT)
    warm.open()
    assert ended(going)[0] == 0
    warm.project.moorage("down", "--volumes", "--release-ports")
    warm.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_hub_that_stops_takes_no_command_with_it(warm: Scene) -> None:
    going = warm.gated().start("up")
    warm.waits()
    os.kill(template(warm.hub), signal.SIGTERM)
    warm.open()
    assert ended(going)[0] == 0
    warm.project.moorage("down", "--volumes", "--release-ports")
    warm.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_template_that_does_not_answer_is_not_waited_for(idle: Scene) -> None:
    pid = template(idle.hub)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert "web" in idle.project.process("plan").stdout
    finally:
        os.kill(pid, signal.SIGCONT)


def at_terminal(scene: Scene, *arguments: str, columns: int, **env: str) -> tuple[int, bytes]:
    """Exit code and output of a command that is called at a terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {key: value for key, value in (os.environ | scene.project.env | env).items() if key != "COLUMNS"}
    going = subprocess.Popen(
        [MOORAGE, *arguments],
        cwd=scene.project.path,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there is one thread
    )
    os.close(its)
    said = b""
    there = select.poll()
    there.register(ours, select.POLLIN)
    with suppress(OSError):  # EIO: nobody has the other end any more
        while there.poll(PATIENCE_S * 1000):
            part = os.read(ours, 65536)
            if not part:
                break
            said += part
    os.close(ours)
    return going.wait(PATIENCE_S), said


@pytest.mark.parametrize("arguments", [["config"], ["up", "--help"], ["plan"], ["status", "--nonsense"]], ids=" ".join)
@pytest.mark.parametrize("columns", [50, 130])
def test_at_a_terminal(idle: Scene, arguments: list[str], columns: int) -> None:
    forked = at_terminal(idle, *arguments, columns=columns, **WARM)
    assert forked == at_terminal(idle, *arguments, columns=columns, **HERE)
    assert forked[1]


CASES = {
    "an answer on standard input": (["volumes", "prune"], {"input": b"no\n"}),
    "no definition": (["up", "-f", "none.yaml"], {}),
    "a setting without sense": (["plan"], {"env": {"MOORAGE_STOP_GRACE_S": "soon"}}),
    "a name that is not UTF-8": (["plan", "--name", b"caf\xe9"], {}),
    "no standard input": (["plan"], {"preexec_fn": lambda: os.close(0)}),
    "no standard output": (["plan"], {"preexec_fn": lambda: os.close(1)}),
    "little memory": (["plan"], {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))}),
    "ASCII": (["plan"], {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}}),
    "unbuffered": (["plan"], {"env": {"PYTHONUNBUFFERED": "1"}}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_says_and_ends_as_here(idle: Scene, case: str) -> None:
    arguments, options = CASES[case]
    answers = []
    for where in (WARM, HERE):
        own = {**options, "env": os.environ | idle.project.env | where | options.get("env", {})}
        if "input" not in own:
            own["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            [MOORAGE, *arguments], cwd=idle.project.path, capture_output=True, check=False, timeout=PATIENCE_S, **own
        )
        answers.append((done.returncode, done.stdout, done.stderr))
    assert answers[0] == answers[1]


def test_a_reader_that_has_gone(idle: Scene) -> None:
    """As in `moorage ls | true`."""
    reading, writing = os.pipe()
    os.close(reading)
    going = idle.start("ls", stdout=writing)
    os.close(writing)
    assert ended(going) == (0, "")


@pytest.mark.parametrize("own", [{}, {"PREFECT_TASKS_DEFAULT_RETRIES": "1"}], ids=["as the hub", "of its own"])
def test_settings_of_prefect(warm: Scene, own: dict[str, str]) -> None:
    """Flows and tasks are made with some of them: with others, they are made anew."""
    warm.gated().open()
    done = warm.project.process("up", **own)
    assert "Warning" not in done.stderr, done
    assert "run: http" in done.stdout
    warm.project.process("down", "--volumes", "--release-ports", **own)
    warm.assert_nothing_left()


IMPORTED = """
    import sys

    from moorage.hub import template_process
    from moorage.hub.hidden_modules import HiddenPrefect, hide

    template_process._import_all()
    there = set(sys.modules)
    sys.meta_path.insert(0, HiddenPrefect(hide("prefect"), hide("flows", "tasks", "blocks")))
    from moorage.cli import call

    code = call(["up"]) or call(["down", "--volumes", "--release-ports"])
    print("more:", sorted(set(sys.modules) - there - {"prefect.main"}))
    sys.exit(code)
"""


def test_nothing_is_imported_in_a_run(warm: Scene) -> None:
    """What Prefect, pydantic or the SDK import late is imported in the template, once."""
    warm.gated().open()
    done = python(IMPORTED, warm.project.path, ROOT, **(warm.project.env | HERE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "more: []"
    warm.assert_nothing_left()
