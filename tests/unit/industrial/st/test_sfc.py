"""Sequential function charts: evolution, action qualifiers, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.st_harness import compiled, errors, plc, program

CHART = """
FUNCTION_BLOCK Lamp
VAR_INPUT on : BOOL; END_VAR
VAR_OUTPUT lit : BOOL; END_VAR
INITIAL_STEP Dark: END_STEP
STEP Bright: lit(N); END_STEP
TRANSITION FROM Dark TO Bright := on; END_TRANSITION
TRANSITION FROM Bright TO Dark := NOT on; END_TRANSITION
END_FUNCTION_BLOCK
PROGRAM Main
VAR go, stop : BOOL; n, entered, left : INT; motor, idle, lamp : BOOL; fb : Lamp; END_VAR
INITIAL_STEP Wait: idle(N); Count(N); END_STEP
TRANSITION FROM Wait TO Run := go; END_TRANSITION
STEP Run: motor(N); Enter(P1); Leave(P0); Shine(P); END_STEP
TRANSITION FROM Run TO Wait := stop OR Run.T >= T#40ms; END_TRANSITION
ACTION Count: n := n + 1; END_ACTION
ACTION Enter: entered := entered + 1; END_ACTION
ACTION Leave: left := left + 1; END_ACTION
ACTION Shine: fb(on := Run.X, lit => lamp); END_ACTION
END_PROGRAM
"""


def test_steps_actions_and_times_scan_by_scan() -> None:
    p = plc(CHART)
    names = ("Wait.X", "Run.X", "Run.T", "idle", "motor", "n", "entered", "left")
    rows = []
    for scan in range(8):
        p.set("Main.go", scan == 1)
        assert p.scan() == ""
        rows.append(tuple(p.get(f"Main.{name}") for name in names))
    assert rows == [
        (True, False, 0, True, False, 1, 0, 0),
        (False, True, 0, False, True, 1, 1, 0),
        (False, True, 10, False, True, 1, 1, 0),
        (False, True, 20, False, True, 1, 1, 0),
        (False, True, 30, False, True, 1, 1, 0),
        (True, False, 40, True, False, 2, 1, 1),
        (True, False, 40, True, False, 3, 1, 1),
        (True, False, 40, True, False, 4, 1, 1),
    ]


def qualified(qualifier: str) -> str:
    return f"""
PROGRAM Main
VAR go, back, q : BOOL; END_VAR
INITIAL_STEP A: END_STEP
TRANSITION FROM A TO B := go; END_TRANSITION
STEP B: q({qualifier}); END_STEP
TRANSITION FROM B TO C := back; END_TRANSITION
STEP C: END_STEP
TRANSITION FROM C TO D := NOT back; END_TRANSITION
STEP D: q(R); END_STEP
END_PROGRAM
"""


@pytest.mark.parametrize(
    ("qualifier", "expected"),
    [
        # step B is active in scans 1 to 6, C from 7, D from 10
        ("N", "011111100000"),
        ("S", "011111111100"),
        ("P", "010000000000"),
        ("P1", "010000000000"),
        ("P0", "000000010000"),
        ("L, T#30ms", "011100000000"),
        ("D, T#30ms", "000011100000"),
        ("SD, T#30ms", "000011111100"),
        ("SD, T#80ms", "000000000100"),
        ("DS, T#30ms", "000011111100"),
        ("DS, T#80ms", "000000000000"),
        ("SL, T#30ms", "011100000000"),
        ("SL, T#70ms", "011111110000"),
    ],
)
def test_qualifiers(qualifier: str, expected: str) -> None:
    p = plc(qualified(qualifier))
    seen = ""
    for scan in range(12):
        p.set("Main.go", scan == 1)
        p.set("Main.back", 7 <= scan <= 9)
        p.scan()
        seen += str(int(p.get("Main.q")))
    assert seen == expected


def test_parallel_branches_start_and_join_together() -> None:
    source = """
