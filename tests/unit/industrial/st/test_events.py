"""Tasks that an event starts (IEC 61131-3 ed. 3, table 63)."""

from __future__ import annotations

import ctypes

import pytest

from industrial.simulation import Machine
from industrial.st import Compiled, Config, TaskConfig, compile_project
from tests.support.st_harness import Plc

SOURCE = """
VAR_GLOBAL request, other : BOOL; number : INT; END_VAR
PROGRAM Count
VAR_INPUT step : DINT := 1; END_VAR VAR n : DINT; END_VAR VAR_OUTPUT full : BOOL; END_VAR
n := n + step; full := n >= 2;
END_PROGRAM
PROGRAM Taking
VAR n : DINT; END_VAR
n := n + 1; request := FALSE;
END_PROGRAM
PROGRAM Asking
VAR n : DINT; END_VAR
n := n + 1; request := TRUE;
END_PROGRAM
"""


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(tasks: str, *, dialect: str = "iec") -> Compiled:
    source = (
        f"{SOURCE}CONFIGURATION c\nRESOURCE r ON PLC\n{tasks}\nEND_RESOURCE\nEND_CONFIGURATION\n"
    )
    return compile_project({"a.st": source}, Config(dialect=dialect))


def said(result: Compiled) -> str:
    return "\n".join(row.render() for row in result.diagnostics)


def looks(plc: Plc, values: str, variable: str = "request") -> None:
    """One look of the first task for each digit, which is the variable's value before it; 10 ms apart."""
    for digit in values:
        plc.set(variable, int(digit))
        assert not plc.scan()


@pytest.mark.parametrize("dialect", ["iec", "codesys23"])
def test_each_rising_edge_runs_the_programs_once(cc: str, dialect: str) -> None:
    result = made(
        "TASK burst(SINGLE := request, PRIORITY := 1);\n"
        "PROGRAM A WITH burst : Count;\nPROGRAM B WITH burst : Count(step := 10);",
        dialect=dialect,
    )
    assert result.ok, said(result)
    plc = Plc(result, cc)
    looks(plc, "000")
    assert (plc.get("A.n"), plc.get("B.n")) == (0, 0)
    looks(plc, "1110010")
    assert (plc.get("A.n"), plc.get("B.n")) == (2, 20)
    assert result.symbols["tasks"][0]["programs"] == ["A", "B"]


def test_what_is_true_from_the_beginning_is_an_edge_as_of_an_r_trig(cc: str) -> None:
    result = made("TASK burst(SINGLE := request);\nPROGRAM A WITH burst : Count;")
    plc = Plc(result, cc)
    looks(plc, "11")
    assert plc.get("A.n") == 1


def test_all_programs_run_though_the_first_ends_the_event_and_it_may_come_again(cc: str) -> None:
    result = made(
        "TASK burst(SINGLE := request);\nPROGRAM A WITH burst : Taking;\nPROGRAM B WITH burst : Count;"
    )
    plc = Plc(result, cc)
    looks(plc, "1")
    assert (plc.get("A.n"), plc.get("B.n"), plc.get("request")) == (1, 1, False)
    # Another task raises it between two looks, without FALSE having been seen by one.
    looks(plc, "1")
    assert (plc.get("A.n"), plc.get("B.n")) == (2, 2)


def test_an_event_that_its_own_programs_raise_is_seen_at_the_next_look(cc: str) -> None:
    result = made("TASK own(SINGLE := request, INTERVAL := T#50ms);\nPROGRAM A WITH own : Asking;")
    plc = Plc(result, cc)
    assert not plc.scan()
    assert plc.get("A.n") == 1
    assert not plc.scan()
    assert plc.get("A.n") == 2


def test_with_an_interval_it_is_periodic_as_long_as_single_is_false(cc: str) -> None:
    result = made(
        "TASK mixed(SINGLE := request, INTERVAL := T#30ms);\nPROGRAM A WITH mixed : Count;"
    )
    plc = Plc(result, cc)
    seen = []
    for digit in "000000011111110000000":
        plc.set("request", int(digit))
        assert not plc.scan()
        seen.append(plc.get("A.n"))
    # At 0, 30 and 60 ms; the edge at 70 ms; nothing while it stands; from 140 ms on every 30 ms.
    assert seen == [1, 1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7]


def test_an_interval_of_zero_is_none(cc: str) -> None:
    result = made("TASK e(SINGLE := request, INTERVAL := T#0s);\nPROGRAM A WITH e : Count;")
    assert result.ok, said(result)
    plc = Plc(result, cc)
    looks(plc, "00010")
    assert plc.get("A.n") == 1


