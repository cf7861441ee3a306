"""`exec` and `run`: what of their arguments is ours, what is the command's, and how this process becomes Compose."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from moorage.errors import ComposeUnavailableError, DefinitionError
from moorage.rules.environments import for_programs

_OF_BOTH = frozenset(
    {
        *("--file", "-f", "--project-directory", "--profile", "--env-file", "--name", "--project-name", "-p"),
        *("--user", "-u", "--workdir", "-w", "--env", "-e"),
    }
)
WITH_VALUE = {
    "exec": _OF_BOTH | {"--index"},
    "run": _OF_BOTH | {"--entrypoint", "--volume", "-v", "--lock-timeout"},
}
"""Verb → its options that take a value as the next argument."""


def with_command_apart(arguments: Sequence[str]) -> list[str]:
    """Insert `--` after the service's name in the arguments of such a verb: what follows belongs to the command."""
    value_next = False
    for number, argument in enumerate(arguments[1:], 1):
        if value_next:
            value_next = False
        elif argument == "--":
            break
        elif argument.startswith("-"):
            value_next = argument in WITH_VALUE[arguments[0]]
        else:
            after = list(arguments[number + 1 :])
            return [*arguments[: number + 1], *(after if after[:1] == ["--"] or not after else ["--", *after])]
    return list(arguments)


def options_of(user: str | None, workdir: str | None, env: Sequence[str], *, no_tty: bool) -> list[str]:
    """The options of Compose that both verbs have."""
    at_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    options = [] if at_terminal and not no_tty else ["--no-tty"]
    options += [f"--user={user}"] if user else []
    options += [f"--workdir={workdir}"] if workdir else []
    return [*options, *(f"--env={pair}" for pair in env)]


def become(verb: str, command: list[str], more: Mapping[str, str] | None = None) -> None:
    """Replace this process with Compose, so that terminal, window size, signals and exit code are the command's.

    `more`: variables in addition to our own environment.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    own = {name: value for name, value in for_programs(os.environ).items() if not name.startswith("COMPOSE_")}
    try:
        os.execvpe(command[0], command, {**own, **(more or {})})  # noqa: S606 - no shell is what we want
    except OSError as error:
        message = f"{command[0]}: {error.strerror or error}"
        raise ComposeUnavailableError(message, hint="`moorage doctor` says more.") from None
    except ValueError:  # a NUL byte
        raise DefinitionError(f"{verb}: an argument holds a NUL byte", hint="Leave it out.") from None
