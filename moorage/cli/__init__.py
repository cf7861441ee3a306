"""The `moorage` command: one file per verb, loaded when the verb is called.

Data goes to stdout; if stdout carries data, messages go to stderr. Exit codes: see `moorage.errors`.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

_VERBS = {
    "up": "Bring the stack up: all services ready, or everything undone",
    "down": "Remove the stack's containers and networks; volumes and leases stay",
    "stop": "Stop services; containers stay",
    "start": "Start stopped services again, in dependency order",
    "restart": "Stop services and start them again, in dependency order",
    "build": "Build the images of services; starts nothing",
    "pull": "Pull the images of services; starts nothing",
    "scale": "Change how many replicas of services run",
    "ls": "List the stacks of this machine",
    "status": "Show the state of a stack and its services (also `ps`)",
    "logs": "Show the output of services, and follow it through restarts",
    "stats": "Show what services use: CPU, memory, network, restarts",
    "exec": "Run a command in a running service",
    "run": "Run a command in a new container of a service",
    "env": "Print the addresses of the services as environment variables",
    "open": "Open a service in the browser",
    "ports": "Show the leased host ports, find out who holds a port, release ports",
    "health": "Run every service's check now, and report drift",
    "plan": "Show what `up` would do; changes nothing",
    "config": "Show the resolved definition",
    "wait": "Wait until a stack is ready, or a run has ended",
    "runs": "List the latest flow runs of the hub",
    "cancel": "Cancel a flow run, which undoes its work",
    "timeline": "Draw the last start: how long everything took, and what slowed it down",
    "history": "List the generations of a stack, or all its runs",
    "rollback": "Apply an earlier generation again",
    "sweep": "Clean up after crashes, deleted directories and expired stacks",
    "ci": "Run a command against a temporary stack, which is removed afterwards",
    "init": "Write flows, tasks, blocks and prefect.yaml into a directory, for you to change",
    "doctor": "Check engine, Compose, state directory and hub",
}
_EXIT_CODES = (
    "Exit codes: 0 done, 1 the command that you ran failed, 2 definition or usage, 3 port, 4 engine or Compose, 5 "
    "failed and undone, 6 failed and not completely undone, 7 stack busy, 8 hub, 130 interrupted and undone."
)
_ALIASES = {"ps": "status"}
"""What people type who know another command → our verb."""
_RUNS_COMMANDS = frozenset({"exec", "run"})
_LEAVES_ORPHANS = frozenset({"sweep"})
"""Verbs that do not first remove the stacks of killed test runs: `sweep` does that itself, or only lists them."""


def main() -> None:
    """Run the command of this process and exit with its code."""
    from moorage import systems
    from moorage.errors import MoorageError

    try:
        systems.check()
    except MoorageError as error:
        sys.exit(f"error: {error}\n→ {error.hint}")
    from moorage.cli import warm

    if warm.can_be(sys.argv[1:]):
        warm.hand_over()
    run_here()


def run_here() -> None:
    """The same, in this process."""
    from moorage.cli import process

    process.begin()
    process.end(call(sys.argv[1:]))


def call(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    from cyclopts import CycloptsError

    from moorage.cli.output import show_error
    from moorage.errors import MoorageError

    if arguments and arguments[0] in _ALIASES:
        arguments = [_ALIASES[arguments[0]], *arguments[1:]]
    if arguments and arguments[0] in _RUNS_COMMANDS:
        from moorage.cli.command_apart import with_command_apart

        arguments = with_command_apart(arguments)
    try:
        if _ends_orphans(arguments):
            _end_orphans()
        return int(_app(arguments)(list(arguments), exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        from moorage.cli.usage import usage_error

        return show_error(usage_error(error), as_json=_wants_json(arguments))
    except MoorageError as error:
        return show_error(error, as_json=_wants_json(arguments))
    except BrokenPipeError:  # the reader of our output has gone, as in `moorage ls | head -1`
        sys.stderr.close()
        return 0
    except OSError as error:
        return _show_os_error(error)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may have gone
            sys.stderr.write("interrupted\n")
        return 130


def _wants_json(arguments: Sequence[str]) -> bool:
    """True if `--json` is Moorage's option, not one of a command after `--`."""
    own = list(arguments)
    return "--json" in own[: own.index("--") if "--" in own else None]


def _show_os_error(error: OSError) -> int:
    """Report a file, directory or program that turned out to be unusable. Any other OSError is a bug: raised again."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENOSPC, errno.EROFS):
        raise error
    gone = error.errno == errno.ENOENT and error.filename is None
    where = "the working directory is gone" if gone else ": ".join(filter(None, (error.filename, error.strerror)))
    with suppress(OSError):
        sys.stderr.write(f"error: {where}\n")
    return 1


def _ends_orphans(arguments: Sequence[str]) -> bool:
    """True for a verb that does something; False for `--version` and the like, and for a shell at TAB."""
    verb = "".join(arguments[:1])
    return verb.strip("-_") == verb != "" and verb not in _LEAVES_ORPHANS and not _asks_for_help(arguments)


def _all_about(verb: str) -> str:
    """The docstring of a verb, each paragraph on one line: cyclopts wraps them to the terminal's width."""
    from importlib import import_module
    from inspect import getdoc

    from moorage.cli.examples import EXAMPLES

    text = getdoc(getattr(import_module(f"moorage.cli.{verb}"), verb)) or ""
    parts = [" ".join(part.split()) for part in text.split("\n\nParameters\n")[0].split("\n\n")]
    return "\n\n".join([*parts, *([f"Example: {EXAMPLES[verb]}"] if verb in EXAMPLES else [])])


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """True if `--help` is given, and not after `--`, where another program's arguments begin."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return bool({"--help", "-h"} & set(ours))


def _end_orphans() -> None:
    """Remove the stacks whose `moorage ci` or test process was killed. A removal that fails is left to the next call.

    Costs the listing of one directory, and more only if there is such a stack.
    """
    from moorage.settings import settings

    try:
        if not any((settings().home.expanduser() / "temporary").iterdir()):
            return
    except OSError:
        return
    from moorage.cli.orphans import end_orphans

    end_orphans()


def _app(arguments: Sequence[str]) -> App:
    from cyclopts import App, Parameter

    import moorage

    app = App(
        name="moorage",
        help="Container stacks that come up the way a database commits.",
        help_epilogue=_EXIT_CODES,
        version=moorage.__version__,
        help_format="plaintext",
        result_action="return_value",
        default_parameter=Parameter(negative=(), show_default=False),
    )
    asked = _asks_for_help(arguments)
    for verb, words in _VERBS.items():
        told = _all_about(verb) if asked and arguments[0] == verb else words
        app.command(f"moorage.cli.{verb}:{verb}", name=verb, help=told)
    app.command("moorage.cli.worktree:app", name="worktree", help="A branch in a git worktree, with a stack of its own")
    app.command("moorage.cli.volumes:app", name="volumes", help="Look after volumes: ls, prune, snapshot, restore")
    app.command("moorage.cli.fleet:app", name="fleet", help="Many stacks at once: up, down, status")
    app.command("moorage.cli.hub:app", name="hub", help="Look after the Prefect server and its worker")
    if {"--install-completion", "--help", "-h"} & set(sys.argv):  # costs 6 ms, wanted once
        app.register_install_completion_command()
    return app
