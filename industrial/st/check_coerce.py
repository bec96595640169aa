"""A value where another type is wanted: conversions that need no words, and an error with the words for the others."""

from __future__ import annotations

from . import fold, ir
from . import types as t
from .check_place import PlaceChecker
from .convert import const, derives, is_whole, natural_bits, widens, wrap, zero


class CoerceChecker(PlaceChecker):
    """Converts expressions to the types that they stand for."""

    def _as_string(self, e: ir.Expr, kind: t.StringType) -> ir.Expr:
        if isinstance(e.type, t.StringType):
            return e
        return ir.Builtin(t.string_type(1, wide=kind.wide), "char_to_string", [e])

    def to_time(self, e: ir.Expr, kind: t.Type) -> ir.Expr | None:
        """TIME → LTIME and the like."""
        source = t.base_of(e.type)
        if (
            isinstance(source, t.Elementary)
            and isinstance(kind, t.Elementary)
            and kind.family == "l" + source.family
        ):
            factor = 1_000_000 if source.family in ("time", "tod") else 1_000_000_000
            return fold.binary(
                ir.Binary(kind, "mul", fold.convert(ir.Convert(kind, e)), ir.Const(kind, factor))
            )
        return None

    def coerce(self, e: ir.Expr, target: t.Type, pos: int, what: str = "") -> ir.Expr:
        """`e` as the target type, or an error that says how to convert."""
        source = e.type
        if source is t.ERROR or target is t.ERROR:
            return zero(target)
        if t.same(source, target):
            return e
        if isinstance(target, t.SubrangeType):
            inner = self.coerce(e, target.base, pos, what)
            if isinstance(inner, ir.Const) and isinstance(inner.value, int):
                if not target.low <= inner.value <= target.high:
                    self.error(
                        pos,
                        "range",
                        f"{inner.value} is outside {target.name} ({target.low}..{target.high})",
                    )
                return ir.Const(target, inner.value)
            return ir.Convert(target, inner, "check")
        if isinstance(target, t.EnumType) and target.open and not isinstance(source, t.EnumType):
            inner = self.coerce(e, target.base, pos, what)
            return (
                ir.Const(target, inner.value)
                if isinstance(inner, ir.Const)
                else ir.Convert(target, inner)
            )
        if isinstance(e, ir.Const) and source is t.LIT_INT and isinstance(e.value, int):
            return self._coerce_whole(e.value, target, pos, what)
        if isinstance(e, ir.Const) and source is t.LIT_REAL and t.is_real(target):
            return const(target, e.value)
        if isinstance(source, t.SubrangeType):
            return self.coerce(ir.Convert(source.base, e), target, pos, what)
        if isinstance(source, t.EnumType) and (
            t.is_int(target)
            or (source.open and t.is_bits(target))
            or (
                self.codesys
                and isinstance(target, t.Elementary)
                and target.family in ("bits", "real")
            )
        ):
            inner = (
                ir.Const(source.base, e.value)
                if isinstance(e, ir.Const)
                else ir.Convert(source.base, e)
            )
            if self.codesys and t.is_int(target):
                return fold.convert(ir.Convert(target, inner))
            return self.coerce(inner, target, pos, what)
        if isinstance(target, t.EnumType):
            if self.codesys and (
                t.is_int(source) or t.is_bits(source) or isinstance(source, t.EnumType)
            ):
                return ir.Convert(target, e)
        elif isinstance(target, t.StringType):
            if isinstance(source, t.StringType) and source.wide == target.wide:
                return e
            if source is (t.WCHAR if target.wide else t.CHAR):
                return self._as_string(e, target)
        elif isinstance(target, t.Elementary) and isinstance(source, t.Elementary):
            # Older tools promote signed with unsigned; what came of it still fits where its operands fit.
            promoted = (
                self.codesys
                and not isinstance(e, ir.Const)
                and is_whole(source)
                and is_whole(target)
                and natural_bits(e) <= target.bits
            )
            if promoted or widens(source, target, codesys=self.codesys):
                return self.to_time(e, target) or fold.convert(ir.Convert(target, e))
        elif (
            target in (t.CHAR, t.WCHAR)
            and isinstance(e, ir.Const)
            and isinstance(e.value, tuple)
            and len(e.value) == 1
        ):
            return ir.Const(target, e.value[0])
        elif isinstance(target, t.PointerType | t.InterfaceType):
            reference = self._coerce_reference(e, target)
            if reference is not None:
                return reference
        elif (
            self.codesys
            and isinstance(source, t.PointerType)
            and isinstance(target, t.Elementary)
            and target.family in ("int", "bits")
            and target.bits >= 32
        ):
            return ir.Convert(target, e)
        self._cannot(e, target, pos, what)
        return zero(target)

    def _cannot(self, e: ir.Expr, target: t.Type, pos: int, what: str) -> None:
        source = t.base_of(e.type)
        hint = ""
        if (
            isinstance(source, t.Elementary)
            and isinstance(t.base_of(target), t.Elementary)
            and source not in (t.LIT_INT, t.LIT_REAL, t.NULL, t.VOID)
        ):
            hint = f"convert in words: {source.name}_TO_{t.base_of(target).name}(…)"
        elif e.type is t.LIT_REAL:
            hint = "a number with a decimal point is a REAL"
        lead = f"{what}: " if what else ""
        self.error(pos, "type", f"{lead}{target.name} expected, this is {e.type.name}", hint=hint)

    def _coerce_whole(self, value: int, target: t.Type, pos: int, what: str) -> ir.Expr:
        if isinstance(target, t.Elementary):
            family = target.family
            if family == "real":
                return const(target, value)
            if family == "int" or family == "bits":
                low = target.low if family == "int" else 0
                if self.codesys and value < 0 and not target.signed:
                    low = -(1 << (target.bits - 1))  # older sources write -1 for all bits set
                high = (
                    target.high if not (self.codesys and target.signed) else (1 << target.bits) - 1
                )
                if not low <= value <= high:
                    self.error(
                        pos,
                        "range",
                        f"{what + ': ' if what else ''}{value} does not fit {target.name} ({target.low} to {target.high})",
                    )
                return ir.Const(target, wrap(target, value))
            if target is t.BOOL and value in (0, 1):
                return ir.Const(target, value)
            if self.codesys and family in t.TIME_LIKE:
                return ir.Const(target, wrap(target, value))
        if isinstance(target, t.PointerType) and (self.codesys or value == 0):
            return ir.Const(target, value)
        if isinstance(target, t.EnumType) and self.codesys:
            return ir.Const(target, value)
        self._cannot(ir.Const(t.LIT_INT, value), target, pos, what)
        return zero(target)

    def _coerce_reference(
        self, e: ir.Expr, target: t.PointerType | t.InterfaceType
    ) -> ir.Expr | None:
        source = e.type
        if source is t.NULL:
            return ir.Const(target, 0)
        if isinstance(target, t.InterfaceType):
            if isinstance(source, t.InterfaceType) and derives(source.pou, target.pou):
                return ir.Convert(target, e)
            if (
                isinstance(source, t.BlockType)
                and isinstance(e, ir.Load)
                and derives(source.pou, target.pou)
            ):
                self.address(e.place)
                return ir.Convert(target, ir.AddressOf(t.UDINT, e.place))
            return None
        if isinstance(source, t.PointerType):
            if self.codesys or t.same(source.target, target.target):
                return ir.Convert(target, e)
            if (
                isinstance(source.target, t.BlockType)
                and isinstance(target.target, t.BlockType)
                and derives(source.target.pou, target.target.pou)
            ):
                return ir.Convert(target, e)
            return None
        if self.codesys and isinstance(source, t.Elementary) and source.family in ("int", "bits"):
            return ir.Convert(target, e)
        return None
