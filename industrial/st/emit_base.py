"""The emitter's ground: lines, temporaries, frames, and where a place lies in C."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from . import ir
from . import types as t
from .model import Pou, Var, align
from .open_arrays import bounds_of
from .scope import Project

_SIMPLE = re.compile(r"t[0-9]+|\(?-?[0-9.e+-]+(?:u|LL|ULL)?\)?|\(\(float\)[0-9.e+-]+\)")
_AREAS = {"I": ("in", 1), "Q": ("out", 2), "M": ("mem", 3)}


def fixed(place: ir.Place, instance: int) -> int:
    """The reference to a place that `ir.is_fixed`, in the instance at this offset of the arena."""
    if isinstance(place, ir.VarPlace):
        var = place.var
        if var.storage == "image":
            return (_AREAS[var.area][1] << 30) + var.offset
        return var.offset + (instance if var.storage == "self" else 0)
    if isinstance(place, ir.FieldPlace):
        return fixed(place.base, instance) + (
            place.offset if place.var is None else place.var.offset
        )
    if isinstance(place, ir.IndexPlace) and isinstance(place.base.type, t.ArrayType):
        at, kind = fixed(place.base, instance), place.base.type
        stride = align(kind.element.size, kind.element.align)
        for (low, high), index in reversed(list(zip(kind.ranges, place.indices, strict=True))):
            if isinstance(index, ir.Const) and isinstance(index.value, int):
                at += (index.value - low) * stride
            stride *= high - low + 1
        return at
    return instance


@dataclass(slots=True)
class Address:
    """`base`: S (instance), A (arena), F (frame), I Q M (image), R (a reference, checked at use)."""

    base: str
    offset: int = 0
    dynamic: list[str] = field(default_factory=list)
    reference: str = ""

    def moved(self, offset: int, dynamic: str = "") -> Address:
        """The address of a part."""
        return Address(
            self.base,
            self.offset + offset,
            [*self.dynamic, dynamic] if dynamic else self.dynamic,
            self.reference,
        )

    @property
    def sum(self) -> str:
        """Offset and dynamic parts as one C expression."""
        return " + ".join([f"{self.offset}u", *self.dynamic])


def c_int(kind: t.Elementary, value: int) -> str:
    """A whole number as a C literal of its type."""
    if kind.size == 8:
        if kind.signed:
            return (
                "(-9223372036854775807LL-1)"
                if value == -(1 << 63)
                else f"({value}LL)"
                if value < 0
                else f"{value}LL"
            )
        return f"{value & ((1 << 64) - 1)}ULL"
    if kind.size == 4 and not kind.signed:
        return f"{value & 0xFFFFFFFF}u"
    if value == -(1 << 31):
        return "(-2147483647-1)"
    return f"({value})" if value < 0 else str(value)


def c_real(kind: t.Elementary, value: float) -> str:
    """A real number as a C literal; both compilers read decimal text correctly rounded."""
    if math.isnan(value):
        text = "(0.0/0.0)"
    elif math.isinf(value):
        text = "(1.0/0.0)" if value > 0 else "(-1.0/0.0)"
    else:
        text = repr(float(value))
        text = f"({text})" if text.startswith("-") else text
    return f"((float){text})" if kind.bits == 32 else text


class EmitBase:
    """State of the emission of one POU."""

    def __init__(
        self,
        project: Project,
        pou: Pou,
        texts: dict[tuple[bool, tuple[int, ...]], int],
        blobs: dict[bytes, int],
    ) -> None:
        self.project, self.pou = project, pou
        self.texts, self.blobs = texts, blobs
        self.out: list[str] = []
        self.counter = 0
        self.frame = 0
        self.temps: dict[int, str] = {}
        self.line = 0

    def fresh(self) -> str:
        """A new C name."""
        self.counter += 1
        return f"t{self.counter}"

    def slot(self, size: int) -> int:
        """Bytes of the frame for a temporary."""
        self.frame = align(self.frame, 8)
        offset = self.frame
        self.frame += size
        return offset

    @property
    def frame_name(self) -> str:
        """The C constant that holds this POU's frame size."""
        return f"FZ_{self.pou.number}"

    def ctype(self, kind: t.Type) -> str:
        """The C type of a value."""
        if isinstance(kind, t.StringType):
            return "vp_w" if kind.wide else "vp_s"
        if t.is_scalar(kind):
            return t.scalar(kind).ctype
        return "uint8_t *"

    def mtype(self, kind: t.Type) -> str:
        """The C type of a scalar as it lies in memory."""
        return f"vp_{t.scalar(kind).suffix}"

    def save(self, kind: t.Type, text: str, at: int | None = None) -> str:
        """Keep a value in a C variable."""
        if _SIMPLE.fullmatch(text):
            return text
        name = self.fresh()
        line = f"{self.ctype(kind)} {name} = {text};"
        if at is None:
            self.out.append(line)
        else:
            self.out.insert(at, line)
        return name

    # --- constants --------------------------------------------------------------------------------------------

    def constant(self, e: ir.Const) -> str:
        """A constant as C."""
        value = e.value
        if isinstance(value, tuple):
            wide = isinstance(e.type, t.StringType) and e.type.wide
            number = self.texts.setdefault((wide, value), len(self.texts))
            return f"vp_{'w' if wide else 's'}_make(k{number}, {len(value)}u)"
        kind = t.scalar(e.type)
        if kind.family == "real":
            return c_real(kind, float(value))
        return c_int(kind, int(value))

    # --- addresses --------------------------------------------------------------------------------------------

    def expr(self, e: ir.Expr) -> str:
        """See EmitExpr."""
        raise NotImplementedError

    def variable(self, var: Var) -> Address | str:
        """Where a variable lies; a string is the name of a C variable."""
        if var.by_reference:
            if var.storage == "auto":
                return Address("R", 0, [], f"r{var.number}")
            return Address("R", 0, [], f"(*(vp_u32 *)(S + {var.offset}u))")
        if var.storage == "self":
            return Address("S", var.offset)
        if var.storage == "frame":
            return Address("F", var.offset)
        if var.storage == "global":
            return Address("A", var.offset)
        if var.storage == "image":
            return Address(var.area, var.offset)
        return f"v{var.number}"

    def address(self, place: ir.Place) -> Address:
        """The address of a place that has one."""
        if isinstance(place, ir.VarPlace):
            found = self.variable(place.var)
            if isinstance(found, str):
                raise AssertionError(f"{place.var.name} has no address")
            return found
        if isinstance(place, ir.FieldPlace):
            base = self.address(place.base)
            if place.var is not None and place.var.by_reference:
                pointer = self.pointer(base.moved(place.var.offset), 4)
                return Address("R", 0, [], self.save(t.UDINT, f"(*(vp_u32 *){pointer})"))
            return base.moved(place.offset if place.var is None else place.var.offset)
        if isinstance(place, ir.IndexPlace):
            return self._element(place)
        if isinstance(place, ir.DerefPlace):
            return Address("R", 0, [], self.expr(place.reference))
        if isinstance(place, ir.ImagePlace):
            return Address(place.area, place.byte)
        if isinstance(place, ir.SelfPlace):
            return Address("S", 0)
        raise AssertionError(type(place))

    def _element(self, place: ir.IndexPlace) -> Address:
        base = self.address(place.base)
        kind = place.base.type
        if isinstance(kind, t.OpenArrayType):
            return self._open_element(place, base, kind)
        assert isinstance(kind, t.ArrayType)  # noqa: S101 - the checker has looked
        stride = align(kind.element.size, kind.element.align)
        for (low, high), index in reversed(list(zip(kind.ranges, place.indices, strict=True))):
            count = high - low + 1
            if isinstance(index, ir.Const) and isinstance(index.value, int):
                base = base.moved((index.value - low) * stride)
            else:
                text = f"vp_index(c, (int64_t){self.expr(index)}, {c_int(t.LINT, low)}, {count}u)"
                base = base.moved(0, f"{text} * {stride}u" if stride != 1 else text)
            stride *= count
        return base

    def _open_element(self, place: ir.IndexPlace, base: Address, kind: t.OpenArrayType) -> Address:
        """An element of an ARRAY[*]: its bounds are known when it runs."""
        stride = f"{align(kind.element.size, kind.element.align)}u"
        for (low, high), index in reversed(list(zip(bounds_of(kind), place.indices, strict=True))):
            first = self.expr(low)
            count = f"(uint32_t)((int64_t){self.expr(high)} - {first} + 1)"
            text = f"vp_index(c, (int64_t){self.expr(index)}, {first}, {count})"
            base = base.moved(0, f"{text} * {stride}")
            stride = f"({stride} * {count})"
        return base

    def pointer(self, where: Address, size: int) -> str:
        """A C pointer to `size` bytes; references are checked here."""
        if where.base == "R":
            return f"vp_at(c, {where.reference}, {where.sum}, {size}u)"
        if where.base in _AREAS:
            return f"(c->{_AREAS[where.base][0]} + {where.sum})"
        return f"({where.base} + {where.sum})"

    def reference(self, where: Address) -> str:
        """The 32-bit reference of an address."""
        if where.base == "R":
            return (
                f"({where.reference} + {where.sum})"
                if where.offset or where.dynamic
                else where.reference
            )
        if where.base in _AREAS:
            return f"({_AREAS[where.base][1] << 30}u + {where.sum})"
        start = {"S": "self + ", "A": "", "F": "sp + "}[where.base]
        return f"({start}{where.sum})"

    def instance(self, where: Address, size: int) -> str:
        """The offset of a block's instance, checked when it comes from a reference."""
        reference = self.reference(where)
        return f"vp_instance(c, {reference}, {size}u)" if where.base == "R" else reference
