"""Programs scan by scan, with tcc and gcc alike."""

from __future__ import annotations

import pytest

from tests.support.st_harness import plc, program


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_on_delay(cc: str) -> None:
    p = plc(
        program("t:TON;i:BOOL;q:BOOL;et:TIME;", "t(IN:=i,PT:=T#30ms,Q=>q,ET=>et);"), compiler=cc
    )
    p.scan()
    p.set("Main.i", 1)
    r = []
    for _ in range(5):
        p.scan()
        r.append((p.get("Main.q"), p.get("Main.et")))
    assert r == [(False, 0), (False, 10), (False, 20), (True, 30), (True, 30)], r
    p.set("Main.i", 0)
    p.scan()
    assert (p.get("Main.q"), p.get("Main.et")) == (False, 0)


def test_off_delay_and_pulse(cc: str) -> None:
    p = plc(program("t:TOF;u:TP;i:BOOL;", "t(IN:=i,PT:=T#20ms);u(IN:=i,PT:=T#20ms);"), compiler=cc)
    p.set("Main.i", 1)
    r = []
    for n in range(7):
        if n == 1:
            p.set("Main.i", 0)
        p.scan()
        r.append((p.get("Main.t.Q"), p.get("Main.u.Q")))
    assert (
        r == [(True, True), (True, True), (True, False), (False, False)] + [(False, False)] * 3
    ), r


def test_counter(cc: str) -> None:
    p = plc(program("c:CTUD;u,d:BOOL;", "c(CU:=u,CD:=d,PV:=2);"), compiler=cc)
    for v in (1, 0, 1, 0):
        p.set("Main.u", v)
        p.scan()
    assert p.get("Main.c.CV") == 2 and p.get("Main.c.QU")
    p.set("Main.d", 1)
    p.scan()
    assert p.get("Main.c.CV") == 1 and not p.get("Main.c.QU")


def test_faults_stop_the_scan(cc: str) -> None:
    for decl, body, want in (
        ("a,b:INT;", "a:=1;\na:=a/b;", "division"),
        ("x:ARRAY[1..3] OF INT;i:INT:=4;", "x[i]:=1;", "bounds"),
        ("r:REF_TO INT;", "r^:=1;", "reference"),
        ("s:STRING[2];t:STRING[9]:='abc';", "s:=t;", "string"),
        ("r,q:REAL;", "r:=1.0/q;", "division"),
        ("s:INT(0..5);i:INT:=9;", "s:=i;", "conversion"),
        ("r:REAL:=1.0E9;i:INT;", "i:=REAL_TO_INT(r);", "conversion"),
    ):
        p = plc(program(decl, body), compiler=cc)
        f = p.scan()
        assert f == want, (body, f)
    p = plc(program("i:INT;", "WHILE TRUE DO i:=i+1; END_WHILE;"), compiler=cc)
    p.watchdog()
    assert p.scan() == "watchdog"


def test_a_fault_knows_its_line(cc: str) -> None:
    p = plc(program("a,b:INT;", "a:=1;\n\nIF a=1 THEN\na:=a/b;\nEND_IF;"), compiler=cc)
    p.scan()
    assert p.line == 8, p.line


def test_loops(cc: str) -> None:
    p = plc(
        program(
            "i:INT;n:INT;b:BYTE;u:USINT;k:INT;m:INT;e:INT;",
            """
FOR i:=10 TO 1 BY -3 DO n:=n+i; END_FOR;
FOR u:=250 TO 255 DO k:=k+1; END_FOR;
REPEAT m:=m+1; IF m=3 THEN CONTINUE; END_IF; UNTIL m>=5 END_REPEAT;
FOR i:=1 TO 10 DO FOR n:=1 TO 10 DO IF n=3 THEN EXIT; END_IF; e:=e+1; END_FOR; END_FOR;
WHILE e < 25 DO e:=e+1; END_WHILE;
CASE e OF 1,2: k:=100; 20..30: k:=k+1; ELSE k:=0; END_CASE;""",
        ),
        compiler=cc,
    )
    assert not p.scan()
    assert (p.get("Main.k"), p.get("Main.m"), p.get("Main.e")) == (7, 5, 25), (
        p.get("Main.k"),
        p.get("Main.m"),
        p.get("Main.e"),
    )


