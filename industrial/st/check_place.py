"""Names and what hangs on them: variables, members, elements, bits, dereferences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import ir
from . import nodes as n
from . import types as t
from .convert import zero
from .model import IMAGE_SIZES, Pou, Var
from .scope import Project

if TYPE_CHECKING:
    from .declare import Resolver

_DIRECT = re.compile(r"%([IQM])([XBWDL]?)([0-9]+)(?:\.([0-9]+))?$")
_PART = re.compile(r"%([XBWDL])([0-9]+)$")
_SIZES = {"X": 1, "B": 1, "W": 2, "D": 4, "L": 8}
_DIRECT_TYPES = {"X": t.BOOL, "B": t.BYTE, "W": t.WORD, "D": t.DWORD, "L": t.LWORD}
_PART_BITS = {"X": 1, "B": 8, "W": 16, "D": 32, "L": 64}


def parse_direct(text: str) -> tuple[str, str, int, int | None]:
    """Area, size letter, first byte, bit.

    Raises:
        ValueError: malformed, or outside the process image.
    """
    found = _DIRECT.match(text.upper())
    if found is None:
        raise ValueError("an address is written like %QX0.0, %IW3, %MD10 (I Q M, then X B W D L)")
    area, letter, number, bit_text = found[1], found[2] or "X", int(found[3]), found[4]
    bit: int | None = None
    if letter == "X":
        byte, bit = (number, int(bit_text)) if bit_text is not None else (number // 8, number % 8)
        if bit > 7:
            raise ValueError("a byte has the bits 0 to 7")
    else:
        if bit_text is not None:
            raise ValueError("only X addresses have a bit")
        byte = number * _SIZES[letter]
    if byte + _SIZES[letter] > IMAGE_SIZES[area]:
        raise ValueError(f"the process image has {IMAGE_SIZES[area]} bytes in %{area}")
    return area, letter, byte, bit


class PlaceChecker:
    """Looks names up in the scope of one POU."""

    def __init__(self, project: Project, resolver: Resolver, pou: Pou | None) -> None:
        self.project, self.resolver, self.pou = project, resolver, pou
        self.codesys = project.codesys

    def error(self, pos: int, code: str, message: str, *, hint: str = "", length: int = 1) -> None:
        """Record an error."""
        self.project.error(pos, code, message, hint=hint, length=length)

    # what the classes above this one add
    def expr(self, node: n.Expr, want: t.Type | None = None) -> ir.Expr:
        """See ExprChecker."""
        raise NotImplementedError

    def settled(self, node: n.Expr, want: t.Type | None = None) -> ir.Expr:
        """See ExprChecker."""
        raise NotImplementedError

    def coerce(self, e: ir.Expr, target: t.Type, pos: int, what: str = "") -> ir.Expr:
        """See ExprChecker."""
        raise NotImplementedError

    def call(self, node: n.Call, want: t.Type | None = None) -> ir.Expr:
        """See CallChecker."""
        raise NotImplementedError

    def method_call(
        self,
        instance: ir.Place | None,
        pou: Pou,
        args: list[n.Arg],
        pos: int,
        *,
        virtual: bool = True,
    ) -> ir.Expr:
        """See CallChecker."""
        raise NotImplementedError

    # --- names ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Var | None:
        """The variable a name means here."""
        up = name.upper()
        pou = self.pou
        if pou is not None:
            found = pou.variables.get(up)
            if found is not None and found.decl is not None:
                self.resolver.settle(found, pou)  # a constant that is declared further down
            if found is None and pou.result is not None and up == pou.name.upper():
                found = pou.result
            if found is None and pou.owner is not None:
                found = pou.owner.member(up)
            if found is None and pou.base is not None:
                found = pou.member(up)
            if found is not None:
                return self.resolver.external(found) if found.kind == "VAR_EXTERNAL" else found
        return self.resolver.global_variable(up)

    def enum_value(self, kind: t.EnumType, name: str, pos: int) -> ir.Expr:
        """A named value of an enumeration."""
        value = kind.values.get(name.upper())
        if value is None:
            self.error(
                pos,
                "undeclared",
                f"{name} is not a value of {kind.name}",
                hint=f"one of {', '.join(list(kind.spelled.values())[:8])}",
                length=len(name),
            )
            return zero(kind)
        return ir.Const(kind, value)

    def _named_value(self, name: str, want: t.Type | None) -> ir.Expr | None:
        owners = self.project.enum_values.get(name.upper())
        if not owners:
            return None
        for kind, value in owners:
            if kind is want:
                return ir.Const(kind, value)
        kind, value = owners[0]
        return ir.Const(kind, value)

    def unknown(self, node: n.Name) -> None:
        """Tell that a name is not declared, with the nearest known one."""
        from difflib import get_close_matches

        known = {key: var.name for key, var in self.project.globals.items()}
        if self.pou is not None:
            known |= {
                key: var.name for pou in self.pou.chain() for key, var in pou.variables.items()
            }
            if self.pou.owner:
                known |= {key: var.name for key, var in self.pou.owner.variables.items()}
        near = get_close_matches(node.name.upper(), list(known), 1, 0.75)
        if node.name.upper() in self.project.broken:
            hint = "its declaration has an error"
        else:
            hint = f"did you mean {known[near[0]]}?" if near else "declare it in a VAR section"
        self.error(
            node.pos, "undeclared", f"{node.name} is not declared", hint=hint, length=len(node.name)
        )

    # --- values of names --------------------------------------------------------------------------------------

    def load(self, node: n.Expr, want: t.Type | None = None) -> ir.Expr:
        """The value of a place, a constant, an enumerated value or a property."""
        if isinstance(node, n.Name):
            if node.name.upper() == "NULL" and self.find(node.name) is None:
                return ir.Const(t.NULL, 0)
            if (
                isinstance(want, t.EnumType)
                and self.find(node.name) is None
                and node.name.upper() in want.values
            ):
                return self.enum_value(want, node.name, node.pos)
            if self.find(node.name) is None:
                if (value := self._named_value(node.name, want)) is not None:
                    return value
                if (getter := self._own_property(node.name)) is not None:
                    return self.method_call(None, getter, [], node.pos)
        if (
            isinstance(node, n.Member)
            and isinstance(node.base, n.Name)
            and self.find(node.base.name) is None
        ):
            kind = self.resolver.find_type(node.base.name)
            if isinstance(kind, t.EnumType):
                return self.enum_value(kind, node.name, node.pos)
        if isinstance(node, n.Member):
            getter_value = self._property(node)
            if getter_value is not None:
                return getter_value
        if isinstance(node, n.Deref) and isinstance(node.base, n.Call):
            reference = self.expr(node.base)
            if isinstance(reference.type, t.PointerType):
                return ir.Load(
                    reference.type.target, ir.DerefPlace(reference.type.target, reference)
                )
        place = self.place(node)
        if place is None:
            return zero(t.ERROR)
        if isinstance(place, ir.VarPlace) and place.var.constant and place.var.value is not None:
            return ir.Const(place.var.type, place.var.value)
        if isinstance(place.type, t.OpenArrayType):
            return self.whole_open(node.pos)
        return ir.Load(place.type, place)

    def whole_open(self, pos: int) -> ir.Expr:
        """An ARRAY[*] where a value or an address is wanted: its size is not known here."""
        self.error(
            pos,
            "type",
            "an ARRAY[*] is used element by element, or handed on to a VAR_IN_OUT",
            hint="LOWER_BOUND and UPPER_BOUND tell where its elements begin and end",
        )
        return zero(t.ERROR)

    def _own_property(self, name: str) -> Pou | None:
        owner = self.pou.owner if self.pou and self.pou.owner else self.pou
        return owner.method(name.upper() + ".GET") if owner else None

    def _property(self, node: n.Member) -> ir.Expr | None:
        """A property read, when the member is one. Looks without complaining."""
        key = node.name.upper() + ".GET"
        if not any(key in pou.methods for pou in self.project.all_pous):
            return None
        base = self.instance(node.base)
        if base is None:
            return None
        kind = base.type
        if isinstance(kind, t.BlockType | t.InterfaceType):
            getter = kind.pou.method(key)
            if getter is not None and (kind.pou.member(node.name.upper()) is None):
                return self.method_call(base, getter, [], node.pos)
        return None

    def instance(self, node: n.Expr) -> ir.Place | None:
        """The place of a function block, THIS and SUPER included."""
        if (
            isinstance(node, n.Deref)
            and isinstance(node.base, n.Name)
            and node.base.name.upper() in ("THIS", "SUPER")
        ):
            node = node.base
        if (
            isinstance(node, n.Name)
            and node.name.upper() in ("THIS", "SUPER")
            and self.find(node.name) is None
        ):
            owner = self.pou.owner if self.pou and self.pou.owner else self.pou
            if owner is not None and node.name.upper() == "SUPER":
                owner = owner.base
            if owner is None or owner.type is None or owner.kind != "FUNCTION_BLOCK":
                self.error(
                    node.pos,
                    "oop",
                    f"{node.name} means nothing here",
                    hint="SUPER needs EXTENDS; THIS needs a function block",
                )
                return None
            return ir.SelfPlace(owner.type)
        return self.place(node)

    # --- places -----------------------------------------------------------------------------------------------

    def place(self, node: n.Expr) -> ir.Place | None:
        """Where something lies; None after an error."""
        if isinstance(node, n.Name):
            if node.name.upper() == "THIS" and self.find("THIS") is None:
                return self.instance(node)
            var = self.find(node.name)
            if var is None:
                self.unknown(node)
                return None
            return None if var.type is t.ERROR else ir.VarPlace(var.type, var)
        if isinstance(node, n.Member):
            return self._member(node)
        if isinstance(node, n.Index):
            return self._element(node)
        if isinstance(node, n.Deref):
            if isinstance(node.base, n.Name) and node.base.name.upper() in ("THIS", "SUPER"):
                return self.instance(node)
            reference = self.expr(node.base)
            if reference.type is t.ERROR:
                return None
            if not isinstance(reference.type, t.PointerType):
                self.error(
                    node.pos, "type", f"^ follows a reference, this is {reference.type.name}"
                )
                return None
            return ir.DerefPlace(reference.type.target, reference)
        if isinstance(node, n.Direct):
            try:
                area, letter, byte, bit = parse_direct(node.text)
            except ValueError as error:
                self.error(node.pos, "address", f"{node.text}: {error}", length=len(node.text))
                return None
            return ir.ImagePlace(_DIRECT_TYPES[letter], area, byte, bit)
        self.error(node.pos, "type", "a variable is needed here")
        return None

    def _member(self, node: n.Member) -> ir.Place | None:
        base = self.instance(node.base)
        if base is None:
            return None
        kind = base.type
        if node.name.isdigit() or node.name.startswith("%"):
            return self._part(node, base)
        up = node.name.upper()
        if isinstance(kind, t.StructType):
            member = kind.fields.get(up)
            if member is None:
                self.error(
                    node.pos,
                    "undeclared",
                    f"{kind.name} has no member {node.name}",
                    hint=f"it has {', '.join(m.name for m in list(kind.fields.values())[:8])}",
                    length=len(node.name),
                )
                return None
            return ir.FieldPlace(member.type, base, member.offset)
        if isinstance(kind, t.BlockType):
            self.resolver.complete(kind)
            var = kind.pou.member(up)
            if var is None:
                names = [
                    v.name
                    for v in kind.pou.instance_variables()
                    if v.kind in ("VAR_INPUT", "VAR_OUTPUT", "VAR_IN_OUT")
                ]
                self.error(
                    node.pos,
                    "undeclared",
                    f"{kind.name} has no variable {node.name}",
                    hint=f"it has {', '.join(names[:8])}" if names else "",
                    length=len(node.name),
                )
                return None
            inside = isinstance(base, ir.SelfPlace)
            if isinstance(var.type, t.OpenArrayType) and not inside:
                self.error(
                    node.pos,
                    "access",
                    f"{var.name} is an ARRAY[*], which only {kind.name} itself sees",
                    length=len(node.name),
                )
                return None
            if (
                not self.codesys
                and not inside
                and var.kind not in ("VAR_INPUT", "VAR_OUTPUT")
                and kind.pou.kind != "PROGRAM"
            ):
                self.error(
                    node.pos,
                    "access",
                    f"{var.name} is internal to {kind.name}",
                    hint="from outside only inputs and outputs are visible",
                    length=len(node.name),
                )
                return None
            if var.type is t.ERROR:
                return None
            return ir.FieldPlace(var.type, base, var.offset, var)
        if self.codesys and (t.is_int(kind) or t.is_bits(kind)):
            constant = self.find(node.name)
            if constant is not None and isinstance(constant.value, int):
                return ir.BitPlace(t.BOOL, base, constant.value)
        self.error(node.pos, "type", f"{kind.name} has no members", length=len(node.name))
        return None

    def _part(self, node: n.Member, base: ir.Place) -> ir.Place | None:
        kind = t.base_of(base.type)
        if not (isinstance(kind, t.Elementary) and kind.family in ("bits", "int")):
            self.error(
                node.pos,
                "type",
                f"{base.type.name} has no bits; bit strings and whole numbers have",
            )
            return None
        letter, number = "X", node.name
        if node.name.startswith("%"):
            found = _PART.match(node.name.upper())
            if found is None:
                self.error(
                    node.pos, "syntax", f"{node.name}: a part is written %X0, %B1, %W0 or %D0"
                )
                return None
            letter, number = found[1], found[2]
        width = _PART_BITS[letter]
        if (int(number) + 1) * width > kind.bits:
            self.error(
                node.pos,
                "range",
                f"{base.type.name} has the bits 0 to {kind.bits - 1}",
                length=len(node.name),
            )
            return None
        return ir.BitPlace(_DIRECT_TYPES[letter], base, int(number) * width, width)

    def _element(self, node: n.Index) -> ir.Place | None:
        base = self.place(node.base)
        if base is None:
            return None
        kind, indices = base.type, list(node.indices)
        place = base
        while indices:
            if isinstance(kind, t.StringType) and len(indices) == 1:
                kind = self._characters(kind)
                place = ir.FieldPlace(kind, place, 0)
            if not isinstance(kind, t.ArrayType | t.OpenArrayType):
                self.error(
                    node.pos,
                    "type",
                    f"{kind.name} is not an array",
                    hint="too many indices" if place is not base else "",
                )
                return None
            ranges: Sequence[tuple[int, int] | None]
            ranges = [None] * len(kind.bounds) if isinstance(kind, t.OpenArrayType) else kind.ranges
            dims = len(ranges)
            if len(indices) < dims:
                self.error(
                    node.pos, "type", f"this array has {dims} dimensions, {len(indices)} given"
                )
                return None
            checked: list[ir.Expr] = []
            for position, index_node in enumerate(indices[:dims]):
                index = self.settled(index_node)
                if index.type is t.ERROR:
                    return None
                limits = ranges[position]
                whole = t.base_of(index.type)
                if not (
                    t.is_int(whole)
                    or isinstance(index.type, t.EnumType)
                    or (t.is_bits(whole) and self.codesys)
                ):
                    self.error(
                        index_node.pos,
                        "type",
                        f"an index is a whole number, this is {index.type.name}",
                    )
                    return None
                if (
                    isinstance(index, ir.Const)
                    and isinstance(index.value, int)
                    and limits is not None
                    and not limits[0] <= index.value <= limits[1]
                ):
                    self.error(
                        index_node.pos,
                        "range",
                        f"index {index.value} is outside {limits[0]}..{limits[1]}",
                    )
                    return None
                checked.append(index)
            place = ir.IndexPlace(kind.element, place, checked)
            kind, indices = kind.element, indices[dims:]
        return place

    def _characters(self, kind: t.StringType) -> t.ArrayType:
        """A text as its characters: from 1 as in the standard, from 0 and as numbers in the older tools."""
        first = 0 if self.codesys else 1
        wide = (t.WORD, t.WCHAR) if kind.wide else (t.BYTE, t.CHAR)
        element = wide[0 if self.codesys else 1]
        ranges = [(first, first + kind.length - 1)]
        return t.ArrayType(kind.name, kind.size, kind.align, ranges, element)

    # --- what is done to places ---------------------------------------------------------------------------------

    def root(self, place: ir.Place) -> Var | None:
        """The variable a place is part of, when it is one of ours."""
        while isinstance(place, ir.FieldPlace | ir.IndexPlace | ir.BitPlace):
            place = place.base
        return place.var if isinstance(place, ir.VarPlace) else None

    def address(self, place: ir.Place, pos: int = 0) -> bool:
        """Note that a reference to the place is taken; False after an error (bits have none)."""
        if isinstance(place, ir.BitPlace) or (
            isinstance(place, ir.ImagePlace) and place.bit is not None
        ):
            if pos:
                self.error(
                    pos, "type", "a single bit has no address", hint="use a BOOL variable between"
                )
            return False
        var = self.root(place)
        if var is not None:
            if var.storage == "image" and var.bit is not None:
                if pos:
                    self.error(
                        pos,
                        "type",
                        f"{var.name} is a single bit of the process image: it has no address",
                        hint="use a BOOL variable between",
                    )
                return False
            var.addressed = True
        return True

    def lendable(self, place: ir.Place, pos: int) -> bool:
        """Whether a reference may lead to a place: who has one writes. Libraries of codesys23 do as they do."""
        walk, constant = place, self.root(place)
        while isinstance(walk, ir.FieldPlace | ir.IndexPlace | ir.BitPlace):
            if isinstance(walk, ir.FieldPlace) and walk.var is not None and walk.var.constant:
                constant = walk.var
            walk = walk.base
        if self.codesys or constant is None or not constant.constant:
            return True
        self.error(
            pos,
            "constant",
            f"{constant.name} is CONSTANT: a reference to it could write it",
            hint="take the word CONSTANT away, or hand the value over",
        )
        return False

    def writable(self, place: ir.Place, pos: int) -> bool:
        """Note that a place is written; False after an error."""
        var = self.root(place)
        walk: ir.Place | None = place
        while walk is not None:
            if isinstance(walk, ir.FieldPlace) and walk.var is not None and not self.codesys:
                inner = walk.var
                if inner.kind == "VAR_OUTPUT" and not isinstance(walk.base, ir.SelfPlace):
                    self.error(
                        pos,
                        "access",
                        f"{inner.name} is an output: only its function block writes it",
                    )
                    return False
                if inner.constant:
                    self.error(pos, "constant", f"{inner.name} is CONSTANT")
                    return False
            walk = (
                walk.base if isinstance(walk, ir.FieldPlace | ir.IndexPlace | ir.BitPlace) else None
            )
        if isinstance(place, ir.ImagePlace) and place.area == "I":
            self.error(pos, "access", "an input is written by its device, not by the program")
            return False
        if var is not None:
            if var.constant:
                self.error(
                    pos,
                    "constant",
                    f"{var.name} is CONSTANT",
                    hint="take the word CONSTANT away to write it",
                )
                return False
            if var.storage == "image" and var.area == "I":
                self.error(
                    pos,
                    "access",
                    f"{var.name} is an input ({var.located}): it is written by its device, not by the program",
                )
                return False
            var.written = True
        return True
