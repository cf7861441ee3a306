"""Whatever stands where a file should be, and however much a program says: it is read within limits."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest

from moorage import bounded
from moorage.adapters import docker_context, git
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.compose.registry_config import logged_in
from moorage.adapters.context_files import files_in, ignored
from moorage.adapters.files import LocalFiles
from moorage.errors import DefinitionError, HomeError, HubError
from moorage.hub import api
from moorage.model.definition import Source
from moorage.model.image import RegistryLogin
from moorage.settings import Settings
from moorage.show.junit import counted
from moorage.work.definitions.compose_variables import choices
from moorage.work.definitions.request import source_of
from moorage.work.ephemeral.artifacts import save_failure

KINDS = ("a pipe", "a device", "a socket", "a folder", "a circle", "nothing", "too much", "without an end")


@pytest.fixture(params=KINDS)
def odd(request, tmp_path):
    """Something that is no file to be read, at a path that the test chooses."""
    held = []

    def put(path: Path) -> Path:
        match request.param:
            case "a pipe":
                os.mkfifo(path)
            case "a device":
                path.symlink_to("/dev/zero")
            case "a socket":
                held.append(socket.socket(socket.AF_UNIX))
                held[-1].bind(str(path))
            case "a folder":
                path.mkdir()
            case "a circle":
                path.symlink_to(path.name)
            case "too much":
                path.touch()
                os.truncate(path, 1 << 40)
            case "without an end":
                path.symlink_to("/proc/kmsg" if os.geteuid() == 0 else "/dev/zero")
        return path

    yield put
    for one in held:
        one.close()


def test_none_of_them_is_read(odd, tmp_path):
    path = odd(tmp_path / "x")
    for read in (bounded.text_of, bounded.json_of, lambda one: bounded.bytes_of(one, 1000)):
        with pytest.raises(OSError):
            read(path)


def test_a_limit_is_meant():
    assert bounded.read_at_most(io.BytesIO(b"x" * 10), 10, "it", 60) == b"x" * 10
    with pytest.raises(bounded.TooMuchError, match="larger than 9 bytes"):
        bounded.read_at_most(io.BytesIO(b"x" * 10), 9, "it", 60)
    with pytest.raises(TimeoutError, match="it has no end within 0 s"):
        bounded.read_at_most(io.BytesIO(b"x" * 10), 1000, "it", 0)
    assert [bounded.amount(one) for one in (5, 1 << 10, 3 << 20, 1 << 30)] == ["5 bytes", "1 KiB", "3 MiB", "1 GiB"]
    with pytest.raises(ValueError, match="nested too deeply"):
        bounded.parsed_json("[" * 100_000)


READERS = {
    "env files": lambda path, odd: odd(path / ".env") and choices({}, path, [], [], []),
    "a context of Docker": lambda path, odd: odd(path / "config.json") and docker_context.endpoint(),
    "the settings of Docker": lambda path, odd: odd(path / "config.json") and _logged_in(path),
    "a report of a failure": lambda path, odd: save_failure(
        _Artifacts(), DefinitionError("x", report=str(odd(path / "r")))
    ),
    "the head of git": lambda path, odd: (path / ".git").mkdir() or (odd(path / ".git/HEAD") and git.worktree_of(path)),
    "the pointer of git": lambda path, odd: odd(path / ".git") and git.repository_and_branch(path),
}


class _Artifacts:
    def write_json(self, name, content):
        raise AssertionError(name)


def _logged_in(path):
    with logged_in(path / "home", (RegistryLogin(registry="r", username="u", password="p"),)) as environment:
        return json.loads((Path(environment["DOCKER_CONFIG"]) / "config.json").read_text())


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers_go_on_without(reader, odd, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    reader(tmp_path, odd)


def test_our_own_folder_says_what_is_wrong(odd, tmp_path, request):
    odd(tmp_path / "x")
    if request.node.callspec.params["odd"] == "nothing":
        assert LocalFiles(tmp_path).read("x") is None
    else:
        with pytest.raises(HomeError):
            LocalFiles(tmp_path).read("x")


def test_an_ignore_file_says_what_is_wrong(odd, tmp_path, request):
    odd(tmp_path / ".dockerignore")
    if request.node.callspec.params["odd"] in ("too much", "without an end") and (tmp_path / ".dockerignore").is_file():
        with pytest.raises(DefinitionError, match=r"build\.context: .*\.dockerignore: "):
            ignored(tmp_path, "")
    else:
        assert ignored(tmp_path, "") == []
        assert ".dockerignore" in [*files_in(tmp_path, []), ".dockerignore"]


def test_a_project_whose_name_is_not_utf_8_is_refused_before_anything_is_told_of_it(tmp_path, monkeypatch):
    odd, usual = tmp_path / os.fsdecode(b"caf\xe9"), tmp_path / "café"
    for folder in (odd, usual):
        folder.mkdir()
        (folder / "compose.yaml").touch()
    assert source_of(usual, (), (), ()).directory == usual
    monkeypatch.chdir(odd)
    for asked in ((None, (), (), ()), (odd, (), (), ()), (usual, [str(odd / "compose.yaml")], (), ())):
        with pytest.raises(DefinitionError, match="its name is not UTF-8") as caught:
            source_of(*asked)
        assert caught.value.exit_code == 2
    monkeypatch.chdir(usual)
    with pytest.raises(DefinitionError, match="its name is not UTF-8"):
        source_of(None, (), (), [str(odd / "e")])


# --- programs --------------------------------------------------------------------------------------------------


def started(script: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_program_that_says_too_much_is_ended_with_its_children(stream):
    process = started(f"yes >&{stream}")
    with pytest.raises(bounded.TooMuchError, match="larger than 1 MiB"):
        bounded.answer_of(process, b"", 60, 1 << 20)
    assert process.returncode is not None
    while _alive_in_group(process.pid):
        time.sleep(0.01)


def _alive_in_group(group):
    """Processes of the group that are more than a number; who adopts them may leave them as that."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_a_program_that_says_nothing_is_ended():
    process = started("sleep 600")
    with pytest.raises(subprocess.TimeoutExpired):
        bounded.answer_of(process, b"", 0.1, 1000)
    assert process.returncode is not None


