"""State, plans, leases, history and errors as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moorage.errors import MoorageError, shortened
from moorage.model.generation import GenerationRecord
from moorage.model.lease import Lease
from moorage.model.state import RunRecord, ServiceStatus, StackRecord, StackStatus
from moorage.model.step import Plan, Step, StepKind
from moorage.show.formatting import (
    ago,
    clean,
    count,
    host_port,
    one_line,
    port_text,
    seconds,
    short_id,
    table,
    without_twins,
)

_LOG_LINES = 50
_RULE = 60
_SERVICE_HEAD = ("SERVICE", "STATE", "READY", "PORTS", "TIME TO READY", "IMAGE")


def status_text(status: StackStatus, *, urls: bool = True) -> str:
    """One stack: a summary line and a table of its services. `urls`: show likely HTTP ports as links."""
    generation = f"generation {status.generation}" if status.generation else "no generation yet"
    at = f"on {clean(status.engine)}" if status.engine else ""
    head = "  ".join(filter(None, (status.stack, str(status.state), generation, clean(status.path or ""), at)))
    if not status.services:
        return head
    networks = [*status.networks, *(f"{name} (shared)" for name in status.shared_networks)]
    foot = f"\n\nnetworks: {clean(', '.join(networks))}" if networks else ""
    return "\n".join([f"{head}\n\n{_services_table(status, urls=urls)}{foot}", *_notes(status)])


def _notes(status: StackStatus) -> list[str]:
    return ["", *(f"note: {clean(notice)}" for notice in status.notices)] if status.notices else []


def summary_text(status: StackStatus, elapsed_s: float, flow_run_url: str | None, changed: Sequence[str]) -> str:
    """Result of an `up`: services and addresses, duration, URL of the run. `changed`: services that were started."""
    said = [f"{status.stack} is {status.state}", f"generation {status.generation}" if status.generation else ""]
    said += [f"{len(changed)} of {count(len(status.services), 'service')} started"] if changed else []
    said += [seconds(elapsed_s)]
    lines = [", ".join(filter(None, said)), "", _services_table(status, urls=True), *_notes(status)]
    if flow_run_url:
        lines += ["", f"run: {flow_run_url}"]
    return "\n".join(lines)


def stacks_text(records: Sequence[StackRecord], states: Mapping[str, str], *, now: datetime | None = None) -> str:
    """All stacks, for `ls`. `states` by name, also where no record can be read. `now` None: the current time."""
    lost = sorted({*states} - {record.name for record in records})
    if not records and not lost:
        return "no stacks yet; `moorage up` starts one"
    at = now or datetime.now(UTC)
    rows = [
        (
            record.name,
            str(states.get(record.name, "-")),
            str(record.generation or "-"),
            clean(record.repository or "-"),
            clean(record.branch or "-"),
            ago(record.expires_at, at) if record.expires_at else "-",
            clean(record.path),
        )
        for record in records
    ]
    rows += [(clean(name), str(states[name]), "-", "-", "-", "-", "-") for name in lost]
    return table(("STACK", "STATE", "GENERATION", "REPOSITORY", "BRANCH", "EXPIRES", "PATH"), rows)


def leases_text(leases: Sequence[Lease], *, now: datetime | None = None) -> str:
    """Leased host ports. `now` None: the current time."""
    if not leases:
        return "no ports leased"
    at = now or datetime.now(UTC)
    rows = [
        (
            lease.key.stack,
            lease.key.service,
            f"{lease.key.target}/{lease.key.protocol}",
            host_port(lease.host_ip, lease.port) + lease.said.removeprefix(str(lease.port)),
            str(lease.wanted) if lease.wanted not in (None, lease.port) else "-",
            ago(lease.since, at) + (", not committed yet" if lease.run else ""),
        )
        for lease in leases
    ]
    return table(("STACK", "SERVICE", "PORT", "LEASED", "WANTED", "SINCE"), rows)


def history_text(records: Sequence[GenerationRecord], *, now: datetime | None = None) -> str:
    """The generations of a stack, in the order given. `now` None: the current time."""
    if not records:
        return "no generations yet"
    at = now or datetime.now(UTC)
    rows = [
        (
            str(record.number),
            record.digest,
            record.outcome,
            ago(record.created_at, at),
            seconds(record.time_to_ready_s) if record.time_to_ready_s is not None else "-",
            ", ".join(record.changed) or "-",
            clean(record.by) or "-",
            record.flow_run_id or "-",
        )
        for record in records
    ]
    return table(("GENERATION", "DIGEST", "OUTCOME", "CREATED", "TOOK", "CHANGED", "BY", "FLOW RUN"), rows)


def runs_text(records: Sequence[RunRecord], *, now: datetime | None = None) -> str:
    """What was done to a stack, in the order given, each with its id. `now` None: the time of day."""
    if not records:
        return "no runs yet"
    at = now or datetime.now(UTC)
    rows = [
        (
            record.id,
            str(record.operation),
            record.outcome or "unfinished",
            ago(record.started_at, at),
            seconds((record.finished_at - record.started_at).total_seconds()) if record.finished_at else "-",
            str(record.generation or "-"),
            clean(record.by),
            record.flow_run_id or "-",
        )
        for record in records
    ]
    return table(("RUN", "OPERATION", "OUTCOME", "BEGAN", "TOOK", "GENERATION", "BY", "FLOW RUN"), rows)


def plan_text(plan: Plan) -> str:
    """A plan: numbered steps, each with its reason, dependencies and undo; then unchanged services and notices."""
    if plan.empty:
        lines = [f"{plan.stack}: nothing to do"]
    else:
        lines = [f"{plan.stack}: {plan.operation}, {count(len(plan.steps), 'step')}", ""]
        lines += _steps(plan.steps)
    if plan.unchanged:
        lines += ["", f"unchanged: {', '.join(plan.unchanged)}"]
    if plan.notices:
        lines += ["", *(f"note: {clean(notice)}" for notice in plan.notices)]
    return "\n".join(lines)


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    digits = len(str(len(steps)))
    name_width = max(len(step.id) for step in steps)
    indent = " " * (digits + name_width + 4)
    before: set[str] = set()
    reasons: set[tuple[str, str]] = set()
    for number, step in enumerate(steps, 1):
        first, *more = _about(step, before, reasons)
        before.add(step.id)
        reasons.add((step.service or "", step.why))
        yield f"{number:>{digits}}  {step.id:<{name_width}}  {first}".rstrip()
        yield from (f"{indent}{line}" for line in more)


def _about(step: Step, before: set[str], reasons: set[tuple[str, str]]) -> list[str]:
    """Reason, details, dependencies and undo of a step; the same reason only once per service.

    `before`: ids of the steps above; `reasons`: theirs, with their services.
    """
    known = bool(step.service) and (step.service, step.why) in reasons
    lines = ["" if known else clean(step.why), *map(clean, step.detail)]
    if needs := _needs(step, before):
        lines.append(f"after: {needs}")
    if step.undo:
        lines.append(f"undo: {step.undo}")
    return [line for line in lines if line] or [""]


def _needs(step: Step, before: set[str]) -> str:
    """Names of the steps that this one waits for. `create` is left out next to services, which imply it."""
    if len(before) > 2 and len(step.needs) >= len(before) and before <= set(step.needs):
        return "all of the above"
    of_services = [need for need in step.needs if need != StepKind.CREATE]
    return ", ".join(of_services or step.needs)


def _services_table(status: StackStatus, *, urls: bool) -> str:
    rows = [
        (
            name,
            _state(service),
            _ready(service),
            "\n".join(port_text(port, urls=urls) for port in without_twins(service.ports)) or "-",
            seconds(service.time_to_ready_s) if service.time_to_ready_s is not None else "-",
            short_id(service.image_id),
        )
        for name, service in status.services.items()
    ]
    return table(_SERVICE_HEAD, rows)


def _state(service: ServiceStatus) -> str:
    """`running`, `running (2 containers)`, `exited (137, out of memory)`, `restarting (1, 3 restarts)`."""
    facts = [
        count(len(service.containers), "container") if len(service.containers) > 1 else "",
        str(service.exit_code) if service.exit_code is not None and service.state != "running" else "",
        "out of memory" if service.oom_killed else "",
        count(service.restarts, "restart") if service.restarts else "",
    ]
    said = ", ".join(filter(None, facts))
    return f"{service.state} ({said})" if said else service.state


def _ready(service: ServiceStatus) -> str:
    if service.ready:
        return "yes"
    unhealthy = service.engine_health == "unhealthy" and service.state == "running"  # else it is the word of before
    return "no (unhealthy)" if unhealthy else "no"


def error_text(error: MoorageError) -> str:
    """An error: where and what, details, the last log lines, what to do next."""
    fields = error.fields
    message, probe = clean(str(error)).rstrip(), clean(str(fields.get("probe") or "")).rstrip()
    message = message.removesuffix(f"; last probe: {probe}") if probe else message
    lines = [f"error: {shortened(message)}", *_facts(fields, probe)]
    if log := _log(fields.get("log")):
        title = f"last log lines of {fields['service']}" if fields.get("service") else "last log lines"
        lines += ["", _rule(title), *log, _rule("")]
    lines += [f"undo: {line}" for line in _undone(fields, error.hint or "")]
    if fields.get("report"):
        lines.append(f"report: {fields['report']}")
    if error.hint:
        lines.append(f"→ {clean(error.hint)}")
    return "\n".join(lines)


def _facts(fields: Mapping[str, Any], probe: str) -> Iterator[str]:
    """Details of a service that failed."""
    facts = {
        "reason": fields.get("reason"),
        "exit code": fields.get("exit_code_of_service"),
        "waited": seconds(fields["waited_s"]) if fields.get("waited_s") else None,
        "last probe": probe,
    }
    for name, fact in facts.items():
        if said := clean("" if fact is None else str(fact)).strip():
            first, *rest = said.splitlines()
            yield f"  {name + ':':<12}{first}"
            yield from (f"  {'':<12}{line}" for line in rest)


def _log(log: Any) -> list[str]:
    """The last lines of a log, given as text or as lines."""
    text = log if isinstance(log, str) else "\n".join(map(str, log or ()))
    return clean(text).strip("\n").splitlines()[-_LOG_LINES:]


def _rule(title: str) -> str:
    return f"── {title} ".ljust(_RULE, "─") if title else "─" * _RULE


def _undone(fields: Mapping[str, Any], hint: str) -> Iterator[str]:
    if fields.get("undone") is True:
        yield "complete, everything is as it was before"
    elif fields.get("undone") is False:
        yield "none, everything was left as it is"
    elif fields.get("undone"):
        yield one_line(str(fields["undone"]))
    left = fields.get("left") or ()
    yield from (f"left: {one_line(str(item))}" for item in ([left] if isinstance(left, str) else left))
    if fields.get("command") and fields["command"] not in hint:
        yield f"`{fields['command']}` removes what is left"
