"""Operations on constants, computed as the controller would."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from . import ir
from . import types as t
from .convert import const, wrap

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "gt": operator.gt,
    "le": operator.le,
    "ge": operator.ge,
}


def divide(left: int, right: int) -> int:
    """Whole division towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _whole(op: str, a: int, b: int, kind: t.Type) -> int | None:
    if op in ("div", "mod") and b == 0:
        return 0 if op == "mod" else None
    if op == "add":
        return a + b
    if op == "sub":
        return a - b
    if op == "mul":
        return a * b
    if op == "div":
        return divide(a, b)
    if op == "mod":
        return a - divide(a, b) * b
    if op in ("and", "and_then"):
        return a & b
    if op in ("or", "or_else"):
        return a | b
    if op == "xor":
        return a ^ b
    return None


def binary(e: ir.Binary) -> ir.Expr:
    """The constant, or the operation as it was."""
    if not (isinstance(e.left, ir.Const) and isinstance(e.right, ir.Const)):
        return e
    a, b = e.left.value, e.right.value
    if isinstance(a, tuple) or isinstance(b, tuple):
        return e
    if e.op in _COMPARE:
        return ir.Const(t.BOOL, int(_COMPARE[e.op](a, b)))
    kind = e.type
    if t.is_real(kind):
        x, y = float(a), float(b)
        if e.op == "div" and y == 0.0:
            return e
        results = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y if y else 0.0}
        return const(kind, results[e.op]) if e.op in results else e
    if isinstance(a, int) and isinstance(b, int):
        result = _whole(e.op, a, b, kind)
        if result is None or abs(result) >= 1 << 4096:
            return e
        return ir.Const(kind, result if kind is t.LIT_INT else wrap(kind, result))
    return e


def unary(e: ir.Unary) -> ir.Expr:
    """The constant, or the operation as it was."""
    if not isinstance(e.operand, ir.Const) or isinstance(e.operand.value, tuple):
        return e
    value = e.operand.value
    if e.op == "neg":
        if isinstance(value, int) and not t.is_real(e.type):
            return ir.Const(e.type, -value if e.type is t.LIT_INT else wrap(e.type, -value))
        return const(e.type, -value)
    if isinstance(value, int):
        return ir.Const(e.type, int(not value) if e.type is t.BOOL else wrap(e.type, ~value))
    return e


def convert(e: ir.Convert) -> ir.Expr:
    """The constant, or the conversion as it was."""
    operand = e.operand
    if not isinstance(operand, ir.Const) or isinstance(operand.value, tuple) or e.mode != "cast":
        return e
    if t.is_real(e.type):
        return const(e.type, operand.value)
    if isinstance(operand.value, int) and isinstance(t.base_of(e.type), t.Elementary):
        return ir.Const(e.type, wrap(e.type, operand.value))
    return e
