"""JUnit XML, the test report format that every CI server reads: counts existing reports and writes our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from moorage.errors import MoorageError
from moorage.model.state import StackStatus
from moorage.show.formatting import clean

_MOST_NAMES = 20


def counted(name: str, text: str) -> Mapping[str, Any] | None:
    """A report in numbers: name, tests, failures, errors, skipped, failed (names). None: it is not JUnit XML."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - written by the user's own tests; expat bounds entity expansion
    except ET.ParseError:
        return None
    if root.tag not in ("testsuites", "testsuite"):
        return None
    cases = list(root.iter("testcase"))
    kinds = {kind: [case for case in cases if case.find(kind) is not None] for kind in ("failure", "error", "skipped")}
    failed = [_name(case) for kind in ("failure", "error") for case in kinds[kind]]
    return {
        "name": name,
        "tests": len(cases),
        "failures": len(kinds["failure"]),
        "errors": len(kinds["error"]),
        "skipped": len(kinds["skipped"]),
        "failed": failed[:_MOST_NAMES],
    }


def _name(case: ET.Element) -> str:
    return ".".join(filter(None, (case.get("classname"), case.get("name"))))


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
