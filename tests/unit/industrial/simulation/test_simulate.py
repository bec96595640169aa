"""Scenarios in virtual time: when things happen, what variables hold, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.simulation import (
    Machine,
    ScenarioError,
    SimulationError,
    load_machine,
    parse_scenario,
    run_scenario,
)
from industrial.st import Folder

SOURCE = """
TYPE Color : (red, green := 5, blue); END_TYPE
TYPE Point : STRUCT x : REAL; y : ARRAY[1..3] OF INT; END_STRUCT END_TYPE
FUNCTION_BLOCK Broken VAR q : Nowhere; END_VAR q := 1; END_FUNCTION_BLOCK
PROGRAM Main
VAR_INPUT start : BOOL; d : INT := 1; END_VAR
VAR
    motor : BOOL; t1 : TON; n : DINT; s : STRING[10] := 'abc'; c : Color := green; p : Point;
    m : ARRAY[0..1, 1..2] OF INT; level AT %IW0 : INT; o AT %QW0 : INT; w : WORD; lt : LTIME; u : USINT;
    ever : BOOL;
END_VAR
VAR CONSTANT k : INT := 3; END_VAR
n := n + 1;
t1(IN := start, PT := T#20ms);
motor := t1.Q;
o := level + 1;
m[1, 2] := DINT_TO_INT(n);
WHILE ever DO n := n; END_WHILE;
n := n / d;
END_PROGRAM
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    scenario = parse_scenario({"program": "Main", "steps": []})
    with load_machine(Folder(sources={"m.st": SOURCE}), scenario, scan_limit_s=0.2) as made:
        yield made


def test_the_first_scan_sees_zero_and_a_timer_counts_from_there(machine: Machine) -> None:
    machine.set("main.START", True)
    assert machine.get("Main.start") is False, "a set waits for the next input latch"
    machine.scan()
    assert (machine.now_us, machine.get("Main.t1.ET"), machine.get("Main.start")) == (0, 0, True)
    machine.scan(2)
    assert (machine.now_us, machine.get("Main.t1.ET"), machine.get("Main.motor")) == (20_000, 20, True)  # fmt: skip


def test_time_passes_with_its_scans_or_without(machine: Machine) -> None:
    machine.advance(1_000_000)
    assert (machine.get("Main.n"), machine.now_us) == (101, 1_000_000)
    machine.advance(5_000)
    assert machine.get("Main.n") == 101
    machine.advance(5_000)
    assert machine.get("Main.n") == 102
    machine.advance(1_234_567, scans=False)
    assert machine.get("Main.n") == 102
    machine.scan()
    assert machine.now_us == 2_250_000, "the next instant of its own grid, none made up for"


def test_values_of_all_shapes(machine: Machine) -> None:
    machine.set("%IW0", 41)
    machine.set("Main.p", {"x": 1.5, "y": [1, 2, 3]})
    machine.set("Main.c", "blue")
    machine.set("Main.w.3", True)
    machine.set("Main.lt", "T#1h1us")
    machine.scan()
    assert machine.get("Main.o") == machine.get("%QW0") == 42
    assert machine.get("%QX0.1") is True
    assert machine.get("Main.p") == {"x": 1.5, "y": [1, 2, 3]}
    assert machine.get("Main.p.y[2]") == 2
    assert machine.get("Main.m") == [[0, 0], [0, 1]]
    assert machine.get("Main.m[1,2]") == machine.get("Main.m[1][2]") == 1
    assert (machine.get("Main.c"), machine.get("Main.s"), machine.get("Main.w")) == (6, "abc", 8)
    assert machine.get("Main.lt") == 3_600_000_001_000


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("Main.motr", True, "did you mean Main.motor"),
        ("Main.u", 256, "USINT holds 0 to 255"),
        ("Main.u", 1.5, "whole number"),
        ("Main.motor", 2, "true or false"),
        ("Main.s", "longer than ten", "at most 10"),
        ("Main.c", "purple", "one of red, green, blue"),
        ("Main.m[2,1]", 1, "index 2 is not in 0..1"),
        ("Main.m[1]", 1, "2 indices"),
        ("Main.t1.PT", "D#2026-01-01", "is DATE"),
        ("Main.k", 4, "constant"),
        ("%QW9999", 1, "bytes"),
        ("Main.w.16", True, "bits 0 to 15"),
    ],
)  # fmt: skip
def test_what_a_variable_cannot_hold_is_refused(
    machine: Machine, path: str, value: Any, words: str
) -> None:
    with pytest.raises(SimulationError, match=words.replace("[", r"\[").replace(".", r"\.")):
        machine.set(path, value)


