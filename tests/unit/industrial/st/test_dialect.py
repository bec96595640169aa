"""The CoDeSys 2.3 dialect: what libraries of that tool rely on."""

from __future__ import annotations

from industrial.st import Config, compile_project
from tests.support.st_harness import plc, program


def test_a_constant_input_is_what_the_caller_says() -> None:
    source = """
FUNCTION_BLOCK Scale
VAR_INPUT x : REAL; END_VAR
VAR_INPUT CONSTANT k : REAL := 1.0; END_VAR
VAR_OUTPUT y : REAL; END_VAR
y := x * k;
END_FUNCTION_BLOCK
PROGRAM Main
VAR a : Scale; b : Scale := (k := 3.0); y, z : REAL; END_VAR
a(x := 2.0, k := 5.0); b(x := 2.0);
y := a.y; z := b.y;
END_PROGRAM
"""
    p = plc(source, dialect="codesys23")
    p.scan()
    assert (p.get("Main.y"), p.get("Main.z")) == (10.0, 6.0)


def test_a_constant_may_be_declared_after_its_use() -> None:
    source = """
PROGRAM Main
VAR buffer : ARRAY[0..n] OF INT; last : INT; END_VAR
VAR CONSTANT n : INT := m * 2; m : INT := 4; END_VAR
buffer[n] := 7; last := buffer[8];
END_PROGRAM
"""
    for dialect in ("iec", "codesys23"):
        p = plc(source, dialect=dialect)
        p.scan()
        assert p.get("Main.last") == 7


def test_bare_numbers_in_a_selection_take_the_type_asked_for() -> None:
    p = plc(program("b : BYTE; d : BOOL := TRUE;", "b := SEL(d, 0, 255);"), dialect="codesys23")
    p.scan()
    assert p.get("Main.b") == 255


def test_trunc_gives_the_whole_number_that_is_asked_for() -> None:
    body = "i := TRUNC(2.9) + i; d := TRUNC(-70000.9);"
    p = plc(program("i : INT := 1; d : DINT;", body), dialect="codesys23")
    p.scan()
    assert (p.get("Main.i"), p.get("Main.d")) == (3, -70000)


def test_errors_in_what_nobody_calls_can_be_forgiven() -> None:
    sources = {
        "lib.st": "FUNCTION wrong : INT wrong := missing; END_FUNCTION",
        "main.st": program("x : INT;", "x := 1;"),
    }
    assert not compile_project(sources).ok
    forgiven = compile_project(sources, Config(only_reachable=True))
    assert forgiven.ok
    assert [item.severity for item in forgiven.diagnostics] == ["warning"]
    sources["main.st"] = program("x : INT;", "x := wrong();")
    refused = compile_project(sources, Config(only_reachable=True))
    assert not refused.ok
    assert refused.diagnostics[0].severity == "error"


def test_signed_and_unsigned_meet_and_fit_where_their_operands_fit() -> None:
    p = plc(
        program(
            "w : WORD := 65535; i : INT := -1; b : BYTE := 16#F0; d : DWORD := 5; less : BOOL; x, y : WORD; z : DWORD;",
            "x := w + i; y := b OR i; z := d + i; less := d < i;",
        ),
        dialect="codesys23",
    )
    p.scan()
    assert [p.get(f"Main.{n}") for n in ("x", "y", "z", "less")] == [65534, 65535, 4, False]


def test_halves_are_rounded_away_from_zero_and_nothing_else_is() -> None:
    p = plc(
        program(
            "a, b, c, d : INT; e : DINT; x : LREAL := 0.49999999999999994; y : REAL := 8388609.0;",
            "a := REAL_TO_INT(2.5); b := REAL_TO_INT(-2.5); c := REAL_TO_INT(1.4); d := LREAL_TO_INT(x); e := REAL_TO_DINT(y);",
        ),
        dialect="codesys23",
    )
    p.scan()
    assert [p.get(f"Main.{n}") for n in "abcde"] == [3, -3, 1, 0, 8388609]
