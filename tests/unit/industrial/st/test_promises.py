"""What the language reference promises and no other test holds: declarations, access, names that stand for a family."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.st import check, compile_folder, compile_project
from industrial.st.build import CompilerRefusal, accept
from industrial.st.compiler import find_sources
from tests.support.st_harness import Plc, compiled, errors, plc, program


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- declarations -----------------------------------------------------------------------------------------------


def test_an_external_variable_is_the_global_itself(cc: str) -> None:
    p = plc(
        """
VAR_GLOBAL g : INT := 7; END_VAR
FUNCTION_BLOCK Raise
VAR_EXTERNAL g : INT; END_VAR
g := g + 1;
END_FUNCTION_BLOCK
PROGRAM Main
VAR_EXTERNAL g : INT; END_VAR
VAR a, b : Raise; seen : INT; END_VAR
a(); b(); seen := g;
END_PROGRAM
""",
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("g"), p.get("Main.seen")) == (9, 9)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("VAR_GLOBAL g : INT; END_VAR\nPROGRAM Main\nVAR_EXTERNAL g : DINT; END_VAR\ng := 1;\nEND_PROGRAM", (3, 14, "type")),
        ("PROGRAM Main\nVAR_EXTERNAL g : DINT; END_VAR\ng := 1;\nEND_PROGRAM", (2, 14, "undeclared")),
        ("VAR_GLOBAL CONSTANT g : INT := 3; END_VAR\nPROGRAM Main\nVAR_EXTERNAL CONSTANT g : INT; END_VAR\ng := 4;\nEND_PROGRAM", (4, 1, "constant")),
        ("PROGRAM Main\nVAR CONSTANT k : INT := 3; END_VAR\nk := 4;\nEND_PROGRAM", (3, 1, "constant")),
    ],
)  # fmt: skip
def test_another_type_no_global_and_writing_a_constant_are_errors(
    source: str, place: tuple[int, int, str]
) -> None:
    assert place in errors(source)


def test_persistent_is_retained_and_temporary_is_new_at_each_call(cc: str) -> None:
    p = plc(
        """
FUNCTION_BLOCK Temp
VAR_TEMP t : INT := 5; END_VAR
VAR_OUTPUT y : INT; END_VAR
t := t + 1; y := t;
END_FUNCTION_BLOCK
PROGRAM Main
VAR PERSISTENT k : INT := 5; END_VAR
VAR RETAIN PERSISTENT m : INT := 6; END_VAR
VAR n : INT; f : Temp; END_VAR
k := k + 1; m := m + 1; n := n + 1; f(); f();
END_PROGRAM
""",
        compiler=cc,
    )
    assert not p.scan(3)
    assert p.get("Main.f.y") == 6
    p.init(warm=True)
    assert [p.get(f"Main.{name}") for name in "kmn"] == [8, 9, 0]
    p.init(warm=False)
    assert [p.get(f"Main.{name}") for name in "kmn"] == [5, 6, 0]


def test_every_width_of_address_means_the_same_bytes(cc: str) -> None:
    p = plc(
        """
PROGRAM Main
VAR
    mx AT %MX17.3 : BOOL; mb AT %MB17 : BYTE; mw AT %MW8 : WORD; md AT %MD4 : DWORD; ml AT %ML2 : LWORD;
    il AT %IL1 : LWORD; ib AT %IB15 : USINT; ix AT %IX15.7 : BOOL; ql AT %QL0 : LWORD; qd AT %QD1 : DWORD;
    qb AT %QB7 : BYTE; qx AT %QX7.0 : BOOL; sum : LWORD; high : USINT; top : BOOL;
