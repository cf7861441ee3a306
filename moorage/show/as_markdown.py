"""State, plans and failures as Markdown: for Prefect artifacts and job summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from moorage.model.state import BoundPort, StackStatus
from moorage.model.step import Plan
from moorage.show.formatting import clean, count, host_port, seconds, short_id, url_of, without_twins

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")
_FENCE = re.compile(r"`{3,}")
_LOG_LINES = 50
_LOG_COLUMNS = 1000


def services_markdown(status: StackStatus) -> str:
    """The services of a stack as a table, likely HTTP ports as links."""
    generation = f", generation {status.generation}" if status.generation else ""
    rows = [
        (
            escaped(name),
            escaped(service.state),
            "yes" if service.ready else "no",
            "<br>".join(_port(port) for port in without_twins(service.ports)),
            seconds(service.time_to_ready_s) if service.time_to_ready_s is not None else "",
            code(short_id(service.image_id)),
        )
        for name, service in status.services.items()
    ]
    head = f"**{escaped(status.stack)}** is {status.state}{generation}"
    return "\n".join([head, "", *_table(("Service", "State", "Ready", "Ports", "Time to ready", "Image"), rows)])


def plan_markdown(plan: Plan) -> str:
    """A plan as a table of steps, followed by unchanged services and notices."""
    if plan.empty:
        lines = [f"**{escaped(plan.stack)}**: nothing to do"]
    else:
        rows = [
            (
                str(number),
                escaped(step.id),
                "<br>".join(map(escaped, filter(None, (step.why, *step.detail)))),
                escaped(", ".join(step.needs)),
                escaped(step.undo),
            )
            for number, step in enumerate(plan.steps, 1)
        ]
        lines = [f"**{escaped(plan.stack)}**: {plan.operation}, {count(len(plan.steps), 'step')}", ""]
        lines += _table(("#", "Step", "Why", "After", "Undo"), rows)
    if plan.unchanged:
        lines += ["", f"Unchanged: {escaped(', '.join(plan.unchanged))}"]
    if plan.notices:
        lines += ["", *(f"- {escaped(notice)}" for notice in plan.notices)]
    return "\n".join(lines)


def failure_markdown(error: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """A failure: message, hint, details, logs.

    `error` is `MoorageError.as_dict()`, `report` the content of the failure report. None: show only the error.
    """
    lines = [f"### {escaped(error.get('error') or 'Error')}", "", escaped(error.get("message") or "")]
    if error.get("hint"):
        lines += ["", f"→ {escaped(error['hint'])}"]
    lines += ["", *_facts(error)]
    if error.get("probe"):
        lines += ["", "Last probe:", "", *fenced(str(error["probe"]))]
    if error.get("log"):
        title = f"Last log lines of {escaped(error['service'])}" if error.get("service") else "Last log lines"
        lines += ["", f"{title}:", "", *fenced(_lines(error["log"]))]
    lines += _services(report) if report else []
    return "\n".join(lines).rstrip("\n")


def _facts(error: Mapping[str, Any]) -> Iterator[str]:
    undone = {True: "complete", False: "none, everything was left as it is"}
    facts = {
        "Stack": error.get("stack"),
        "Service": error.get("service"),
        "Reason": error.get("reason"),
        "Exit code": error.get("exit_code_of_service"),
        "Waited": seconds(error["waited_s"]) if error.get("waited_s") else None,
        "Undo": undone.get(error["undone"], error["undone"]) if "undone" in error else None,
        "Left": "; ".join(map(str, error["left"])) if error.get("left") else None,
    }
    yield from (f"- {name}: {escaped(fact)}" for name, fact in facts.items() if fact not in (None, ""))
    for name, key in (("Removed by", "command"), ("Report", "report")):
        if error.get(key):
            yield f"- {name}: {code(error[key])}"


def _services(report: Mapping[str, Any]) -> Iterator[str]:
    """The containers in the failure report, with their logs in collapsed sections."""
    found = [service for service in report.get("services") or () if service.get("service")]
    if not found:
        return
    keys = ("service", "state", "engine_health", "exit_code", "oom_killed", "restarts")
    rows = [[escaped("" if service.get(key) is None else service[key]) for key in keys] for service in found]
    yield from ("", *_table(("Service", "State", "Health", "Exit code", "Out of memory", "Restarts"), rows))
    for service in found:
        if log := _lines(service.get("log") or ()):
            yield from ("", f"<details><summary>Log of {escaped(service['service'])}</summary>", "")
            yield from (*fenced(log), "", "</details>")


def _lines(log: Any) -> str:
    """The last lines of a log, given as text or as lines."""
    lines = log.splitlines() if isinstance(log, str) else [str(line) for line in log]
    return "\n".join(clipped(line) for line in lines[-_LOG_LINES:])


def clipped(line: str) -> str:
    """A log line, cut off if it is very long: the size of a job summary is limited."""
    return line if len(line) <= _LOG_COLUMNS else f"{line[:_LOG_COLUMNS]} … ({len(line)} characters)"


def _port(port: BoundPort) -> str:
    where = f"{host_port(port.host_ip, port.published)}->{port.target}/{port.protocol}"
    url = url_of(port)
    return f"[{escaped(url)}]({url}) ({port.target})" if url else code(where)


def escaped(text: object) -> str:
    """Any text on one line, escaped so that Markdown shows it literally, even inside a table."""
    plain = clean(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "<br>".join(_SPECIAL.sub(r"\\\1", plain).strip("\n").splitlines())


def code(text: object) -> str:
    """Any text as inline code, even inside a table."""
    plain = " ".join(clean(str(text)).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    ticks = "`" * (longest + 1)
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{blank}{plain}{blank}{ticks}"


def fenced(text: str) -> list[str]:
    """A code block whose fence is longer than any fence inside the text."""
    body = clean(text).strip("\n")
    fence = "`" * (max((len(run) for run in _FENCE.findall(body)), default=2) + 1)
    return [f"{fence}text", *body.splitlines(), fence]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(line)} |"
