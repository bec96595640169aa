"""Which value may stand where another type is wanted, and which type two operands meet in."""

from __future__ import annotations

import math
import struct

from . import ir
from . import types as t


def wrap(kind: t.Type, value: int) -> int:
    """A whole number as the type keeps it."""
    base = t.scalar(kind)
    value &= (1 << base.bits) - 1
    return value - (1 << base.bits) if base.signed and value > base.high else value


def single(value: float) -> float:
    """A double as a REAL keeps it."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def const(kind: t.Type, value: int | float | tuple[int, ...]) -> ir.Const:
    """A constant in the form of its type."""
    if t.is_real(kind) and not isinstance(value, tuple):
        value = float(value)
        return ir.Const(kind, single(value) if kind is t.REAL else value)
    return ir.Const(kind, value)


def zero(kind: t.Type) -> ir.Const:
    """What stands for an erroneous expression."""
    return ir.Const(kind, 0)


def settle(e: ir.Expr, *, codesys: bool) -> ir.Expr:
    """A number written without a type gets the one it would have alone."""
    if not isinstance(e, ir.Const):
        return e
    if e.type is t.LIT_INT and isinstance(e.value, int):
        for kind in (t.INT, t.DINT, t.LINT, t.ULINT):
            if kind.low <= e.value <= kind.high:
                return ir.Const(kind, e.value)
    if e.type is t.LIT_REAL:
        return const(t.REAL if codesys else t.LREAL, e.value)
    return e


def common(left: ir.Expr, right: ir.Expr, *, codesys: bool) -> t.Type | None:
    """The type in which two operands meet, or None."""
    a, b = t.base_of(left.type), t.base_of(right.type)
    if a is b:
        return a
    for one, other, kind in ((left, b, a), (right, a, b)):
        if kind is t.LIT_INT and isinstance(one, ir.Const) and isinstance(one.value, int):
            return _meet_whole(one.value, other, codesys=codesys)
        if kind is t.LIT_REAL and other is not t.LIT_INT:
            if t.is_real(other):
                return other
            if t.is_int(other) or (codesys and t.is_bits(other)):
                return t.REAL if codesys or t.scalar(other).bits <= 16 else t.LREAL
            return None
    if not isinstance(a, t.Elementary) or not isinstance(b, t.Elementary):
        return _meet_references(a, b, codesys=codesys)
    if a.family == b.family == "real":
        return t.LREAL
    if a.family == b.family == "bits":
        return a if a.bits > b.bits else b
    whole = ("int", "bits") if codesys else ("int",)
    if a.family in whole and b.family in whole:
        return _meet_integers(a, b)
    for one_type, other_type in ((a, b), (b, a)):
        if one_type.family == "real" and other_type.family in whole:
            return one_type if codesys or other_type.bits <= 16 else t.LREAL
    if a.family.removeprefix("l") == b.family.removeprefix("l") and a.family in t.TIME_LIKE:
        return a if a.bits == 64 else b
    if codesys:
        for one_type, other_type in ((a, b), (b, a)):
            if (
                one_type.family in t.TIME_LIKE
                and other_type.family in whole
                and other_type.bits <= 32
            ):
                return t.UDINT
    return None


def _meet_whole(value: int, other: t.Type, *, codesys: bool) -> t.Type | None:
    if other is t.LIT_REAL:
        return t.LIT_REAL
    if other is t.BOOL:
        return t.BOOL if value in (0, 1) else None
    if t.is_real(other):
        return other
    if t.is_bits(other):
        kind = t.scalar(other)
        if 0 <= value <= kind.high:
            return other
        if not codesys:
            return None
        return next((k for k in (t.BYTE, t.WORD, t.DWORD, t.LWORD) if 0 <= value <= k.high), t.LINT)
    if isinstance(other, t.Elementary) and other.family == "int":
        if other.low <= value <= other.high:
            return other
        for kind in (t.SINT, t.INT, t.DINT, t.LINT):
            if kind.low <= min(value, other.low) and max(value, other.high) <= kind.high:
                return kind
        return t.ULINT if value >= 0 and not other.signed else None
    if codesys and (
        isinstance(other, t.PointerType)
        or (isinstance(other, t.Elementary) and other.family in t.TIME_LIKE)
    ):
        return other
    return None


def _meet_integers(a: t.Elementary, b: t.Elementary) -> t.Type | None:
    if a.family == "bits":
        a = {8: t.USINT, 16: t.UINT, 32: t.UDINT, 64: t.ULINT}[a.bits]
    if b.family == "bits":
        b = {8: t.USINT, 16: t.UINT, 32: t.UDINT, 64: t.ULINT}[b.bits]
    if a.signed == b.signed:
        return a if a.bits >= b.bits else b
    signed, unsigned = (a, b) if a.signed else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    return next((kind for kind in t.SIGNED if kind.bits > unsigned.bits), None)


def _meet_references(a: t.Type, b: t.Type, *, codesys: bool) -> t.Type | None:
    pointers = (t.PointerType, t.InterfaceType)
    if isinstance(a, t.StringType) and isinstance(b, t.StringType) and a.wide == b.wide:
        return a if a.length >= b.length else b
    if isinstance(a, t.StringType) and b in (t.CHAR, t.WCHAR):
        return a
    if isinstance(b, t.StringType) and a in (t.CHAR, t.WCHAR):
        return b
    if isinstance(a, pointers) and (b is t.NULL or isinstance(b, pointers)):
        return a
    if isinstance(b, pointers) and a is t.NULL:
        return b
    if (
        codesys
        and isinstance(a, t.PointerType)
        and isinstance(b, t.Elementary)
        and b.family in ("int", "bits")
    ):
        return t.UDINT
    if (
        codesys
        and isinstance(b, t.PointerType)
        and isinstance(a, t.Elementary)
        and a.family in ("int", "bits")
    ):
        return t.UDINT
    if t.same(a, b):
        return a
    return None


def in_registers(kind: t.Type) -> t.Type:
    """Where older tools compute with whole numbers: in the machine's registers, of 32 bits at least."""
    if isinstance(kind, t.Elementary) and is_whole(kind) and kind is not t.LIT_INT:
        return t.DINT if kind.bits < 32 else kind
    return kind


