"""No test outside tests/benchmarks says how long something may take: on a busy machine it takes many times as long.

What is to be quick is bounded in its work (calls, statements, bytes, processor time), or is measured by `make bench`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {"monotonic", "perf_counter", "time", "process_time"}


def offenders(source: str) -> list[str]:
    """Assertions that a stretch of time is shorter than something, anywhere in a file."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            measured = {
                target.id
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and _is_stretch(node.value, set())
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            found += [
                f"line {node.lineno}: {ast.unparse(node)}"
                for node in ast.walk(function)
                if isinstance(node, ast.Assert) and any(_is_stretch(short, measured) for short in _shorter(node.test))
            ]
    return found


def _shorter(test: ast.expr) -> Iterator[ast.expr]:
    """What an assertion says is less than something else."""
    for comparison in (node for node in ast.walk(test) if isinstance(node, ast.Compare)):
        sides = [comparison.left, *comparison.comparators]
        for left, operator, right in zip(sides, comparison.ops, sides[1:], strict=False):
            if isinstance(operator, ast.Lt | ast.LtE):
                yield left
            elif isinstance(operator, ast.Gt | ast.GtE):
                yield right


def _is_stretch(expression: ast.expr, measured: set[str]) -> bool:
    """True: a difference of two times, or a name for one."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id in measured:
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _asks_a_clock(node.left):
            return True
    return False


def _asks_a_clock(expression: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
        and isinstance(node.func.value, ast.Name) and node.func.value.id == "time"
        for node in ast.walk(expression)
    )  # fmt: skip


def test_no_test_is_about_the_clock() -> None:
    files = [file for file in TESTS.rglob("*.py") if "benchmarks" not in file.parts]
    found = {str(file.relative_to(TESTS)): offenders(file.read_text()) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("assertion", "is_one"),
    [
        ("assert time.monotonic() - began < 2", True),
        ("took = time.perf_counter() - began\n    assert 1 < took <= 2", True),
        ("took = (time.time() - began) / 50\n    assert 2 > took", True),
        ("assert time.monotonic() - began >= 2", False),
        ("assert time.monotonic() < deadline, 'it does not happen'", False),
        ("took = time.monotonic() - began\n    print(took)", False),
    ],
)
def test_what_counts(assertion: str, is_one: bool) -> None:
    assert bool(offenders(f"def test():\n    began = time.monotonic()\n    {assertion}\n")) is is_one
