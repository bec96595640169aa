"""Suites of control programs: what holds, what fails and how it is told, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.st import Folder
from industrial.testing import SuiteError, SuiteResult, junit_xml, parse_suite, run_suite
from industrial.testing.expressions import Expression

SOURCE = """PROGRAM Main
VAR_INPUT level : INT; go : BOOL; bad : BOOL; END_VAR
VAR pump : BOOL; n : DINT; t : TON; zero : INT; END_VAR
n := n + 1;
t(IN := go, PT := T#100ms);
IF level > 80 THEN
    pump := FALSE;
ELSIF level < 20 AND t.Q THEN
    pump := TRUE;
END_IF;
IF bad THEN
    n := n / zero;
END_IF;
END_PROGRAM
"""
PLANT = {
    "variables": {"h": 10.0},
    "each_scan": ["h := LIMIT(0.0, h + SEL(Main.pump, -1.0, 10.0) * dt, 100.0)"],
    "feeds": {"Main.level": "h"},
}


def run(*steps: dict[str, Any], **more: Any) -> SuiteResult:
    data = {
        "program": "Main",
        "plant": PLANT,
        "tests": [{"name": "t", "steps": list(steps)}],
        **more,
    }
    return run_suite(Folder(sources={"m.st": SOURCE}), parse_suite(data, "s"))


def failure(*steps: dict[str, Any], **more: Any) -> str:
    (test,) = run(*steps, **more).tests
    assert test.failure is not None
    return str(test.failure)


def test_a_plant_answers_the_program() -> None:
    (test,) = run(
        {"set": {"Main.go": True}},
        {"hold": "90ms", "expect": {"Main.pump": False}},
        {"within": "50ms", "expect": {"Main.pump": True}},
        {"within": "10s", "expect": {"Main.pump": False, "Main.level": {"is": 80, "tolerance": 2}}},
        {"advance": "T#5s"},
        {"check": ["h < 80.0 AND NOT Main.pump", "Main.t.Q = TRUE", "Main.t.ET <> T#0s"]},
    ).tests  # fmt: skip
    assert test.failure is None, str(test.failure)
    assert test.time_us > 12_000_000


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"expect": {"Main.pump": True}}], "expected Main.pump is True (Main.pump = False)"),
        ([{"within": "1s", "expect": {"Main.pump": True}}], "within 1 s"),
        ([{"set": {"Main.go": True}}, {"hold": "1s", "check": "NOT Main.pump"}], "step 1 at 0.1 s: expected NOT Main.pump"),
        ([{"scan": 2}, {"set": {"Main.bad": True}}, {"scan": 3}], "step 2 at 0.02 s: task main stopped: division by zero at m.st:12"),
        ([{"expect": {"Main.level": {"above": 50}}}], "Main.level above 50"),
        ([{"expect": {"Main.level": {"between": [50, 60]}}}], "between [50, 60]"),
    ],
)  # fmt: skip
def test_a_failure_says_step_time_and_values(steps: list[dict[str, Any]], words: str) -> None:
    assert words in failure(*steps)


def test_interlocks_are_watched_at_every_scan() -> None:
    steps = ({"set": {"Main.go": True}}, {"advance": "20s"})
    assert "never: h > 50.0 (h = 50." in failure(*steps, never=["h > 50.0"])
    assert "always: Main.level < 40" in failure(*steps, always=["Main.level < 40"])


def test_a_devices_fault_bends_what_the_program_reads() -> None:
    stuck = [{"set": {"Main.go": True}}, {"within": "1s", "expect": {"Main.pump": True}}]
    (frozen,) = run(*stuck, {"inject": {"Main.level": {"freeze": True}}, "for": "2s"}, {"hold": "1900ms", "check": "Main.level < 20"}, {"within": "200ms", "check": "Main.level > 25"}).tests  # fmt: skip
    assert frozen.failure is None, str(frozen.failure)
    (offset,) = run({"inject": {"Main.level": {"offset": 70}}, "for": "1s"}, {"scan": 2}, {"expect": {"Main.level": {"above": 75}}}).tests  # fmt: skip
    assert offset.failure is None, str(offset.failure)
    (bad,) = run({"inject": {"Main.bad": {"stuck": False}}}, {"set": {"Main.bad": False}}, {"scan": 2}).tests  # fmt: skip
    assert bad.failure is None


def test_a_silent_device_keeps_its_value_and_loses_its_quality() -> None:
    source = """PROGRAM Main
VAR level AT %IW0 : INT; seen : INT; alarm : BOOL; END_VAR
seen := level;
alarm := NOT INPUT_GOOD(level) AND INPUT_AGE(level) >= T#50ms;
END_PROGRAM
"""
    steps = [
        {"scan": 3}, {"expect": {"Main.seen": 10, "Main.alarm": False}},
        {"inject": {"Main.level": {"silent": True}}, "for": "200ms"},
        {"within": "70ms", "expect": {"Main.alarm": True, "Main.seen": 10}},
        {"hold": "100ms", "expect": {"Main.alarm": True}},
        {"within": "60ms", "expect": {"Main.alarm": False}},
    ]  # fmt: skip
    plant = {"variables": {"h": 10.0}, "feeds": {"Main.level": "h"}}
    data = {"program": "Main", "plant": plant, "tests": [{"name": "t", "steps": steps}]}
    (test,) = run_suite(Folder(sources={"m.st": source}), parse_suite(data, "s")).tests
    assert test.failure is None, str(test.failure)
    steps[2]["inject"]["Main.level"]["silent"] = "yes"  # type: ignore[index]
    with pytest.raises(SuiteError, match="silent = 'yes': true"):
        parse_suite(data, "s")


def test_what_did_not_run_is_named() -> None:
    result = run({"scan": 3})
    assert result.coverage.missing() == {"m.st": [7, 9, 12]}
    assert 0.5 < result.coverage.ratio < 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "a mapping"),
        ({"tests": 3}, "tests = 3: a list"),
        ({"tests": [{"steps": []}]}, r"tests\[0\].name = None"),
        ({"tests": [{"name": "a", "steps": [{"scn": 1}]}]}, r"steps\[0\].scn is not known"),
        ({"tests": [{"name": "a", "steps": [{"within": "1s"}]}]}, "want expect or check"),
        ({"tests": [{"name": "a", "steps": [{"advance": "soon"}]}]}, "advance = 'soon': a time"),
        ({"tests": [{"name": "a", "steps": [{"expect": {"x": {"near": 1}}}]}]}, "near is not known"),
        ({"tests": [], "never": ["x +"]}, r"never\[0\]: 'x \+': not an expression"),
        ({"tests": [], "never": ["__import__('os').getcwd()"]}, "not known here"),
        ({"tests": [], "plant": {"each_scan": ["y := 1"]}}, "a name of plant.variables"),
        ({"tests": [], "interval_us": 1}, "interval_us = 1"),
        ({"tests": [], "format": 2}, "format = 2"),
    ],
)  # fmt: skip
def test_a_suite_that_breaks_a_rule_is_refused(data: Any, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        parse_suite(data, "s")


def test_an_unknown_tag_is_named_with_its_test() -> None:
    with pytest.raises(SuiteError, match=r"test 't', step 0: 'Main\.pmp' is not a variable"):
        run({"expect": {"Main.pmp": True}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 = 7", True),
        ("NOT a AND b", True),
        ("a XOR b", True),
        ("7 MOD 4", 3.0),
        ("x.y[1,2] <> 'text'", True),
        ("T#1s500ms", 1500.0),
        ("SEL(TRUE, 1, 2)", 2),
        ("%QW3 + 1", 5),
        ("-MAX(1, ABS(-3))", -3),
    ],
)
def test_expressions_read_as_structured_text(text: str, value: Any) -> None:
    tags = {"a": False, "b": True, "x.y[1,2]": "other", "%QW3": 4}
    assert Expression(text, "here").value(tags.__getitem__) == value


@pytest.mark.parametrize("name", ["filling_line", "conveyor_sorting", "temperature_zone"])
def test_the_examples_suites_pass_and_junit_tells(tmp_path: Path, name: str) -> None:
    example = Path(__file__).resolve().parents[4] / "examples" / name
    junit = tmp_path / "junit.xml"
    done = CliRunner().invoke(main, ["test", str(example), "--junit", str(junit), "--format", "json", "--cover", "90"])  # fmt: skip
    assert done.exit_code == 0, done.output
    tests = json.loads(done.output)["suites"][0]["tests"]
    assert len(tests) >= 6
    assert all(test["ok"] for test in tests)
    root = fromstring(junit.read_bytes())  # noqa: S314 - written a moment ago
    assert root[0].attrib["failures"] == "0"


def test_junit_names_what_failed() -> None:
    assert b"failure message" in junit_xml([run({"expect": {"Main.pump": True}})])
