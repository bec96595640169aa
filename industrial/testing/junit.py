"""Results as JUnit XML, which build servers show."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from .runner import SuiteResult


def junit_xml(results: Iterable[SuiteResult]) -> bytes:
    """One <testsuite> for each suite; times are virtual seconds."""
    root = Element("testsuites")
    for result in results:
        suite = SubElement(
            root, "testsuite", name=result.name, tests=str(len(result.tests)),
            failures=str(result.failed), errors="0",
            time=f"{sum(test.time_us for test in result.tests) / 1e6:.6f}",
        )  # fmt: skip
        for test in result.tests:
            case = SubElement(
                suite, "testcase", classname=result.name, name=test.name,
                time=f"{test.time_us / 1e6:.6f}",
            )  # fmt: skip
            if test.failure is not None:
                text = str(test.failure)
                SubElement(case, "failure", message=text[:500]).text = text
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))
