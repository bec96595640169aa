"""Expressions: each with its type and the value that both C compilers must give.

The rules are those of IEC 61131-3 (edition 3): tables 22 to 36 for the functions, 71 for precedence; texts and
times in the forms of chapter 6.3.
"""

from __future__ import annotations

import pytest

from tests.support.st_harness import Plc, compiled, program

CASES = [
    ("INT", "3+4*2", 11),
    ("INT", "-7/2", -3),
    ("INT", "-7 MOD 2", -1),
    ("INT", "7 MOD -2", 1),
    ("INT", "i5+i5*i5", 30),
    ("INT", "INT#32767+i1", -32768),
    ("SINT", "SINT#127 + s1", -128),
    ("UINT", "ui0-ui1", 65535),
    ("BOOL", "TRUE AND NOT FALSE", True),
    ("BOOL", "i5>3 AND i5<6", True),
    ("BOOL", "TRUE XOR TRUE", False),
    ("INT", "SEL(TRUE,1,2)", 2),
    ("INT", "MUX(2,10,20,30)", 30),
    ("INT", "MAX(1,i5,3)", 5),
    ("INT", "MIN(4,i5,3)", 3),
    ("INT", "LIMIT(0,i5,3)", 3),
    ("WORD", "SHL(WORD#16#8001,1)", 2),
    ("WORD", "ROL(WORD#16#8001,1)", 3),
    ("WORD", "ROR(w,4)", 16675),
    ("WORD", "w AND 16#FF", 52),
    ("INT", "REAL_TO_INT(2.5)", 2),
    ("INT", "REAL_TO_INT(3.5)", 4),
    ("INT", "REAL_TO_INT(-2.5)", -2),
    ("DINT", "TRUNC(-2.9)", -2),
    ("INT", "LEN('abc')", 3),
    ("STRING[20]", "LEFT('abcdef',2)", "ab"),
    ("STRING[20]", "RIGHT('abcdef',2)", "ef"),
    ("STRING[20]", "MID('abcdef',2,3)", "cd"),
    ("STRING[20]", "CONCAT('ab','cd','ef')", "abcdef"),
    ("STRING[20]", "INSERT('abef','cd',2)", "abcdef"),
    ("STRING[20]", "DELETE('abcdef',2,3)", "abef"),
    ("STRING[20]", "REPLACE('abcdef','XY',2,3)", "abXYef"),
    ("INT", "FIND('abcdef','cd')", 3),
    ("STRING[20]", "st", "hi"),
    ("STRING[40]", "REAL_TO_STRING(1.5)", "1.5"),
    ("STRING[40]", "DINT_TO_STRING(-42)", "-42"),
    ("STRING[40]", "BOOL_TO_STRING(TRUE)", "TRUE"),
    ("STRING[40]", "TIME_TO_STRING(T#1h2m3s4ms)", "T#1h2m3s4ms"),
    ("STRING[40]", "DT_TO_STRING(DT#2024-02-29-12:34:56)", "DT#2024-02-29-12:34:56"),
    ("INT", "STRING_TO_INT('123')", 123),
    ("REAL", "STRING_TO_REAL('1.5e2')", 150.0),
    ("TIME", "STRING_TO_TIME('T#1.5s')", 1500),
    ("TIME", "T#1s+T#500ms", 1500),
    ("TIME", "T#1s*3", 3000),
    ("TIME", "T#3s/2", 1500),
    ("DT", "DT#1970-01-01-00:00:10+T#5s", 15),
    ("TIME", "DT#1970-01-02-00:00:00-DT#1970-01-01-00:00:00", 86400000),
    ("TOD", "TOD#23:59:59+T#2s", 1000),
    ("DATE", "DT_TO_DATE(DT#1970-01-02-05:00:00)", 86400),
    ("TOD", "DT_TO_TOD(DT#1970-01-02-05:00:00)", 18000000),
    ("REAL", "SQRT(16.0)", 4.0),
    ("LREAL", "EXPT(2.0,10)", 1024.0),
    ("REAL", "r15*2.0", 3.0),
    ("REAL", "ABS(-r15)", 1.5),
    ("INT", "ABS(-i5)", 5),
    ("BYTE", "INT_TO_BYTE(258)", 2),
    ("USINT", "BCD_TO_USINT(BYTE#16#42)", 42),
    ("BYTE", "USINT_TO_BCD_BYTE(42)", 66),
    ("BOOL", "w.2", True),
    ("BOOL", "w.%X0", False),
    ("BYTE", "w.%B1", 18),
    ("INT", "a2[1,2]", 6),
    ("INT", "st1.b[2]", 9),
    ("BOOL", "'abc'<'abd'", True),
    ("ULINT", "16#FFFF_FFFF_FFFF_FFFF", 18446744073709551615),
    ("LINT", "-9223372036854775808", -9223372036854775808),
    ("REAL", "ULINT_TO_REAL(ULINT#18446744073709551615)", 1.8446744073709552e19),
    ("INT", "f(3)", 9),
    ("INT", "f(x:=2)+f(3)*f(1)", 13),
    ("LTIME", "LTIME#1s500ms", 1500000000),
    ("LTIME", "TIME_TO_LTIME(T#1s)", 1000000000),
    ("CHAR", "CHAR#'A'", 65),
    ("DINT", "DWORD_TO_DINT(16#FFFFFFFF)", -1),
    ("UDINT", "16#FFFF_FFFF", 4294967295),
    ("BOOL", "i5=5 OR a2[i5,i5]=0", True),
    ("INT", "sub", 4),
    ("INT", "MUX(K:=1,IN0:=7,IN1:=8)", 8),
    ("BOOL", "GT(3,2,1)", True),
    ("WSTRING[10]", '"wide$00E9"', "wideé"),
]
TYPES = """
TYPE
    ST1 : STRUCT a : BOOL; b : ARRAY[1..3] OF INT := [8, 9, 10]; END_STRUCT;
END_TYPE
FUNCTION f : INT
VAR_INPUT x : INT; END_VAR
f := x * x;
END_FUNCTION
"""
VARIABLES = """
i5 : INT := 5; i1 : INT := 1; s1 : SINT := 1; ui0 : UINT; ui1 : UINT := 1; w : WORD := 16#1234;
r15 : REAL := 1.5; st : STRING := 'hi'; a2 : ARRAY[0..1, 0..2] OF INT := [1, 2, 3, 4, 5, 6];
st1 : ST1; sub : INT (0..9) := 4;
"""


@pytest.fixture(scope="module", params=["tcc", "gcc"])
def plc(request: pytest.FixtureRequest) -> Plc:
    outputs = "".join(f"o{number} : {kind};" for number, (kind, _, _) in enumerate(CASES))
    body = "".join(f"o{number} := {text};\n" for number, (_, text, _) in enumerate(CASES))
    machine = Plc(compiled(TYPES + program(VARIABLES + outputs, body)), request.param)
    assert machine.scan() == ""
    return machine


@pytest.mark.parametrize("number", range(len(CASES)), ids=[text for _, text, _ in CASES])
def test_value(plc: Plc, number: int) -> None:
    assert plc.get(f"Main.o{number}") == CASES[number][2]
