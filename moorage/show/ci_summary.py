"""The summary of a CI job as Markdown: result, services, timeline, test reports, failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moorage.errors import MoorageError
from moorage.model.event import Action, Event
from moorage.model.state import StackStatus
from moorage.show.as_markdown import code, escaped, failure_markdown, fenced, services_markdown
from moorage.show.formatting import count, seconds

_COLUMNS = 40
_LEAST_SHOWN_S = 0.005


@dataclass
class StepTimings:
    """Duration of each step, gathered from events: call it with each event."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Record an event."""
        self.events.append(event)

    def spans(self) -> list[dict[str, Any]]:
        """Steps ordered by start: step, began_s (since the first), elapsed_s, failed."""
        ended = [e for e in self.events if e.step and e.elapsed_s and e.action in (Action.DONE, Action.FAILED)]
        begins = [event.at.timestamp() - (event.elapsed_s or 0) for event in ended]
        first = min(begins, default=0.0)
        found = [
            {
                "step": event.step,
                "began_s": round(began - first, 3),
                "elapsed_s": round(event.elapsed_s or 0, 3),
                "failed": event.action == Action.FAILED,
            }
            for event, began in zip(ended, begins, strict=True)
        ]
        return sorted(found, key=lambda span: (span["began_s"], span["step"]))

    def text(self) -> str:
        """A bar for each step that took noticeable time. Empty: no step did."""
        spans = [span for span in self.spans() if span["elapsed_s"] >= _LEAST_SHOWN_S]
        whole = max((span["began_s"] + span["elapsed_s"] for span in spans), default=0.0)
        width = max((len(span["step"]) for span in spans), default=0)
        return "\n".join(f"{span['step']:<{width}}  {_bar(span, whole)}" for span in spans)


def _bar(span: Mapping[str, Any], whole: float) -> str:
    before = round(span["began_s"] / whole * _COLUMNS)
    length = max(1, round(span["elapsed_s"] / whole * _COLUMNS))
    mark = " FAILED" if span["failed"] else ""
    bar = " " * before + "█" * min(length, _COLUMNS - min(before, _COLUMNS - 1))
    return f"{bar:<{_COLUMNS}}  {seconds(span['elapsed_s'])}{mark}"


@dataclass
class CiSummary:
    """Everything that the summary shows, as far as the job got."""

    command: Sequence[str]
    stack: str = ""
    """Empty: the job failed before the stack had a name."""
    status: StackStatus | None = None
    """None: the stack did not come up."""
    error: MoorageError | None = None
    report: Mapping[str, Any] | None = None
    """The failure report. None: there is none."""
    left: MoorageError | None = None
    """Why the stack could not be removed. None: it was."""
    exit_code: int | None = None
    """Of the command. None: it did not run."""
    up_s: float = 0.0
    command_s: float = 0.0
    tests: Sequence[Mapping[str, Any]] = ()
    """Test reports: name, tests, failures, errors, skipped, failed (names)."""
    flow_run_url: str | None = None
    timeline: StepTimings = field(default_factory=StepTimings)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        left = "; it could not be removed" if self.left else ""
        if self.status is None:
            return f"stack {self.stack} did not come up{left}" if self.stack else "the stack did not come up"
        if self.exit_code is None:
            ran = "interrupted"
        elif self.error:
            ran = f"{self.command[0]} could not be started"
        else:
            ran = f"{self.command[0]} ended with exit code {self.exit_code} after {seconds(self.command_s)}"
        return f"{ran}; stack up in {seconds(self.up_s)}{left}"


def summary_markdown(job: CiSummary) -> str:
    """The whole summary."""
    mark = "✅" if job.exit_code == 0 and not job.left else "❌"
    lines = [f"## {mark} moorage: {escaped(job.verdict)}", ""]
    lines += [f"Command: {code(' '.join(job.command))}", ""]
    if job.error:
        lines += [failure_markdown(job.error.as_dict(), job.report), ""]
    if job.left:
        lines += [failure_markdown(job.left.as_dict()), ""]
    if job.status:
        lines += [services_markdown(job.status), ""]
    lines += _tests(job.tests)
    if bars := job.timeline.text():
        lines += ["### Timeline", "", *fenced(bars), ""]
    if job.flow_run_url:
        lines += [f"Run: {job.flow_run_url}", ""]
    return "\n".join(lines)


def _tests(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    if not reports:
        return []
    lines = ["| Report | Tests | Failed | Skipped |", "| --- | --- | --- | --- |"]
    for report in reports:
        failed = report["failures"] + report["errors"]
        lines.append(f"| {escaped(report['name'])} | {report['tests']} | {failed} | {report['skipped']} |")
    failed_names = [name for report in reports for name in report["failed"]]
    if failed_names:
        lines += ["", f"{count(len(failed_names), 'test')} failed:", "", *(f"- {code(name)}" for name in failed_names)]
    return [*lines, ""]