def test_blocks_and_functions(cc: str) -> None:
    p = plc(
        """FUNCTION_BLOCK Acc VAR_INPUT x:INT; END_VAR VAR_IN_OUT total:DINT; END_VAR VAR_OUTPUT y:DINT; END_VAR VAR n:INT; END_VAR
n:=n+1; total:=total+x; y:=total*n; END_FUNCTION_BLOCK
FUNCTION Bump : BOOL VAR_IN_OUT v:INT; END_VAR VAR_INPUT inc:INT:=3; END_VAR VAR_OUTPUT twice:INT; END_VAR v:=v+inc; twice:=v*2; Bump:=v>5; END_FUNCTION
FUNCTION Greet : STRING[30] VAR_INPUT who:STRING[10]; END_VAR Greet:=CONCAT('hi ',who); END_FUNCTION
FUNCTION_BLOCK Outer VAR a:ARRAY[1..2] OF Acc; END_VAR VAR_OUTPUT t:DINT; END_VAR a[1](x:=1,total:=t); a[2](x:=2,total:=t); END_FUNCTION_BLOCK
"""
        + program(
            "a:Acc;d:DINT;y:DINT;v:INT;w:INT;b:BOOL;s:STRING[60];o:Outer;",
            "a(x:=5,total:=d,y=>y); b:=Bump(v,twice=>w); s:=CONCAT(Greet('bob'),Greet('eve')); o();",
        ),
        compiler=cc,
    )
    assert not p.scan(2)
    got = [p.get("Main." + k) for k in ("d", "y", "v", "w", "b", "s", "o.t")]
    assert got == [10, 20, 6, 12, True, "hi bobhi eve", 6], got


def test_methods_interfaces_properties(cc: str) -> None:
    p = plc(
        """INTERFACE IShape METHOD Area:INT VAR_INPUT k:INT; END_VAR END_METHOD END_INTERFACE
FUNCTION_BLOCK ABSTRACT Base IMPLEMENTS IShape VAR w:INT:=3; END_VAR METHOD PUBLIC Area:INT VAR_INPUT k:INT; END_VAR Area:=w*k; END_METHOD METHOD PUBLIC Twice:INT Twice:=2*THIS^.Area(1); END_METHOD END_FUNCTION_BLOCK
FUNCTION_BLOCK Sq EXTENDS Base END_FUNCTION_BLOCK
FUNCTION_BLOCK Big EXTENDS Base METHOD PUBLIC OVERRIDE Area:INT VAR_INPUT k:INT; END_VAR Area:=SUPER^.Area(k)+100; END_METHOD PROPERTY Wd:INT GET Wd:=w; END_GET SET w:=Wd; END_SET END_PROPERTY END_FUNCTION_BLOCK
"""
        + program(
            "s:Sq;b:Big;i:IShape;x,y,z,t:INT;",
            "i:=s; x:=i.Area(2); i:=b; y:=i.Area(k:=2); t:=b.Twice(); b.Wd:=7; z:=b.Wd;",
        ),
        compiler=cc,
    )
    assert not p.scan()
    got = [p.get("Main." + k) for k in "xytz"]
    assert got == [6, 106, 206, 7], got
    assert (
        plc(
            "INTERFACE I METHOD M END_METHOD END_INTERFACE\n" + program("i:I;", "i.M();"),
            compiler=cc,
        ).scan()
        == "reference"
    )


def test_warm_start_keeps_what_is_retained(cc: str) -> None:
    src = "VAR_GLOBAL g AT %MW5 : INT := 42; END_VAR\nPROGRAM Main VAR RETAIN k:INT:=5; END_VAR VAR n:INT:=1; END_VAR k:=k+1; n:=n+1; g:=g+1; END_PROGRAM"
    p = plc(src, compiler=cc)
    p.scan(3)
    p.init(warm=True)
    assert (p.get("Main.k"), p.get("Main.n"), p.get("g")) == (8, 1, 42)
    p.init(warm=False)
    assert p.get("Main.k") == 5


