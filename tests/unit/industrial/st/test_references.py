"""References: to nothing that is gone when a call ends, by no detour, and to no constant."""

from __future__ import annotations

import pytest

from tests.support.st_harness import errors, plc, program


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


AROUND = """
TYPE Pair : STRUCT a : REF_TO INT; n : INT; END_STRUCT END_TYPE
VAR_GLOBAL g : REF_TO INT; gs : Pair; kept : Keeper; END_VAR
FUNCTION_BLOCK Keeper
VAR_INPUT r : REF_TO INT; END_VAR VAR k : REF_TO INT; END_VAR
METHOD PUBLIC Take VAR_INPUT h : REF_TO INT; END_VAR k := h; END_METHOD
METHOD PUBLIC Look : INT VAR_INPUT h : REF_TO INT; END_VAR Look := h^; END_METHOD
END_FUNCTION_BLOCK
INTERFACE Taking METHOD Take VAR_INPUT h : REF_TO INT; END_VAR END_METHOD END_INTERFACE
FUNCTION_BLOCK Other IMPLEMENTS Taking
VAR k : REF_TO INT; END_VAR
METHOD PUBLIC Take VAR_INPUT h : REF_TO INT; END_VAR k := h; END_METHOD
END_FUNCTION_BLOCK
FUNCTION same : REF_TO INT VAR_INPUT h : REF_TO INT; END_VAR same := h; END_FUNCTION
FUNCTION twice : REF_TO INT VAR_INPUT h : REF_TO INT; END_VAR twice := same(h); END_FUNCTION
FUNCTION store : INT VAR_INPUT h : REF_TO INT; END_VAR g := h; END_FUNCTION
FUNCTION later : INT VAR_INPUT h : REF_TO INT; END_VAR VAR l : REF_TO INT; END_VAR l := h; later := store(l); END_FUNCTION
FUNCTION lend : INT VAR_IN_OUT t : REF_TO INT; END_VAR VAR_INPUT h : REF_TO INT; END_VAR t := h; END_FUNCTION
FUNCTION write : INT VAR_INPUT t : REF_TO REF_TO INT; h : REF_TO INT; END_VAR t^ := h; END_FUNCTION
FUNCTION out : INT VAR_INPUT h : REF_TO INT; END_VAR VAR_OUTPUT o : REF_TO INT; END_VAR o := h; END_FUNCTION
FUNCTION place : REF_TO INT VAR_IN_OUT v : INT; END_VAR place := REF(v); END_FUNCTION
FUNCTION swap : INT VAR_IN_OUT a, b : REF_TO INT; END_VAR VAR t : REF_TO INT; END_VAR t := a; a := b; b := t; END_FUNCTION
"""
DECLARED = """
VAR x : INT; q, q2 : REF_TO INT; s : Pair; n : INT; qq : REF_TO REF_TO INT; END_VAR
VAR_INPUT h : REF_TO REF_TO INT; i : REF_TO INT; t : Taking; END_VAR
VAR_IN_OUT io : REF_TO INT; END_VAR VAR_OUTPUT o : REF_TO INT; END_VAR
"""


def function(body: str) -> str:
    return f"{AROUND}FUNCTION f : INT{DECLARED}{body}\nEND_FUNCTION\n" + program("i : INT;", ";")


@pytest.mark.parametrize(
    "body",
    [
        "q := REF(x); g := q;",
        "q := REF(x); q2 := q; g := q2;",
        "q := REF(x); h^ := q;",
        "q := REF(x); io := q;",
        "q := REF(x); o := q;",
        "s.a := REF(x); gs := s;",
        "s.a := REF(x); g := s.a;",
        "g := same(REF(x));",
        "g := twice(REF(x));",
        "g := SEL(n > 0, i, same(REF(x)));",
        "n := store(REF(x));",
        "n := later(REF(x));",
        "n := lend(t := g, h := REF(x));",
        "n := write(REF(g), REF(x));",
        "n := out(h := REF(x), o => g);",
        "g := place(x);",
        "qq := REF(q); q2 := REF(x); qq^ := q2; g := q;",
        "qq := REF(q); q := REF(x); h^ := qq^;",
        "n := lend(t := q, h := REF(x)); g := q;",
        "q := REF(x); n := swap(q, io);",
        "kept(r := REF(x));",
        "kept.Take(REF(x));",
        "t.Take(REF(x));",
        "WHILE n < 3 DO g := q; IF n = 1 THEN q := REF(x); END_IF; n := n + 1; END_WHILE;",
    ],
)
def test_a_reference_to_what_is_gone_is_kept_by_no_detour(body: str) -> None:
    source = function(body)
    line = source[: source.index(body)].count("\n") + 1
    assert [(row[0], row[2]) for row in errors(source)] == [(line, "access")]


@pytest.mark.parametrize(
    "body",
    [
        "q := REF(x); q^ := 4;",
        "q := i; g := q;",
        "g := same(i);",
        "n := lend(t := q, h := REF(x)); q^ := 3;",
        "n := write(REF(q), REF(x)); n := q^;",
        "q := REF(x); q2 := i; n := swap(q, q2);",
        "s.a := REF(x); s.a^ := 3;",
        "q := twice(REF(x)); n := q^;",
        "n := out(h := REF(x), o => q);",
        "q := REF(gs.n); g := q; io := q; o := q; h^ := q;",
        "n := kept.Look(REF(x)); kept.Take(REF(gs.n)); kept(r := i); n := store(i);",
    ],
)
def test_references_within_a_call_and_to_what_stays_are_fine(body: str) -> None:
    assert errors(function(body)) == []


@pytest.mark.parametrize(
    ("declared", "body", "name"),
    [
        ("VAR CONSTANT c : INT := 3; END_VAR", "r := REF(c);", "c"),
        ("VAR CONSTANT c : INT := 3; END_VAR", "r REF= c;", "c"),
        ("VAR CONSTANT c : ARRAY[0..2] OF INT := [1, 2, 3]; END_VAR", "r := REF(c[1]);", "c"),
        ("VAR_EXTERNAL CONSTANT k : INT; END_VAR", "r := REF(k);", "k"),
        ("VAR p : POINTER TO INT; END_VAR", "p := ADR(k);", "k"),
    ],
)
def test_no_reference_leads_to_a_constant(declared: str, body: str, name: str) -> None:
    source = (
        "VAR_GLOBAL CONSTANT k : INT := 5; END_VAR\n"
        f"PROGRAM Main\n{declared} VAR r : REF_TO INT; END_VAR\n{body}\nEND_PROGRAM\n"
    )
    assert [(row[0], row[2]) for row in errors(source)] == [(4, "constant")]


def test_a_reference_does_not_begin_with_a_constant() -> None:
    source = "PROGRAM Main\nVAR CONSTANT c : INT := 3; END_VAR\nVAR r : REF_TO INT := REF(c); END_VAR\n;\nEND_PROGRAM\n"
    assert [(row[0], row[2]) for row in errors(source)] == [(3, "constant")]


def test_libraries_of_older_tools_point_to_constants(cc: str) -> None:
    p = plc(
        "PROGRAM Main\nVAR CONSTANT c : ARRAY[0..1] OF INT := 3, 4; END_VAR\n"
        "VAR p : POINTER TO ARRAY[0..1] OF INT; x : INT; END_VAR\np := ADR(c); x := p^[1];\nEND_PROGRAM\n",
        dialect="codesys23",
        compiler=cc,
    )
    assert not p.scan()
    assert p.get("Main.x") == 4
