"""Completion in real shells: installed by the documented line, and TAB pressed at a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.conftest import ROOT, Project
from tests.documents import block_with

PATIENCE_S = 250
PROMPT = "ready> "
SHOP = """
services:
  backend: {{image: '{image}', command: sleep 600, init: true}}
  basket: {{image: '{image}', command: sleep 600, init: true}}
  worker: {{image: '{image}', command: sleep 600, init: true, profiles: [heavy]}}
"""
ASKED = {
    "moorage sta": {"start", "stats", "status"},
    "moorage hub st": {"start", "status", "stop"},
    "moorage volumes sn": {"snapshot"},
    "moorage up --wait-": {"--wait-timeout"},
    "moorage up ba": {"backend", "basket"},
    "moorage up backend ba": {"basket"},
    "moorage logs --follow wor": {"worker"},
    "moorage exec back": {"backend"},
}
"""A line before TAB, and what it may go on with."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of somebody whose shells are set up as most are: without anything of Moorage's."""
    (place := tmp_path / "home").mkdir()
    quiet = "bind 'set bell-style none'\nbind 'set enable-bracketed-paste off'\nbind 'set show-all-if-ambiguous on'\n"
    (place / ".bashrc").write_text(f"PS1='{PROMPT}'\n{quiet}")
    (place / ".zshrc").write_text(f"PS1='{PROMPT}'\nautoload -Uz compinit && compinit -u -D\nunsetopt prompt_sp\n")
    return place


def environment(home: Path, shell: str) -> dict[str, str]:
    base = {
        name: value for name, value in os.environ.items() if not name.startswith(("ZDOTDIR", "XDG_", "ZSH", "BASH"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    more = {"HOME": str(home), "SHELL": program(shell), "PATH": path, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    return {**base, **more, "COLUMNS": "200", "LINES": "60"}


def program(shell: str) -> str:
    """The path of a shell; without it the test fails, and says what to do."""
    found = subprocess.run([ROOT / "scripts" / "shells", shell], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(f"scripts/shells: {found.stderr}", pytrace=False)
    return found.stdout.strip()


class Terminal:
    """A shell at a terminal."""

    def __init__(self, shell: str, home: Path, directory: Path) -> None:
        arguments = {"bash": ["--noprofile"], "zsh": ["-d"], "fish": ["--private"]}[shell]
        env = environment(home, shell)
        self.child = pexpect.spawn(
            program(shell), [*arguments, "-i"], cwd=str(directory), env=env, dimensions=(60, 200), timeout=PATIENCE_S,
            encoding="utf-8", codec_errors="replace",
        )  # fmt: skip
        self.child.expect_exact(PROMPT)

    def run(self, line: str) -> str:
        """A line, with Return; gives what it printed."""
        self.child.send(f"{line}\r")
        self.child.expect_exact(PROMPT)
        return str(self.child.before)

    def after_tab(self, line: str) -> str:
        """What is shown after the line and TAB; the line is then given up."""
        self.child.send(f"{line}\t\x15echo end-$((40 + 2))\r")  # read when the completion is done
        self.child.expect_exact("end-42")
        shown = str(self.child.before)
        self.child.expect_exact(PROMPT)
        return shown

    def close(self) -> None:
        """End it."""
        self.child.close(force=True)


@pytest.fixture
def shop(project: Project, tiny_image: str) -> Project:
    return project.compose(SHOP.format(image=tiny_image))


def words_in(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", " ", text)))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_at_a_terminal(shell: str, shop: Project, home: Path) -> None:
    terminal = Terminal(shell, home, shop.path)
    said = terminal.run(documented_line())
    assert "Completion script installed" in said, said
    terminal.close()
    terminal = Terminal(shell, home, shop.path)
    for line, wanted in ASKED.items():
        shown = terminal.after_tab(line)
        for word in wanted:
            assert word in words_in(shown), (line, shown)
        more = {"backend", "basket", "worker", "up", "snapshot", "--wait-timeout"} - wanted - set(line.split())
        assert not more & words_in(re.sub(r" -- .*", "", shown)), (line, shown)  # zsh tells what they are
    terminal.close()


def test_fish(shop: Project, home: Path) -> None:
    """Asked as its own key TAB asks it."""
    fish = [program("fish"), "-c"]
    env = environment(home, "fish")
    done = subprocess.run([*fish, documented_line()], env=env, cwd=shop.path, capture_output=True, text=True)
    assert "Completion script installed" in done.stdout, done
    for line, wanted in ASKED.items():
        asked = subprocess.run(
            [*fish, f"complete --do-complete '{line}'"], env=env, cwd=shop.path, capture_output=True, text=True
        )
        offered = {one.split("\t")[0] for one in asked.stdout.splitlines()}
        assert offered == wanted, (line, asked)


def documented_line() -> str:
    (line,) = block_with("docs/operating.md", "sh", "--install-completion").splitlines()
    return line.partition("#")[0].strip()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_names_of_stacks_are_no_shell(shell: str, shop: Project, home: Path) -> None:
    """A directory may be called anything, and a stack's directory is told beside its name."""
    hostile = shop.path / "$(touch injected)"
    hostile.mkdir()
    shutil.copy(shop.path / "compose.yaml", hostile)
    stack = f"{shop.name}-other"
    shop.moorage("up", "--project-directory", str(hostile), "--name", stack)
    try:
        Terminal(shell, home, shop.path).run(documented_line())
        terminal = Terminal(shell, home, shop.path)
        assert stack in words_in(terminal.after_tab(f"moorage status --name {stack[:-2]}"))
        assert not list(shop.path.rglob("injected"))
        terminal.close()
    finally:
        shop.moorage("down", "--project-directory", str(hostile), "--name", stack, "--volumes", "--release-ports")
