"""The compiler: per-scan values by gcc and tcc alike, errors with their place, nothing of a source in the C."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from industrial.st import compile_folder
from industrial.st.compiler import check_sources
from tests.support.program import RunningProgram

COMPILERS = [name for name in ("gcc", "tcc") if shutil.which(name)]


@pytest.fixture(params=COMPILERS)
def run(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    def make(declarations: str, body: str, before: str = "") -> RunningProgram:
        source = f"{before}\nPROGRAM P\n{declarations}\n{body}\nEND_PROGRAM\n"
        return RunningProgram(source, tmp_path, compiler=request.param)

    return make


def test_a_counter_counts_scans(run) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR n : INT := 5; END_VAR", "n := n + 1;")
    program.scan(3)
    assert program.get("n") == 8


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [
        ("SINT", 127, -128),
        ("INT", 32767, -32768),
        ("DINT", 2**31 - 1, -(2**31)),
        ("USINT", 255, 0),
        ("UINT", 65535, 0),
        ("UDINT", 2**32 - 1, 0),
    ],
)
def test_integers_wrap_around_at_their_range(run, kind: str, start: int, expected: int) -> None:  # type: ignore[no-untyped-def]
    program = run(f"VAR n : {kind} := {start}; END_VAR", "n := n + 1;")
    program.scan()
    assert program.get("n") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 MOD 3", -1),
        ("10 - 3 - 2", 5),
        ("MAX(1, 5, 3)", 5),
        ("MIN(4, 2)", 2),
        ("LIMIT(0, 99, 10)", 10),
        ("SEL(TRUE, 1, 2)", 2),
        ("ABS(-4)", 4),
        ("REAL_TO_INT(2.5)", 2),
        ("REAL_TO_INT(3.5)", 4),
        ("REAL_TO_INT(-2.5)", -2),
        ("BOOL_TO_INT(TRUE)", 1),
        ("16#FF", 255),
        ("2#1010", 10),
        ("INT#7", 7),
    ],
)
def test_expressions(run, expression: str, expected: int) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR x : INT; END_VAR", f"x := {expression};")
    program.scan()
    assert program.get("x") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("TRUE OR FALSE AND FALSE", True),
        ("NOT TRUE OR TRUE", True),
        ("1 < 2 AND 3 <> 4", True),
        ("TRUE XOR TRUE", False),
        ("a.3", True),
        ("a.0", False),
        ("FALSE AND_THEN TRUE", False),
    ],
)
def test_logic(run, expression: str, expected: bool) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR x : BOOL; a : WORD := 8; END_VAR", f"x := {expression};")
    program.scan()
    assert program.get("x") is expected


def test_an_on_delay_follows_the_standards_diagram(run) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR t : TON; i : BOOL; q : BOOL; END_VAR", "t(IN := i, PT := T#50ms); q := t.Q;")
    program.scan()
    program.set("i", 1)
    seen = []
    for _ in range(8):
        program.scan()
        seen.append((program.get("q"), program.get("t.ET")))
    assert seen == [
        (False, 0),
        (False, 10),
        (False, 20),
        (False, 30),
        (False, 40),
        (True, 50),
        (True, 50),
        (True, 50),
    ]
    program.set("i", 0)
    program.scan()
    assert (program.get("q"), program.get("t.ET")) == (False, 0)


def test_an_off_delay_follows_the_standards_diagram(run) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR t : TOF; i : BOOL := TRUE; END_VAR", "t(IN := i, PT := T#30ms);")
    program.scan()
    assert program.get("t.Q") is True
    program.set("i", 0)
    seen = []
    for _ in range(5):
        program.scan()
        seen.append((program.get("t.Q"), program.get("t.ET")))
    assert seen == [(True, 0), (True, 10), (True, 20), (False, 30), (False, 30)]


def test_a_pulse_is_as_long_as_it_says_and_not_retriggered(run) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR t : TP; i : BOOL; END_VAR", "t(IN := i, PT := T#30ms);")
    program.set("i", 1)
    seen = []
    for number in range(6):
        program.set("i", 1 if number != 1 else 0)
        program.scan()
        seen.append(program.get("t.Q"))
    assert seen == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("block", "inputs", "expected"),
    [
        ("R_TRIG", [0, 1, 1, 0, 1], [False, True, False, False, True]),
        # As the standard's body and its note say: the first execution finds the falling edge of a CLK that is FALSE.
        ("F_TRIG", [0, 1, 1, 0, 0], [True, False, False, True, False]),
    ],
)
def test_edges(run, block: str, inputs: list[int], expected: list[bool]) -> None:  # type: ignore[no-untyped-def]
    program = run(f"VAR t : {block}; i : BOOL; END_VAR", "t(CLK := i);")
    seen = []
    for value in inputs:
        program.set("i", value)
        program.scan()
        seen.append(program.get("t.Q"))
    assert seen == expected


def test_a_counter_block_counts_edges_and_is_reset(run) -> None:  # type: ignore[no-untyped-def]
    program = run("VAR c : CTU; i, r : BOOL; END_VAR", "c(CU := i, R := r, PV := 2);")
    for value in (1, 1, 0, 1):
        program.set("i", value)
        program.scan()
    assert (program.get("c.CV"), program.get("c.Q")) == (2, True)
    program.set("r", 1)
    program.scan()
    assert (program.get("c.CV"), program.get("c.Q")) == (0, False)


def test_control_flow_arrays_structures_functions_and_blocks(run) -> None:  # type: ignore[no-untyped-def]
    before = """
