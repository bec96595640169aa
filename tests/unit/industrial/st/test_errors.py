"""What is wrong is told with its place, many per run, and nothing is emitted."""

from __future__ import annotations

import random

import pytest

from industrial.st import Config, compile_project
from tests.support.st_harness import errors, program

CASES = [
    ("x : INT;", "x := 'a';", (5, 6, "type")),
    ("x : INT;", "x := 70000;", (5, 6, "range")),
    ("x : INT;", "x := 1 / 0;", (5, 8, "division")),
    ("x : INT;", "y := 1;", (5, 1, "undeclared")),
    ("x : INT;", "x := x + ;", (5, 10, "syntax")),
    ("x : INT;", "x = 3;", (5, 3, "syntax")),
    ("x : INT;", "IF x THEN x := 1; END_IF;", (5, 4, "type")),
    ("x : INT;", "EXIT;", (5, 1, "loop")),
    ("x : INT;", "foo(1);", (5, 1, "undeclared")),
    ("x : ARRAY[1..3] OF INT;", "x[4] := 1;", (5, 3, "range")),
    ("x : TON;", "x(IM := TRUE);", (5, 3, "call")),
    ("x AT %IX0.0 : BOOL;", "x := TRUE;", (5, 1, "access")),
    ("x AT %QW0 : BOOL;", ";", (3, 1, "address")),
    ("x : BOOL R_EDGE;", ";", (3, 1, "type")),
    ("x : ARRAY[3..1] OF INT;", ";", (3, 11, "range")),
    ("x : Nix;", ";", (3, 5, "undeclared")),
]


@pytest.mark.parametrize(("declarations", "body", "wanted"), CASES)
def test_error(declarations: str, body: str, wanted: tuple[int, int, str]) -> None:
    assert wanted in errors(program(declarations, body))


def test_many_are_told_in_one_run() -> None:
    found = errors(program("x : INT;", "x := 'a';\ny := 1\nx := x + ;\nz := 2;"))
    assert [line for line, _, _ in sorted(found)] == [5, 6, 6, 7, 8]


def test_recursion_is_refused() -> None:
    source = "FUNCTION f : INT\nVAR_INPUT x : INT; END_VAR\nf := f(x);\nEND_FUNCTION\n"
    assert (1, 10, "recursive") in errors(source + program("x : INT;", "x := f(1);"))


def test_nothing_of_the_source_reaches_c_as_it_is() -> None:
    source = program("x : STRING;", "x := '*/ #include <x> \"; system(1);';")
    result = compile_project({'a"; int x = 1; //.st': source}, Config(name='n"; system("x'))
    assert result.ok
    assert "system(" not in result.c_source and "include <x>" not in result.c_source


@pytest.mark.parametrize("dialect", ["iec", "codesys23"])
def test_damaged_sources_never_raise(dialect: str) -> None:
    good = program(
        "x : INT; s : STRING[5]; a : ARRAY[1..2] OF TON;",
        "IF x > 1 THEN a[1](IN := TRUE, PT := T#1s); END_IF;",
    )
    pieces = [
        "END_IF",
        ";",
        "(",
        "[",
        "'",
        "$",
        "16#",
        "T#",
        "/*",
        "{",
        "^",
        "..",
        "STRUCT",
        "END_VAR",
        "9" * 40,
        "#include",
        "-",
        "é",
    ]
    chance = random.Random(20)  # noqa: S311 - not for secrets
    for _ in range(60):
        text = good
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text))
            text = text[:at] + (
                chance.choice(pieces) + text[at:]
                if chance.random() < 0.6
                else text[at + chance.randint(1, 9) :]
            )
        compile_project({"a.st": text}, Config(dialect=dialect))


