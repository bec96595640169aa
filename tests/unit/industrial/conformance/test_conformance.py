"""What the standard's tables and diagrams say, scan by scan; each case names its clause."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.st_harness import plc, program
from tests.unit.industrial.conformance import suite

ROWS = list(suite.rows())
CASES = list(enumerate(suite.load("sequences.yaml")))
FAULTS = suite.load("faults.yaml")


def test_there_are_as_many_cases_as_are_promised() -> None:
    assert len(ROWS) + len(CASES) + len(FAULTS) >= 400
    assert all(row.clause for row in ROWS)
    assert all(case["clause"] and case["scans"] for _, case in CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.dialect}: {row.expression}")
def test_expression(row: suite.Row) -> None:
    for compiler in ("tcc", "gcc"):
        got = suite.evaluated(row.dialect, compiler)[row.program, row.variable]
        assert suite.same(row.kind, got, row.expected), (compiler, row.clause, got)


def test_both_compilers_give_the_same_bits() -> None:
    for dialect in ("iec", "codesys23"):
        assert suite.evaluated(dialect, "tcc") == suite.evaluated(dialect, "gcc")


@pytest.mark.parametrize("compiler", ["tcc", "gcc"])
@pytest.mark.parametrize(
    ("number", "case"), CASES, ids=[f"{n}: {case['name']}" for n, case in CASES]
)
def test_scan_by_scan(number: int, case: dict[str, Any], compiler: str) -> None:
    dialect = case.get("dialect", suite.STANDARD)
    plant = suite.compiled("C", dialect, compiler)
    plant.init(warm=False)
    plant.now_us = 0
    task = suite.task_of("C", number, dialect)
    for position, (inputs, expected) in enumerate(case["scans"]):
        for name, value in zip(case["in"], inputs, strict=True):
            plant.set(f"C{number}.{name}", value)
        assert plant.scan(task=task, interval_us=case.get("interval_us", 10_000)) == ""
        got = [plant.get(f"C{number}.{name}") for name in case["out"]]
        assert got == pytest.approx(expected), f"scan {position} of {case['clause']}"


@pytest.mark.parametrize(("declare", "body", "fault", "line"), FAULTS)
def test_fault(declare: str, body: str, fault: str, line: int) -> None:
    p = plc(program(declare, body))
    assert p.scan() == fault
    assert p.line - 4 == line  # the body begins on the fifth line
