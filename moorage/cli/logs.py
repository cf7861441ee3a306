"""`moorage logs`."""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LongSelection, stack_of
from moorage.cli.output import remark
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.log import LogSpan
from moorage.rules.instants import nanoseconds
from moorage.show.formatting import clean, json_without_commands
from moorage.show.loglines import LogView
from moorage.work.definitions import generations
from moorage.work.queries.logs import Logs, chosen, services_of
from moorage.work.runs.failure_report import last_report


def logs(
    *services: ServiceName,
    selection: LongSelection = LongSelection(),  # noqa: B008 - frozen
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Keep following until the stack ends.")] = False,
    tail: Annotated[
        str,
        Parameter(
            name=["--tail", "-n"],
            help="Number of lines to show from the end of each container's log.",
            show_default=True,
        ),
    ] = "all",
    since: Annotated[str | None, Parameter(help="Start time: 10m (ago) or 2026-11-21T08:00:00Z.")] = None,
    until: Annotated[str | None, Parameter(help="End time, in the same format.")] = None,
    timestamps: Annotated[bool, Parameter(name=["--timestamps", "-t"], help="Show the time of each line.")] = False,
    failed: Annotated[bool, Parameter(help="Show the logs of the last failed start, from its report.")] = False,
    no_color: Annotated[bool, Parameter(help="No colours, even on a terminal.")] = False,
    no_log_prefix: Annotated[bool, Parameter(help="No service name at the start of each line.")] = False,
    show_secrets: Annotated[bool, Parameter(help="Do not hide secret values.")] = False,
    json: Annotated[bool, Parameter(help="Print each line as a JSON object.")] = False,
) -> int:
    """Show the output of services, merged in time order; with `--follow` through restarts, until the stack ends.

    Works on stopped services too. After a start that was undone, `--failed` shows the output of its services.

    Parameters
    ----------
    services
        Services to show (default: all).
    """
    world = open_world()
    colour = not no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty()
    shape = {"colour": colour, "prefix": not no_log_prefix, "timestamps": timestamps}
    if failed:
        return _failed(world, stack_of(world, selection), services, shape, json=json)
    name, services = target_of(world, selection, services)
    span = _span(world, tail, since, until)
    names = services_of(world, name, services)
    view = LogView(names, **shape, hide=(lambda text: text) if show_secrets else generations.censor(world, name))
    shown = Logs(world, name, names, span, remark)
    form = view.json if json else view.text
    for line in shown.past(more=follow):
        sys.stdout.write(form(line) + "\n")
    sys.stdout.flush()  # the next line may take long to come
    for service, why in shown.unreadable.items():
        remark(f"{service}: {why}")
    for lines in shown.follow() if follow else ():
        sys.stdout.write("".join(form(line) + "\n" for line in lines))
        sys.stdout.flush()
    return 0


def _span(world: World, tail: str, since: str | None, until: str | None) -> LogSpan:
    if tail != "all" and not tail.isdecimal():
        raise DefinitionError(
            f"--tail: {tail!r} is not a valid number of lines", key="--tail", hint="Give a number, or `all`."
        )
    now = world.clock.now().astimezone()
    return LogSpan(
        tail=None if tail == "all" else int(tail),
        since_ns=nanoseconds(since, "--since", now) if since else None,
        until_ns=nanoseconds(until, "--until", now) if until else None,
    )


def _failed(world: World, stack: str, services: Sequence[str], shape: dict[str, Any], *, json: bool) -> int:
    report = last_report(world, stack)
    if report is None:
        message = f"{stack}: there is no failure report"
        raise DefinitionError(message, stack=stack, hint="A start that fails writes one.")
    found = sorted((one for one in report["services"] if "service" in one), key=lambda one: str(one["container"]))
    names = chosen(stack, services, sorted({one["service"] for one in found}))
    remark(f"{report['operation']} of {report['at']}: {clean(report['error']['message'])}")
    width = max(map(len, names), default=0)
    for one in found:
        if one["service"] in names:
            for text in one["log"]:
                facts = {"time": None, "service": one["service"], "container": one["container"], "message": text}
                head = f"{one['service'].ljust(width)} | " if shape["prefix"] else ""
                told = json_without_commands(json_module.dumps(facts, ensure_ascii=False))
                line = told if json else f"{head}{clean(text)}"
                sys.stdout.write(f"{line}\n")
    return 0
