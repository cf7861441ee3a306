"""Our own expressions take linear time on any text: what they look at is written by others.

One that begins again at each letter of a long word takes a second for 20 000 letters and hours for a megabyte, deaf to
Ctrl-C. Measured in the process's own CPU time, of which each gets a hundred times what it needs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 60_000
UNITS = (
    *("x", "1", " ", "\t", "\n", "\r", "_", "-", "a.", "a-", "a/", "/", "\\", '"', "'", "$", "${", "=", "x=", "x:", "--a ", "(", "["),
    *("a b ", "1h", "1.", "<", "<<", "aA1", "A_", "@", "#", "é", "\x1b", "a,", "://a:", "https://", "services.a", "'services["),
    *('x="', '{"a":"', '\\"', "Image x ", "buildx "),
)  # fmt: skip


def _searches(source: str, name: str) -> bool:
    """True: it is looked for anywhere in a text. Else the whole text, or its beginning, has to match."""
    return re.search(rf"\b{name}\.(search|finditer|findall|sub|split)\b", source) is not None


def _examine() -> None:
    """All expressions of all modules, each told before it is tried: the last one told took too long."""
    import importlib
    import resource

    for path in sorted((ROOT / "moorage").rglob("*.py")):
        source = path.read_text()
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if (
            "re.compile(" not in source
            or "templates" in module.split(".")
            or module.startswith("moorage.adapters.dagger")
        ):
            continue
        for name, one in vars(importlib.import_module(module)).items():
            if not isinstance(one, re.Pattern) or f"{name} = " not in source:
                continue
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(module, name, flush=True)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 15, resource.RLIM_INFINITY))
            for unit in UNITS:
                text = (unit * (LENGTH // len(unit)))[:LENGTH]
                for whole in (text, f"{text}!", f"a{text}\n"):
                    tried = whole.encode() if isinstance(one.pattern, bytes) else whole
                    if _searches(source, name):
                        for _ in one.finditer(tried):  # type: ignore[arg-type]
                            pass
                    else:
                        one.match(tried), one.fullmatch(tried)  # type: ignore[arg-type]
    print("all")


def test_all_are_linear():
    script = "import runpy; runpy.run_path(__import__('sys').argv[1])['_examine']()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, __file__],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = done.stdout.splitlines()
    assert told[-1:] == ["all"], f"too slow: {told[-1:]} {done.stderr[-2000:]}"
    assert len(told) > 50