def test_single_may_be_an_input_or_another_instances_output(cc: str) -> None:
    result = made(
        "TASK byinput(SINGLE := %IX0.3);\nTASK byoutput(SINGLE := A.full);\n"
        "PROGRAM A WITH byinput : Count;\nPROGRAM B WITH byoutput : Count;"
    )
    assert result.ok, said(result)
    plc = Plc(result, cc)
    for value, runs in (
        (0, (0, 0)),
        (8, (1, 0)),
        (0, (1, 0)),
        (8, (2, 1)),
        (0, (2, 1)),
        (8, (3, 1)),
    ):
        ctypes.memset(plc.library.plc_area(plc.handle, 1), value, 1)
        assert not plc.scan(task=0)
        assert not plc.scan(task=1)
        assert (plc.get("A.n"), plc.get("B.n")) == runs


@pytest.mark.parametrize(
    ("tasks", "interval_us"),
    [
        ("TASK e(SINGLE := request);", 10_000),
        ("TASK e(SINGLE := request, INTERVAL := T#2ms);", 2_000),
        ("TASK e(SINGLE := request);\nTASK fast(INTERVAL := LTIME#500us);", 500),
        ("TASK e(SINGLE := request);\nTASK slow(INTERVAL := T#1s);", 10_000),
    ],
)
def test_it_looks_as_often_as_the_fastest_task_and_every_10_ms_at_least(
    tasks: str, interval_us: int
) -> None:
    result = made(f"{tasks}\nPROGRAM A WITH e : Count;")
    assert result.ok, said(result)
    rows = {row["name"]: row["interval_us"] for row in result.symbols["tasks"]}
    assert rows["e"] == interval_us


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("TASK e(PRIORITY := 1);", "task e needs an INTERVAL, or SINGLE"),
        ("TASK e(SINGLE := request AND other);", "task e: SINGLE wants a variable"),
        ("TASK e(SINGLE := nothing);", "nothing is not declared"),
        ("TASK e(SINGLE := number);", "BOOL expected, this is INT"),
        ("TASK e(SINGLE := request, INTERVAL := T#50us);", "the shortest interval is 100 us"),
        ("TASK e(SINGEL := request);", "SINGEL: a task has INTERVAL, PRIORITY and SINGLE"),
    ],
)
def test_what_is_wrong_with_an_event_task_is_told_at_its_line(task: str, text: str) -> None:
    result = made(f"{task}\nPROGRAM A WITH e : Count;")
    line = SOURCE.count("\n") + 3
    assert not result.ok
    assert [row.line for row in result.diagnostics][:1] == [line], said(result)
    assert text in said(result)


def test_tasks_of_a_project_take_its_place_and_say_so() -> None:
    source = f"{SOURCE}CONFIGURATION c RESOURCE r ON PLC TASK e(SINGLE := request); PROGRAM A WITH e : Count; END_RESOURCE END_CONFIGURATION"
    result = compile_project(
        {"a.st": source}, Config(tasks=(TaskConfig("main", 10_000, programs=("A",)),))
    )
    assert result.ok
    assert "is started by SINGLE, and tasks of the project take its place" in said(result)
    assert [row["interval_us"] for row in result.symbols["tasks"]] == [10_000]


def test_the_engine_runs_it_beside_other_tasks_and_programs_hand_events_on() -> None:
    source = """
VAR_GLOBAL request : BOOL; asked, answered : DINT; END_VAR
PROGRAM Asks
VAR n : DINT; END_VAR
n := n + 1;
IF n MOD 4 = 0 THEN request := TRUE; asked := asked + 1; END_IF;
END_PROGRAM
PROGRAM Answers
answered := answered + 1; request := FALSE;
END_PROGRAM
CONFIGURATION c
RESOURCE r ON PLC
TASK fast(INTERVAL := T#5ms, PRIORITY := 1);
TASK burst(SINGLE := request, PRIORITY := 2);
PROGRAM A WITH fast : Asks;
PROGRAM B WITH burst : Answers;
END_RESOURCE
END_CONFIGURATION
"""
    with Machine(compile_project({"a.st": source})) as machine:
        assert machine.tasks == [("fast", 5_000, 1), ("burst", 5_000, 2)]
        machine.advance(1_000_000)
        assert machine.get("asked") == 50
        assert machine.get("answered") in (49, 50)
        assert machine.get("request") is (machine.get("answered") == 49)
        assert machine.get("event of burst") is False
