"""The bench of OSCAT's blocks itself, on blocks of our own: what it accepts, what it finds, what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.oscat.__main__ import measured, summary
from tests.bench.oscat.cases import Case, CaseError, load

ROOT = Path(__file__).resolve().parents[4]
HALF = b"FUNCTION HALF : REAL VAR_INPUT X : REAL; END_VAR HALF := X / 2.0; END_FUNCTION"
PULSE = b"""
FUNCTION_BLOCK TP_1 VAR_INPUT IN : BOOL; PT : TIME; RST : BOOL; END_VAR VAR_OUTPUT Q : BOOL; END_VAR
VAR begun : TIME; was : BOOL; END_VAR
IF IN AND NOT was AND NOT RST THEN Q := TRUE; begun := TIME();
ELSIF RST OR TIME() - begun >= PT THEN Q := FALSE; END_IF;
was := IN;
END_FUNCTION_BLOCK
"""


def table(tmp_path: Path, text: str) -> list[Case]:
    (tmp_path / "own.yaml").write_text(text)
    return load(tmp_path)


def test_the_committed_tables_can_be_read() -> None:
    cases = load()
    assert {case.chapter for case in cases} >= {
        "mathematics",
        "text",
        "time_date",
        "gates",
        "blocks",
    }
    assert all(case.rows() for case in cases)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("- {block: A, wants: 1}", "own: A: wants: one of"),
        ("- {block: A}", "own: A: one of scans, model, or is and out"),
        ("- {block: A, is: 1, scans: []}", "own: A: one of scans, model"),
        ("- {block: A, in: {X: [1, 2], Y: [1]}, is: 1}", "lists of"),
        ("- {block: A, in: {X: [1, 2]}, is: [1]}", "own: A: 1 values for 2 rows"),
        ("- {block: A, call: 'r := 1;', is: 1}", "its variables stand in vars"),
        ("block: A", "own.yaml: a list of cases"),
    ],
)
def test_a_table_that_breaks_a_rule_is_named(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(CaseError, match=rule):
        table(tmp_path, text)


def test_what_differs_is_told_by_both_compilers_and_what_agrees_is_counted(tmp_path: Path) -> None:
    cases = table(
        tmp_path,
        """
- {block: HALF, in: {X: [3, -5]}, is: x / 2}
- {block: HALF, in: {X: [3, -5]}, is: [1.5, -2.25]}
- {block: TP_1, model: pulse, count: 50, set: {0: {PT: 30}}, random: {IN: [0, 0, 1], RST: [0, 0, 0, 1]}}
- {block: TP_1, scans: [[0, {PT: 30, IN: 1}, {Q: 1}], [30, {}, {Q: 1}]]}
- {block: ELSEWHERE, is: 1}
""",
    )
    verdicts, absent = measured(cases, {"half.exp": HALF, "pulse.exp": PULSE})
    assert absent == ["ELSEWHERE"]
    assert [len(v.differences) for v in verdicts] == [0, 2, 0, 2]
    assert [v.checks for v in verdicts] == [4, 4, 100, 4]
    assert "tcc: X = -5: r = -2.5, wanted -2.25" in verdicts[1].differences
    assert "gcc: at 30 ms: Q = False, wanted True" in verdicts[3].differences
    rows = summary(verdicts, absent, {"HALF": "FUNCTION", "TP_1": "FUNCTION_BLOCK"})
    assert (rows["functions"], rows["function_blocks"], rows["agree"]) == (1, 1, 2)
    assert rows["differ"] == ["HALF", "TP_1"]


def test_a_fault_and_a_name_that_is_not_there_are_differences(tmp_path: Path) -> None:
    cases = table(
        tmp_path,
        """
- {block: INVERSE, in: {X: 0}, is: 1}
- {block: INVERSE, in: {X: 0}, fault: division}
- {block: INVERSE, in: {X: 4}, is: 0.25, out: {Y: 1}}
- {block: INVERSE, in: {X: 4}, is: nothing(x)}
""",
    )
    source = b"FUNCTION INVERSE : REAL VAR_INPUT X : REAL; END_VAR INVERSE := 1.0 / X; END_FUNCTION"
    verdicts, _ = measured(cases, {"inverse.exp": source})
    told = ["; ".join(verdict.differences) for verdict in verdicts]
    assert "fault 'division'" in told[0]
    assert told[1] == ""
    assert "Y = 1: there is no such variable" in told[2]
    assert "NameError" in told[3]


@pytest.mark.parametrize(("body", "code"), [("(EXP(X) - EXP(-X)) / 2.0", 0), ("EXP(X) / 2.0", 1)])
def test_the_command_ends_with_one_where_a_block_differs(
    tmp_path: Path, body: str, code: int
) -> None:
    (tmp_path / "SINH.EXP").write_text(
        f"FUNCTION SINH : REAL VAR_INPUT X : REAL; END_VAR SINH := {body}; END_FUNCTION"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.oscat", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == code, done.stderr
    assert (rows["functions"], rows["differ"]) == (1, ["SINH"] if code else [])
