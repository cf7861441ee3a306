"""A timeline as standalone SVG, light and dark, in colours that are safe for the colour-blind (Okabe and Ito)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from html import escape

from moorage.model.timeline import Chart, Phase, Row, Segment
from moorage.show.formatting import clean, seconds, width
from moorage.show.timeline_text import heading, row_name, shortened, slow_line, tick_label, tick_s

_WIDTH = 960
_ROW = 30
_BAR = 18
_TOP = 92
_RIGHT = 118
_CHARACTER = 7.9
_LONGEST_NAME = 32
_LABEL = 6.6
_CLASSES = {
    Phase.WAIT: ("wait", "waiting for others"),
    Phase.IMAGE: ("image", "building or pulling"),
    Phase.LEASE: ("create", "ports, creating"),
    Phase.CREATE: ("create", "ports, creating"),
    Phase.STOP: ("stop", "stopping"),
    Phase.REMOVE: ("stop", "stopping"),
    Phase.START: ("start", "starting"),
    Phase.READY: ("ready", "becoming ready"),
}
_STYLE = """
svg { background: var(--paper); color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --faint: #57606a; --grid: #d8dee4; --band: #f6f8fa; --hatch: #8c959f;
  --image: #e69f00; --create: #56b4e9; --start: #0072b2; --ready: #009e73; --stop: #cc79a7; --failed: #d55e00; }
@media (prefers-color-scheme: dark) { svg {
  --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --grid: #30363d; --band: #161b22; --hatch: #6e7681;
  --ready: #1fbf92; } }
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink); }
.title { font-size: 15px; font-weight: 600; } .faint { fill: var(--faint); font-size: 11px; }
.grid { stroke: var(--grid); } .band { fill: var(--band); }
.wait { fill: url(#hatch); } .image { fill: var(--image); } .create { fill: var(--create); }
.start { fill: var(--start); } .ready { fill: var(--ready); } .stop { fill: var(--stop); }
.failed { fill: var(--failed); }
.critical { stroke: var(--ink); stroke-width: 2; } .path { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.name-critical { font-weight: 700; } .slow { fill: var(--failed); font-weight: 600; }
"""

_HATCH = """<defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<line x1="0" y1="0" x2="0" y2="6" stroke="var(--hatch)" stroke-width="1.6"/></pattern></defs>"""


def timeline_svg(chart: Chart) -> str:
    """The chart as an SVG document. Bars with a dark edge, joined by lines, are the critical path."""
    names = [row_name(row) for row in chart.rows]
    shown = [shortened(name, _LONGEST_NAME) for name in names]
    left = 36 + _CHARACTER * max((width(name) for name in shown), default=0)
    scale = (_WIDTH - _RIGHT - left) / (chart.whole_s or 1.0)
    bottom = _TOP + _ROW * len(chart.rows)
    notes = [*_wrapped(f"critical path: {' → '.join(map(clean, chart.critical))}")]
    height = bottom + 74 + 18 * (len(notes) + len(chart.slow))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">'
        ),
        f'<title id="title">{escape(heading(chart))}</title>',
        f"<style>{_STYLE}</style>",
        _HATCH,
        _text(20, 30, heading(chart), "title"),
        *_legend(chart, 20, 56),
        *_bands(chart, bottom),
        *_grid(chart, left, scale, bottom),
        *_rows(chart, shown, left, scale),
        *_path(chart, left, scale),
        _text(_WIDTH - 20, _TOP - 12, "without waiting", "faint", "end"),
        *(_text(20, bottom + 56 + 18 * number, line, "faint") for number, line in enumerate(notes)),
        *(
            _text(20, bottom + 60 + 18 * (len(notes) + number), f"▲ {slow_line(slow)}", "slow")
            for number, slow in enumerate(chart.slow)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{marked} text-anchor="{anchor}">{escape(words)}</text>'


def _legend(chart: Chart, x: float, y: float) -> Iterator[str]:
    used = {segment.phase for row in chart.rows for segment in row.segments}
    shown = dict.fromkeys(_CLASSES[phase] for phase in _CLASSES if phase in used)
    if any(segment.failed for row in chart.rows for segment in row.segments):
        shown["failed", "failed"] = None
    shown["band critical", "critical path"] = None
    for kind, words in shown:
        yield f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="14" height="12" rx="2" class="{kind}"/>'
        yield _text(x + 20, y, words, "faint")
        x += 36 + _LABEL * len(words)


def _bands(chart: Chart, bottom: float) -> Iterator[str]:
    for number in range(0, len(chart.rows), 2):
        yield f'<rect x="12" y="{_TOP + _ROW * number}" width="{_WIDTH - 24}" height="{_ROW}" class="band"/>'
    del bottom


def _grid(chart: Chart, left: float, scale: float, bottom: float) -> Iterator[str]:
    step = tick_s(chart.whole_s, 8)
    for number in range(int(chart.whole_s / step + 1e-9) + 1):
        x = left + number * step * scale
        yield f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom + 6}" class="grid"/>'
        yield _text(x, bottom + 22, tick_label(number * step, step), "faint", "middle")
        yield _text(x, _TOP - 12, tick_label(number * step, step), "faint", "middle")


def _middle(number: int) -> float:
    return _TOP + _ROW * number + _ROW / 2


def _rows(chart: Chart, names: list[str], left: float, scale: float) -> Iterator[str]:
    slow = {one.service for one in chart.slow}
    for number, (row, name) in enumerate(zip(chart.rows, names, strict=True)):
        kind = "slow" if row.service in slow else "name-critical" if row.critical else ""
        yield _text(left - 14, _middle(number) + 4.5, name, kind, "end")
        for segment in row.segments:
            yield _bar(segment, number, left, scale)
        yield _text(_WIDTH - 20, _middle(number) + 4.5, _took(row), "faint", "end")


def _bar(segment: Segment, number: int, left: float, scale: float) -> str:
    kind, words = _CLASSES[segment.phase]
    marks = ["failed" if segment.failed else kind, *(["critical"] if segment.critical else [])]
    high = _BAR - 8 if segment.phase == Phase.WAIT else _BAR
    x, wide = left + segment.began_s * scale, max(segment.took_s * scale, 1.5)
    what = segment.step or (f"waiting for: {segment.on}" if segment.on else words)
    title = f"{what}: {seconds(segment.took_s)}, from {seconds(segment.began_s)} on"
    return (
        f'<rect x="{x:.1f}" y="{_middle(number) - high / 2:.1f}" width="{wide:.1f}" height="{high}" rx="2" '
        f'class="{" ".join(marks)}"><title>{escape(clean(title))}</title></rect>'
    )


def _took(row: Row) -> str:
    """Time taken without waiting."""
    if any(segment.failed for segment in row.segments):
        return "failed"
    return seconds(sum(segment.took_s for segment in row.segments if segment.phase != Phase.WAIT))


def _path(chart: Chart, left: float, scale: float) -> Iterator[str]:
    """Lines from the end of each critical bar to the start of the next one in another row."""
    places = {
        segment.step: (number, segment)
        for number, row in enumerate(chart.rows)
        for segment in row.segments
        if segment.critical
    }
    steps = [places[step] for step in chart.critical if step in places]
    for (above, before), (below, after) in itertools.pairwise(steps):
        if above != below:
            x, to = left + before.ended_s * scale, left + after.began_s * scale
            down = _BAR / 2 if below > above else -_BAR / 2
            top, end = _middle(above) + down, _middle(below) - down
            yield f'<path d="M{x:.1f} {top:.1f} V{end:.1f} H{to:.1f}" class="path"/>'


def _wrapped(words: str, most: int = 136) -> Iterator[str]:
    line = ""
    for word in words.split(" "):
        if line and len(line) + 1 + len(word) > most:
            yield line
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    yield line