END_VAR
sum := il; high := ib; top := ix;
qd := 16#0100_0002;
END_PROGRAM
""",
        compiler=cc,
    )
    p.set("Main.il", 0xFF00_0000_0000_0001)
    p.set("Main.ml", 0x0807_0605_0403_0A01)
    assert not p.scan()
    assert (p.get("Main.sum"), p.get("Main.high"), p.get("Main.top")) == (0xFF00_0000_0000_0001, 255, True)  # fmt: skip
    # The lowest byte of a wider one comes first.
    assert [p.get(f"Main.{name}") for name in ("mb", "mw", "md", "mx")] == [0x0A, 0x0A01, 0x0403_0A01, True]  # fmt: skip
    assert [p.get(f"Main.{name}") for name in ("ql", "qb", "qx")] == [0x0100_0002 << 32, 1, True]


def test_texts_of_both_widths_have_their_length_and_no_more(cc: str) -> None:
    body = "w := t; n := LEN(w);"
    p = plc(program('w : WSTRING[3] := "€"; t : WSTRING[9] := "äb€"; n : INT;', body), compiler=cc)
    assert not p.scan()
    assert (p.get("Main.w"), p.get("Main.n")) == ("äb€", 3)
    p = plc(program('w : WSTRING[2]; t : WSTRING[9] := "äb€"; n : INT;', body), compiler=cc)
    assert p.scan() == "string"


def test_characters_of_both_widths(cc: str) -> None:
    p = plc(
        program(
            "c : CHAR := CHAR#'A'; w : WCHAR := WCHAR#\"€\"; n : BYTE; m : WORD; less, same : BOOL; s : STRING[2];",
            "n := CHAR_TO_BYTE(c); m := WCHAR_TO_WORD(w); less := c < CHAR#'B'; same := w = WCHAR#\"€\"; s := CHAR_TO_STRING(c);",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert [p.get(f"Main.{n}") for n in ("n", "m", "less", "same", "s")] == [65, 0x20AC, True, True, "A"]  # fmt: skip


def test_the_long_forms_of_time_and_date_compute_in_nanoseconds(cc: str) -> None:
    p = plc(
        program(
            "d : LDT := LDT#2038-01-19-03:14:07; o : LTOD := LTOD#23:59:59.999_999_999; day : LDATE := LDATE#2106-02-08;"
            "later, early : LDT; next : LTOD; span, days, half : LTIME; short : TIME := T#49d17h2m47s295ms; over : TIME;",
            "later := d + LT#1ns; early := d - LTIME#1s; next := o + LT#1ns; span := LTOD#12:00:00 - LTOD#11:59:59.5;"
            "days := day - LDATE#2106-02-07; half := LT#1s / 2; over := short + T#1ms;",
        ),
        compiler=cc,
    )
    assert not p.scan()
    second = 2**31 - 1
    assert [p.get(f"Main.{name}") for name in ("later", "early", "next", "span", "days", "half", "over")] == [
        second * 10**9 + 1, (second - 1) * 10**9, 0, 500_000_000, 86_400 * 10**9, 500_000_000, 0,
    ]  # fmt: skip


def test_a_pointer_of_the_standards_dialect_and_a_reference_lead_to_one_variable(cc: str) -> None:
    p = plc(
        program(
            "x : INT := 3; p : POINTER TO INT; r : REF_TO INT; n : INT;",
            "p := ADR(x); r := REF(x); p^ := p^ + 1; r^ := r^ * 10; n := p^;",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.x"), p.get("Main.n")) == (40, 40)


@pytest.mark.parametrize(
    "source",
    [
        "FUNCTION f : REF_TO INT\nVAR x : INT; END_VAR\nf := REF(x);\nEND_FUNCTION\n",
        "FUNCTION f : POINTER TO INT\nVAR x : INT; END_VAR\nf := ADR(x);\nEND_FUNCTION\n",
        "FUNCTION f : INT\nVAR_INPUT x : INT; END_VAR VAR_OUTPUT r : REF_TO INT; END_VAR\nr := REF(x);\nEND_FUNCTION\n",
        "FUNCTION_BLOCK f\nVAR_TEMP x : INT; END_VAR VAR r : REF_TO INT; END_VAR\nr := REF(x);\nEND_FUNCTION_BLOCK\n",
    ],
)
def test_a_reference_is_not_kept_longer_than_its_variable(source: str) -> None:
    assert [row[0] for row in errors(source + program("i : INT;", ";")) if row[2] == "access"] == [
        3
    ]


def test_a_reference_within_a_call_and_to_what_stays_is_fine(cc: str) -> None:
    p = plc(
        """
