"""Families of names: counters and timers of every type, conversions of each to each, functions of times by their types."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.support.st_harness import plc, program


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


COUNTED = {"INT": 2**15 - 1, "DINT": 2**31 - 1, "LINT": 2**63 - 1, "UDINT": 2**32 - 1, "ULINT": 2**64 - 1}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTED)
def test_the_counters_of_every_type_reach_its_end(cc: str, kind: str) -> None:
    most = COUNTED[kind]
    p = plc(
        program(
            f"u : CTU_{kind} := (CV := {kind}#{most - 1}); d : CTD_{kind}; b : CTUD_{kind}; i, l : BOOL;",
            f"u(CU := i, PV := {kind}#{most}); d(CD := i, LD := l, PV := {kind}#{most});"
            f"b(CU := i, LD := l, PV := {kind}#{most - 1});",
        ),
        compiler=cc,
    )
    p.set("Main.l", True)
    assert not p.scan()
    p.set("Main.l", False)
    p.set("Main.i", True)
    assert not p.scan()
    assert (p.get("Main.u.CV"), p.get("Main.u.Q")) == (most, True)
    assert (p.get("Main.d.CV"), p.get("Main.d.Q")) == (most - 1, False)
    assert (p.get("Main.b.CV"), p.get("Main.b.QU"), p.get("Main.b.QD")) == (most, True, False)


@pytest.mark.parametrize(("kind", "unit"), [("TIME", 1), ("LTIME", 1_000_000)])
def test_the_timers_of_both_types_take_as_long_as_they_say(cc: str, kind: str, unit: int) -> None:
    literal = "T#20ms" if kind == "TIME" else "LT#20ms"
    p = plc(
        program(
            f"a : TON_{kind}; b : TOF_{kind}; c : TP_{kind}; i : BOOL;",
            f"a(IN := i, PT := {literal}); b(IN := i, PT := {literal}); c(IN := i, PT := {literal});",
        ),
        compiler=cc,
    )
    seen = []
    for value in (1, 1, 1, 0, 0, 0):
        p.set("Main.i", value)
        assert not p.scan()
        seen.append(tuple(int(p.get(f"Main.{name}.Q")) for name in "abc"))
    assert seen == [(0, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (0, 1, 0), (0, 0, 0)]
    p.set("Main.i", 1)
    p.scan(2)
    assert p.get("Main.a.ET") == p.get("Main.c.ET") == 10 * unit


TYPES = [
    "BOOL",
    "BYTE",
    "WORD",
    "DWORD",
    "LWORD",
    "SINT",
    "INT",
    "DINT",
    "LINT",
    "USINT",
    "UINT",
    "UDINT",
    "ULINT",
    "REAL",
    "LREAL",
    "TIME",
    "LTIME",
    "DATE",
    "LDATE",
    "TOD",
    "LTOD",
    "DT",
    "LDT",
    "STRING",
    "WSTRING",
    "CHAR",
    "WCHAR",
]


def test_there_is_a_conversion_from_each_elementary_type_to_each_other(cc: str) -> None:
    pairs = list(permutations(TYPES, 2))
    declared = "\n".join(f"v{kind} : {kind};" for kind in TYPES)
    # Of a text and of a character only what compiles: an empty text is no number.
    told = "\n".join(f"IF go THEN v{b} := {a}_TO_{b}(v{a}); END_IF;" for a, b in pairs)
    assert len(pairs) == 702
    assert not plc(program(declared + "\ngo : BOOL;", told), compiler=cc).scan()


def test_whole_numbers_and_bits_of_one_width_keep_their_bits_when_converted(cc: str) -> None:
    widths = (("BYTE", "SINT", "USINT"), ("WORD", "INT", "UINT"), ("DWORD", "DINT", "UDINT"), ("LWORD", "LINT", "ULINT"))  # fmt: skip
    rows = [(a, b, row[0]) for row in widths for a, b in permutations(row, 2)]
    declared = "".join(
        f"a{n} : {a}; b{n} : {b}; w{n} : {bits};" for n, (a, b, bits) in enumerate(rows)
    )
    body = ""
    for n, (a, b, bits) in enumerate(rows):
        pattern = f"{bits}#16#{'A5' * (2 ** widths.index(next(w for w in widths if w[0] == bits)))}"
        body += f"a{n} := {pattern};\n" if a == bits else f"a{n} := {bits}_TO_{a}({pattern});\n"
        body += f"b{n} := {a}_TO_{b}(a{n});\n"
        body += f"w{n} := b{n};\n" if b == bits else f"w{n} := {b}_TO_{bits}(b{n});\n"
    p = plc(program(declared, body), compiler=cc)
    assert not p.scan()
    for n, (_, _, bits) in enumerate(rows):
        size = {"BYTE": 1, "WORD": 2, "DWORD": 4, "LWORD": 8}[bits]
        assert p.get(f"Main.w{n}") == int("A5" * size, 16), rows[n]


#: The standard's tables 35 and 36: the functions of times and dates that have names of their own.
CALENDAR = (
    "t1 := ADD_TIME(T#3s, T#2s)", "l := ADD_LTIME(LT#3s, LT#2s)", "o := ADD_TOD_TIME(TOD#01:00:00, T#1s)",
    "lo := ADD_LTOD_LTIME(LTOD#01:00:00, LT#1s)", "d1 := ADD_DT_TIME(DT#1970-01-02-00:00:00, T#1s)",
    "ld1 := ADD_LDT_LTIME(LDT#1970-01-02-00:00:00, LT#1s)", "t2 := SUB_TIME(T#3s, T#2s)", "l2 := SUB_LTIME(LT#3s, LT#2s)",
    "t3 := SUB_DATE_DATE(D#1970-01-03, D#1970-01-02)", "l3 := SUB_LDATE_LDATE(LDATE#1970-01-03, LDATE#1970-01-02)",
    "o2 := SUB_TOD_TIME(TOD#01:00:00, T#1s)", "lo2 := SUB_LTOD_LTIME(LTOD#01:00:00, LT#1s)",
    "t4 := SUB_TOD_TOD(TOD#01:00:00, TOD#00:59:00)", "l4 := SUB_LTOD_LTOD(LTOD#01:00:00, LTOD#00:59:00)",
    "d2 := SUB_DT_TIME(DT#1970-01-02-00:00:00, T#1s)", "ld2 := SUB_LDT_LTIME(LDT#1970-01-02-00:00:00, LT#1s)",
    "t5 := SUB_DT_DT(DT#1970-01-02-00:00:00, DT#1970-01-01-23:00:00)",
    "l5 := SUB_LDT_LDT(LDT#1970-01-02-00:00:00, LDT#1970-01-01-23:00:00)",
    "t6 := MUL_TIME(T#3s, 2)", "l6 := MUL_LTIME(LT#3s, 2)", "t7 := DIV_TIME(T#3s, 2)", "l7 := DIV_LTIME(LT#3s, 2)",
)  # fmt: skip
CALENDAR_VALUES = (
    5000, 5 * 10**9, 3_601_000, 3601 * 10**9, 86_401, 86_401 * 10**9, 1000, 10**9, 86_400_000, 86_400 * 10**9,
    3_599_000, 3599 * 10**9, 60_000, 60 * 10**9, 86_399, 86_399 * 10**9, 3_600_000, 3600 * 10**9, 6000, 6 * 10**9,
    1500, 1_500_000_000,
)  # fmt: skip


def test_the_functions_of_times_that_are_called_by_their_types(cc: str) -> None:
    kinds = {"t": "TIME", "l": "LTIME", "o": "TOD", "lo": "LTOD", "d": "DT", "ld": "LDT"}
    names = [row.split(" ")[0] for row in CALENDAR]
    declared = " ".join(f"{name} : {kinds[name.rstrip('1234567')]};" for name in names)
    p = plc(program(declared, ";\n".join(CALENDAR) + ";"), compiler=cc)
    assert not p.scan()
    assert tuple(p.get(f"Main.{name}") for name in names) == CALENDAR_VALUES


@pytest.mark.parametrize("long", ["", "L"])
def test_what_was_put_together_is_taken_apart_again(cc: str, long: str) -> None:
    names = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND")
    parts = dict(zip(names, (2024, 2, 29, 12, 34, 56, 0 if not long else 789), strict=True))

    def split(kind: str, source: str, some: tuple[str, ...], letter: str) -> str:
        outs = ", ".join(f"{name} => {letter}{n}" for n, name in enumerate(some))
        return f"SPLIT_{long}{kind}(IN := {source}, {outs});"

    def joined(some: tuple[str, ...]) -> str:
        return ", ".join(str(parts[name]) for name in some)

    day, clock = names[:3], names[3:]
    body = (
        f"d := CONCAT_{long}DATE({joined(day)}); o := CONCAT_{long}TOD({joined(clock)}); w := CONCAT_{long}DT({joined(names)});"
        + split("DATE", "d", day, "a") + split("TOD", "o", clock, "b") + split("DT", "w", names, "c")
    )  # fmt: skip
    declared = f"d : {long}DATE; o : {long}TOD; w : {long}DT;"
    declared += "".join(f"{letter}{n} : INT;" for letter in "abc" for n in range(7))
    p = plc(program(declared, body), compiler=cc)
    assert not p.scan()
    wanted = list(parts.values())
    found = {letter: [p.get(f"Main.{letter}{n}") for n in range(7)] for letter in "abc"}
    assert found == {"a": wanted[:3] + [0] * 4, "b": [*wanted[3:], 0, 0, 0], "c": wanted}
