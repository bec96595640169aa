"""Random expressions against big-integer and IEEE arithmetic; each operation wraps or rounds in its own type."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.st_harness import Plc, compiled

SIGNED = {"SINT": 8, "INT": 16, "DINT": 32, "LINT": 64}
UNSIGNED = {"USINT": 8, "UINT": 16, "UDINT": 32, "ULINT": 64}
BITS = {"BYTE": 8, "WORD": 16, "DWORD": 32, "LWORD": 64}
WIDTH = SIGNED | UNSIGNED | BITS


@dataclass(frozen=True)
class Node:
    """An expression as text, and what it gives."""

    text: str
    value: float


def wrap(kind: str, value: int) -> int:
    value &= (1 << WIDTH[kind]) - 1
    return value - (1 << WIDTH[kind]) if kind in SIGNED and value >> (WIDTH[kind] - 1) else value


def single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def divide(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


class Program:
    """Collects variables, so that nothing is folded at compile time that the controller should compute."""

    def __init__(self, kind: str) -> None:
        self.kind, self.variables = kind, list[str]()

    def leaf(self, value: float, *, folded: bool) -> Node:
        text = f"{self.kind}#{value!r}" if self.kind not in ("REAL", "LREAL") else repr(value)
        if self.kind in ("REAL", "LREAL"):
            text = f"{self.kind}#{value!r}".replace("inf", "1e999")
        if folded:
            return Node(text, value)
        name = f"v{len(self.variables)}"
        self.variables.append(f"{name} : {self.kind} := {text};")
        return Node(name, value)


def integer(draw: st.DrawFn, kind: str) -> int:
    bits = WIDTH[kind]
    low, high = (
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind in SIGNED else (0, (1 << bits) - 1)
    )
    return draw(
        st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, 1]), st.integers(0, 9))
    )


def whole(draw: st.DrawFn, p: Program, depth: int) -> Node:
    if depth == 0 or (draw(st.booleans()) and depth < 3):
        return p.leaf(integer(draw, p.kind), folded=draw(st.booleans()))
    left, right = whole(draw, p, depth - 1), whole(draw, p, depth - 1)
    a, b = int(left.value), int(right.value)
    if p.kind in BITS:
        op = draw(st.sampled_from(["AND", "OR", "XOR", "NOT", "SHL", "SHR", "ROL"]))
        count, width = b % (WIDTH[p.kind] + 2), WIDTH[p.kind]
        if op == "NOT":
            return Node(f"(NOT {left.text})", wrap(p.kind, ~a))
        if op in ("SHL", "SHR"):
            value = a << count if op == "SHL" else a >> count
            return Node(f"{op}({left.text}, {count})", wrap(p.kind, value))
        if op == "ROL":
            turn = count % width
            return Node(f"ROL({left.text}, {count})", wrap(p.kind, a << turn | a >> (width - turn)))
        value = {"AND": a & b, "OR": a | b, "XOR": a ^ b}[op]
        return Node(f"({left.text} {op} {right.text})", value)
    op = draw(st.sampled_from(["+", "-", "*", "/", "MOD", "MAX", "MIN", "ABS", "SEL"]))
    if op == "/" and b == 0:
        op = "-"
    if op == "ABS":
        return Node(f"ABS({left.text})", wrap(p.kind, abs(a)))
    if op in ("MAX", "MIN"):
        return Node(f"{op}({left.text}, {right.text})", max(a, b) if op == "MAX" else min(a, b))
    if op == "SEL":
        return Node(
            f"SEL({left.text} < {right.text}, {left.text}, {right.text})", b if a < b else a
        )
    value = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: divide(a, b),
        "MOD": lambda: a - divide(a, b) * b if b else 0,
    }[op]()
    return Node(f"({left.text} {op} {right.text})", wrap(p.kind, value))


def real(draw: st.DrawFn, p: Program, depth: int) -> Node:
    width = 32 if p.kind == "REAL" else 64
    if depth == 0 or (draw(st.booleans()) and depth < 3):
        value = draw(st.floats(-(2.0**100), 2.0**100, width=width, allow_subnormal=False))
        return p.leaf(value, folded=draw(st.booleans()))
    left, right = real(draw, p, depth - 1), real(draw, p, depth - 1)
    op = draw(st.sampled_from(["+", "-", "*", "/", "ABS", "NEG"]))
    a, b = left.value, right.value
    if op == "/" and b == 0:
        op = "+"
    if op == "ABS":
        return Node(f"ABS({left.text})", abs(a))
    if op == "NEG":
        return Node(f"(-({left.text}))", -a)
    value = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[op]()
    return Node(f"({left.text} {op} {right.text})", single(value) if width == 32 else value)


@st.composite
def programs(draw: st.DrawFn, kinds: tuple[str, ...]) -> tuple[str, list[Node], str]:
    """A program of some expressions of one type."""
    kind = draw(st.sampled_from(kinds))
    p = Program(kind)
    make = real if kind in ("REAL", "LREAL") else whole
    nodes = [make(draw, p, 4) for _ in range(12)]
    results = "".join(f"r{n} : {kind};" for n in range(len(nodes)))
    body = "\n".join(f"r{n} := {node.text};" for n, node in enumerate(nodes))
    return (
        kind,
        nodes,
        f"PROGRAM Main VAR {' '.join(p.variables)} {results} END_VAR\n{body}\nEND_PROGRAM",
    )


def check(case: tuple[str, list[Node], str], compiler: str) -> None:
    _, nodes, source = case
    plc = Plc(compiled(source), compiler)
    assert plc.scan() == ""
    for number, node in enumerate(nodes):
        got = plc.get(f"Main.r{number}")
        assert got == node.value or (math.isnan(got) and math.isnan(node.value)), node.text


@settings(max_examples=40, deadline=None)
@given(programs((*SIGNED, *UNSIGNED)))
def test_whole_numbers_wrap_as_big_integers_cut_to_their_width(
    case: tuple[str, list[Node], str],
) -> None:
    check(case, "tcc")


@settings(max_examples=25, deadline=None)
@given(programs(tuple(BITS)))
def test_bit_strings(case: tuple[str, list[Node], str]) -> None:
    check(case, "tcc")


@settings(max_examples=40, deadline=None)
@given(programs(("REAL", "LREAL")))
def test_real_numbers_round_after_each_operation(case: tuple[str, list[Node], str]) -> None:
    check(case, "tcc")


@pytest.mark.full
@settings(max_examples=400, deadline=None)
@given(programs((*SIGNED, *UNSIGNED, *BITS, "REAL", "LREAL")))
def test_both_compilers_agree_with_arithmetic(case: tuple[str, list[Node], str]) -> None:
    check(case, "tcc")
    check(case, "gcc")