FUNCTION f : INT
VAR x : INT; r : REF_TO INT; END_VAR
r := REF(x); r^ := 4; f := x;
END_FUNCTION
FUNCTION_BLOCK B
VAR x : INT := 3; p : POINTER TO INT; END_VAR
VAR_TEMP t : INT; END_VAR
METHOD PUBLIC Own : REF_TO INT Own := REF(x); END_METHOD
p := ADR(t); p^ := x; x := t + 1;
END_FUNCTION_BLOCK
"""
        + program("b : B; r : REF_TO INT; i, k : INT;", "b(); r := b.Own(); i := r^; k := f();"),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.i"), p.get("Main.k")) == (4, 4)


# --- blocks that are extended --------------------------------------------------------------------------------------

ABSTRACT = """FUNCTION_BLOCK ABSTRACT Shape
METHOD PUBLIC ABSTRACT Area : INT END_METHOD
METHOD PUBLIC Twice : INT Twice := 2 * Area(); END_METHOD
END_FUNCTION_BLOCK
"""


@pytest.mark.parametrize(
    "declaration",
    [
        "s : Shape;",
        "s : ARRAY[1..2] OF Shape;",
        "s : Holder;",
        "s : Row;",
    ],
)
def test_an_abstract_block_has_no_instances(declaration: str) -> None:
    around = (
        "FUNCTION_BLOCK Holder VAR inner : Shape; END_VAR END_FUNCTION_BLOCK\n"
        if "Holder" in declaration
        else ""
    )
    around += "TYPE Row : STRUCT s : Shape; END_STRUCT; END_TYPE\n" if "Row" in declaration else ""
    found = compile_project({"a.st": ABSTRACT + around + program(declaration, ";")})
    assert not found.ok
    (error,) = [row for row in found.diagnostics if row.code == "oop"]
    assert error.message == "Shape is ABSTRACT: it has no instances"


def test_what_extends_an_abstract_block_stands_where_it_is_asked_for(cc: str) -> None:
    p = plc(
        ABSTRACT
        + """FUNCTION_BLOCK Unit EXTENDS Shape METHOD PUBLIC OVERRIDE Area : INT Area := 21; END_METHOD END_FUNCTION_BLOCK
FUNCTION Doubled : INT VAR_IN_OUT s : Shape; END_VAR Doubled := s.Twice(); END_FUNCTION
"""
        + program("u : Unit; x : INT;", "x := Doubled(u);"),
        compiler=cc,
    )
    assert not p.scan()
    assert p.get("Main.x") == 42


ACCESS = """FUNCTION_BLOCK A
METHOD PRIVATE P : INT P := 1; END_METHOD
METHOD PROTECTED Q : INT Q := 2; END_METHOD
METHOD PUBLIC FINAL R : INT R := P() + THIS.P() + Q(); END_METHOD
END_FUNCTION_BLOCK
FUNCTION_BLOCK B EXTENDS A
METHOD PUBLIC S : INT
{}
END_METHOD
END_FUNCTION_BLOCK
"""


@pytest.mark.parametrize(
    ("inside", "outside", "code"),
    [
        ("S := P();", "", "access"),
        ("S := SUPER.P();", "", "access"),
        ("S := THIS.P();", "", "access"),
        ("", "x := b.Q();", "access"),
        ("", "x := b.P();", "access"),
        ("END_METHOD METHOD PUBLIC OVERRIDE R : INT", "", "oop"),
    ],
)
def test_who_may_not_call_a_method_or_override_it(inside: str, outside: str, code: str) -> None:
    found = errors(ACCESS.format(inside) + program("b : B; x : INT;", outside or ";"))
    assert [row[2] for row in found] == [code]


def test_who_may_call_a_method(cc: str) -> None:
    source = ACCESS.format("S := Q() + SUPER.Q() + THIS.R();")
    p = plc(source + program("b : B; x : INT;", "x := b.S() * 10 + b.R();"), compiler=cc)
    assert not p.scan()
    assert p.get("Main.x") == 84


def test_a_private_method_is_not_overridden_by_one_of_its_name(cc: str) -> None:
    source = """
