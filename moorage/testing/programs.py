"""Programs of fake containers: a small part of the shell, enough to end, print, or ignore signals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NOT_FOUND = 127
KILLED = 137
_TRAP = re.compile(r"trap\s+['\"]exit (\d+)['\"]\s+TERM")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass
class Outcome:
    """The result of a program."""

    output: list[str] = field(default_factory=list)
    exit_code: int | None = None
    """None: it keeps running."""


def run(command: Sequence[str], environment: Mapping[str, str], files: Mapping[str, str]) -> Outcome:
    """Run `sh -c "…; …"` of echo, cat, test -f, true, false, sleep and exit, or one of these alone."""
    outcome = Outcome()
    for statement in _statements(command):
        outcome.exit_code = _do(statement, environment, files, outcome.output)
        if outcome.exit_code is None or statement[0] == "exit":
            break
    else:
        outcome.exit_code = outcome.exit_code or 0
    return outcome


def code_on_term(command: Sequence[str]) -> int:
    """Exit code after SIGTERM: that of its trap. Without one, process 1 does not get the signal: SIGKILL."""
    trap = _TRAP.search(" ".join(command))
    return int(trap.group(1)) if trap else KILLED


def _statements(command: Sequence[str]) -> list[list[str]]:
    if len(command) > 2 and command[0] in ("sh", "/bin/sh") and command[1] == "-c":
        script = _TRAP.sub("", command[2])
        return [part.removeprefix("exec ").split() for part in map(str.strip, script.split(";")) if part]
    return [list(command)] if command and command[0] != "sh" else []


def _do(words: list[str], environment: Mapping[str, str], files: Mapping[str, str], output: list[str]) -> int | None:
    """Exit code of one statement. None: it never ends."""
    match words:
        case ["echo", *said]:
            output.append(_VARIABLE.sub(lambda found: environment.get(found[1], ""), " ".join(said)))
            return 0
        case ["cat", path]:
            output.extend(files.get(path, f"cat: can't open '{path}'").splitlines())
            return int(path not in files)
        case ["test", "-f", path]:
            return int(path not in files)
        case ["true"]:
            return 0
        case ["false"]:
            return 1
        case ["exit", code]:
            return int(code)
        case ["sleep" | "while" | "httpd" | "nc" | "yes", *_]:
            return None
    return NOT_FOUND
