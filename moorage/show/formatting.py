"""Formats numbers, times, ports, untrusted text and plain text tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from unicodedata import combining, east_asian_width

from moorage.model.state import BoundPort

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links, clipboard
    r"|[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|[ -/]*[0-~]?)"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# CI servers obey lines of a job's output. GitHub: `::error::text` after white space, and `##[error]text` anywhere in a
# line (actions/runner, ActionCommand.cs); Azure and TeamCity: `##vso[…]`, `##teamcity[…]` anywhere. (The sections of
# GitLab begin with an escape sequence.)
_AT_BEGIN = re.compile(r"^([^\S\n]*:)(?=:[A-Za-z][\w-]*(?:[^\S\n][^\n]*)?::)", re.MULTILINE)
_ANYWHERE = re.compile(r"##(?=\w*\[)")
_IN_JSON = re.compile(r"(##\w*)\[")
_NEVER_HTTP = frozenset({22, 25, 53, 1433, 1521, 3306, 5432, 5672, 6379, 9092, 11211, 27017})
_HTTP = (
    frozenset(
        {
            80,
            81,
            443,
            591,
            1080,
            1313,
            1337,
            2368,
            3100,
            4000,
            4040,
            4200,
            4321,
            5050,
            5601,
            5678,
            6006,
            7007,
            7474,
            7860,
        }
        | {
            8025,
            8443,
            8501,
            8761,
            8834,
            8888,
            8983,
            9000,
            9001,
            9090,
            9091,
            9093,
            9200,
            9411,
            9443,
            15672,
            16686,
            19006,
        }
        | {*range(3000, 3011), *range(5000, 5011), *range(5173, 5176), *range(8000, 8100)}
    )
    - _NEVER_HTTP
)
_HTTPS = frozenset({443, 8443, 9443})
_HERE = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"})  # noqa: S104 - compared, not bound


def clean(text: str) -> str:
    """Make untrusted text safe to print: no escape sequences, no control characters except line ends and tabs.

    Nor commands that a CI server would obey: a space takes their meaning. If a program overwrote a line with carriage
    returns, its last state is kept.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    shown = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
    return without_commands(_SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", shown))))


def without_commands(text: str) -> str:
    """Put a space into whatever a CI server would obey: `: :error::`, `## [error]`."""
    return _ANYWHERE.sub(r"\g<0> ", _AT_BEGIN.sub(r"\1 ", text))


def json_without_commands(text: str) -> str:
    """The same for JSON, which stays what it is: the bracket is written as its escape. No text begins a line."""
    return _IN_JSON.sub(r"\1\\u005b", text)


def one_line(text: str) -> str:
    """The first line of untrusted text that is not blank."""
    return next((line.strip() for line in clean(text).replace("\t", " ").split("\n") if line.strip()), "")


def seconds(value: float) -> str:
    """`0.31 s`, `12.3 s`, `2 m 05 s`, `1 h 03 m`."""
    if value < 9.995:
        return f"{max(value, 0):.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} m {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} m"


def span(value: float) -> str:
    """A rough duration: `40 s`, `5 min`, `3 h`, `2 days`."""
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if value >= size:
            count = int(value // size)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{max(int(value), 0)} s"


def ago(then: datetime, now: datetime) -> str:
    """`5 min ago`, `in 3 h`."""
    passed_s = (now - then).total_seconds()
    return f"{span(passed_s)} ago" if passed_s >= 0 else f"in {span(-passed_s)}"


def count(number: int, noun: str) -> str:
    """`1 service`, `3 services`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short_id(image_id: str | None) -> str:
    """The first twelve digits of an image's id, as `docker images` shows it. None: `-`."""
    return (image_id or "").removeprefix("sha256:")[:12] or "-"


def host_port(host: str, port: int) -> str:
    """An address with its port; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of(port: BoundPort) -> str | None:
    """The URL for a browser. None: going by its container port, it is not HTTP."""
    if port.protocol != "tcp" or port.target not in _HTTP:
        return None
    scheme = "https" if port.target in _HTTPS else "http"
    return f"{scheme}://{host_port('localhost' if port.host_ip in _HERE else port.host_ip, port.published)}"


def without_twins(ports: Iterable[BoundPort]) -> list[BoundPort]:
    """The ports in order; if a port is bound to all addresses, IPv4 and IPv6, only one of the two entries."""
    found = {(p.target, p.protocol, p.published, p.host_ip): p for p in ports}
    everywhere = {key[:3] for key in found if key[3] == "0.0.0.0"}  # noqa: S104 - compared, not bound
    kept = [p for key, p in found.items() if not (key[3] == "::" and key[:3] in everywhere)]
    return sorted(kept, key=lambda p: (p.target, p.protocol, p.published))


def port_text(port: BoundPort, *, urls: bool) -> str:
    """`127.0.0.1:5432->5432/tcp`, or `http://localhost:8010 (8000)` for a browser."""
    url = url_of(port) if urls else None
    if url:
        return f"{url} ({port.target})"
    return f"{host_port(port.host_ip, port.published)}->{port.target}/{port.protocol}"


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, columns: int) -> str:
    """The text, padded with spaces on the right."""
    return text + " " * (columns - width(text))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart; a cell may have several lines. Empty columns are left out."""
    used = [i for i in range(len(head)) if any(row[i] not in ("", "-") for row in rows)] or [0]
    lines = [tuple(head[i] for i in used)]
    for row in rows:
        lines.extend(zip_longest(*(row[i].split("\n") for i in used), fillvalue=""))
    return "\n".join(_aligned(lines))


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(width(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(padded(cell, columns) for cell, columns in zip(line, widths, strict=True)).rstrip()