FUNCTION_BLOCK A
METHOD PRIVATE P : INT P := 1; END_METHOD
METHOD PUBLIC R : INT R := P() * 10 + THIS.P(); END_METHOD
END_FUNCTION_BLOCK
FUNCTION_BLOCK B EXTENDS A
METHOD PRIVATE P : DINT P := 7; END_METHOD
METHOD PUBLIC S : DINT S := P(); END_METHOD
END_FUNCTION_BLOCK
"""
    p = plc(source + program("b : B; x : INT; y : DINT;", "x := b.R(); y := b.S();"), compiler=cc)
    assert not p.scan()
    assert (p.get("Main.x"), p.get("Main.y")) == (11, 7)
    wrong = source.replace("METHOD PRIVATE P : DINT", "METHOD PUBLIC OVERRIDE P : DINT")
    assert "oop" in [row[2] for row in errors(wrong + program("b : B;", ";"))]


@pytest.mark.parametrize(
    "source",
    [
        "FUNCTION_BLOCK FINAL A END_FUNCTION_BLOCK\nFUNCTION_BLOCK B EXTENDS A END_FUNCTION_BLOCK\n",
        "INTERFACE I METHOD M : INT END_METHOD END_INTERFACE\nFUNCTION_BLOCK B IMPLEMENTS I END_FUNCTION_BLOCK\n",
        ABSTRACT + "FUNCTION_BLOCK B EXTENDS Shape END_FUNCTION_BLOCK\n",
    ],
    ids=["FINAL", "interface", "abstract method"],
)
def test_a_promise_that_a_block_does_not_keep_is_told(source: str) -> None:
    assert "oop" in [row[2] for row in errors(source + program("b : B;", ";"))]


# --- statements ----------------------------------------------------------------------------------------------------


def test_and_then_and_or_else_leave_out_what_does_not_matter(cc: str) -> None:
    p = plc(
        """
FUNCTION_BLOCK Asked
VAR n : INT; END_VAR
METHOD PUBLIC Yes : BOOL n := n + 1; Yes := TRUE; END_METHOD
METHOD PUBLIC Count : INT Count := n; END_METHOD
END_FUNCTION_BLOCK
PROGRAM Main
VAR f, t : BOOL; a, b, c, d : Asked; ra, rb, rc, rd : INT; zero : INT; q : BOOL; END_VAR
t := TRUE; f := FALSE;
q := f AND_THEN a.Yes(); q := t OR_ELSE b.Yes(); q := t AND_THEN c.Yes(); q := f OR_ELSE d.Yes();
q := zero <> 0 AND_THEN 10 / zero > 1;
ra := a.Count(); rb := b.Count(); rc := c.Count(); rd := d.Count();
END_PROGRAM
""",
        compiler=cc,
    )
    assert not p.scan()
    assert [p.get(f"Main.r{name}") for name in "abcd"] == [0, 0, 1, 1]


def test_a_method_may_call_itself_and_not_without_end(cc: str) -> None:
    source = """
FUNCTION_BLOCK R
METHOD PUBLIC Down : INT
VAR_INPUT n : INT; END_VAR
IF n > 0 THEN Down := Down(n - 1) + 1; END_IF;
END_METHOD
END_FUNCTION_BLOCK
"""
    p = plc(source + program("r : R; n : INT := 50; x : INT;", "x := r.Down(n);"), compiler=cc)
    assert not p.scan()
    assert p.get("Main.x") == 50
    p.set("Main.n", 5000)
    assert p.scan() == "stack"


def test_tasks_of_a_configuration_have_its_intervals_and_priorities() -> None:
    source = """
