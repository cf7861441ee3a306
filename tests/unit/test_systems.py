"""Moorage on a system that is not Unix: one sentence, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AS_ON_WINDOWS = """
import os, signal, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None  # importing it is an ImportError
for name in ("SIGHUP", "SIGKILL", "SIGUSR1"):
    delattr(signal, name)
for name in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "geteuid", "getuid", "getloadavg", "setsid", "fchmod"):
    delattr(os, name)
sys.platform = "win32"
"""


def as_on_windows(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import importlib, pathlib, threading, subprocess\n{AS_ON_WINDOWS}\n{code}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["up"], ["--help"], ["hub", "start"]])
def test_the_command_says_one_sentence(arguments: list[str]) -> None:
    done = as_on_windows(f"sys.argv = ['moorage', *{arguments}]\nfrom moorage.cli import main\nmain()")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: Moorage runs on Linux and macOS; this Python is one for Windows",
        "→ On Windows use WSL2: run `wsl --install`, then install and run Moorage in there.",
    ]


def test_a_program_that_imports_it_is_told_the_same() -> None:
    done = as_on_windows(
        "import moorage\nprint(moorage.__version__)\n"
        "from moorage.errors import MoorageError\n"
        "try:\n    from moorage import Stack\nexcept MoorageError as error:\n    print(error.hint)"
    )
    assert done.returncode == 0, done.stderr
    assert "WSL2" in done.stdout


def test_pytest_goes_on_where_moorage_is_merely_installed() -> None:
    done = as_on_windows("import moorage.pytest_plugin; print('loaded')")
    assert done.stdout == "loaded\n", done.stderr
