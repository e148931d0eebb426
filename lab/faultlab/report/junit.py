"""Results as JUnit XML, as CI systems read it: a scenario is a test case. Valid by the schema of Jenkins' xUnit plugin.

FAIL is a `failure`; INCONCLUSIVE is an `error`, for nothing was proven: CI must not show it as passed or as skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from faultlab.checks.base import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.printing import printable
from faultlab.report.text import result_lines

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 allows nowhere, not even escaped (section 2.2)."""
_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error"}


def junit_report(results: Sequence[RunResult]) -> str:
    """One test suite. What one needs to run a case again, its seed and evidence, is in its output."""
    counts = {name: sum(result.verdict is verdict for result in results) for verdict, name in _ELEMENTS.items()}
    suite = ElementTree.Element(
        "testsuite",
        name="lab",
        tests=str(len(results)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped="0",
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    suite.extend(_case(result) for result in results)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _case(result: RunResult) -> ElementTree.Element:
    place = f"{result.runtime}.{result.engine}"
    case = ElementTree.Element("testcase", name=_clean(result.scenario), classname=place, time=f"{result.seconds:.3f}")
    if result.verdict in _ELEMENTS:
        trouble = ElementTree.SubElement(case, _ELEMENTS[result.verdict], message=_clean(_why(result)))
        trouble.set("type", result.verdict.value)
    ElementTree.SubElement(case, "system-out").text = _clean("\n".join(result_lines(result)))
    return case


def _why(result: RunResult) -> str:
    """What made the verdict, in one line."""
    if result.error is not None:
        return result.error
    return "; ".join(f"{one.name}: {one.summary}" for one in result.checks if one.verdict is result.verdict)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", printable(text))
