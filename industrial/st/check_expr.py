"""Expressions: names to variables, types to every node, conversions made explicit, constants computed."""

from __future__ import annotations

from . import fold, ir
from . import literals as lit
from . import nodes as n
from . import types as t
from .check_coerce import CoerceChecker
from .convert import (
    common,
    const,
    in_registers,
    is_whole,
    narrowed,
    plain,
    settle,
    wrap,
    zero,
)

_COMPARE = {"=": "eq", "<>": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "MOD": "mod", "**": "pow"}
_LOGIC = {"AND": "and", "OR": "or", "XOR": "xor", "AND_THEN": "and_then", "OR_ELSE": "or_else"}


class ExprChecker(CoerceChecker):
    """Checks expressions in the scope of one POU (or of none, for global declarations)."""

    def expr(self, node: n.Expr, want: t.Type | None = None) -> ir.Expr:
        """The typed expression; ERROR-typed when something was wrong and has been told."""
        if isinstance(node, n.Literal):
            return self._literal(node, want)
        if isinstance(node, n.Binary):
            return self._binary(node, want)
        if isinstance(node, n.Unary):
            return self._unary(node, want)
        if isinstance(node, n.Call):
            return self.call(node, want)
        if isinstance(node, n.ArrayInit | n.StructInit):
            self.error(node.pos, "type", "a list of values can only stand in a declaration")
            return zero(t.ERROR)
        return self.load(node, want)

    def value(self, node: n.Expr, want: t.Type, what: str = "") -> ir.Expr:
        """An expression converted to the wanted type."""
        return self.coerce(self.expr(node, want), want, node.pos, what)

    def settled(self, node: n.Expr, want: t.Type | None = None) -> ir.Expr:
        """An expression with a real type, even when it is a bare number."""
        return settle(self.expr(node, want), codesys=self.codesys)

    def constant(self, node: n.Expr, want: t.Type | None = None) -> ir.Const | None:
        """A value known now, or None after an error."""
        result = self.expr(node, want) if want is None else self.value(node, want)
        if isinstance(result, ir.Const) and result.type is not t.ERROR:
            return result
        if result.type is not t.ERROR:
            self.error(
                node.pos,
                "constant",
                "a constant is needed here",
                hint="numbers, CONSTANT variables, and operators on them",
            )
        return None

    def constant_int(self, node: n.Expr) -> int | None:
        """A whole number known now."""
        result = self.constant(node)
        if result is None:
            return None
        if isinstance(result.value, int) and (
            t.is_int(result.type) or t.is_bits(result.type) or isinstance(result.type, t.EnumType)
        ):
            return result.value
        self.error(node.pos, "type", f"a whole number is needed here, this is {result.type.name}")
        return None

    # --- literals -------------------------------------------------------------------------------------------

    def _literal(self, node: n.Literal, want: t.Type | None) -> ir.Expr:
        try:
            if node.kind == "int":
                return ir.Const(t.LIT_INT, lit.integer(node.text))
            if node.kind == "real":
                return ir.Const(t.LIT_REAL, lit.real(node.text))
            if node.kind in ("string", "wstring"):
                codes = tuple(lit.characters(node.text, wide=node.kind == "wstring"))
                return ir.Const(t.string_type(len(codes), wide=node.kind == "wstring"), codes)
            return self._typed(node, *node.text.split("#", 1))
        except ValueError as error:
            self.error(node.pos, "literal", f"{node.text}: {error}", length=len(node.text))
            return zero(t.ERROR)

    def _typed(self, node: n.Literal, prefix: str, text: str) -> ir.Expr:
        if (lit.is_time_prefix(prefix) and text[:1].lstrip("-").isdigit()) or (
            lit.is_time_prefix(prefix) and text[:1] == "-"
        ):
            return ir.Const(*lit.time_literal(prefix, text))
        up = prefix.upper()
        kind = t.ELEMENTARY.get(up)
        if kind is None:
            if up in ("STRING", "WSTRING"):
                codes = tuple(lit.characters(text[1:], wide=up == "WSTRING"))
                return ir.Const(t.string_type(len(codes), wide=up == "WSTRING"), codes)
            found = self.resolver.find_type(prefix)
            if isinstance(found, t.EnumType):
                return self.enum_value(found, text, node.pos)
            if isinstance(found, t.SubrangeType):
                return self.coerce(ir.Const(t.LIT_INT, lit.integer(text)), found, node.pos)
            self.error(node.pos, "undeclared", f"{prefix} is not a type", length=len(prefix))
            return zero(t.ERROR)
        if kind is t.BOOL:
            if text.upper() not in ("TRUE", "FALSE", "0", "1"):
                raise ValueError("a BOOL is TRUE, FALSE, 0 or 1")
            return ir.Const(t.BOOL, int(text.upper() in ("TRUE", "1")))
        if kind.family == "real":
            return const(kind, lit.real(text))
        if kind.family == "char":
            codes = (
                tuple(lit.characters(text[1:], wide=kind is t.WCHAR))
                if text[0] in "'\""
                else (lit.integer(text),)
            )
            if len(codes) != 1:
                raise ValueError("one character")
            return ir.Const(kind, codes[0])
        if kind.family not in ("int", "bits"):
            raise ValueError(f"not a value of {kind.name}")
        value = lit.integer(text)
        if not kind.low <= value <= kind.high:
            raise ValueError(f"{kind.name} holds {kind.low} to {kind.high}")
        return ir.Const(kind, value)

    # --- operators ------------------------------------------------------------------------------------------

    def _unary(self, node: n.Unary, want: t.Type | None) -> ir.Expr:
        operand = self.expr(node.operand, want)
        if node.op == "NOT":
            operand = narrowed(operand)
        kind = t.base_of(operand.type)
        if kind is t.ERROR:
            return operand
        if node.op == "NOT":
            if (
                isinstance(operand, ir.Const)
                and kind is t.LIT_INT
                and want is not None
                and (t.is_bits(want) or want is t.BOOL)
            ):
                operand = self.coerce(operand, want, node.pos)
                kind = operand.type
            if kind is t.BOOL or t.is_bits(kind) or (self.codesys and t.is_int(kind)):
                return fold.unary(ir.Unary(kind, "not", settle(operand, codesys=self.codesys)))
            self.error(
                node.pos, "type", f"NOT needs BOOL or a bit string, this is {operand.type.name}"
            )
            return zero(t.ERROR)
        if (
            t.is_number(kind)
            or (isinstance(kind, t.Elementary) and kind.family == "ltime")
            or (self.codesys and t.is_bits(kind))
        ):
            if (
                t.is_int(kind)
                and isinstance(kind, t.Elementary)
                and not kind.signed
                and kind is not t.LIT_INT
                and not self.codesys
            ):
                self.error(
                    node.pos,
                    "type",
                    f"{kind.name} has no negative values",
                    hint="convert to a signed type first",
                )
                return zero(t.ERROR)
            if (
                self.codesys
                and isinstance(kind, t.Elementary)
                and not kind.signed
                and kind.family in ("int", "bits")
            ):
                wider = next((k for k in t.SIGNED if k.bits > kind.bits), t.LINT)
                operand, kind = ir.Convert(wider, operand), wider
            if self.codesys and not isinstance(operand, ir.Const):
                by_operand = t.base_of(plain(operand))
                kind = in_registers(kind)
                negated = ir.Unary(kind, "neg", self.meet(operand, kind, node.pos))
                negated.plain = by_operand if by_operand is not kind else None
                return negated
            return fold.unary(ir.Unary(kind, "neg", operand))
        self.error(node.pos, "type", f"a sign needs a number, this is {operand.type.name}")
        return zero(t.ERROR)

    def _binary(self, node: n.Binary, want: t.Type | None) -> ir.Expr:
        if node.op in _COMPARE:
            left, right = self._pair(node, None)
        elif node.op in _LOGIC:
            left, right = self._pair(node, want)
        else:
            left, right = self._pair(node, want if want is not None and t.is_number(want) else None)
        return self.operate(node.op, left, right, node.pos)

    def _pair(self, node: n.Binary, want: t.Type | None) -> tuple[ir.Expr, ir.Expr]:
        left = self.expr(node.left, want)
        right = self.expr(
            node.right,
            left.type
            if isinstance(t.base_of(left.type), t.EnumType) or isinstance(left.type, t.EnumType)
            else want,
        )
        if (
            isinstance(right.type, t.EnumType)
            and left.type is t.ERROR
            and isinstance(node.left, n.Name)
        ):
            left = self.expr(node.left, right.type)
        return left, right

    def operate(self, op: str, left: ir.Expr, right: ir.Expr, pos: int) -> ir.Expr:
        """The typed operation, or an error that names both types."""
        if left.type is t.ERROR or right.type is t.ERROR:
            return zero(t.BOOL if op in _COMPARE else t.ERROR)
        if op in _COMPARE:
            return self._compare(op, left, right, pos)
        if op in _LOGIC:
            return self._logic(op, left, right, pos)
        special = self._time_arithmetic(op, left, right)
        if special is not None:
            return special
        if (
            self.codesys
            and op in "+-"
            and (isinstance(left.type, t.PointerType) or isinstance(right.type, t.PointerType))
        ):
            kind: t.Type | None = t.UDINT
        elif op == "**":
            kind = self._power_type(left, right)
        else:
            kind = common(narrowed(left), narrowed(right), codesys=self.codesys)
        if kind is not None and (
            (t.is_number(kind) and not (op == "MOD" and t.is_real(kind)))
            or (self.codesys and t.is_bits(kind))
        ):
            if op == "**":
                exponent = right if t.is_int(right.type) and right.type is not t.LIT_INT else None
                lhs = self.coerce(left, kind, pos)
                rhs = (
                    ir.Convert(t.LREAL, exponent)
                    if exponent is not None
                    else self.coerce(right, t.LREAL if right.type is not t.REAL else t.REAL, pos)
                )
                return ir.Builtin(kind, "pow", [lhs, rhs])
            if kind is t.LIT_INT and op == "/" and isinstance(right, ir.Const) and right.value == 0:
                self.error(pos, "division", "division by zero")
                return zero(t.ERROR)
            by_operands = kind
            constant = isinstance(left, ir.Const) and isinstance(right, ir.Const)
            if self.codesys and not constant:
                kind = in_registers(kind)
            result = ir.Binary(
                kind, _ARITHMETIC[op], self.meet(left, kind, pos), self.meet(right, kind, pos)
            )
            result.plain = by_operands if by_operands is not kind else None
            if (
                op in ("/", "MOD")
                and isinstance(result.right, ir.Const)
                and result.right.value == 0
                and op == "/"
            ):
                self.error(pos, "division", "division by zero")
            return fold.binary(result)
        hint = ""
        if t.is_bits(left.type) or t.is_bits(right.type):
            hint = "bit strings are not numbers: convert, for example WORD_TO_UINT(x)"
        self.error(
            pos, "type", f"{op} does not fit {left.type.name} and {right.type.name}", hint=hint
        )
        return zero(t.ERROR)

    def meet(self, e: ir.Expr, kind: t.Type, pos: int) -> ir.Expr:
        """An operand in the type of the operation; never an error, `common` has agreed."""
        if e.type is kind:
            return e
        if isinstance(e, ir.Const) and e.type in (t.LIT_INT, t.LIT_REAL):
            if kind in (t.LIT_REAL, t.LIT_INT):
                return const(kind, e.value)
            if t.is_real(kind):
                return const(kind, e.value)
            return ir.Const(kind, wrap(kind, int(e.value) if not isinstance(e.value, tuple) else 0))
        if isinstance(e, ir.Const) and isinstance(e.value, int) and t.is_int(kind):
            return ir.Const(kind, wrap(kind, e.value))
        return self.to_time(e, kind) or fold.convert(ir.Convert(kind, e))

    def _power_type(self, left: ir.Expr, right: ir.Expr) -> t.Type | None:
        if not (t.is_number(left.type) and t.is_number(right.type)):
            return None
        if t.is_real(left.type) and left.type is not t.LIT_REAL:
            return left.type
        return t.REAL if self.codesys else t.LREAL

    def _compare(self, op: str, left: ir.Expr, right: ir.Expr, pos: int) -> ir.Expr:
        if (
            isinstance(left.type, t.EnumType)
            and isinstance(right.type, t.EnumType)
            and left.type is not right.type
            and not self.codesys
        ):
            self.error(
                pos, "type", f"{left.type.name} and {right.type.name} are different enumerations"
            )
            return zero(t.BOOL)
        kind = common(narrowed(left), narrowed(right), codesys=self.codesys)
        if kind is not None and {plain(left), plain(right)} != {left.type, right.type}:
            kind = in_registers(kind)
        bits = isinstance(kind, t.Elementary | t.StringType)
        if (
            kind is None
            and self.codesys
            and {left.type, right.type} & {t.BOOL}
            and (t.is_int(left.type) or t.is_int(right.type))
        ):
            kind, bits = t.INT, True
        if kind is None or not (
            bits
            or (isinstance(kind, t.PointerType | t.InterfaceType) and op in ("=", "<>"))
            or (self.codesys and isinstance(kind, t.PointerType))
        ):
            self.error(pos, "type", f"{left.type.name} and {right.type.name} cannot be compared")
            return zero(t.BOOL)
        if isinstance(kind, t.StringType):
            left, right = self._as_string(left, kind), self._as_string(right, kind)
            return ir.Binary(t.BOOL, "s" + _COMPARE[op], left, right)
        return fold.binary(
            ir.Binary(t.BOOL, _COMPARE[op], self.meet(left, kind, pos), self.meet(right, kind, pos))
        )

    def _logic(self, op: str, left: ir.Expr, right: ir.Expr, pos: int) -> ir.Expr:
        left, right = narrowed(left), narrowed(right)
        kind = common(left, right, codesys=self.codesys)
        if self.codesys and is_whole(left.type) and is_whole(right.type):
            kind = self._widest_bits(left, right) or kind
        if kind is t.LIT_INT:
            left, right = settle(left, codesys=True), settle(right, codesys=True)
            kind = common(left, right, codesys=self.codesys)
        ok = kind is t.BOOL or (
            kind is not None and (t.is_bits(kind) or (self.codesys and t.is_int(kind)))
        )
        if op in ("AND_THEN", "OR_ELSE") and kind is not t.BOOL:
            ok = False
        if not ok or kind is None:
            self.error(
                pos,
                "type",
                f"{op} needs BOOL or bit strings on both sides, these are {left.type.name} and {right.type.name}",
            )
            return zero(t.ERROR)
        return fold.binary(
            ir.Binary(kind, _LOGIC[op], self.meet(left, kind, pos), self.meet(right, kind, pos))
        )

    @staticmethod
    def _widest_bits(left: ir.Expr, right: ir.Expr) -> t.Type | None:
        """Of a bit string and a number the wider one, and the bit string when both are alike."""
        a, b = t.scalar(left.type), t.scalar(right.type)
        if {a.family, b.family} != {"bits", "int"} or t.LIT_INT in (a, b):
            return None
        bits, number = (a, b) if a.family == "bits" else (b, a)
        return bits if bits.bits >= number.bits else number

    def _time_arithmetic(self, op: str, left: ir.Expr, right: ir.Expr) -> ir.Expr | None:
        """Durations and points in time: what may be added to what."""
        a, b = t.base_of(left.type), t.base_of(right.type)
        if not (isinstance(a, t.Elementary) and isinstance(b, t.Elementary)):
            return None
        fa, fb = a.family.removeprefix("l"), b.family.removeprefix("l")
        if fa not in t.TIME_LIKE and fb not in t.TIME_LIKE:
            return None
        if fa == "time" and fb == "time" and op in ("+", "-"):
            kind: t.Elementary = t.LTIME if t.LTIME in (a, b) else t.TIME
            return fold.binary(
                ir.Binary(
                    kind, _ARITHMETIC[op], self.meet(left, kind, 0), self.meet(right, kind, 0)
                )
            )
        if fa in ("dt", "tod", "date") and fb == "time" and op in ("+", "-"):
            return ir.Builtin(
                a,
                f"{_ARITHMETIC[op]}_{a.family}",
                [left, self.meet(right, t.LTIME if a.bits == 64 else t.TIME, 0)],
            )
        if fa == fb and fa in ("dt", "tod", "date") and op == "-":
            kind = t.LTIME if 64 in (a.bits, b.bits) else t.TIME
            wide = a if a.bits == 64 else b
            return ir.Builtin(
                kind, f"diff_{wide.family}", [self.meet(left, wide, 0), self.meet(right, wide, 0)]
            )
        whole = t.is_number(b) or (self.codesys and t.is_bits(b))
        if fa == "time" and op in ("*", "/") and whole:
            return self._scale_time(op, left, a, right)
        if fb == "time" and op == "*" and (t.is_number(a) or (self.codesys and t.is_bits(a))):
            return self._scale_time(op, right, b, left)
        if (
            self.codesys
            and fa in t.TIME_LIKE
            and (t.is_int(b) or t.is_bits(b) or fb in t.TIME_LIKE)
            and op in ("+", "-", "*", "/", "MOD")
        ):
            return fold.binary(ir.Binary(a, _ARITHMETIC[op], left, self.meet(right, a, 0)))
        if (
            self.codesys
            and fb in t.TIME_LIKE
            and (t.is_int(a) or t.is_bits(a))
            and op in ("+", "-", "*", "/", "MOD")
        ):
            return fold.binary(ir.Binary(b, _ARITHMETIC[op], self.meet(left, b, 0), right))
        return None

    def _scale_time(self, op: str, time: ir.Expr, kind: t.Elementary, factor: ir.Expr) -> ir.Expr:
        if t.is_real(factor.type):
            return ir.Builtin(
                kind, f"{_ARITHMETIC[op]}_time_real", [time, self.meet(factor, t.LREAL, 0)]
            )
        return fold.binary(ir.Binary(kind, _ARITHMETIC[op], time, self.meet(factor, kind, 0)))