def plain(e: ir.Expr) -> t.Type:
    """The type of an expression by its operands, the register that computes it left aside."""
    return (e.plain if isinstance(e, ir.Binary | ir.Unary) else None) or e.type


def narrowed(e: ir.Expr) -> ir.Expr:
    """What a register holds, cut to that type."""
    kind = plain(e)
    return e if kind is e.type else ir.Convert(kind, e)


def natural_bits(e: ir.Expr) -> int:
    """How many bits the widest operand has that went into a whole-number expression, promotions left aside."""
    if plain(e) is not e.type:
        return t.scalar(plain(e)).bits
    if isinstance(e, ir.Binary) and e.op in ("add", "sub", "mul", "div", "mod", "and", "or", "xor"):
        return max(natural_bits(e.left), natural_bits(e.right))
    if isinstance(e, ir.Unary):
        return natural_bits(e.operand)
    if isinstance(e, ir.Convert) and e.mode == "cast" and is_whole(e.operand.type):
        return natural_bits(e.operand)
    if isinstance(e, ir.Const) and isinstance(e.value, int):
        return min(t.scalar(e.type).bits, max(8, e.value.bit_length()))
    return t.scalar(e.type).bits


def is_whole(kind: t.Type) -> bool:
    """Whole numbers and bit strings."""
    return t.is_int(kind) or t.is_bits(kind)


def widens(source: t.Elementary, target: t.Elementary, *, codesys: bool) -> bool:
    """Whether a value becomes the target type without being asked to."""
    a, b = source.family, target.family
    if codesys:
        whole = ("int", "bits")
        if a in whole and b in whole:
            return target.bits >= source.bits
        if a in whole and b == "real":
            return True
        if a == b == "real":
            return True
        if (a in t.TIME_LIKE and b in whole) or (a in whole and b in t.TIME_LIKE):
            return target.bits >= source.bits
    if a == b == "int":
        return target.low <= source.low and source.high <= target.high
    if a == b in ("bits", "real", "char"):
        return target.bits >= source.bits
    if a == "int" and b == "real":
        return source.bits <= 16 or (source.bits <= 32 and target.bits == 64)
    return a in ("time", "date", "tod", "dt") and b == "l" + a


def derives(pou: object, ancestor: object) -> bool:
    """Whether a block extends another or implements an interface, through any number of steps."""
    from .model import Pou

    if pou is ancestor:
        return True
    if not isinstance(pou, Pou):
        return False
    return derives(pou.base, ancestor) or any(
        derives(parent, ancestor) for parent in pou.interfaces
    )