def test_a_fault_ends_the_scans_and_publishes_nothing(machine: Machine) -> None:
    machine.scan(3)
    machine.set("Main.d", 0)
    machine.scan(5)
    assert machine.fault is not None
    assert (machine.fault.message, machine.fault.time_us) == ("division by zero", 30_000)
    assert SOURCE.splitlines()[machine.fault.line - 1] == "n := n / d;"
    # What was set from outside stays, as a client's write does; what the scan did is gone.
    assert (machine.get("Main.n"), machine.get("Main.d")) == (3, 0)


def test_an_endless_loop_is_ended(machine: Machine) -> None:
    machine.set("Main.ever", True)
    machine.scan()
    assert machine.fault is not None
    assert "watchdog" in machine.fault.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "an object"),
        ({"steps": {}}, "steps = {}: a list"),
        ({"steps": [{"scn": 1}]}, r"steps\[0\].scn is not known"),
        ({"steps": [{"scan": -1}]}, r"steps\[0\].scan = -1: a whole number, 0 to"),
        ({"steps": [{"set": 3}]}, r"steps\[0\].set = 3"),
        ({"steps": [{"get": 3}]}, r"steps\[0\].get = 3"),
        ({"steps": [], "interval_us": 3}, "interval_us = 3: a whole number, 100 to"),
        ({"steps": [], "dialect": "lisp"}, "dialect = 'lisp'"),
        ({"steps": [], "intervall": 3}, "intervall is not known"),
    ],
)
def test_a_scenario_that_breaks_a_rule_is_refused(data: Any, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        parse_scenario(data)


def test_a_step_is_named_with_the_variable_it_lacks(machine: Machine) -> None:
    scenario = parse_scenario({"program": "Main", "steps": [{"scan": 1}, {"get": ["Main.x"]}]})
    with pytest.raises(ScenarioError, match=r"steps\[1\]: 'Main\.x' is not a variable"):
        run_scenario(machine, scenario)


def test_the_command_writes_one_object_for_each_get(tmp_path: Path) -> None:
    (tmp_path / "m.st").write_text(SOURCE)
    scenario = {
        "program": "Main",
        "interval_us": 10_000,
        "steps": [
            {"set": {"Main.start": True}}, {"scan": 3}, {"get": ["Main.motor", "Main.t1.ET"]},
            {"advance_us": 1_000_000}, {"get": "Main.n"},
        ],
    }  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(scenario))
    out = tmp_path / "t.json"
    words = ["simulate", str(tmp_path / "m.st"), "--scenario", str(tmp_path / "s.json"), "--out", str(out)]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert [(row["time_us"], row["values"]) for row in result["trace"]] == [
        (20_000, {"Main.motor": True, "Main.t1.ET": 20}),
        (1_020_000, {"Main.n": 103}),
    ]
    assert result["faults"] == []
    # A program that is not there, and one that does not compile.
    (tmp_path / "s.json").write_text(json.dumps({**scenario, "program": "Nobody"}))
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, "Nobody" in done.output) == (1, True)


def test_two_tasks_run_on_their_own_grids() -> None:
    source = """
PROGRAM Fast VAR n : INT; END_VAR n := n + 1; END_PROGRAM
PROGRAM Slow VAR n : INT; END_VAR n := n + 1; END_PROGRAM
CONFIGURATION c
  TASK quick(INTERVAL := T#10ms, PRIORITY := 1);
  TASK idle(INTERVAL := T#25ms, PRIORITY := 5);
  PROGRAM Fast WITH quick : Fast;
  PROGRAM Slow WITH idle : Slow;
END_CONFIGURATION
"""
    with load_machine(Folder(sources={"m.st": source}), parse_scenario({"steps": []})) as machine:
        machine.advance(100_000)
        assert (machine.get("Fast.n"), machine.get("Slow.n")) == (11, 5)