TYPE Colour : (red, green := 5, blue); END_TYPE
TYPE Point : STRUCT x : INT; y : INT := 3; END_STRUCT END_TYPE
FUNCTION Twice : INT VAR_INPUT a : INT; END_VAR VAR b : INT := 2; END_VAR
Twice := a * b; END_FUNCTION
FUNCTION_BLOCK Adder VAR_INPUT a : INT; END_VAR VAR_OUTPUT sum : INT; END_VAR
sum := sum + a; END_FUNCTION_BLOCK
"""
    program = run(
        "VAR a : ARRAY [1..5] OF INT := [1, 3(7)]; i, s, w, k : INT; c : Colour; p : Point; add : Adder; r : INT; END_VAR",
        """
s := 0;
FOR i := 1 TO 5 DO IF a[i] = 0 THEN CONTINUE; END_IF; s := s + a[i]; END_FOR;
w := 0; WHILE TRUE DO w := w + 1; IF w >= 4 THEN EXIT; END_IF; END_WHILE;
REPEAT k := k + 1; UNTIL k >= 3 END_REPEAT;
c := Colour#blue;
CASE c OF red: r := 1; green..blue: r := 2; ELSE r := 3; END_CASE;
p.x := Twice(a := 21);
add(a := 4, sum => p.y);
""",
        before,
    )
    program.scan(2)
    assert program.get("a") == [1, 7, 7, 7, 0]
    assert [program.get(name) for name in ("s", "w", "k", "c", "r", "p.x", "p.y", "add.SUM")] == [
        22,
        4,
        4,
        6,
        2,
        42,
        8,
        8,
    ]


def test_located_variables_are_the_process_image(run) -> None:  # type: ignore[no-untyped-def]
    program = run(
        "VAR i AT %IX1.3 : BOOL; q AT %QX0.1 : BOOL; w AT %QW3 : INT := 77; m AT %MD2 : DINT; END_VAR",
        "q := i; m := m + w;",
    )
    program.set("i", True)
    program.scan(2)
    assert (program.get("q"), program.get("m"), program.get("w")) == (True, 154, 77)
    assert program.symbols["p.q"]["driven"] is True
    assert program.symbols["p.w"]["driven"] is False


_numbers = st.integers(-1000, 1000)


def _expressions() -> st.SearchStrategy[tuple[str, int]]:
    def join(pair: tuple[tuple[str, int], str, tuple[str, int]]) -> tuple[str, int]:
        (left, a), sign, (right, b) = pair
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        return f"({left} {sign} {right})", (value + 2**63) % 2**64 - 2**63

    leaf = _numbers.map(lambda n: (f"LINT#{n}" if n >= 0 else f"(-LINT#{-n})", n))
    return st.recursive(
        leaf, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(join), max_leaves=8
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(_expressions(), min_size=1, max_size=20))
def test_random_expressions_agree_with_big_integers(
    tmp_path: Path, rows: list[tuple[str, int]]
) -> None:
    names = ", ".join(f"x{n}" for n in range(len(rows)))
    body = "\n".join(f"x{n} := {text};" for n, (text, _) in enumerate(rows))
    import tempfile

    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        program = RunningProgram(
            f"PROGRAM P VAR {names} : LINT; END_VAR {body} END_PROGRAM",
            Path(folder),
            compiler="gcc",
        )
        program.scan()
        assert [program.get(f"x{n}") for n in range(len(rows))] == [value for _, value in rows]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("x := y;", "undeclared", "y is not declared"),
        ("x = 1;", "syntax", ":="),
        ("x := 1", "syntax", "';'"),
        ("x := 40000;", "range", "does not fit INT"),
        ("x := TRUE;", "type", "this is BOOL"),
        ("x := 1.5;", "type", "a number with a decimal point is a REAL"),
        ("IF x THEN x := 1; END_IF;", "type", "BOOL"),
        ("x := nothing(1);", "undeclared", "nothing"),
        ("i := 1;", "access", "is an input"),
        ("x := 1 / 0;", "division", "division by zero"),
        ("x := 'text';", "type", "STRING"),
        ("FOR x := 1 TO 3 DO", "syntax", "END_FOR"),
    ],
)
def test_errors_have_place_code_and_words(body: str, code: str, words: str) -> None:
    source = f"PROGRAM P\nVAR x : INT; i AT %IW0 : INT; END_VAR\n{body}\nEND_PROGRAM\n"
    report = check_sources([("p.st", source)], 1)
    found = next(error for row in report.rows for error in row.errors if error.code == code)
    assert words in f"{found.message} {found.hint}"
    assert found.file == "p.st"
    assert found.line in (3, 4, 5)
    assert "^" in found.render()


def test_many_errors_are_found_in_one_run() -> None:
    source = "PROGRAM P\nVAR x : INT; END_VAR\na := 1;\nb := 2;\nx := TRUE;\nEND_PROGRAM\nPROGRAM Q\nVAR y : NOWHERE; END_VAR\nEND_PROGRAM\n"
    report = check_sources([("p.st", source)], 1)
    assert [error.line for row in report.rows for error in row.errors] == [3, 4, 5, 8]
    assert [row.pou for row in report.rows] == ["P", "Q"]


@pytest.mark.parametrize("text", ['"); system("x', "*/ int main", "\\zz", "é"])
def test_nothing_of_a_source_becomes_c(text: str) -> None:
    manifest = (
        f"name = {text!r}\n".replace("'", '"')
        if '"' not in text and "\\" not in text
        else 'name = "x"\n'
    )
    manifest += '[[task]]\nname = "main"\ninterval_us = 1000\nprograms = ["P"]\n'
    compiled = compile_folder(
        {"vplc.toml": manifest, "src/a.st": f"PROGRAM P (* {text} *) END_PROGRAM"}
    )
    assert compiled.ok, compiled.diagnostics
    assert text not in compiled.c_source


def test_a_task_without_its_program_is_named() -> None:
    manifest = 'name = "x"\n[[task]]\nname = "main"\ninterval_us = 1000\nprograms = ["Missing"]\n'
    compiled = compile_folder({"vplc.toml": manifest, "src/a.st": "PROGRAM P END_PROGRAM"})
    assert not compiled.ok
    assert "there is no program Missing" in compiled.diagnostics[0].message