def test_tasks_of_a_configuration(cc: str) -> None:
    p = plc(
        "PROGRAM A VAR n:INT; END_VAR n:=n+1; END_PROGRAM PROGRAM B VAR n:INT; END_VAR n:=n+10; END_PROGRAM CONFIGURATION C RESOURCE R ON PLC TASK T1(INTERVAL:=T#1ms,PRIORITY:=1); TASK T2(INTERVAL:=T#5ms,PRIORITY:=2); PROGRAM a1 WITH T1:A; PROGRAM a2 WITH T1:A; PROGRAM b1 WITH T2:B; END_RESOURCE END_CONFIGURATION",
        compiler=cc,
    )
    p.scan(2, task=0)
    p.scan(task=1)
    assert (p.get("a1.n"), p.get("a2.n"), p.get("b1.n")) == (2, 2, 10)


def test_codesys23_sources(cc: str) -> None:
    p = plc(
        """FUNCTIONBLOCK F VAR_INPUT step:INT; ON:BOOL; END_VAR VAR_OUTPUT set:INT; END_VAR set:=step+1; END_FUNCTION_BLOCK
FUNCTION BITS : DWORD VAR_INPUT r:REAL; END_VAR VAR p:POINTER TO DWORD; END_VAR p:=ADR(r); BITS:=p^; END_FUNCTION
FUNCTION UP : STRING(20) VAR_INPUT s:STRING(20); END_VAR VAR p:POINTER TO BYTE; i:INT; END_VAR
UP:=s; p:=ADR(UP); FOR i:=1 TO LEN(s) DO IF p^>=97 AND p^<=122 THEN p^:=p^-32; END_IF p:=p+1; END_FOR END_FUNCTION
PROGRAM Main VAR f:F; d:DWORD; s:STRING(20); a:ARRAY[1..3] OF INT:=1,2(7); n:INT:=9; b:BOOL; x:ARRAY[0..7] OF INT; END_VAR
f(step:=4); d:=BITS(1.0); s:=UP('abC'); b:= n>7 OR x[n]=0; END_PROGRAM""",
        dialect="codesys23",
        compiler=cc,
    )
    assert not p.scan()
    got = [p.get("Main." + k) for k in ("f.set", "d", "s", "a[3]", "b")]
    assert got == [5, 0x3F800000, "ABC", 7, True], got


def test_inputs_with_edges_are_seen_for_one_call(cc: str) -> None:
    source = """
FUNCTION_BLOCK Count
VAR_INPUT up : BOOL R_EDGE; down : BOOL F_EDGE; END_VAR
VAR_OUTPUT n, m : INT; END_VAR
IF up THEN n := n + 1; END_IF;
IF down THEN m := m + 1; END_IF;
END_FUNCTION_BLOCK
PROGRAM Main
VAR c : Count; i : BOOL := TRUE; END_VAR
c(up := i, down := i);
END_PROGRAM
"""
    p = plc(source, compiler=cc)
    seen = []
    for value in (1, 1, 0, 0, 1, 0):
        p.set("Main.i", value)
        p.scan()
        seen.append((p.get("Main.c.n"), p.get("Main.c.m")))
    assert seen == [(1, 0), (1, 0), (1, 1), (1, 1), (2, 1), (2, 2)]


def test_single_characters_of_a_text(cc: str) -> None:
    p = plc(
        program(
            "s : STRING[5] := 'abc'; c, d : CHAR; i : INT := 6;",
            "c := s[1]; s[2] := CHAR#'X'; d := s[3];\nIF c = CHAR#'q' THEN s[i] := c; END_IF;",
        ),
        compiler=cc,
    )
    assert p.scan() == ""
    assert (p.get("Main.s"), p.get("Main.c"), p.get("Main.d")) == ("aXc", 97, 99)
    p = plc(program("s : STRING[5]; i : INT := 6;", "s[i] := CHAR#'a';"), compiler=cc)
    assert p.scan() == "bounds"
    p = plc(
        program("s : STRING(5) := 'abc'; b : BYTE;", "b := s[0]; s[0] := 65;"),
        dialect="codesys23",
        compiler=cc,
    )
    p.scan()
    assert (p.get("Main.s"), p.get("Main.b")) == ("Abc", 97)