CONFIGURATION c
RESOURCE r ON PLC
TASK slow(INTERVAL := T#100ms, PRIORITY := 7);
TASK fast(INTERVAL := T#1ms500us, PRIORITY := 0);
PROGRAM a WITH slow : Main; PROGRAM b WITH fast : Main;
END_RESOURCE
END_CONFIGURATION
"""
    made = compiled(program("x : INT;", "x := 1;") + source)
    found = {row["name"]: (row["interval_us"], row["priority"], row["programs"]) for row in made.symbols["tasks"]}  # fmt: skip
    assert found == {"slow": (100_000, 7, ["a"]), "fast": (1500, 0, ["b"])}
    for interval, words in (("LT#1500500ns", "whole number of microseconds"), ("T#99us", "100 us")):
        wrong = source.replace("T#1ms500us", interval)
        found_ = compile_project({"a.st": program("x : INT;", "x := 1;") + wrong}).diagnostics
        assert words in found_[0].message


# --- what is told ----------------------------------------------------------------------------------------------------


def test_an_error_shows_place_line_caret_and_hint() -> None:
    found = compile_project({"src/main.st": program("motor : INT;", "x := 1;\nmoter := 1;")})
    assert found.diagnostics[1].render() == (
        "src/main.st:6:1: error: moter is not declared [undeclared]\n"
        "    moter := 1;\n"
        "    ^^^^^\n"
        "  hint: did you mean motor?"
    )


def test_instruction_list_is_refused_with_a_sentence() -> None:
    found = compile_project({"a.st": program("x : INT;", "LD x\nADD 1\nST x")})
    error = found.diagnostics[0]
    assert (error.line, error.code) == (5, "unsupported")
    assert error.message == "LD: Instruction List is not supported"
    assert error.hint == "the standard removed it; write Structured Text"


def test_check_knows_the_files_given_beside_in_the_dialect_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.st").write_text(
        "FUNCTIONBLOCK Above\nVAR_OUTPUT q : BOOL; END_VAR\nIF level > 3 THEN q := TRUE; END_IF\nEND_FUNCTION_BLOCK\n"
    )
    (tmp_path / "globals.st").write_text("VAR_GLOBAL level : INT; END_VAR\n")
    words = ["check", str(tmp_path / "lib"), "--format", "json"]
    run = CliRunner().invoke
    told = run(main, [*words, "--dialect", "codesys23", "--with", str(tmp_path / "globals.st")])
    assert told.exit_code == 0, told.output
    (row,) = [json.loads(line) for line in told.output.splitlines()]
    assert list(row) == ["pou", "kind", "file", "ok", "errors"]
    assert (row["pou"], row["kind"], row["ok"], row["errors"]) == ("Above", "FUNCTION_BLOCK", True, [])  # fmt: skip
    for less in (["--dialect", "codesys23"], ["--with", str(tmp_path / "globals.st")]):
        told = run(main, [*words, *less])
        assert told.exit_code == 1, less
        errors_ = [json.loads(line)["errors"] for line in told.output.splitlines()]
        assert list(errors_[0][0]) == ["file", "line", "column", "code", "message"]


def test_ok_wants_tcc_to_accept_what_was_emitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "FUNCTION Good : INT Good := 1; END_FUNCTION\n"
    (tmp_path / "a.st").write_text(good + program("x : INT;", "x := 4711;"))

    def refuses(c_source: str) -> None:
        for number, line in enumerate(c_source.splitlines(), 1):
            if "4711" in line:
                raise CompilerRefusal(f"program.c:{number}: error: not this one")
        accept(c_source)

    assert check([tmp_path]).ok
    monkeypatch.setattr("industrial.st.compiler.accept", refuses)
    report = check([tmp_path])
    assert {row.pou: row.ok for row in report.rows} == {"Good": True, "Main": False}
    assert report.diagnostics[0].message == "the C compiler refused Main: not this one"


def test_check_of_a_project_takes_its_own_sources_in_its_own_dialect(tmp_path: Path) -> None:
    main_text = (
        "PROGRAM Main\nVAR step : INT; END_VAR\nIF step = 0 THEN step := 1; END_IF\nEND_PROGRAM\n"
    )
    manifest = 'name = "p"\ndialect = "codesys23"\nsources = ["src/*.st"]\n[[task]]\nname = "t"\ninterval_us = 10000\nprograms = ["Main"]\n'
    project = tmp_path / "p"
    for name, text in (
        ("vplc.toml", manifest),
        ("src/main.st", main_text),
        ("notes/old.st", "rubbish"),
        # What ran before is kept by the controller, and is no source of the project.
        ("state/versions/1/src/main.st", main_text),
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    told = CliRunner().invoke(main, ["check", str(project), "--format", "json"])
    assert told.exit_code == 0, told.output
    assert [json.loads(line)["pou"] for line in told.output.splitlines()] == ["Main"]
    assert CliRunner().invoke(main, ["check", str(project), "--dialect", "iec"]).exit_code == 1
    # A folder above it is no project: whatever lies below is taken, but not what controllers keep.
    assert [path.name for path in find_sources([tmp_path])].count("main.st") == 1


def test_what_is_reserved_for_a_second_controller_may_stand_in_the_manifest() -> None:
    manifest = 'name = "p"\n[[task]]\nname = "t"\ninterval_us = 1000\nwatchdog_us = 5000\nprograms = ["Main"]\n[redundancy]\npeer = "b"\n'
    made = compile_folder({"vplc.toml": manifest, "src/a.st": program("x : INT;", "x := 1;")})
    assert made.ok
    assert not made.diagnostics
    assert made.symbols["tasks"][0]["watchdog_us"] == 5000


# --- the state -------------------------------------------------------------------------------------------------------


def test_the_state_goes_on_at_another_address(cc: str) -> None:
    """References, interfaces, charts and timers are offsets: a copy of the arena elsewhere computes the same."""
    source = """
INTERFACE Source METHOD Next : INT END_METHOD END_INTERFACE
FUNCTION_BLOCK Counter IMPLEMENTS Source
VAR n : INT; END_VAR
METHOD PUBLIC Next : INT n := n + 1; Next := n; END_METHOD
END_FUNCTION_BLOCK
PROGRAM Main
VAR c : ARRAY[1..2] OF Counter; i : Source; r : REF_TO INT; x : INT; t : TON; sum : DINT; once : BOOL; END_VAR
INITIAL_STEP A: Work(N); END_STEP
TRANSITION FROM A TO B := A.T >= T#30ms; END_TRANSITION
STEP B: Work(N); END_STEP
TRANSITION FROM B TO A := B.T >= T#20ms; END_TRANSITION
ACTION Work:
IF NOT once THEN i := c[2]; r := REF(x); once := TRUE; END_IF;
r^ := r^ + i.Next(); sum := sum * 3 + x; t(IN := NOT t.Q, PT := T#50ms);
END_ACTION
END_PROGRAM
"""
    made = compiled(source)
    one, other = Plc(made, cc), Plc(made, cc)
    assert not one.scan(7)
    size = max(
        row["offset"] + row["size"] for row in made.symbols["symbols"] if row["area"] == "arena"
    )
    places = [machine.library.plc_area(machine.handle, 0) for machine in (one, other)]
    assert places[0] != places[1]
    ctypes.memmove(places[1], places[0], size)
    other.now_us = one.now_us
    for _ in range(20):
        assert one.scan() == other.scan() == ""
        assert ctypes.string_at(places[0], size) == ctypes.string_at(places[1], size)
    assert one.get("Main.x") == other.get("Main.x") > 0
