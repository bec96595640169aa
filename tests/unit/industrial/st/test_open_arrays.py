"""ARRAY[*]: arrays of any size behind a VAR_IN_OUT (IEC 61131-3 ed. 3, 6.4.4.6.2, table 15)."""

from __future__ import annotations

import pytest

from industrial.st import Config, compile_project
from tests.support.st_harness import plc

SUM = """
FUNCTION Sum : DINT
VAR_IN_OUT a : ARRAY[*] OF INT; END_VAR
VAR i : DINT; END_VAR
FOR i := LOWER_BOUND(a, 1) TO UPPER_BOUND(a, 1) DO Sum := Sum + a[i]; END_FOR;
END_FUNCTION
"""


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def main(declare: str, body: str) -> str:
    return f"PROGRAM Main VAR {declare} END_VAR\n{body}\nEND_PROGRAM\n"


def test_one_function_takes_arrays_of_any_bounds(cc: str) -> None:
    p = plc(
        SUM
        + main(
            "x : ARRAY[-2..2] OF INT := [1, 2, 3, 4, 5]; y : ARRAY[10..11] OF INT := [7, 8]; s, t : DINT;",
            "s := Sum(x); t := Sum(a := y);",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.s"), p.get("Main.t")) == (15, 15)


def test_it_is_handed_on_and_written_through(cc: str) -> None:
    outer = """
FUNCTION Raised : DINT
VAR_IN_OUT b : ARRAY[*] OF INT; END_VAR
b[LOWER_BOUND(b, 1)] := 100;
Raised := 2 * Sum(b);
END_FUNCTION
"""
    p = plc(
        SUM + outer + main("y : ARRAY[10..12] OF INT := [7, 8, 9]; r : DINT;", "r := Raised(y);"),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.r"), p.get("Main.y[10]")) == (234, 100)


def test_more_dimensions(cc: str) -> None:
    corner = """
FUNCTION Corner : DINT
VAR_IN_OUT m : ARRAY[*, *, *] OF DINT; END_VAR
Corner := m[UPPER_BOUND(m, 1), LOWER_BOUND(m, 2), UPPER_BOUND(m, 3)];
END_FUNCTION
"""
    p = plc(
        corner
        + main(
            "m : ARRAY[1..2, 0..2, -1..0] OF DINT := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]; r : DINT;",
            "r := Corner(m);",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert p.get("Main.r") == 8


def test_blocks_keep_the_bounds_with_the_reference_for_their_methods(cc: str) -> None:
    block = """
FUNCTION_BLOCK Store
VAR_INPUT at : DINT; v : INT; END_VAR
VAR_IN_OUT room : ARRAY[*] OF INT; END_VAR
METHOD PUBLIC Last : INT
Last := room[UPPER_BOUND(room, 1)];
END_METHOD
METHOD PUBLIC Both : DINT
VAR_IN_OUT other : ARRAY[*] OF INT; END_VAR
Both := Sum(other) + Sum(room);
END_METHOD
room[at] := v;
END_FUNCTION_BLOCK
"""
    p = plc(
        SUM
        + block
        + main(
            "f : Store; a : ARRAY[3..4] OF INT; b : ARRAY[0..0] OF INT := [5]; l : INT; o : DINT;",
            "f(at := 4, v := 42, room := a); l := f.Last(); o := f.Both(b);",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.a[4]"), p.get("Main.l"), p.get("Main.o")) == (42, 42, 47)


def test_structures_as_elements(cc: str) -> None:
    source = """
TYPE Part : STRUCT n : INT; good : BOOL; END_STRUCT; END_TYPE
FUNCTION Good : INT
VAR_IN_OUT parts : ARRAY[*] OF Part; END_VAR
VAR i : DINT; END_VAR
FOR i := LOWER_BOUND(parts, 1) TO UPPER_BOUND(parts, 1) DO
    parts[i].n := DINT_TO_INT(i);
    IF parts[i].good THEN Good := Good + 1; END_IF;
END_FOR;
END_FUNCTION
"""
    p = plc(
        source
        + main(
            "p : ARRAY[5..7] OF Part := [(good := TRUE), (good := FALSE), (good := TRUE)]; g : INT;",
            "g := Good(p);",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.g"), p.get("Main.p[7].n")) == (2, 7)


@pytest.mark.parametrize(("index", "fault"), [(2, ""), (3, "bounds"), (0, "bounds")])
def test_an_index_outside_stops_the_task(cc: str, index: int, fault: str) -> None:
    source = """
FUNCTION At : INT
VAR_IN_OUT a : ARRAY[*] OF INT; END_VAR
VAR_INPUT i : INT; END_VAR
At := a[i];
END_FUNCTION
"""
    p = plc(
        source + main("a : ARRAY[1..2] OF INT; b : INT;", f"b := At(a := a, i := {index});"),
        compiler=cc,
    )
    assert (p.scan() or "") == fault


def test_what_a_monitor_sees_does_not_name_the_bounds() -> None:
    source = "FUNCTION_BLOCK F\nVAR_IN_OUT a : ARRAY[*] OF INT; END_VAR\na[1] := 1;\nEND_FUNCTION_BLOCK\n"
    made = compile_project({"a.st": source + main("f : F; x : ARRAY[1..2] OF INT;", "f(a := x);")})
    assert made.ok
    assert not [
        r["path"] for r in made.symbols["symbols"] if "lower" in r["path"] and not r["hidden"]
    ]


@pytest.mark.parametrize(
    ("declare", "body", "text"),
    [
        ("x : ARRAY[*] OF INT;", "", "only for VAR_IN_OUT"),
        ("x : ARRAY[1..2] OF DINT; s : DINT;", "s := Sum(x);", "VAR_IN_OUT a is ARRAY[*] OF INT"),
        (
            "x : ARRAY[1..2, 1..2] OF INT; s : DINT;",
            "s := Sum(x);",
            "VAR_IN_OUT a is ARRAY[*] OF INT",
        ),
        ("x : INT; s : DINT;", "s := Sum(x);", "VAR_IN_OUT a is ARRAY[*] OF INT"),
        ("s : DINT;", "s := Sum();", "needs a variable"),
    ],
)
def test_what_is_no_such_array_is_told(declare: str, body: str, text: str) -> None:
    made = compile_project({"a.st": SUM + main(declare, body)})
    assert not made.ok
    assert any(text in row.message for row in made.diagnostics), made.diagnostics


@pytest.mark.parametrize(
    "body",
    ["c := a;", "n := SIZEOF(a);", "r := ADR(a);", "n := UPPER_BOUND(a, 2);", "n := a[1, 2];"],
)
def test_as_a_whole_it_is_only_handed_on(body: str) -> None:
    source = f"FUNCTION F : INT\nVAR_IN_OUT a, c : ARRAY[*] OF INT; END_VAR\nVAR n : DINT; r : REF_TO INT; END_VAR\n{body}\nEND_FUNCTION\n"
    made = compile_project({"a.st": source + main("x : ARRAY[1..2] OF INT;", "F(x, x);")})
    assert [row.line for row in made.diagnostics] == [4], made.diagnostics


def test_who_is_outside_does_not_see_it() -> None:
    block = "FUNCTION_BLOCK F\nVAR_IN_OUT a : ARRAY[*] OF INT; END_VAR\nEND_FUNCTION_BLOCK\n"
    source = block + main("f : F; n : INT; x : ARRAY[1..2] OF INT;", "f(a := x);\nn := f.a[1];")
    for dialect in ("iec", "codesys23"):
        made = compile_project({"a.st": source}, Config(dialect=dialect))
        assert [row.code for row in made.diagnostics] == ["access"], (dialect, made.diagnostics)
