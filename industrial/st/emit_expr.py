"""Expressions to C. What has effects is pulled out into statements before, in the order in which it was written."""

from __future__ import annotations

from dataclasses import fields

from . import ir
from . import types as t
from .emit_base import Address, EmitBase
from .emit_builtin import builtin
from .model import Pou, Var

_C_OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "and": "&",
    "or": "|",
    "xor": "^",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "gt": ">",
    "le": "<=",
    "ge": ">=",
}


class EmitExpr(EmitBase):
    """Emits expressions and calls."""

    def ordered(self, expressions: list[ir.Expr]) -> list[str]:
        """Values in written order: when a later one has effects, the earlier ones are kept first."""
        texts: list[str] = []
        for e in expressions:
            mark = len(self.out)
            text = self.expr(e)
            if len(self.out) > mark:
                for position, earlier in enumerate(texts):
                    before = len(self.out)
                    texts[position] = self.save(expressions[position].type, earlier, mark)
                    mark += len(self.out) - before
            texts.append(text)
        return texts

    def expr(self, e: ir.Expr) -> str:
        """A C expression without effects."""
        if isinstance(e, ir.Const):
            return self.constant(e)
        if isinstance(e, ir.Load):
            return self.load(e.place)
        if isinstance(e, ir.Binary):
            return self._binary(e)
        if isinstance(e, ir.Unary):
            return self._unary(e)
        if isinstance(e, ir.Convert):
            return self._convert(e)
        if isinstance(e, ir.AddressOf):
            return self.reference(self.address(e.place))
        if isinstance(e, ir.Builtin):
            return builtin(self, e)
        if isinstance(e, ir.Call):
            return self.call(e)
        if isinstance(e, ir.Temp):
            if id(e) not in self.temps:
                self.temps[id(e)] = self.save(e.type, self.expr(e.operand))
            return self.temps[id(e)]
        if isinstance(e, ir.Select):
            return self._select(e)
        if isinstance(e, ir.Guarded):
            return self._guarded(e)
        raise AssertionError(type(e))

    def load(self, place: ir.Place) -> str:
        """What a place holds: a scalar, a text, or a pointer to anything larger."""
        if isinstance(place, ir.BitPlace):
            base = self.load(place.base)
            inner = t.scalar(place.base.type)
            unsigned = f"(uint{inner.size * 8}_t){base}"
            if place.width == 1:
                return f"(({unsigned} >> {place.bit}) & 1)"
            return f"({t.scalar(place.type).ctype})({unsigned} >> {place.bit})"
        if isinstance(place, ir.ImagePlace) and place.bit is not None:
            return f"((*{self.pointer(self.address(place), 1)} >> {place.bit}) & 1)"
        if isinstance(place, ir.VarPlace):
            if place.var.storage == "image" and place.var.bit is not None:
                return f"((*{self.pointer(self.address(place), 1)} >> {place.var.bit}) & 1)"
            where = self.variable(place.var)
            if isinstance(where, str):
                return where
        else:
            where = self.address(place)
        return self.load_at(where, place.type)

    def load_at(self, where: Address, kind: t.Type) -> str:
        """A value at an address."""
        pointer = self.pointer(where, kind.size)
        if isinstance(kind, t.StringType):
            return f"vp_{'w' if kind.wide else 's'}_load({pointer}, {kind.length}u)"
        if t.is_scalar(kind):
            return f"(*({self.mtype(kind)} *){pointer})"
        return pointer

    # --- operators ----------------------------------------------------------------------------------------------

    def _binary(self, e: ir.Binary) -> str:
        if e.type is t.BOOL and e.op in ("and", "or", "and_then", "or_else"):
            return self._short(e)
        left, right = self.ordered([e.left, e.right])
        kind = e.left.type
        if isinstance(kind, t.StringType):
            return f"(vp_{'w' if kind.wide else 's'}_compare({left}, {right}) {_C_OPERATORS[e.op[1:]]} 0)"
        scalar = t.scalar(kind)
        if e.op in ("eq", "ne", "lt", "gt", "le", "ge"):
            if scalar is t.BOOL:
                left, right = f"!!{left}", f"!!{right}"
            return f"({left} {_C_OPERATORS[e.op]} {right})"
        if e.op in ("div", "mod"):
            if (
                scalar.family != "real"
                and isinstance(e.right, ir.Const)
                and isinstance(e.right.value, int)
                and e.right.value > 0
            ):
                return f"({scalar.ctype})({left} {'/' if e.op == 'div' else '%'} {right})"
            return f"vp_{e.op}_{scalar.suffix}(c, {left}, {right})"
        if scalar is t.BOOL:
            left, right = f"!!{left}", f"!!{right}"
        return f"({scalar.ctype})({left} {_C_OPERATORS[e.op]} {right})"

    def _short(self, e: ir.Binary) -> str:
        """AND and OR: an operand that does not matter cannot fault; a call with effects in it still happens, unless _THEN or _ELSE says otherwise."""
        sign = "&&" if e.op.startswith("and") else "||"
        left = self.expr(e.left)
        mark = len(self.out)
        right = self.expr(e.right)
        if len(self.out) == mark:
            return f"({left} {sign} {right})"
        if e.op in ("and", "or") and has_effects(e.right):
            name = self.save(t.BOOL, left, mark)
            return f"({name} {sign} {right})"
        inner = self.out[mark:]
        del self.out[mark:]
        name = self.fresh()
        self.out += [
            f"uint8_t {name} = !!{left};",
            f"if ({name if e.op.startswith('and') else '!' + name}) {{",
            *inner,
            f"{name} = !!{right};",
            "}",
        ]
        return name

    def _unary(self, e: ir.Unary) -> str:
        operand = self.expr(e.operand)
        kind = t.scalar(e.type)
        if e.op == "not":
            return f"(!{operand})" if kind is t.BOOL else f"({kind.ctype})(~{operand})"
        if kind.family == "real":
            return f"(-{operand})"
        return f"({kind.ctype})(0 - {operand})"

    def _convert(self, e: ir.Convert) -> str:
        operand = self.expr(e.operand)
        target = t.scalar(e.type)
        source = t.scalar(e.operand.type)
        if e.mode == "check" and isinstance(e.type, t.SubrangeType):
            low, high = e.type.low, min(e.type.high, (1 << 63) - 1)
            return (
                f"({target.ctype})vp_within(c, (int64_t){operand}, {c_long(low)}, {c_long(high)})"
            )
        if e.mode in ("round", "trunc"):
            rounded = (
                "trunc" if e.mode == "trunc" else "vp_half_away" if self.project.codesys else "rint"
            )
            value = f"{rounded}((double){operand})"
            if target.bits == 64 and not target.signed:
                return f"vp_whole_u(c, {value})"
            whole = f"vp_whole(c, {value})"
            if target.bits == 64 or self.project.codesys:
                return f"({target.ctype}){whole}"
            return f"({target.ctype})vp_within(c, {whole}, {c_long(target.low)}, {c_long(target.high)})"
        if (
            target.family == "real"
            and source.family != "real"
            and source.size == 8
            and not source.signed
        ):
            return f"vp_real_u{target.bits}({operand})"
        if target.family == "real" and source.family != "real":
            return f"({target.ctype})(int64_t){operand}"
        return f"({target.ctype}){operand}"

    def _select(self, e: ir.Select) -> str:
        condition = self.expr(e.condition)
        mark = len(self.out)
        yes = self.expr(e.yes)
        no = self.expr(e.no)
        if len(self.out) == mark and t.is_scalar(e.type):
            return f"({condition} ? {yes} : {no})"
        condition = self.save(t.BOOL, condition, mark)
        name = self.fresh()
        self.out += [
            f"{self.ctype(e.type)} {name};",
            f"if ({condition}) {name} = {yes}; else {name} = {no};",
        ]
        return name

    def _guarded(self, e: ir.Guarded) -> str:
        enable = self.save(t.BOOL, self.expr(e.enable))
        if e.eno is not None:
            self.store(e.eno, f"!!{enable}")
        name = self.fresh()
        empty = "vp_w_make(0, 0u)" if self.ctype(e.type) == "vp_w" else "vp_s_make(0, 0u)"
        start = empty if t.is_string(e.type) else self.expr(e.otherwise) if e.otherwise else "0"
        self.out.append(f"{self.ctype(e.type)} {name} = {start};")
        self.out.append(f"if ({enable}) {{")
        text = self.expr(e.operand)
        self.out += [f"{name} = {text};", "}"]
        return name

    # --- calls ----------------------------------------------------------------------------------------------------

    def call(self, e: ir.Call) -> str:
        """A call as statements; the value that came back."""
        pou = e.pou
        result = ""
        if e.enable is None and e.eno is not None:
            self.store(e.eno, "1")
        if e.enable is not None:
            enable = self.expr(e.enable)
            if e.eno is not None:
                enable = self.save(t.BOOL, enable)
                self.store(e.eno, f"!!{enable}")
            if t.is_scalar(pou.returns) and pou.returns is not t.VOID:
                result = self.fresh()
                start = self.expr(e.otherwise) if e.otherwise else "0"
                self.out.append(f"{self.ctype(pou.returns)} {result} = {start};")
            self.out.append(f"if ({enable}) {{")
        text = self._plain_call(e)
        if e.enable is not None:
            if result:
                self.out += [f"{result} = {text};", "}"]
                return result
            self.out.append("}")
        return text

    def _plain_call(self, e: ir.Call) -> str:
        pou = e.pou
        arguments: list[str] = []
        expressions: list[ir.Expr] = []
        for _, value in e.args:
            expressions.append(
                value if isinstance(value, ir.Expr) else ir.AddressOf(t.UDINT, value)
            )
        texts = self.ordered(expressions)
        instance = ""
        if pou.owner is not None:
            instance = self._receiver(e)
        callee_frame = f"A + sp + {self.frame_name}"
        for (var, _), text, expression in zip(e.args, texts, expressions, strict=True):
            if var.by_reference or t.is_scalar(var.type):
                arguments.append(text)
            else:
                self._pass_large(
                    f"({callee_frame} + {self.frame_offset(pou, var)}u)", var.type, text, expression
                )
        inner = ", ".join(
            ["c", f"sp + {self.frame_name}", *([instance] if instance else []), *arguments]
        )
        scalar = t.is_scalar(pou.returns) and pou.returns is not t.VOID
        statement = f"{self._target(e)}({inner});"
        name = ""
        if scalar:
            name = self.fresh()
            statement = f"{self.ctype(pou.returns)} {name} = {statement}"
            if e.enable is not None:
                statement = (
                    f"{self.ctype(pou.returns)} {name}; {name} = {self._target(e)}({inner});"
                )
        self.out.append(statement)
        if pou.returns is not t.VOID and not scalar and pou.result is not None:
            name = self._keep_large(
                f"({callee_frame} + {self.frame_offset(pou, pou.result)}u)", pou.returns
            )
        for var, place in e.outputs:
            source = ir.Load(var.type, _CalleePlace(var.type, self.frame_offset(pou, var)))
            self.store(place, self._converted_output(source, place.type))
        if self.line:
            self.out.append(f"c->line = {self.line};")
        return name

    def frame_offset(self, pou: Pou, var: Var) -> int:
        """Where the callee keeps a parameter; the same for every override of a method."""
        return var.offset

    def _converted_output(self, source: ir.Load, kind: t.Type) -> str:
        place = source.place
        assert isinstance(place, _CalleePlace)  # noqa: S101 - made just above
        where = Address("C", place.offset)
        text = self.load_at(where, source.type)
        if t.is_scalar(kind) and t.scalar(kind) is not t.scalar(source.type):
            return f"({t.scalar(kind).ctype}){text}"
        return text

    def pointer(self, where: Address, size: int) -> str:
        """As the base does; C is the frame of whoever was called."""
        if where.base == "C":
            return f"(A + sp + {self.frame_name} + {where.sum})"
        return super().pointer(where, size)

    def _receiver(self, e: ir.Call) -> str:
        if e.instance is None:
            return "self"
        owner = e.pou.owner
        if isinstance(e.instance, ir.AddressOf):
            return self.save(
                t.UDINT, self.instance(self.address(e.instance.place), e.instance.place.type.size)
            )
        size = (
            owner.type.size
            if owner is not None and owner.type is not None and owner.kind != "INTERFACE"
            else 4
        )
        return self.save(t.UDINT, f"vp_instance(c, {self.expr(e.instance)}, {size}u)")

    def _target(self, e: ir.Call) -> str:
        pou = e.pou
        if pou.owner is None:
            return f"p{pou.number}"
        if e.virtual and (pou.owner.kind == "INTERFACE" or overridden(pou)):
            return f"d{pou.number}"
        return f"p{pou.number}"

    def _pass_large(self, pointer: str, kind: t.Type, text: str, e: ir.Expr) -> None:
        if isinstance(kind, t.StringType):
            self.out.append(
                f"vp_{'w' if kind.wide else 's'}_store(c, {pointer}, {kind.length}u, {text}, {self.strict});"
            )
        else:
            self.out.append(f"memmove({pointer}, {text}, {kind.size}u);")

    @property
    def strict(self) -> int:
        """Whether a text that is too long is a fault; older tools cut it."""
        return 0 if self.project.codesys else 1

    def _keep_large(self, pointer: str, kind: t.Type) -> str:
        slot = f"(F + {self.slot(kind.size)}u)"
        if isinstance(kind, t.StringType):
            letter = "w" if kind.wide else "s"
            return self.save(
                kind,
                f"vp_{letter}_keep(c, {slot}, {kind.length}u, vp_{letter}_load({pointer}, {kind.length}u))",
            )
        self.out.append(f"memmove({slot}, {pointer}, {kind.size}u);")
        return slot

    # --- storing --------------------------------------------------------------------------------------------------

    def store(self, place: ir.Place, value: str) -> None:
        """Write a value, given as C, to a place."""
        kind = place.type
        if isinstance(place, ir.BitPlace):
            self._store_bit(place, value)
            return
        bit = (
            place.bit
            if isinstance(place, ir.ImagePlace)
            else place.var.bit
            if isinstance(place, ir.VarPlace) and place.var.storage == "image"
            else None
        )
        if bit is not None:
            pointer = self.pointer(self.address(place), 1)
            self.out.append(
                f"{{ uint8_t *q = {pointer}; *q = (uint8_t)({value} ? *q | {1 << bit}u : *q & ~{1 << bit}u); }}"
            )
            return
        if isinstance(place, ir.VarPlace) and isinstance(where := self.variable(place.var), str):
            self.out.append(f"{where} = {value};")
            return
        pointer = self.pointer(self.address(place), kind.size)
        if isinstance(kind, t.StringType):
            self.out.append(
                f"vp_{'w' if kind.wide else 's'}_store(c, {pointer}, {kind.length}u, {value}, {self.strict});"
            )
        elif t.is_scalar(kind):
            self.out.append(f"*({self.mtype(kind)} *){pointer} = {value};")
        else:
            self.out.append(f"memmove({pointer}, {value}, {kind.size}u);")

    def _store_bit(self, place: ir.BitPlace, value: str) -> None:
        inner = t.scalar(place.base.type)
        unsigned = f"uint{inner.size * 8}_t"
        mask = ((1 << place.width) - 1) << place.bit
        bits = (
            f"(({unsigned})!!{value} << {place.bit})"
            if place.width == 1
            else f"(({unsigned}){value} << {place.bit})"
        )
        name = self.save(t.ULINT, f"(uint64_t){bits}")
        old = self.load(place.base)
        self.store(
            place.base,
            f"({inner.ctype})((({unsigned}){old} & ({unsigned})~{mask}ULL) | ({unsigned}){name})",
        )


