"""A timeline as text: a row for each service, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.model.timeline import Chart, Phase, Row, Slow
from moorage.show.formatting import clean, count, padded, seconds, width

MARKS = {
    Phase.WAIT: "·",
    Phase.LEASE: "░",
    Phase.IMAGE: "▒",
    Phase.CREATE: "░",
    Phase.STOP: "-",
    Phase.START: "▓",
    Phase.READY: "█",
    Phase.REMOVE: "-",
}
_WORDS = {
    Phase.WAIT: "waiting for others",
    Phase.IMAGE: "building or pulling",
    Phase.CREATE: "ports, creating",
    Phase.STOP: "stopping",
    Phase.START: "starting",
    Phase.READY: "becoming ready",
}
_LEAST_COLUMNS = 20
_LONGEST_NAME = 24
_TICK_COLUMNS = 12
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def tick_s(whole_s: float, most: int) -> float:
    """Seconds between two marks of an axis: a round number that gives at most `most` marks."""
    return next((step for step in _STEPS_S if whole_s / step <= most), whole_s / max(most, 1) or 1.0)


def tick_label(at_s: float, step_s: float) -> str:
    """`0 s`, `0.5 s`, `1:30 min`."""
    if step_s >= 60 or at_s >= 120:
        minutes, rest = divmod(round(at_s), 60)
        return f"{minutes}:{rest:02} min"
    return f"{at_s:.1f} s" if step_s < 1 else f"{at_s:.0f} s"


def heading(chart: Chart) -> str:
    """`shop: up of 2026-01-01 12:00:00 UTC, generation 3, committed, 12.3 s`."""
    generation = f"generation {chart.generation}" if chart.generation else ""
    when = f"{chart.stack}: {chart.operation} of {chart.at:%Y-%m-%d %H:%M:%S} UTC"
    return ", ".join(filter(None, (when, generation, chart.outcome, seconds(chart.whole_s))))


def row_name(row: Row) -> str:
    """The service's name, or `(stack)` for steps of the whole stack."""
    return clean(row.service) if row.service else "(stack)"


def shortened(name: str, most: int) -> str:
    """The name, cut to at most `most` characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def slow_line(slow: Slow) -> str:
    """`db took 12.3 s to become ready, 3.1 times its usual 4.0 s (median of 10 starts)`."""
    times = f"{slow.took_s / slow.usual_s:.1f} times " if slow.usual_s > 0 else "more than "
    usual = f"its usual {seconds(slow.usual_s)} (median of {count(slow.starts, 'start')})"
    return f"{clean(slow.service)} took {seconds(slow.took_s)} to become ready, {times}{usual}"


def timeline_text(chart: Chart, columns: int = 100) -> str:
    """The chart, `columns` wide; rows on the critical path are marked with `*`."""
    names = [shortened(row_name(row), _LONGEST_NAME) for row in chart.rows]
    room = max((width(name) for name in names), default=0)
    ends = [_end(row) for row in chart.rows]
    bars = max(_LEAST_COLUMNS, columns - room - 5 - max(map(len, ends), default=0))
    scale = bars / chart.whole_s if chart.whole_s else 0.0
    lines = [heading(chart), "", " " * (room + 3) + _axis(chart.whole_s, bars, scale)]
    for row, name, end in zip(chart.rows, names, ends, strict=True):
        mark = "*" if row.critical else " "
        lines.append(f"{padded(name, room)} {mark} {_bar(row, bars, scale)}  {end}".rstrip())
    used = {segment.phase for row in chart.rows for segment in row.segments}
    legend = "  ".join(f"{MARKS[phase]} {words}" for phase, words in _WORDS.items() if phase in used)
    lines += ["", legend, "* critical path: " + " → ".join(map(clean, chart.critical))]
    lines += [f"! {slow_line(slow)}" for slow in chart.slow]
    return "\n".join(lines)


def _axis(whole_s: float, bars: int, scale: float) -> str:
    step = tick_s(whole_s, max(2, bars // _TICK_COLUMNS))
    line = ""
    for number in range(int(whole_s / step) + 1):
        at = round(number * step * scale)
        if at >= len(line):
            line = line.ljust(at) + tick_label(number * step, step) + " "
    return line.rstrip()


def _bar(row: Row, bars: int, scale: float) -> str:
    cells = [" "] * bars
    for segment in row.segments:
        first = min(bars - 1, int(segment.began_s * scale))
        last = max(first + 1, min(bars, round(segment.ended_s * scale)))
        for at in range(first, last):
            if cells[at] == " " or segment.phase != Phase.WAIT:
                cells[at] = "x" if segment.failed else MARKS[segment.phase]
    return "".join(cells)


def _end(row: Row) -> str:
    return "; ".join(_said(row))


def _said(row: Row) -> Iterator[str]:
    for segment in row.segments:
        if segment.failed:
            yield f"{segment.phase} FAILED after {seconds(segment.took_s)}"
        elif segment.phase in (Phase.READY, Phase.IMAGE) or (not row.service and segment.phase == Phase.CREATE):
            yield f"{_short(segment.phase)} {seconds(segment.took_s)}"


def _short(phase: Phase) -> str:
    return {Phase.READY: "ready", Phase.CREATE: "create"}.get(phase, str(phase))
