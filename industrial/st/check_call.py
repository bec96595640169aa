"""Calls: who is meant, which argument goes where, what comes back."""

from __future__ import annotations

from . import ir
from . import nodes as n
from . import types as t
from .builtins import TABLE, by_name
from .check_expr import ExprChecker
from .convert import const, narrowed, settle, zero
from .model import Pou, Var
from .open_arrays import bounds_of, handed_over, takes

Bound = dict[str, tuple[Var, n.Arg]]

#: Functions of places, not of values.
_SPECIAL = (
    "ADR", "REF", "SIZEOF", "LOWER_BOUND", "UPPER_BOUND", "BITADR", "INI", "INPUT_GOOD", "INPUT_AGE",
)  # fmt: skip


class CallChecker(ExprChecker):
    """Checks calls."""

    #: The type that the standard function being checked is asked for, where one is known.
    wanted: t.Type | None = None

    def hoist(self, e: ir.Expr) -> ir.Expr:
        """A value that will be used more than once."""
        return e if isinstance(e, ir.Const | ir.Temp) or e.type is t.ERROR else ir.Temp(e.type, e)

    def call(self, node: n.Call, want: t.Type | None = None) -> ir.Expr:
        """A call inside an expression."""
        callee = node.callee
        if isinstance(callee, n.Member):
            return self._member_call(callee, node)
        if not isinstance(callee, n.Name):
            self.error(node.pos, "call", "this cannot be called")
            return zero(t.ERROR)
        up = callee.name.upper()
        owner = self.pou.owner if self.pou and self.pou.owner else self.pou
        if owner is not None and (method := owner.method(up)) is not None:
            return self.method_call(None, method, node.args, callee.pos)
        var = self.find(callee.name)
        if var is not None and isinstance(var.type, t.BlockType):
            self.error(
                callee.pos,
                "call",
                f"{callee.name} is a function block: it gives no value",
                hint=f"call it as a statement, then read its outputs, for example {callee.name}.Q",
                length=len(callee.name),
            )
            return zero(t.ERROR)
        pou = self.project.pous.get(up)
        if pou is not None and pou.kind == "FUNCTION":
            return self.user_call(pou, node.args, callee.pos)
        if pou is not None:
            what = "function block" if pou.kind == "FUNCTION_BLOCK" else pou.kind.lower()
            self.error(
                callee.pos,
                "call",
                f"{callee.name} is a {what}, not a function",
                hint=f"declare an instance: x : {pou.name};"
                if pou.kind == "FUNCTION_BLOCK"
                else "",
                length=len(callee.name),
            )
            return zero(t.ERROR)
        special = getattr(self, f"_{up.lower()}", None) if up in _SPECIAL else None
        if special is not None:
            result: ir.Expr = special(node)
            return result
        return self._builtin(up, callee, node, want)

    def _builtin(self, up: str, callee: n.Name, node: n.Call, want: t.Type | None) -> ir.Expr:
        spec = TABLE.get(up) or by_name(self, up)
        if spec is None:
            self._unknown_function(callee)
            for arg in node.args:
                if arg.value is not None and not arg.output:
                    self.expr(arg.value)
            return zero(t.ERROR)
        handler, names, least, most = spec
        guards = [arg for arg in node.args if arg.name.upper() in ("EN", "ENO")]
        if guards:
            plain = [arg for arg in node.args if arg not in guards]
            value = self._builtin(up, callee, n.Call(node.pos, callee, plain), want)
            if isinstance(value, ir.Const) and value.type in (t.LIT_INT, t.LIT_REAL):
                value = self.coerce(value, want, node.pos) if want else value
                value = settle(value, codesys=self.codesys)
            return self._guarded(value, guards, node.pos)
        nodes: list[n.Expr] = []
        slots: dict[int, n.Expr] = {}
        for position, arg in enumerate(node.args):
            if arg.value is None or arg.output:
                self.error(arg.pos, "call", f"{up}: {arg.name or 'this'} is not an input")
                return zero(t.ERROR)
            at = position
            if arg.name:
                name = arg.name.upper()
                if names is not None and name in names:
                    at = names.index(name)
                elif name == "IN" and least == 1:
                    at = 0
                elif name.startswith("IN") and name[2:].isdigit() and (names is None or most == 2):
                    at = int(name[2:]) - (0 if up == "MUX" else 1) + (1 if up == "MUX" else 0)
                elif name == "K" and up == "MUX":
                    at = 0
                else:
                    self.error(
                        arg.pos,
                        "call",
                        f"{up} has no input {arg.name}",
                        hint=f"its inputs are {', '.join(names)}" if names else "",
                        length=len(arg.name),
                    )
                    return zero(t.ERROR)
            slots[at] = arg.value
        nodes = [slots[key] for key in sorted(slots)]
        if not least <= len(nodes) <= most or sorted(slots) != list(range(len(nodes))):
            wanted = str(least) if least == most else f"{least} or more"
            self.error(
                callee.pos,
                "call",
                f"{callee.name} takes {wanted} arguments, {len(nodes)} given",
                length=len(callee.name),
            )
            return zero(t.ERROR)
        args = [self.expr(value) for value in nodes]
        if up in TABLE:
            args = [narrowed(value) for value in args]
        if any(arg.type is t.ERROR for arg in args):
            return zero(t.ERROR)
        if any(arg.type is t.VOID for arg in args):
            self.error(node.pos, "type", "a call that gives no value cannot be an argument")
            return zero(t.ERROR)
        if want is t.REAL:
            # numbers without a type take the type of what is asked for
            args = [
                const(t.REAL, a.value) if isinstance(a, ir.Const) and a.type is t.LIT_REAL else a
                for a in args
            ]
        self.wanted = want
        return handler(self, args, node, up)

    def _guarded(self, value: ir.Expr, guards: list[n.Arg], pos: int) -> ir.Expr:
        """A standard function with EN or ENO."""
        enable: ir.Expr = ir.Const(t.BOOL, 1)
        eno: ir.Place | None = None
        for arg in guards:
            if arg.name.upper() == "EN" and not arg.output and arg.value is not None:
                enable = self.value(arg.value, t.BOOL, "EN")
            else:
                eno = self.eno(arg)
        if value.type is t.ERROR:
            return value
        if not (t.is_scalar(value.type) or t.is_string(value.type)):
            self.error(pos, "unsupported", f"EN does not go with a value of {value.type.name}")
            return zero(t.ERROR)
        return ir.Guarded(value.type, value, enable, eno)

    def eno(self, arg: n.Arg) -> ir.Place | None:
        """The BOOL behind ENO =>."""
        if not arg.output or arg.value is None:
            self.error(arg.pos, "call", f"{arg.name} is an output: write {arg.name} => …")
            return None
        place = self.place(arg.value)
        if place is None or not self.writable(place, arg.pos):
            return None
        if place.type is not t.BOOL:
            self.error(arg.pos, "type", f"ENO is BOOL, this is {place.type.name}")
            return None
        return place

    def _unknown_function(self, callee: n.Name) -> None:
        from difflib import get_close_matches

        up = callee.name.upper()
        functions = [key for key, pou in self.project.pous.items() if pou.kind == "FUNCTION"]
        known = [*TABLE, *_SPECIAL, *functions]
        near = get_close_matches(up, known, 1, 0.75)
        if up in self.project.broken:
            hint = "its declaration has an error"
        else:
            hint = (
                f"did you mean {near[0]}?"
                if near
                else "functions of a library are given with --with"
            )
        self.error(
            callee.pos,
            "undeclared",
            f"{callee.name} is neither a function nor a function block instance",
            hint=hint,
            length=len(callee.name),
        )

    # --- memory -----------------------------------------------------------------------------------------------

    def _one(self, node: n.Call) -> n.Expr | None:
        if len(node.args) == 1 and node.args[0].value is not None and not node.args[0].output:
            return node.args[0].value
        self.error(node.pos, "call", "this takes one argument")
        return None

    def _adr(self, node: n.Call) -> ir.Expr:
        argument = self._one(node)
        if argument is None:
            return zero(t.ERROR)
        place = self.instance(argument)
        if place is None or not self.address(place, node.pos):
            return zero(t.ERROR)
        if not self.lendable(place, node.pos):
            return zero(t.ERROR)
        if isinstance(place.type, t.OpenArrayType):
            return self.whole_open(node.pos)
        var = self.root(place)
        if var is not None:
            var.written = True  # whoever has the reference can write
        return ir.AddressOf(
            t.PointerType(f"POINTER TO {place.type.name}", 4, 4, place.type, False), place
        )

    def _ref(self, node: n.Call) -> ir.Expr:
        result = self._adr(node)
        if isinstance(result, ir.AddressOf) and isinstance(result.type, t.PointerType):
            result.type = t.PointerType(
                f"REF_TO {result.place.type.name}", 4, 4, result.place.type, True
            )
        return result

    def _of_input(self, node: n.Call, kind: t.Type, what: str) -> ir.Expr:
        """What the engine knows of an input beside its value."""
        argument = self._one(node)
        place = None if argument is None else self.place(argument)
        if argument is None or place is None:
            return zero(t.ERROR)
        size = 1 if isinstance(place, ir.BitPlace) else max(1, place.type.size)
        while isinstance(place, ir.BitPlace):
            place = place.base
        var = self.root(place)
        if isinstance(place, ir.ImagePlace):
            area = place.area
        else:
            area = var.area if var is not None and var.storage == "image" else ""
        if area != "I":
            self.error(
                argument.pos,
                "type",
                "an input is wanted here: what is declared AT %I…, or an address like %IW3",
                hint="quality and age belong to inputs of devices; a copy of the value has neither",
            )
            return zero(t.ERROR)
        return ir.Builtin(kind, what, [ir.AddressOf(t.UDINT, place), ir.Const(t.UDINT, size)])

    def _input_good(self, node: n.Call) -> ir.Expr:
        return self._of_input(node, t.BOOL, "input_good")

    def _input_age(self, node: n.Call) -> ir.Expr:
        return self._of_input(node, t.TIME, "input_age")

    def _sizeof(self, node: n.Call) -> ir.Expr:
        argument = self._one(node)
        if argument is None:
            return zero(t.ERROR)
        kind = (
            self.resolver.find_type(argument.name)
            if isinstance(argument, n.Name) and self.find(argument.name) is None
            else None
        )
        if kind is None:
            place = self.place(argument)
            if place is None:
                return zero(t.ERROR)
            kind = place.type
        if isinstance(kind, t.OpenArrayType):
            return self.whole_open(node.pos)
        self.resolver.complete(kind)
        return ir.Const(t.LIT_INT, kind.size)

    def _bound(self, node: n.Call, *, upper: bool) -> ir.Expr:
        values = [arg.value for arg in node.args if arg.value is not None]
        place = self.place(values[0]) if values else None
        dimension = self.constant_int(values[1]) if len(values) == 2 else 1
        if place is None or dimension is None:
            return zero(t.ERROR)
        bounds = bounds_of(place.type)
        if not 1 <= dimension <= len(bounds):
            self.error(node.pos, "type", "an array and one of its dimensions are needed here")
            return zero(t.ERROR)
        return bounds[dimension - 1][1 if upper else 0]

    def _lower_bound(self, node: n.Call) -> ir.Expr:
        return self._bound(node, upper=False)

    def _upper_bound(self, node: n.Call) -> ir.Expr:
        return self._bound(node, upper=True)

    # --- user code --------------------------------------------------------------------------------------------

    def _member_call(self, callee: n.Member, node: n.Call) -> ir.Expr:
        base = self.instance(callee.base)
        if base is None:
            return zero(t.ERROR)
        kind = base.type
        if not isinstance(kind, t.BlockType | t.InterfaceType):
            self.error(callee.pos, "call", f"{kind.name} has no methods", length=len(callee.name))
            return zero(t.ERROR)
        self.resolver.complete(kind)
        method = kind.pou.method(callee.name.upper())
        if method is None:
            self.error(
                callee.pos,
                "undeclared",
                f"{kind.name} has no method {callee.name}",
                length=len(callee.name),
            )
            return zero(t.ERROR)
        is_super = (isinstance(callee.base, n.Name) and callee.base.name.upper() == "SUPER") or (
            isinstance(callee.base, n.Deref)
            and isinstance(callee.base.base, n.Name)
            and callee.base.base.name.upper() == "SUPER"
        )
        if is_super and method.node.abstract:
            self.error(callee.pos, "oop", f"{method.label} is ABSTRACT: there is nothing to call")
        return self.method_call(base, method, node.args, callee.pos, virtual=not is_super)

    def method_call(
        self,
        instance: ir.Place | None,
        pou: Pou,
        args: list[n.Arg],
        pos: int,
        *,
        virtual: bool = True,
    ) -> ir.Expr:
        """A call of a method; no instance means THIS."""
        self.resolver.resolve(pou)
        outside = instance is not None and not isinstance(instance, ir.SelfPlace)
        # What extends a block sees its PROTECTED methods, and not its PRIVATE ones.
        own = self.pou is not None and pou.owner in (self.pou, self.pou.owner)
        if (pou.node.access in ("PRIVATE", "PROTECTED") and outside) or (
            pou.node.access == "PRIVATE" and not own
        ):
            self.error(
                pos, "access", f"{pou.label} is {pou.node.access}: it cannot be called from here"
            )
        if instance is not None and not isinstance(instance, ir.SelfPlace):
            self.address(instance)
            root = self.root(instance)
            if root is not None:
                root.written = True
        reference: ir.Expr | None = None
        if instance is not None and not isinstance(instance, ir.SelfPlace):
            if isinstance(instance.type, t.InterfaceType):
                reference = ir.Convert(t.UDINT, ir.Load(instance.type, instance))
            else:
                reference = ir.AddressOf(t.UDINT, instance)
        result = self.user_call(pou, args, pos)
        if isinstance(result, ir.Call):
            # A PRIVATE method is not overridden by one of the same name in what extends its block.
            result.instance = reference
            result.virtual = virtual and pou.node.access != "PRIVATE"
        return result

    def bind(
        self, pou: Pou, args: list[n.Arg], pos: int
    ) -> tuple[Bound, n.Expr | None, ir.Place | None]:
        """Arguments by parameter, the EN input, and what stands behind ENO."""
        parameters = self._parameters(pou)
        by_name_map = {var.name.upper(): var for var in parameters}
        # A call without names has no EN and no ENO.
        plain = [var for var in parameters if self.codesys or not _enables(var)]
        inputs = [var for var in plain if var.kind in ("VAR_INPUT", "VAR_IN_OUT")]
        bound: Bound = {}
        enable: n.Expr | None = None
        eno: ir.Place | None = None
        position = 0
        for arg in args:
            if not arg.name:
                positional = inputs + [var for var in plain if var.kind == "VAR_OUTPUT"]
                if position >= len(positional):
                    self.error(
                        arg.pos,
                        "call",
                        f"{pou.label} takes {len(inputs)} arguments, more are given",
                    )
                    break
                var = positional[position]
                position += 1
            else:
                up = arg.name.upper()
                found = by_name_map.get(up)
                meant = found is None or (not self.codesys and _enables(found))
                if up == "EN" and not arg.output and meant:
                    # Declared or not: with FALSE nothing is executed, and a body that runs sees TRUE.
                    enable = arg.value
                    continue
                if up == "ENO" and arg.output and meant:
                    eno = self.eno(arg)
                    if found is None:
                        continue
                if found is None:
                    hint = (
                        f"it has {', '.join(v.name for v in parameters[:10])}"
                        if parameters
                        else "it has none"
                    )
                    self.error(
                        arg.pos,
                        "call",
                        f"{pou.label} has no parameter {arg.name}",
                        hint=hint,
                        length=len(arg.name),
                    )
                    continue
                var = found
                if arg.output != (var.kind == "VAR_OUTPUT"):
                    sign = "=>" if var.kind == "VAR_OUTPUT" else ":="
                    if not (self.codesys and var.kind == "VAR_OUTPUT"):
                        self.error(
                            arg.pos, "call", f"{var.name} is {var.kind}: write {var.name} {sign} …"
                        )
                        continue
            if var.name.upper() in bound:
                self.error(arg.pos, "call", f"{var.name} is given twice")
            bound[var.name.upper()] = (var, arg)
        return bound, enable, eno

    def _parameters(self, pou: Pou) -> list[Var]:
        chain = list(pou.chain())
        return [
            var
            for level in reversed(chain)
            for var in level.variables.values()
            if var.kind in ("VAR_INPUT", "VAR_OUTPUT", "VAR_IN_OUT")
        ]

    def user_call(self, pou: Pou, args: list[n.Arg], pos: int) -> ir.Expr:
        """A call of a function or method."""
        self.resolver.resolve(pou)
        if self.pou is not None:
            self.pou.calls.add(pou)
        bound, enable_node, eno = self.bind(pou, args, pos)
        ready: list[tuple[Var, ir.Expr | ir.Place]] = []
        outputs: list[tuple[Var, ir.Place]] = []
        for var in self._parameters(pou):
            given = bound.get(var.name.upper())
            if var.kind == "VAR_OUTPUT":
                if given is not None and given[1].value is not None:
                    place = self.place(given[1].value)
                    if (
                        place is not None
                        and self.writable(place, given[1].pos)
                        and (
                            _any_int(pou, var, place) or self._fits_output(var, place, given[1].pos)
                        )
                    ):
                        outputs.append((var, place))
                continue
            if var.kind == "VAR_IN_OUT":
                place = self.in_out(var, given, pou, pos)
                if place is None:
                    return zero(t.ERROR if pou.returns is t.VOID else pou.returns)
                ready.append((var, place))
                ready += handed_over(var, place)
                continue
            if given is None or given[1].value is None:
                ready.append((var, self._default(var)))
                continue
            ready.append((var, self.value(given[1].value, var.type, f"{pou.name}'s {var.name}")))
        enable = self.value(enable_node, t.BOOL, "EN") if enable_node is not None else None
        return ir.Call(pou.returns, pou, ready, outputs, enable=enable, eno=eno)

    def _default(self, var: Var) -> ir.Expr:
        if t.is_scalar(var.type):
            init = var.init
            if isinstance(init, int | float):
                return ir.Const(var.type, init)
            kind = var.type
            return ir.Const(kind, kind.initial if isinstance(kind, t.EnumType) else 0)
        return ir.Builtin(var.type, "default", [])

    def _fits_output(self, var: Var, place: ir.Place, pos: int) -> bool:
        probe = self.coerce(ir.Load(var.type, place), place.type, pos, f"output {var.name}")
        return probe.type is not t.ERROR and not (
            isinstance(probe, ir.Const) and var.type is not place.type
        )

    def in_out(
        self, var: Var, given: tuple[Var, n.Arg] | None, pou: Pou, pos: int
    ) -> ir.Place | None:
        """The place that stands behind a VAR_IN_OUT; None after an error."""
        if given is None or given[1].value is None:
            self.error(pos, "call", f"{pou.label}: VAR_IN_OUT {var.name} needs a variable")
            return None
        node = given[1].value
        place = self.place(node) if not isinstance(node, n.Literal) else None
        if isinstance(node, n.Literal):
            self.error(node.pos, "call", f"VAR_IN_OUT {var.name} needs a variable, not a value")
        if place is None or not self.address(place, node.pos):
            return None
        root = self.root(place)
        constant = self.codesys and root is not None and root.constant
        if not constant and not self.writable(place, node.pos):
            return None
        if self._same_memory(var.type, place.type) or takes(var.type, place.type):
            return place
        self.error(
            node.pos,
            "type",
            f"VAR_IN_OUT {var.name} is {var.type.name}: the variable behind it must be the same, this is {place.type.name}",
        )
        return None

    def _same_memory(self, formal: t.Type, actual: t.Type) -> bool:
        if t.same(formal, actual):
            return True
        if isinstance(formal, t.StringType) and isinstance(actual, t.StringType):
            return formal.wide == actual.wide and (self.codesys or actual.length >= formal.length)
        if isinstance(formal, t.BlockType) and isinstance(actual, t.BlockType):
            from .convert import derives

            return derives(actual.pou, formal.pou)
        if self.codesys:
            if isinstance(formal, t.ArrayType) and isinstance(actual, t.ArrayType):
                return t.same(formal.element, actual.element) and formal.count <= actual.count
            a, b = t.base_of(formal), t.base_of(actual)
            return (
                isinstance(a, t.Elementary)
                and isinstance(b, t.Elementary)
                and a.bits == b.bits
                and {a.family, b.family} <= {"int", "bits"}
            )
        return False


def _enables(var: Var) -> bool:
    """Whether a parameter is the one that the standard means by EN or ENO."""
    kinds = {"EN": "VAR_INPUT", "ENO": "VAR_OUTPUT"}
    return kinds.get(var.name.upper()) == var.kind and var.type is t.BOOL


def _any_int(pou: Pou, var: Var, place: ir.Place) -> bool:
    """Whether an output may be any whole number that holds its values, as those of SPLIT_DATE and its relatives
    (table 36: ANY_INT): a year needs 16 bits, the other parts eight."""
    if not (pou.library and pou.name.upper().startswith("SPLIT_") and t.is_int(place.type)):
        return False
    return place.type.size >= {"YEAR": 2, "MILLISECOND": 2}.get(var.name.upper(), 1)