def test_input_and_output_pass_each_other():
    process = started("cat; echo done >&2")
    assert bounded.answer_of(process, b"x" * 1_000_000, 60, 1 << 21) == (b"x" * 1_000_000, b"done\n")
    process = started("exec <&-; echo unheard")
    assert bounded.answer_of(process, b"x" * 1_000_000, 60, 1000) == (b"unheard\n", b"")


def program(folder: Path, script: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def test_compose_may_not_make_much_of_little(tmp_path):
    (tmp_path / "compose.yaml").touch()
    script = 'if [ "$1" = version ]; then echo 5.0.0; else yes; fi'
    compose = ComposeCli(Settings(home=tmp_path, compose=program(tmp_path, script)))
    with pytest.raises(DefinitionError, match="what it makes of the definition is larger than 32 MiB"):
        compose.config(Source(directory=tmp_path), "x", {})


def test_of_what_compose_prints_beginning_and_end_are_kept(tmp_path):
    script = """if [ "$1" = version ]; then echo 5.0.0; exit; fi
        echo first; yes line | head -n 50000; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1"""
    compose = ComposeCli(Settings(home=tmp_path, compose=program(tmp_path, script)))
    _, lines = compose._run(["build"], tmp_path, lambda _line: None)
    assert (lines[0], lines[-1]) == ("first", "last")
    assert len(lines) < 25_000
    assert max(map(len, lines)) <= 1 << 16


def test_git_may_not_say_too_much(tmp_path, monkeypatch):
    program(tmp_path, "yes").rename(tmp_path / "git")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(DefinitionError, match="larger than 64 MiB"):
        git.listed(tmp_path)


def test_an_api_may_not_say_too_much(monkeypatch):
    monkeypatch.setattr(api, "_MOST_BYTES", 10)
    listener = socket.create_server(("127.0.0.1", 0))
    address = api.HubAddress(api_url=f"http://127.0.0.1:{listener.getsockname()[1]}", ui_url="", managed=True)

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"1" * 1000)

    serving = Thread(target=serve)
    serving.start()
    with pytest.raises(HubError, match="larger than 10 bytes"):
        api.call(address, "GET", "/x")
    serving.join()
    listener.close()


# --- test reports ----------------------------------------------------------------------------------------------

REPORT = b"""<?xml version="1.0"?><testsuites><testsuite><testcase classname="a" name="b"/>
<testcase name="c"><failure>x</failure></testcase><testcase classname="d" name="e"><error/><system-out>y</system-out></testcase>
<testcase name="f"><skipped/></testcase></testsuite></testsuites>"""


def test_a_report_is_counted():
    assert counted("r.xml", io.BytesIO(REPORT), 10_000) == {
        "name": "r.xml", "tests": 4, "failures": 1, "errors": 1, "skipped": 1, "failed": ["c", "d.e"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"", b"x", b"<a/>", REPORT[:-5], b"<testsuite>" * 50_000, REPORT + b"<",
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a;" * 10 if not n else b"&a%d;" % (n - 1) * 10) for n in range(12)) + b"]><testsuite>&a11;</testsuite>",
        b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite',
    ],
)  # fmt: skip
def test_what_is_no_report(text):
    assert counted("r.xml", io.BytesIO(text), 10_000_000) is None


@pytest.mark.parametrize("encoding", ["UTF-8", "Shift_JIS", "windows-1252", "UTF-16", "nobody-knows"])
def test_a_report_with_any_bytes_is_counted(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + REPORT.partition(b"?>")[2].replace(
        b">x<", b">\xff<"
    )
    found = counted("r.xml", io.BytesIO(text), 10_000)
    assert found
    assert (found["tests"], found["failures"]) == (4, 1)


def test_a_report_that_is_too_large():
    assert counted("r.xml", io.BytesIO(REPORT), len(REPORT) - 1) is None