PROGRAM Main
VAR a_done, b_done : BOOL; END_VAR
INITIAL_STEP Start: END_STEP
TRANSITION FROM Start TO (A, B) := TRUE; END_TRANSITION
STEP A: END_STEP STEP B: END_STEP
TRANSITION FROM A TO A2 := a_done; END_TRANSITION
TRANSITION FROM B TO B2 := b_done; END_TRANSITION
STEP A2: END_STEP STEP B2: END_STEP
TRANSITION FROM (A2, B2) TO Start := TRUE; END_TRANSITION
END_PROGRAM
"""
    p = plc(source)
    p.scan(2)
    assert [p.get(f"Main.{s}.X") for s in ("Start", "A", "B")] == [False, True, True]
    p.set("Main.a_done", True)
    p.scan(3)
    assert [p.get(f"Main.{s}.X") for s in ("A", "A2", "B", "B2")] == [False, True, True, False]
    p.set("Main.b_done", True)
    p.scan(2)
    assert [p.get(f"Main.{s}.X") for s in ("Start", "A2", "B2")] == [True, False, False]


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [("", "", "L"), ("(PRIORITY := 2)", "(PRIORITY := 1)", "R"), ("(PRIORITY := 1)", "", "R")],
)
def test_of_two_transitions_one_wins(first: str, second: str, winner: str) -> None:
    p = plc(
        f"""
PROGRAM Main
VAR dummy : BOOL; END_VAR
INITIAL_STEP S: END_STEP STEP L: END_STEP STEP R: END_STEP
TRANSITION t1 {first} FROM S TO L := TRUE; END_TRANSITION
TRANSITION t2 {second} FROM S TO R := TRUE; END_TRANSITION
END_PROGRAM
"""
    )
    p.scan(2)
    assert [name for name in "LR" if p.get(f"Main.{name}.X")] == [winner]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("n := n + 1", "Run.X := TRUE", "sfc"),
        ("idle(N)", "nothing(N)", "undeclared"),
        ("FROM Run TO Wait", "FROM Run TO Nowhere", "undeclared"),
        ("INITIAL_STEP Wait: idle(N); Count(N);", "INITIAL_STEP Run: motor(N);", "duplicate"),
        ("motor(N);", "motor(L);", "sfc"),
        ("motor(N);", "motor(X);", "sfc"),
        ("motor(N);", "motor(N, T#1s);", "sfc"),
        ("STEP Run:", "INITIAL_STEP Run:", "sfc"),
        (":= go;", ":= n;", "type"),
    ],
)
def test_what_a_chart_refuses(old: str, new: str, code: str) -> None:
    assert code in {row[2] for row in errors(CHART.replace(old, new))}


def test_a_function_holds_no_chart() -> None:
    source = "FUNCTION f : INT\nINITIAL_STEP A: END_STEP\nEND_FUNCTION\nPROGRAM Main VAR x : INT; END_VAR x := f(); END_PROGRAM"
    assert (2, 1, "sfc") in errors(source)


def test_what_a_chart_keeps_for_itself_is_marked() -> None:
    symbols = {row["path"]: row["hidden"] for row in compiled(CHART).symbols["symbols"]}
    assert not symbols["Main.Run.X"]
    assert not symbols["Main.motor"]
    assert symbols["Main.__SFC_ON"]
    assert symbols["Main.fb.__A_LIT.Q"]
    timer = compiled(program("t : TON;", "t(IN := TRUE, PT := T#1s);")).symbols["symbols"]
    assert [row["path"] for row in timer if not row["hidden"]] == [
        "Main.t.IN",
        "Main.t.PT",
        "Main.t.Q",
        "Main.t.ET",
    ]


def test_two_networks_of_a_chart_begin_with_a_step_each() -> None:
    p = plc(
        """
PROGRAM Main
VAR go : BOOL; END_VAR
INITIAL_STEP A: END_STEP STEP B: END_STEP
TRANSITION FROM A TO B := go; END_TRANSITION
INITIAL_STEP C: END_STEP STEP D: END_STEP
TRANSITION FROM C TO D := NOT go; END_TRANSITION
END_PROGRAM
"""
    )
    p.scan(2)
    assert [p.get(f"Main.{name}.X") for name in "ABCD"] == [True, False, False, True]