def test_an_operand_that_does_not_matter_does_not_fault_even_behind_a_call(cc: str) -> None:
    source = """
FUNCTION Half : INT VAR_INPUT x : INT; END_VAR Half := x / 2; END_FUNCTION
FUNCTION Bump : BOOL VAR_IN_OUT n : INT; END_VAR n := n + 1; Bump := TRUE; END_FUNCTION
PROGRAM Main
VAR a : ARRAY[0..3] OF INT := [2, 4, 6, 8]; t : ARRAY[0..3] OF STRING[4] := ['a', 'b']; i, n, d : INT; p, q, r, s, f : BOOL; END_VAR
p := i <= 3 AND Half(a[i]) > 0;
q := i > 3 OR CONCAT(t[i], 'x') = 'ax';
r := d <> 0 AND Half(10 / d) > 1;
s := f AND Bump(n);
END_PROGRAM
"""
    p = plc(source, compiler=cc)
    for i, d, expected in (
        (0, 2, (True, True, True)),
        (9, 0, (False, True, False)),
        (1, 9, (True, False, False)),
    ):
        p.set("Main.i", i)
        p.set("Main.d", d)
        assert p.scan() == ""
        assert tuple(p.get(f"Main.{name}") for name in "pqr") == expected
    assert p.get("Main.n") == 3


def chosen(count: int, condition: str = "x = {}") -> str:
    rest = "".join(f"ELSIF {condition.format(n)} THEN y := {n};\n" for n in range(1, count))
    return program(
        "x, y, before, after : DINT;",
        f"before := before + 1;\nIF {condition.format(0)} THEN y := 0;\n{rest}ELSE y := -1;\nEND_IF;\nafter := after + 1;",
    )


@pytest.mark.parametrize("count", [100, 101, 350])
def test_an_if_takes_the_first_branch_that_is_true_however_many_there_are(
    cc: str, count: int
) -> None:
    p = plc(chosen(count, "x MOD 1000 = {}"), compiler=cc)
    for x, y in ((0, 0), (1, 1), (99, 99), (count - 1, count - 1), (count, -1), (2007, 7)):
        p.set("Main.x", x)
        assert not p.scan()
        assert p.get("Main.y") == y
    assert p.get("Main.before") == p.get("Main.after") == 6


def test_loops_calls_and_returns_within_a_long_if(cc: str) -> None:
    rest = "".join(f"ELSIF f(x) = {n} THEN y := y + {n};\n" for n in range(200))
    p = plc(
        "FUNCTION f : INT\nVAR_INPUT a : INT; END_VAR VAR_IN_OUT calls : INT; END_VAR\n"
        "calls := calls + 1; f := a;\nEND_FUNCTION\n"
        + program(
            "x, y, n, calls, last : INT;",
            "n := 0; y := 0; calls := 0; last := 0;\nWHILE n < 10 DO\nn := n + 1;\nIF x < 0 THEN RETURN;\n"
            + rest.replace("f(x)", "f(x, calls)")
            + "ELSE EXIT;\nEND_IF;\nIF n = 3 THEN CONTINUE; END_IF;\nEND_WHILE;\nlast := n;",
        ),
        compiler=cc,
    )
    for x, seen in (
        (5, (50, 10, 60, 10)),
        (199, (1990, 10, 2000, 10)),
        (300, (0, 1, 200, 1)),
        (-1, (0, 1, 0, 0)),
    ):
        p.set("Main.x", x)
        assert not p.scan()
        assert tuple(p.get(f"Main.{name}") for name in ("y", "n", "calls", "last")) == seen


def test_an_if_of_twenty_thousand_branches() -> None:
    p = plc(chosen(20_000))
    for x in (0, 10_000, 19_999):
        p.set("Main.x", x)
        assert not p.scan()
        assert p.get("Main.y") == x
