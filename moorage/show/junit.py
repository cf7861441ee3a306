"""JUnit XML, the test report format that every CI server reads: counts existing reports and writes our own."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import IO, Any
from xml.etree import ElementTree as ET

from moorage.errors import MoorageError
from moorage.model.state import StackStatus
from moorage.show.formatting import clean

_MOST_NAMES = 20
_PIECE = 1 << 16


def counted(name: str, file: IO[bytes], limit_bytes: int) -> Mapping[str, Any] | None:
    """A report in numbers: name, tests, failures, errors, skipped, failed (names). Raises OSError.

    None: it is not JUnit XML, or larger than `limit_bytes`. It is read piece by piece, because every test of a large
    suite may have a long output in it; as UTF-8, whatever it says of itself, because tests may print any bytes.
    """
    count = _Count()
    text = codecs.getincrementaldecoder("utf-8")("replace")
    parser = ET.XMLParser(target=count)  # noqa: S314 - written by the user's own tests; expat bounds entity expansion
    try:
        while piece := file.read(_PIECE):
            limit_bytes -= len(piece)
            if limit_bytes < 0:
                return None
            parser.feed(text.decode(piece))
        parser.close()
    except ET.ParseError:
        return None
    if count.root not in ("testsuites", "testsuite"):
        return None
    kinds = {"failures": count.kinds["failure"], "errors": count.kinds["error"], "skipped": count.kinds["skipped"]}
    failed = [*count.failed["failure"], *count.failed["error"]]
    return {"name": name, "tests": count.tests, **kinds, "failed": failed[:_MOST_NAMES]}


class _Count:
    """What the parser tells, and nothing is kept of but numbers and a few names."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.tests = 0
        self.kinds = {"failure": 0, "error": 0, "skipped": 0}
        self.failed: dict[str, list[str]] = {kind: [] for kind in self.kinds}
        self._depth = 0
        self._case: tuple[int, str, set[str]] | None = None
        """The case that has begun: its depth, its name and what has come of it."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.root = tag if self.root is None else self.root
        if tag == "testcase":
            self.tests += 1
            self._case = self._depth, ".".join(filter(None, map(attributes.get, ("classname", "name")))), set()
        elif self._case and self._depth == self._case[0] + 1 and tag in self.kinds and tag not in self._case[2]:
            self._case[2].add(tag)
            self.kinds[tag] += 1
            if len(self.failed[tag]) < _MOST_NAMES:
                self.failed[tag].append(self._case[1])
        self._depth += 1

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "testcase":
            self._case = None

    def close(self) -> None:
        """The end of the report."""


def stack_report(stack: str, status: StackStatus | None, error: MoorageError | None, elapsed_s: float) -> str:
    """The start of a stack as a report: a test case for each service, or the failure. `status` None: it failed."""
    suite = ET.Element("testsuite", name="moorage", time=f"{elapsed_s:.3f}")
    if error:
        case = ET.SubElement(suite, "testcase", classname="moorage.up", name=str(error.fields.get("service") or stack))
        problem = ET.SubElement(case, "error", message=clean(str(error)), type=type(error).__name__)
        problem.text = clean(str(error.fields.get("log") or error.hint or ""))
    for name, service in (status.services if status else {}).items():
        took_s = f"{service.time_to_ready_s or 0:.3f}"
        ET.SubElement(suite, "testcase", classname="moorage.up", name=name, time=took_s)
    suite.set("tests", str(len(suite)))
    suite.set("errors", "1" if error else "0")
    suite.set("failures", "0")
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
