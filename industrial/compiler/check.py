"""Checks expressions and turns them into C: types, ranges, names. One value per node: its type and its C text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import tree as t
from .diagnostics import Place
from .emit import literal
from .layout import Scope, Spot, Types, stop
from .prelude import REAL_FUNCTIONS
from .types import (
    ANY_INT,
    ANY_REAL,
    BOOL,
    ELEMENTARY,
    LREAL,
    TIME,
    Type,
    assignable,
    common,
    range_of,
)


@dataclass(frozen=True, slots=True)
class Value:
    """A checked expression. `place`: how to write to it, None for a mere value."""

    type: Type
    c: str
    constant: int | float | bool | None = None
    spot: Spot | None = None
    #: C of the pointer and offset of a memory place
    pointer: str = ""
    bit: str = ""


_COMPARE = {"=": "==", "<>": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">="}
_ARITHMETIC = {"+": "+", "-": "-", "*": "*"}


class Expressions:
    """Checks expressions of one POU."""

    def __init__(
        self,
        types: Types,
        scope: Scope,
        functions: dict[str, t.Pou],
        signature: dict[str, tuple[Type, list[tuple[str, Type]]]],
    ) -> None:
        self.types, self.scope, self.functions, self.signatures = types, scope, functions, signature
        self.driven: set[int] = set()

    def value(self, expr: t.Expr) -> Value:
        """Check an expression.

        Raises:
            StopError: it is wrong.
        """
        if isinstance(expr, t.Literal):
            return self._literal(expr)
        if isinstance(expr, t.Name):
            return self._name(expr)
        if isinstance(expr, t.Member):
            return self._member(expr)
        if isinstance(expr, t.Index):
            return self._index(expr)
        if isinstance(expr, t.Unary):
            return self._unary(expr)
        if isinstance(expr, t.Binary):
            return self._binary(expr)
        if isinstance(expr, t.Call):
            return self._call(expr)
        raise AssertionError(f"no rule for {type(expr).__name__}")

    def convert(self, value: Value, target: Type, place: Place, what: str = "value") -> str:
        """C of a value as the target's type; literals are checked against its range."""
        if (
            value.constant is not None
            and value.type in (ANY_INT, ANY_REAL)
            and target.kind in ("int", "bits", "time")
        ):
            if isinstance(value.constant, float):
                raise stop(
                    place,
                    "E031",
                    f"{value.constant} is a real number, {what} is {target.name}",
                    f"use REAL_TO_{target.name}(…)",
                )
            low, high = range_of(target)
            if target.kind == "bits" and value.constant < 0:
                low = -(high // 2) - 1
            if target.kind == "time":
                raise stop(
                    place, "E031", f"{value.constant} is a number, {what} is TIME", "write T#…"
                )
            if not low <= value.constant <= high:
                raise stop(
                    place, "E032", f"{value.constant} does not fit {target.name} ({low} to {high})"
                )
            return literal(value.constant, target)
        if not assignable(target, value.type):
            hint = (
                f"convert it: {value.type.name}_TO_{target.name}(…)"
                if target.elementary and value.type.name in ELEMENTARY
                else ""
            )
            raise stop(place, "E030", f"{what} is {target.name}, this is {value.type.name}", hint)
        if value.constant is not None and target.elementary:
            return literal(value.constant, target)
        return (
            f"(({target.c})({value.c}))" if target.elementary and target != value.type else value.c
        )

    def boolean(self, expr: t.Expr, what: str) -> str:
        value = self.value(expr)
        if value.type.kind != "bool":
            raise stop(expr.place, "E033", f"{what} must be BOOL, this is {value.type.name}")
        return value.c

    def constant(self, expr: t.Expr) -> int:
        value = self.value(expr)
        if not isinstance(value.constant, int) or isinstance(value.constant, bool):
            raise stop(expr.place, "E034", "a constant whole number is expected")
        return value.constant

    # --- leaves ---------------------------------------------------------------------------------------

    def _literal(self, expr: t.Literal) -> Value:
        if expr.type == "":
            if abs(int(expr.value)) >= 1 << 64:
                raise stop(expr.place, "E032", f"{expr.value} fits no type")
            return Value(ANY_INT, literal(expr.value, ANY_INT), expr.value)
        if expr.type == "REAL?":
            if math.isinf(float(expr.value)):
                raise stop(expr.place, "E032", "the number fits no type")
            return Value(ANY_REAL, literal(expr.value, ANY_REAL), expr.value)
        kind = ELEMENTARY[expr.type]
        if kind.kind in ("int", "bits", "time"):
            low, high = range_of(kind)
            if not low <= int(expr.value) <= high:
                raise stop(
                    expr.place, "E032", f"{expr.value} does not fit {kind.name} ({low} to {high})"
                )
        return Value(kind, literal(expr.value, kind), expr.value)

    def _name(self, expr: t.Name) -> Value:
        spot = self.scope.find(expr.name)
        if spot is None:
            for known in list(self.types._defs):
                kind = self.types.named(known, expr.place)
                if expr.name.lower() in kind.values:
                    number = kind.values[expr.name.lower()]
                    return Value(kind, literal(number, kind), number)
            raise stop(
                expr.place, "E026", f"{expr.name!r} is not declared", self._similar(expr.name)
            )
        return self._spot(spot)

    def _similar(self, name: str) -> str:
        import difflib

        known: list[str] = []
        scope: Scope | None = self.scope
        while scope is not None:
            known += [spot.variable.name for spot in scope.spots.values()]
            scope = scope.up
        near = difflib.get_close_matches(name, known, 1)
        return f"did you mean {near[0]}?" if near else ""

    @staticmethod
    def _spot(spot: Spot) -> Value:
        if spot.base == "const" and spot.value is not None:
            return Value(spot.type, literal(spot.value, spot.type), spot.value, spot)
        if spot.base == "local":
            return Value(spot.type, f"v{spot.offset}", None, spot)
        pointer = {"self": f"(s + {spot.offset})", "arena": f"(c->arena + {spot.offset})"}.get(
            spot.base, f"(c->{spot.base} + {spot.offset})"
        )
        if spot.bit is not None:
            return Value(
                BOOL, f"(({pointer}[0] >> {spot.bit}) & 1)", None, spot, pointer, str(spot.bit)
            )
        if spot.type.elementary:
            return Value(spot.type, f"AT({spot.type.c}, {pointer}, 0)", None, spot, pointer)
        return Value(spot.type, pointer, None, spot, pointer)

    def _member(self, expr: t.Member) -> Value:
        if (
            isinstance(expr.base, t.Name)
            and self.scope.find(expr.base.name) is None
            and expr.base.name.lower() in self.types._defs
        ):
            kind = self.types.named(expr.base.name, expr.place)
            if expr.name.lower() not in kind.values:
                raise stop(expr.place, "E027", f"{kind.name} has no value {expr.name}")
            number = kind.values[expr.name.lower()]
            return Value(kind, literal(number, kind), number)
        base = self.value(expr.base)
        if expr.name.isdigit():
            bit = int(expr.name)
            if (
                base.type.kind not in ("int", "bits")
                or bit >= base.type.size * 8
                or not base.pointer
            ):
                raise stop(expr.place, "E028", f"{base.type.name} has no bit {bit}")
            pointer = f"({base.pointer} + {bit // 8})"
            return Value(
                BOOL, f"(({pointer}[0] >> {bit % 8}) & 1)", None, base.spot, pointer, str(bit % 8)
            )
        found = base.type.members.get(expr.name.lower())
        if found is None:
            raise stop(expr.place, "E027", f"{base.type.name} has no member {expr.name}")
        return self._at(found[1], f"({base.pointer} + {found[0]})", base.spot)

    @staticmethod
    def _at(kind: Type, pointer: str, spot: Spot | None) -> Value:
        return Value(
            kind, f"AT({kind.c}, {pointer}, 0)" if kind.elementary else pointer, None, spot, pointer
        )

    def _index(self, expr: t.Index) -> Value:
        base = self.value(expr.base)
        if base.type.kind != "array" or base.type.element is None:
            raise stop(expr.place, "E029", f"{base.type.name} is no array")
        if len(expr.indexes) != len(base.type.dims):
            raise stop(
                expr.place,
                "E029",
                f"{len(base.type.dims)} indexes are needed, {len(expr.indexes)} are given",
            )
        offset = ""
        for index, (low, high) in zip(expr.indexes, base.type.dims, strict=True):
            value = self.value(index)
            if value.type.kind not in ("int", "bits", "enum"):
                raise stop(
                    index.place, "E029", f"an index is a whole number, this is {value.type.name}"
                )
            if isinstance(value.constant, int) and not low <= value.constant <= high:
                raise stop(
                    index.place, "E032", f"the index {value.constant} is outside {low}..{high}"
                )
            part = f"mw_index(c, {value.c}, {low}, {high})"
            offset = f"({offset} * {high - low + 1} + {part})" if offset else part
        return self._at(
            base.type.element, f"({base.pointer} + {base.type.element.size} * {offset})", base.spot
        )

    # --- operators ------------------------------------------------------------------------------------

    def _unary(self, expr: t.Unary) -> Value:
        value = self.value(expr.operand)
        if expr.sign == "NOT":
            if value.type.kind == "bool":
                return Value(
                    BOOL, f"(!{value.c})", None if value.constant is None else not value.constant
                )
            if value.type.kind == "bits":
                return Value(value.type, f"(({value.type.c})~{value.c})")
            raise stop(expr.place, "E035", f"NOT wants BOOL or bits, this is {value.type.name}")
        if value.type.kind not in ("int", "real"):
            raise stop(expr.place, "E035", f"- wants a number, this is {value.type.name}")
        return Value(value.type, f"(({value.type.c})(-({value.c})))")

    def _binary(self, expr: t.Binary) -> Value:
        left, right = self.value(expr.left), self.value(expr.right)
        sign = expr.sign
        if sign in ("AND", "&", "OR", "XOR", "AND_THEN", "OR_ELSE"):
            return self._logic(expr, left, right)
        if sign == "**":
            for one in (left, right):
                if one.type.kind not in ("int", "real"):
                    raise stop(expr.place, "E035", f"** wants numbers, this is {one.type.name}")
            kind = left.type if left.type.kind == "real" and left.type is not ANY_REAL else LREAL
            return Value(kind, f"(({kind.c})pow((double){left.c}, (double){right.c}))")
        if left.type.kind == "time" and sign in ("*", "/") and right.type.kind in ("int", "real"):
            text = (
                f"({left.c} * {right.c})"
                if sign == "*"
                else f"(uint32_t)mw_fdiv(c, (double){left.c}, (double){right.c})"
            )
            return Value(TIME, f"((uint32_t){text})")
        merged = common(left.type, right.type)
        if merged is None or (left.type.kind == "time") != (right.type.kind == "time"):
            raise stop(
                expr.place,
                "E036",
                f"{sign} cannot join {left.type.name} and {right.type.name}",
                "convert one of them",
            )
        kind = merged
        if left.constant is not None and right.constant is not None and kind is ANY_INT:
            return self._fold(expr, int(left.constant), int(right.constant))
        a, b = (
            self.convert(left, kind, expr.left.place),
            self.convert(right, kind, expr.right.place),
        )
        if sign in _COMPARE:
            if not kind.elementary:
                raise stop(expr.place, "E036", f"{kind.name} cannot be compared")
            return Value(BOOL, f"({a} {_COMPARE[sign]} {b})")
        if kind.kind not in ("int", "real", "time") or (
            kind.kind == "time" and sign in ("*", "/", "MOD")
        ):
            raise stop(expr.place, "E035", f"{sign} wants numbers, this is {kind.name}")
        if sign in _ARITHMETIC:
            return Value(kind, f"(({kind.c})({a} {sign} {b}))")
        if kind.kind == "real":
            if sign == "MOD":
                raise stop(expr.place, "E035", "MOD wants whole numbers")
            return Value(kind, f"(({kind.c})mw_fdiv(c, {a}, {b}))")
        name = (
            ("mw_div" if sign == "/" else "mw_mod")
            if kind.signed
            else ("mw_udiv" if sign == "/" else "mw_umod")
        )
        return Value(kind, f"(({kind.c}){name}(c, {a}, {b}))")

    def _fold(self, expr: t.Binary, a: int, b: int) -> Value:
        if expr.sign in ("/", "MOD") and b == 0:
            raise stop(expr.place, "E037", "division by zero")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0
        table: dict[str, int | bool] = {
            "+": a + b,
            "-": a - b,
            "*": a * b,
            "/": quotient,
            "MOD": a - quotient * b,
            "=": a == b,
            "<>": a != b,
            "<": a < b,
            ">": a > b,
            "<=": a <= b,
            ">=": a >= b,
        }
        result = table[expr.sign]
        if isinstance(result, bool):
            return Value(BOOL, "1" if result else "0", result)
        return self._literal(t.Literal(expr.place, result, ""))

    def _logic(self, expr: t.Binary, left: Value, right: Value) -> Value:
        sign = {"&": "AND"}.get(expr.sign, expr.sign)
        if left.type.kind == right.type.kind == "bool":
            text = {"AND": "&", "OR": "|", "XOR": "^", "AND_THEN": "&&", "OR_ELSE": "||"}[sign]
            return Value(BOOL, f"({left.c} {text} {right.c})")
        kind = common(left.type, right.type)
        if kind is None or kind.kind != "bits" or sign in ("AND_THEN", "OR_ELSE"):
            raise stop(
                expr.place,
                "E036",
                f"{expr.sign} cannot join {left.type.name} and {right.type.name}",
            )
        text = {"AND": "&", "OR": "|", "XOR": "^"}[sign]
        a, b = (
            self.convert(left, kind, expr.left.place),
            self.convert(right, kind, expr.right.place),
        )
        return Value(kind, f"(({kind.c})({a} {text} {b}))")

    # --- functions ------------------------------------------------------------------------------------

    def _call(self, expr: t.Call) -> Value:
        if not isinstance(expr.target, t.Name):
            raise stop(
                expr.place,
                "E040",
                "only functions give a value",
                "call a function block as a statement, then read its outputs",
            )
        name = expr.target.name.upper()
        if expr.target.name.lower() in self.signatures:
            return self._own(expr, expr.target.name.lower())
        spot = self.scope.find(expr.target.name)
        if spot is not None:
            raise stop(
                expr.place,
                "E040",
                f"{expr.target.name} is a {spot.type.name}; it gives no value",
                "call it as a statement, then read its outputs",
            )
        values = [self.value(argument.value) for argument in expr.arguments]
        found = self._standard(name, expr, values)
        if found is None:
            raise stop(expr.place, "E041", f"the function {expr.target.name!r} is not known")
        return found

    def _own(self, expr: t.Call, key: str) -> Value:
        result, parameters = self.signatures[key]
        given: dict[str, str] = {}
        names = [name for name, _ in parameters]
        for number, argument in enumerate(expr.arguments):
            name = argument.name.lower() or (names[number] if number < len(names) else "")
            if name not in names or argument.output:
                raise stop(
                    argument.value.place,
                    "E042",
                    f"{key} has no input {argument.name or number + 1}",
                )
            kind = dict(parameters)[name]
            given[name] = self.convert(
                self.value(argument.value), kind, argument.value.place, f"input {name}"
            )
        missing = [name for name in names if name not in given]
        if missing:
            raise stop(expr.place, "E042", f"{key}: missing {', '.join(missing)}")
        return Value(
            result,
            f"f_{key}(c, {', '.join(given[name] for name in names)})" if names else f"f_{key}(c)",
        )

    def _standard(self, name: str, expr: t.Call, values: list[Value]) -> Value | None:
        count = len(values)

        def need(n: int) -> None:
            if count != n:
                raise stop(expr.place, "E042", f"{name} takes {n} inputs, {count} are given")

        if name == "__NOW":
            return Value(TIME, "((uint32_t)(c->now_ns / 1000000u))")
        if name in REAL_FUNCTIONS:
            need(1)
            if values[0].type.kind not in ("real", "int"):
                raise stop(
                    expr.place, "E035", f"{name} wants a number, this is {values[0].type.name}"
                )
            kind = (
                values[0].type
                if values[0].type.kind == "real" and values[0].type is not ANY_REAL
                else LREAL
            )
            inner = (
                REAL_FUNCTIONS[name].replace("x", f"(double){values[0].c}", 1)
                if name != "EXP"
                else f"exp((double){values[0].c})"
            )
            return Value(kind, f"(({kind.c}){inner})")
        if name == "ABS":
            need(1)
            kind = values[0].type
            if kind.kind not in ("int", "real"):
                raise stop(expr.place, "E035", f"ABS wants a number, this is {kind.name}")
            return Value(kind, f"(({kind.c})({values[0].c} < 0 ? -{values[0].c} : {values[0].c}))")
        if name in ("MIN", "MAX", "LIMIT", "SEL"):
            return self._choose(name, expr, values)
        if name in ("SHL", "SHR", "ROL", "ROR"):
            need(2)
            return self._shift(name, expr, values)
        if name == "TRUNC":
            need(1)
            return Value(ELEMENTARY["DINT"], f"((int32_t)mw_trunc(c, (double){values[0].c}))")
        if name == "MOVE":
            need(1)
            return values[0]
        source, _, target = name.partition("_TO_")
        if target in ELEMENTARY and (source in ELEMENTARY or source == ""):
            need(1)
            return self._conversion(expr, values[0], ELEMENTARY[target], source)
        return None

    def _choose(self, name: str, expr: t.Call, values: list[Value]) -> Value:
        wanted = {"LIMIT": 3, "SEL": 3}.get(name)
        if (wanted and len(values) != wanted) or len(values) < 2:
            raise stop(
                expr.place,
                "E042",
                f"{name} takes {wanted or 'two or more'} inputs, {len(values)} are given",
            )
        data = values[1:] if name == "SEL" else values
        kind = data[0].type
        for value in data[1:]:
            merged = common(kind, value.type)
            if merged is None:
                raise stop(
                    expr.place, "E036", f"{name} cannot join {kind.name} and {value.type.name}"
                )
            kind = merged
        if not kind.elementary:
            raise stop(expr.place, "E036", f"{name} wants elementary values, this is {kind.name}")
        parts = [self.convert(value, kind, expr.place) for value in data]
        if name == "SEL":
            if values[0].type.kind != "bool":
                raise stop(
                    expr.place,
                    "E033",
                    f"the first input of SEL must be BOOL, this is {values[0].type.name}",
                )
            return Value(kind, f"({values[0].c} ? {parts[1]} : {parts[0]})")
        if name == "LIMIT":
            low, middle, high = parts
            return Value(
                kind, f"({middle} < {low} ? {low} : {middle} > {high} ? {high} : {middle})"
            )
        sign = "<" if name == "MIN" else ">"
        text = parts[0]
        for part in parts[1:]:
            text = f"({text} {sign} {part} ? {text} : {part})"
        return Value(kind, text)

    def _shift(self, name: str, expr: t.Call, values: list[Value]) -> Value:
        value, by = values
        if (
            value.type.kind not in ("bits", "int")
            or value.type is ANY_INT
            or by.type.kind not in ("int", "bits")
        ):
            raise stop(expr.place, "E035", f"{name} wants bits and a number of places")
        bits, kind = value.type.size * 8, value.type
        unsigned = f"uint{bits}_t"
        n = f"((uint32_t)({by.c}) % {bits}u)"
        plain = f"((uint64_t)({unsigned}){value.c})"
        if name in ("SHL", "SHR"):
            sign = "<<" if name == "SHL" else ">>"
            return Value(
                kind,
                f"(({kind.c})((uint64_t)({by.c}) >= {bits}u ? 0u : ({unsigned})({plain} {sign} {n})))",
            )
        left, right = ("<<", ">>") if name == "ROL" else (">>", "<<")
        return Value(
            kind,
            f"(({kind.c})({unsigned})(({plain} {left} {n}) | ({plain} {right} (({bits}u - {n}) % {bits}u))))",
        )

    def _conversion(self, expr: t.Call, value: Value, target: Type, source: str) -> Value:
        if source and value.type.name != source and not assignable(ELEMENTARY[source], value.type):
            raise stop(
                expr.place,
                "E030",
                f"{source}_TO_{target.name} wants {source}, this is {value.type.name}",
            )
        if target.kind == "bool":
            return Value(BOOL, f"({value.c} != 0)")
        if value.type.kind == "real" and target.kind != "real":
            return Value(target, f"(({target.c})mw_round(c, (double){value.c}))")
        return Value(target, f"(({target.c})({value.c}))")