def has_effects(node: object) -> bool:
    """Whether an expression calls what may change more than its own result: methods, in-outs, outputs, ENO."""
    if isinstance(node, list | tuple):
        return any(has_effects(item) for item in node)
    if isinstance(node, ir.Call) and (
        node.pou.owner is not None
        or node.outputs
        or node.eno is not None
        or any(var.by_reference for var, _ in node.args)
    ):
        return True
    if isinstance(node, ir.Guarded) and node.eno is not None:
        return True
    if isinstance(node, ir.Expr | ir.Place):
        return any(
            has_effects(getattr(node, item.name))
            for item in fields(node)
            if item.name not in ("type", "pou", "var")
        )
    return False


class _CalleePlace(ir.Place):
    """A variable in the frame of whoever was called."""

    __slots__ = ("offset",)

    def __init__(self, kind: t.Type, offset: int) -> None:
        super().__init__(kind)
        self.offset = offset


def c_long(value: int) -> str:
    """A 64-bit signed literal."""
    return "(-9223372036854775807LL-1)" if value == -(1 << 63) else f"({value}LL)"


def overridden(method: Pou) -> bool:
    """Whether a derived block has a method of its own under this name."""
    suffix = {"PROPERTY_GET": ".GET", "PROPERTY_SET": ".SET"}.get(method.kind, "")
    key = method.name.upper() + suffix

    def below(pou: Pou) -> bool:
        return any(key in child.methods or below(child) for child in pou.derived)

    return method.owner is not None and below(method.owner)