MAIN = program("x : BOOL;", "x := TRUE;")
CONFIGURED = "CONFIGURATION c\n{}\nRESOURCE r ON PLC\nTASK t(INTERVAL := T#10ms, PRIORITY := 1);\nPROGRAM p WITH t : Main{};\nEND_RESOURCE\nEND_CONFIGURATION\n"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("CLASS c END_CLASS\n" + MAIN, 1),
        ("\nNAMESPACE n END_NAMESPACE\n" + MAIN, 2),
        (program("x : INT;", "LD x\nADD 1\nST x"), 5),
        ("PROGRAM Main VAR x : BOOL; END_VAR\n_LD_BODY\n_NETWORKS : 1\nEND_PROGRAM\n", 2),
        (program("x : INT;", "again: x := 1;"), 5),
        (program("x : INT;", "JMP again;"), 5),
        (MAIN + CONFIGURED.format("VAR_ACCESS a : r.p.x : BOOL; END_VAR", ""), 8),
        (MAIN + CONFIGURED.format("VAR_CONFIG r.p.x AT %QX0.0 : BOOL; END_VAR", ""), 8),
    ],
)
def test_what_is_not_supported_is_told_with_its_line(source: str, line: int) -> None:
    assert (line, "unsupported") in {(row, code) for row, _, code in errors(source)}


def test_whole_numbers_of_a_date_go_where_they_fit_and_nobody_elses_do() -> None:
    own = (
        "FUNCTION Split_Flow : BOOL\nVAR_OUTPUT big : DINT; END_VAR\nbig := 100000;\nEND_FUNCTION\n"
    )
    assert "type" in {
        code
        for _, _, code in errors(own + program("x : SINT; o : BOOL;", "o := Split_Flow(big => x);"))
    }
    calls = "SPLIT_DATE(IN := D#2024-02-29, YEAR => y, MONTH => m);"
    assert errors(program("y : UINT; m : USINT;", calls)) == []
    assert "type" in {code for _, _, code in errors(program("y : SINT; m : INT;", calls))}


def test_a_reference_begins_only_with_what_has_a_place_before_the_program_runs() -> None:
    block = (
        "FUNCTION_BLOCK b\nVAR_IN_OUT io : INT; END_VAR\nVAR r : REF_TO INT := REF(io); END_VAR\n"
        "END_FUNCTION_BLOCK\n"
    )
    assert (3, 5, "constant") in errors(block + program("x : INT;", "x := 1;"))


@pytest.mark.parametrize(
    ("declarations", "body"),
    [
        ("x : INT;", "IF x = 1 THEN " * 20_000 + "END_IF; " * 20_000),
        ("x : INT;", "CASE x OF 1: " * 20_000 + "END_CASE; " * 20_000),
        ("x : INT;", "FOR x := 1 TO 2 DO " * 20_000),
        ("x : INT;", "x := " + "(" * 20_000 + "1;"),
        ("x : INT;", "x := " + "NOT " * 20_000 + "1;"),
        ("x : INT;", "x := " + "1 + " * 20_000 + "1;"),
        ("x : INT;", "x" + "[x" * 20_000 + " := 1;"),
        ("x : " + "ARRAY[0..0] OF " * 20_000 + "INT;", ";"),
        ("x : " + "REF_TO " * 20_000 + "INT;", ";"),
        ("x : " + "STRUCT a : " * 20_000 + "INT;", ";"),
        ("x : INT := " + "[" * 20_000 + ";", ";"),
        ("x : INT := " + "(a := " * 20_000 + ";", ";"),
    ],
)  # fmt: skip
def test_what_nests_without_end_is_told_and_no_more(declarations: str, body: str) -> None:
    found = compile_project({"a.st": program(declarations, body)})
    assert not found.ok
    assert any("nested deeper" in row.message or "in a row" in row.message for row in found.diagnostics)  # fmt: skip
    # The same is not told for each of the levels.
    assert len(found.diagnostics) < 300


@pytest.mark.parametrize("dialect", ["iec", "codesys23"])
def test_an_address_belongs_to_one_name(dialect: str) -> None:
    source = program("a, b AT %QW0 : INT; c AT %QW2 : INT; d, e : INT;", "a := 1;")
    assert errors(source, dialect=dialect) == [(3, 4, "address")]
