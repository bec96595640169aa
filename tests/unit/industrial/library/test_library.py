"""The library that comes with the compiler: values per scan."""

from __future__ import annotations

import pytest

from tests.support.st_harness import compiled, plc, program


@pytest.mark.parametrize("dialect", ["iec", "codesys23"])
def test_everything_compiles_in_both_dialects(dialect: str) -> None:
    body = "a(); b(); c(); d(); y := SCALE(x := y);"
    assert compiled(
        program("a : PID; b : RAMP; c : MOVING_AVERAGE; d : HYSTERESIS; y : REAL;", body),
        dialect=dialect,
    ).ok


def test_pid_proportional_and_integral() -> None:
    p = plc(program("c : PID; y : REAL;", "c(pv := 40.0, sp := 50.0, kp := 2.0, tn := T#1s);"))
    outs = []
    for _ in range(3):
        p.scan(interval_us=100_000)
        outs.append(p.get("Main.c.out"))
    # P: 2 * 10; I: 2 * 10 * 0.1 s / 1 s more in each scan
    assert outs == pytest.approx([20.0, 22.0, 24.0])


def test_pid_does_not_wind_up_and_leaves_the_limit_at_once() -> None:
    p = plc(program("c : PID; pv : REAL;", "c(pv := pv, sp := 50.0, kp := 2.0, tn := T#1s);"))
    p.scan(200, interval_us=100_000)
    assert p.get("Main.c.out") == 100.0
    assert p.get("Main.c.limited")
    p.set("Main.pv", 60.0)
    p.scan()
    assert p.get("Main.c.out") < 100.0


def test_pid_changes_from_manual_to_automatic_without_a_bump() -> None:
    p = plc(
        program(
            "c : PID; auto : BOOL;",
            "c(auto := auto, manual := 33.0, pv := 40.0, sp := 50.0, kp := 2.0, tn := T#1h);",
        )
    )
    p.scan(3)
    assert p.get("Main.c.out") == 33.0
    p.set("Main.auto", True)
    p.scan()
    assert p.get("Main.c.out") == pytest.approx(33.0, abs=0.01)


def test_pid_derivative_acts_on_the_measurement_alone() -> None:
    p = plc(
        program(
            "c : PID; pv, sp : REAL;",
            "c(pv := pv, sp := sp, kp := 1.0, tv := T#1s, low := -1000.0, high := 1000.0);",
        )
    )
    p.scan(2, interval_us=10_000)
    p.set("Main.sp", 10.0)
    p.scan(interval_us=10_000)
    assert p.get("Main.c.out") == pytest.approx(10.0)
    p.set("Main.pv", 1.0)
    p.scan(interval_us=10_000)
    # 9 - 1 s * (1 * dt / (0.125 s + dt)) / dt at dt = 0.01 s
    assert p.get("Main.c.out") == pytest.approx(9.0 - 1.0 / 0.135, rel=1e-4)


def test_ramp_keeps_to_its_rates() -> None:
    p = plc(program("r : RAMP; x : REAL;", "r(x := x, up := 10.0, down := 20.0);"))
    p.scan(interval_us=100_000)
    p.set("Main.x", 2.5)
    seen = []
    for _ in range(4):
        p.scan(interval_us=100_000)
        seen.append((p.get("Main.r.out"), bool(p.get("Main.r.busy"))))
    assert seen == [
        (pytest.approx(1.0), True),
        (pytest.approx(2.0), True),
        (2.5, False),
        (2.5, False),
    ]
    p.set("Main.x", 0.0)
    p.scan(interval_us=100_000)
    assert p.get("Main.r.out") == pytest.approx(0.5)


def test_moving_average() -> None:
    p = plc(program("m : MOVING_AVERAGE; x : REAL;", "m(x := x, n := 3);"))
    seen = []
    for value in (3.0, 6.0, 9.0, 12.0):
        p.set("Main.x", value)
        p.scan()
        seen.append((p.get("Main.m.out"), p.get("Main.m.count")))
    assert seen == [(3.0, 1), (4.5, 2), (6.0, 3), (9.0, 3)]


def test_hysteresis() -> None:
    p = plc(program("h : HYSTERESIS; x : REAL;", "h(x := x, high := 8.0, low := 3.0);"))
    seen = ""
    for value in (5.0, 8.0, 5.0, 3.0, 5.0):
        p.set("Main.x", value)
        p.scan()
        seen += str(int(p.get("Main.h.q")))
    assert seen == "01100"


def test_scale_and_its_clamp() -> None:
    body = "a := SCALE(x := 5.0, in_high := 10.0, out_low := 4.0, out_high := 20.0); b := SCALE(x := 2.0, clamp := TRUE);"
    p = plc(program("a, b : REAL;", body))
    p.scan()
    assert (p.get("Main.a"), p.get("Main.b")) == (12.0, 1.0)


def test_a_projects_own_block_goes_first() -> None:
    own = "FUNCTION_BLOCK PID VAR_OUTPUT out : INT := 7; END_VAR ; END_FUNCTION_BLOCK\n"
    p = plc(own + program("c : PID; x : INT;", "c(); x := c.out;"))
    p.scan()
    assert p.get("Main.x") == 7
    own = "TYPE SCALE : STRUCT a : INT; END_STRUCT END_TYPE\nFUNCTION_BLOCK TON VAR_OUTPUT Q : INT := 3; END_VAR ; END_FUNCTION_BLOCK\n"
    p = plc(own + program("s : SCALE; t : TON; x : INT;", "t(); x := t.Q + s.a;"))
    p.scan()
    assert p.get("Main.x") == 3
