"""The function blocks that every program may use, written in Structured Text themselves."""

from __future__ import annotations

from functools import cache

from .library_calendar import calendar
from .lower_sfc import SUPPORT

_EDGES = """
FUNCTION_BLOCK R_TRIG
VAR_INPUT CLK : BOOL; END_VAR
VAR_OUTPUT Q : BOOL; END_VAR
VAR M : BOOL; END_VAR
Q := CLK AND NOT M;
M := CLK;
END_FUNCTION_BLOCK

FUNCTION_BLOCK F_TRIG
VAR_INPUT CLK : BOOL; END_VAR
VAR_OUTPUT Q : BOOL; END_VAR
VAR M : BOOL; END_VAR
Q := NOT CLK AND NOT M;
M := NOT CLK;
END_FUNCTION_BLOCK

FUNCTION_BLOCK SR
VAR_INPUT {S1} : BOOL; {R} : BOOL; END_VAR
VAR_OUTPUT Q1 : BOOL; END_VAR
Q1 := {S1} OR (NOT {R} AND Q1);
END_FUNCTION_BLOCK

FUNCTION_BLOCK RS
VAR_INPUT {S} : BOOL; {R1} : BOOL; END_VAR
VAR_OUTPUT Q1 : BOOL; END_VAR
Q1 := NOT {R1} AND ({S} OR Q1);
END_FUNCTION_BLOCK
"""

# A timer measures by differences, which survive the clock's wrap-around, and stops measuring when its time is up.
_TIMERS = """
FUNCTION_BLOCK TON{suffix}
VAR_INPUT IN : BOOL; PT : {time}; END_VAR
VAR_OUTPUT Q : BOOL; ET : {time}; END_VAR
VAR running : BOOL; start : {time}; END_VAR
IF NOT IN THEN
    Q := FALSE; ET := {zero}; running := FALSE;
ELSE
    IF NOT running THEN running := TRUE; start := {now}; END_IF;
    IF NOT Q THEN
        ET := {now} - start;
        IF ET >= PT THEN ET := PT; Q := TRUE; END_IF;
    END_IF;
END_IF;
END_FUNCTION_BLOCK

FUNCTION_BLOCK TOF{suffix}
VAR_INPUT IN : BOOL; PT : {time}; END_VAR
VAR_OUTPUT Q : BOOL; ET : {time}; END_VAR
VAR running : BOOL; start : {time}; END_VAR
IF IN THEN
    Q := TRUE; ET := {zero}; running := FALSE;
ELSIF Q THEN
    IF NOT running THEN running := TRUE; start := {now}; END_IF;
    ET := {now} - start;
    IF ET >= PT THEN ET := PT; Q := FALSE; running := FALSE; END_IF;
END_IF;
END_FUNCTION_BLOCK

FUNCTION_BLOCK TP{suffix}
VAR_INPUT IN : BOOL; PT : {time}; END_VAR
VAR_OUTPUT Q : BOOL; ET : {time}; END_VAR
VAR before : BOOL; start : {time}; END_VAR
IF IN AND NOT before AND NOT Q AND ET = {zero} THEN
    Q := TRUE; start := {now};
END_IF;
IF Q THEN
    ET := {now} - start;
    IF ET >= PT THEN ET := PT; Q := FALSE; END_IF;
END_IF;
IF NOT Q AND NOT IN THEN ET := {zero}; END_IF;
before := IN;
END_FUNCTION_BLOCK
"""

_COUNTERS = """
FUNCTION_BLOCK CTU{suffix}
VAR_INPUT CU : BOOL; {reset} : BOOL; PV : {kind}; END_VAR
VAR_OUTPUT Q : BOOL; CV : {kind}; END_VAR
VAR before : BOOL; END_VAR
IF {reset} THEN CV := 0;
ELSIF CU AND NOT before AND CV < {high} THEN CV := CV + 1;
END_IF;
before := CU;
Q := CV >= PV;
END_FUNCTION_BLOCK

FUNCTION_BLOCK CTD{suffix}
VAR_INPUT CD : BOOL; {load} : BOOL; PV : {kind}; END_VAR
VAR_OUTPUT Q : BOOL; CV : {kind}; END_VAR
VAR before : BOOL; END_VAR
IF {load} THEN CV := PV;
ELSIF CD AND NOT before AND CV > {low} THEN CV := CV - 1;
END_IF;
before := CD;
Q := CV <= 0;
END_FUNCTION_BLOCK

FUNCTION_BLOCK CTUD{suffix}
VAR_INPUT CU : BOOL; CD : BOOL; {reset} : BOOL; {load} : BOOL; PV : {kind}; END_VAR
VAR_OUTPUT QU : BOOL; QD : BOOL; CV : {kind}; END_VAR
VAR before_up : BOOL; before_down : BOOL; up : BOOL; down : BOOL; END_VAR
up := CU AND NOT before_up;
down := CD AND NOT before_down;
before_up := CU;
before_down := CD;
IF {reset} THEN CV := 0;
ELSIF {load} THEN CV := PV;
ELSIF up AND NOT down AND CV < {high} THEN CV := CV + 1;
ELSIF down AND NOT up AND CV > {low} THEN CV := CV - 1;
END_IF;
QU := CV >= PV;
QD := CV <= 0;
END_FUNCTION_BLOCK
"""


@cache
def standard(*, codesys: bool) -> str:
    """The standard's ten function blocks with their typed forms, in the names of the dialect."""
    names = (
        {"S1": "SET1", "R": "RESET", "S": "SET", "R1": "RESET1"}
        if codesys
        else {"S1": "S1", "R": "R", "S": "S", "R1": "R1"}
    )
    reset, load = ("RESET", "LOAD") if codesys else ("R", "LD")
    parts = [SUPPORT, calendar(), _EDGES.format_map(names)]
    for suffix, time, zero, now in (
        ("", "TIME", "T#0s", "TIME()"),
        ("_TIME", "TIME", "T#0s", "TIME()"),
        ("_LTIME", "LTIME", "LTIME#0s", "LTIME()"),
    ):
        parts.append(_TIMERS.format(suffix=suffix, time=time, zero=zero, now=now))
    for kind, low, high in (
        ("INT", -32768, 32767), ("DINT", -2147483648, 2147483647), ("LINT", -(1 << 63), (1 << 63) - 1),
        ("UDINT", 0, (1 << 32) - 1), ("ULINT", 0, (1 << 64) - 1),
    ):  # fmt: skip
        for suffix in ("", "_INT") if kind == "INT" else (f"_{kind}",):
            parts.append(
                _COUNTERS.format(
                    suffix=suffix, kind=kind, low=low, high=high, reset=reset, load=load
                )
            )
    return "".join(parts)
