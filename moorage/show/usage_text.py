"""Resource usage of stacks, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.model.usage import StackUsage, Usage
from moorage.show.formatting import table
from moorage.show.volumes_text import size

_HEAD = ("STACK", "SERVICE", "STATE", "CPU", "MEMORY", "OF LIMIT", "RECEIVED", "SENT", "PROCESSES", "RESTARTS")


def usage_text(stacks: Sequence[StackUsage]) -> str:
    """A line for each service, and for each replica if there are several; a total for each stack."""
    alone = len(stacks) == 1
    rows = [("" if alone else stack.stack, *row) for stack in stacks for row in _rows(stack)]
    return table(_HEAD, rows) if rows else "nothing to measure"


def _rows(stack: StackUsage) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, service in stack.services.items():
        rows.append((name, service.state, *_numbers(service.total)))
        if len(service.containers) > 1:
            rows += [(f"  {number}", "", *_numbers(one)) for number, one in _replicas(service.containers)]
    if len(stack.services) > 1:
        rows.append(("(all)", "", *_numbers(stack.total)))
    return rows


def _replicas(containers: dict[str, Usage]) -> list[tuple[str, Usage]]:
    return [(name.rsplit("-", 1)[-1], one) for name, one in containers.items()]


def _numbers(one: Usage) -> tuple[str, ...]:
    percent = 100 * one.memory_bytes / one.memory_limit_bytes if one.memory_bytes and one.memory_limit_bytes else None
    return (
        "-" if one.cpu_percent is None else f"{one.cpu_percent:.1f} %",
        size(one.memory_bytes),
        "-" if percent is None else f"{percent:.1f} % of {size(one.memory_limit_bytes)}",
        size(one.received_bytes),
        size(one.sent_bytes),
        "-" if one.processes is None else str(one.processes),
        str(one.restarts),
    )
