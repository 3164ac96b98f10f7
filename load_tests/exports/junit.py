"""JUnit XML, which every CI shows: one test case for each rule of validity and each objective.

A missed objective is a failure; a broken rule of validity is an error, since then nothing was measured; an objective
with too few samples is skipped, with the numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree as ET

from load_tests.report import formats

_NOT_XML = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the result; `text` says what was found."""

    group: str
    name: str
    result: Literal["passed", "failure", "error", "skipped"]
    text: str


def of_run(data: dict[str, Any]) -> list[Case]:
    """Cases of a run, from the content of report.json."""
    cases = [
        Case("validity", c["name"], "passed" if c["ok"] else "error", f"{c['found']}, allowed {c['allowed']}")
        for c in data["validity"]
    ]
    results: dict[str, Literal["passed", "failure", "skipped"]] = {
        "PASS": "passed",
        "FAIL": "failure",
        "NOT ENOUGH": "skipped",
    }
    for gate in data["gates"]:
        text = f"{formats.gate_value(gate)} on {gate['samples']} samples, {gate['needed']} needed"
        cases.append(Case("objectives", formats.objective(gate), results[gate["verdict"]], text))
    if not data["gates"]:
        succeeded = data["overall"]["successes"]
        result: Literal["passed", "failure"] = "passed" if succeeded else "failure"
        cases.append(Case("objectives", "at least one success", result, f"{succeeded} succeeded"))
    return cases


def document(name: str, cases: Sequence[Case], *, seconds: float = 0.0) -> str:
    """Write the XML."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", {"name": _clean(name), "time": f"{seconds:.3f}"})
    counts = {"tests": len(cases), "failures": 0, "errors": 0, "skipped": 0}
    for case in cases:
        element = ET.SubElement(suite, "testcase", {"classname": f"{name}.{case.group}", "name": _clean(case.name)})
        if case.result != "passed":
            counts[{"failure": "failures", "error": "errors", "skipped": "skipped"}[case.result]] += 1
            ET.SubElement(element, case.result, {"message": _clean(case.text)})
        else:
            ET.SubElement(element, "system-out").text = _clean(case.text)
    for key, value in counts.items():
        root.set(key, str(value))
        suite.set(key, str(value))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Leave out characters that XML cannot hold: names and errors come from a server."""
    return _NOT_XML.sub("", text)
