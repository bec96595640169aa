"""Statements: what is assigned to what, which loop is left, which block is called how."""

from __future__ import annotations

from . import ir
from . import nodes as n
from . import types as t
from .check_call import CallChecker
from .convert import zero
from .lower_sfc import Hidden
from .model import Pou, Var
from .open_arrays import handed_over


class Checker(CallChecker):
    """Checks the bodies of one POU."""

    loops = 0

    def body(self, nodes: list[n.Stmt]) -> list[ir.Stmt]:
        """The checked statements; wrong ones are left out, after being told."""
        result: list[ir.Stmt] = []
        for node in nodes:
            before = len(self.project.sink.items)
            checked = self._statement(node)
            if checked is not None and not any(
                item.severity == "error" for item in self.project.sink.items[before:]
            ):
                result.append(checked)
        return result

    def _statement(self, node: n.Stmt) -> ir.Stmt | None:
        if isinstance(node, n.Assign):
            return self._assign(node)
        if isinstance(node, n.CallStmt):
            return self._call_statement(node)
        if isinstance(node, n.If):
            branches = [
                (self.value(condition, t.BOOL, "condition"), self.body(body))
                for condition, body in node.branches
            ]
            return ir.If(node.pos, branches, self.body(node.otherwise))
        if isinstance(node, n.Case):
            return self._case(node)
        if isinstance(node, n.For):
            return self._for(node)
        if isinstance(node, n.While):
            condition = self.value(node.condition, t.BOOL, "condition")
            return ir.While(node.pos, condition, self._loop(node.body))
        if isinstance(node, n.Repeat):
            body = self._loop(node.body)
            return ir.Repeat(node.pos, body, self.value(node.condition, t.BOOL, "condition"))
        if isinstance(node, n.Jump):
            if node.kind != "RETURN" and not self.loops:
                self.error(
                    node.pos,
                    "loop",
                    f"{node.kind} stands outside of any loop",
                    length=len(node.kind),
                )
                return None
            return ir.Jump(node.pos, node.kind)
        raise AssertionError(type(node))

    def _loop(self, body: list[n.Stmt]) -> list[ir.Stmt]:
        self.loops += 1
        result = self.body(body)
        self.loops -= 1
        return result

    def _assign(self, node: n.Assign) -> ir.Stmt | None:
        setter = self._property_setter(node)
        if setter is not None:
            return setter
        target = self.place(node.target)
        if target is None:
            self.expr(node.value)
            return None
        if node.op in ("?=", "REF="):
            return self._reference_assign(node, target)
        if not self.writable(target, node.target.pos) or self._of_the_chart(node.target):
            return None
        if isinstance(target.type, t.BlockType) and not self.codesys:
            self.error(node.pos, "type", "a function block instance cannot be assigned")
            return None
        value = self.expr(node.value, target.type)
        if value.type is t.VOID:
            self.error(node.value.pos, "type", "this call gives no value")
            return None
        guarded = isinstance(value, ir.Guarded) or (
            isinstance(value, ir.Call) and value.enable is not None
        )
        if guarded and t.same(value.type, target.type) and t.is_scalar(target.type):
            value.otherwise = ir.Load(target.type, target)  # type: ignore[attr-defined]  # see above
        value = self.coerce(value, target.type, node.value.pos)
        self._outlived(target, value, node.value.pos)
        return ir.Assign(node.pos, target, value)

    def _outlived(self, target: ir.Place, value: ir.Expr, pos: int) -> None:
        """Tell where a reference would be kept longer than the variable it leads to. Libraries of codesys23 do as they do."""
        while isinstance(value, ir.Convert):
            value = value.operand
        if self.codesys or not isinstance(value, ir.AddressOf):
            return
        var, kept = self.root(value.place), self.root(target)
        if var is None or var.storage != "auto" or var.by_reference:
            return
        # A pointer of the block's own may be used within this call, and set anew in the next one.
        loose = isinstance(target.type, t.PointerType) and not target.type.ref
        handed = kept is not None and (kept.by_reference or kept.kind in ("RESULT", "VAR_OUTPUT"))
        elsewhere = kept is None or kept.storage != "auto"
        if handed or (elsewhere and not loose):
            self.error(
                pos,
                "access",
                f"{var.name} is gone when this call ends: a reference to it cannot be kept",
                hint="refer to a variable of an instance, of a program or to a global",
            )

    def _of_the_chart(self, target: n.Expr) -> bool:
        """Whether the program writes a step, which only the chart's evolution does."""
        pou = self.pou.owner or self.pou if self.pou else None
        if pou is None or pou.node.sfc is None:
            return False
        while isinstance(target, n.Member | n.Index):
            target = target.base
        if not isinstance(target, n.Name) or isinstance(target, Hidden):
            return False
        if target.name.upper() not in (step.name.upper() for step in pou.node.sfc.steps):
            return False
        self.error(
            target.pos,
            "sfc",
            f"{target.name} is a step: transitions make it active, nothing else",
            length=len(target.name),
        )
        return True

    def _reference_assign(self, node: n.Assign, target: ir.Place) -> ir.Stmt | None:
        if not isinstance(target.type, t.PointerType | t.InterfaceType):
            self.error(
                node.pos,
                "type",
                f"{node.op} needs a reference on the left, this is {target.type.name}",
            )
            return None
        if not self.writable(target, node.pos):
            return None
        if node.op == "REF=":
            place = self.place(node.value)
            if place is None or not self.address(place, node.value.pos):
                return None
            if not self.lendable(place, node.value.pos):
                return None
            source = ir.AddressOf(
                t.PointerType(f"REF_TO {place.type.name}", 4, 4, place.type, True), place
            )
            return ir.Assign(node.pos, target, self.coerce(source, target.type, node.value.pos))
        value = self.expr(node.value)
        pou = (
            target.type.pou
            if isinstance(target.type, t.InterfaceType)
            else target.type.target.pou
            if isinstance(target.type.target, t.BlockType)
            else None
        )
        if pou is None or not (
            isinstance(value.type, t.InterfaceType)
            or (
                isinstance(value.type, t.PointerType) and isinstance(value.type.target, t.BlockType)
            )
        ):
            self.error(node.pos, "type", "?= tries references to interfaces and function blocks")
            return None
        return ir.Assign(node.pos, target, ir.Builtin(target.type, f"cast_{pou.number}", [value]))

    def _property_setter(self, node: n.Assign) -> ir.Stmt | None:
        target = node.target
        key, instance, setter = "", None, None
        if isinstance(target, n.Name) and self.find(target.name) is None:
            owner = self.pou.owner if self.pou and self.pou.owner else self.pou
            setter = owner.method(target.name.upper() + ".SET") if owner else None
        elif isinstance(target, n.Member):
            key = target.name.upper() + ".SET"
            if not any(key in pou.methods for pou in self.project.all_pous):
                return None
            instance = self.instance(target.base)
            if (
                instance is not None
                and isinstance(instance.type, t.BlockType | t.InterfaceType)
                and instance.type.pou.member(target.name.upper()) is None
            ):
                setter = instance.type.pou.method(key)
        if setter is None:
            return None
        call = self.method_call(instance, setter, [n.Arg(node.value.pos, "", node.value)], node.pos)
        return ir.Evaluate(node.pos, call)

    # --- calls ------------------------------------------------------------------------------------------------

    def _call_statement(self, node: n.CallStmt) -> ir.Stmt | None:
        call = node.call
        if not isinstance(call, n.Call):
            return self._bare(node, call)
        callee = call.callee
        if self._is_super(callee):
            owner = self.pou.base if self.pou else None
            if owner is None or call.args:
                self.error(
                    call.pos,
                    "oop",
                    "SUPER^() runs the body of the extended function block; it takes no arguments",
                )
                return None
            self.pou.calls.add(owner)  # type: ignore[union-attr]  # owner is not None
            return ir.CallBase(node.pos, owner)
        action = self._action(callee, node.pos)
        if action is not None:
            return action
        if isinstance(callee, n.Name):
            owner = self.pou.owner if self.pou and self.pou.owner else self.pou
            is_method = owner is not None and owner.method(callee.name.upper()) is not None
            var = self.find(callee.name)
            if is_method or var is None or not isinstance(var.type, t.BlockType):
                if (
                    var is None
                    and not is_method
                    and (program := self.project.pous.get(callee.name.upper()))
                    and program.kind == "PROGRAM"
                ):
                    return self._program_call(program, call, node.pos)
                return self._evaluate(call, node.pos)
        elif isinstance(callee, n.Member):
            base = self.instance(callee.base)
            if base is None:
                return None
            kind = base.type
            if isinstance(kind, t.InterfaceType) or (
                isinstance(kind, t.BlockType) and kind.pou.method(callee.name.upper())
            ):
                return self._evaluate(call, node.pos)
        place = self.place(callee)
        if place is None:
            return None
        if not isinstance(place.type, t.BlockType):
            self.error(callee.pos, "call", f"{place.type.name} cannot be called")
            return None
        return self.block_call(place, call.args, node.pos)

    def _bare(self, node: n.CallStmt, call: n.Expr) -> ir.Stmt | None:
        """`name;` – older tools call actions and blocks without brackets."""
        action = self._action(call, node.pos)
        if action is not None:
            return action
        if (
            isinstance(call, n.Name)
            and (found := self.find(call.name))
            and isinstance(found.type, t.BlockType)
        ):
            return self.block_call(ir.VarPlace(found.type, found), [], node.pos)
        if (
            isinstance(call, n.Name)
            and (program := self.project.pous.get(call.name.upper()))
            and program.kind in ("PROGRAM", "FUNCTION")
        ):
            empty = n.Call(call.pos, call, [])
            return (
                self._program_call(program, empty, node.pos)
                if program.kind == "PROGRAM"
                else self._evaluate(empty, node.pos)
            )
        self.error(
            node.pos,
            "syntax",
            "this does nothing",
            hint="a statement assigns a value or calls something",
        )
        return None

    def _is_super(self, callee: n.Expr) -> bool:
        if isinstance(callee, n.Deref):
            callee = callee.base
        return (
            isinstance(callee, n.Name)
            and callee.name.upper() == "SUPER"
            and self.find("SUPER") is None
        )

    def _evaluate(self, call: n.Call, pos: int) -> ir.Stmt | None:
        result = self.call(call)
        return None if result.type is t.ERROR else ir.Evaluate(pos, result)

    def _action(self, callee: n.Expr, pos: int) -> ir.Stmt | None:
        if isinstance(callee, n.Name) and self.pou is not None and self.find(callee.name) is None:
            for pou in self.pou.chain():
                if callee.name.upper() in (action.name.upper() for action in pou.node.actions):
                    return ir.CallAction(pos, pou, callee.name.upper())
        if isinstance(callee, n.Member) and isinstance(callee.base, n.Name):
            var = self.find(callee.base.name)
            if var is not None and isinstance(var.type, t.BlockType):
                for pou in var.type.pou.chain():
                    if callee.name.upper() in (action.name.upper() for action in pou.node.actions):
                        place = ir.VarPlace(var.type, var)
                        self.address(place)
                        if self.pou is not None:
                            self.pou.calls.add(pou)
                        return ir.CallAction(pos, pou, callee.name.upper(), place)
        return None

    def _program_call(self, program: Pou, call: n.Call, pos: int) -> ir.Stmt | None:
        var = self.resolver.program_instance(program)
        return self.block_call(ir.VarPlace(var.type, var), call.args, pos)

    def block_call(self, place: ir.Place, args: list[n.Arg], pos: int) -> ir.Stmt | None:
        """A call of an instance: inputs, body, outputs."""
        assert isinstance(place.type, t.BlockType)  # noqa: S101 - callers have looked
        pou = place.type.pou
        self.resolver.complete(place.type)
        if pou.node.abstract:
            self.error(pos, "oop", f"{pou.name} is ABSTRACT: it has no instances")
            return None
        self.address(place)
        root = self.root(place)
        if root is not None:
            root.written = True
        if self.pou is not None:
            self.pou.calls.add(pou)
        bound, enable_node, eno = self.bind(pou, args, pos)
        inputs: list[tuple[Var, ir.Expr]] = []
        inouts: list[tuple[Var, ir.Place]] = []
        outputs: list[tuple[ir.Place, ir.Expr]] = []
        for var in self._parameters(pou):
            given = bound.get(var.name.upper())
            if var.kind == "VAR_IN_OUT":
                if given is None and (self.codesys or not args):
                    continue  # keeps what it was bound to; unbound is a fault when used
                behind = self.in_out(var, given, pou, pos)
                if behind is not None:
                    inouts.append((var, behind))
                    inputs += handed_over(var, behind)
            elif given is None or given[1].value is None:
                continue
            elif var.kind == "VAR_INPUT":
                inputs.append(
                    (var, self.value(given[1].value, var.type, f"{pou.name}'s {var.name}"))
                )
            else:
                target = self.place(given[1].value)
                if target is None or not self.writable(target, given[1].pos):
                    continue
                value: ir.Expr = ir.Load(var.type, ir.FieldPlace(var.type, place, var.offset, var))
                if given[1].negated:
                    value = ir.Unary(var.type, "not", value)
                outputs.append(
                    (target, self.coerce(value, target.type, given[1].pos, f"output {var.name}"))
                )
        enable = self.value(enable_node, t.BOOL, "EN") if enable_node is not None else None
        return ir.CallBlock(pos, place, pou, inputs, inouts, outputs, enable, eno)

    # --- control ----------------------------------------------------------------------------------------------

    def _case(self, node: n.Case) -> ir.Stmt | None:
        selector = self.settled(node.selector)
        kind = t.base_of(selector.type)
        if kind is not t.ERROR and not (t.is_int(kind) or t.is_bits(kind)):
            self.error(
                node.selector.pos,
                "type",
                f"CASE selects by a whole number or an enumeration, this is {selector.type.name}",
            )
            selector = zero(t.ERROR)
        branches: list[tuple[list[tuple[int, int]], list[ir.Stmt]]] = []
        seen: list[tuple[int, int]] = []
        for labels, body in node.branches:
            ranges: list[tuple[int, int]] = []
            for low_node, high_node in labels:
                low = self._label(low_node, selector.type)
                high = low if high_node is None else self._label(high_node, selector.type)
                if low is None or high is None:
                    continue
                if low > high:
                    self.error(
                        low_node.pos,
                        "range",
                        f"{low}..{high} is empty: the smaller value comes first",
                    )
                if any(low <= b and a <= high for a, b in seen):
                    self.error(
                        low_node.pos,
                        "case",
                        f"{low if low == high else f'{low}..{high}'} stands in an earlier label too",
                    ) if not self.codesys else None
                seen.append((low, high))
                ranges.append((low, high))
            branches.append((ranges, self.body(body)))
        return ir.Case(node.pos, selector, branches, self.body(node.otherwise))

    def _label(self, node: n.Expr, selector: t.Type) -> int | None:
        if selector is t.ERROR:
            return None
        value = self.constant(node, selector if isinstance(selector, t.EnumType) else None)
        if value is None or not isinstance(value.value, int):
            return None
        if not isinstance(selector, t.EnumType):
            checked = self.coerce(
                value,
                t.base_of(selector) if value.type is t.LIT_INT else value.type,
                node.pos,
                "label",
            )
            return (
                checked.value
                if isinstance(checked, ir.Const) and isinstance(checked.value, int)
                else None
            )
        return value.value

    def _for(self, node: n.For) -> ir.Stmt | None:
        variable = self.place(node.variable)
        if variable is None or not self.writable(variable, node.variable.pos):
            self._loop(node.body)
            return None
        kind = t.base_of(variable.type)
        if not (t.is_int(kind) or (self.codesys and t.is_bits(kind))) or isinstance(
            variable, ir.BitPlace
        ):
            self.error(
                node.variable.pos,
                "type",
                f"FOR counts with a whole number, this is {variable.type.name}",
            )
            return None
        start = self.value(node.start, kind, "start")
        end = self.settled(node.end, kind)
        if end.type is not t.ERROR and not (
            t.is_int(end.type) or (self.codesys and t.is_bits(end.type))
        ):
            self.error(node.end.pos, "type", f"FOR ends at a whole number, this is {end.type.name}")
            return None
        if not self.codesys:
            end = self.coerce(self.expr(node.end, kind), kind, node.end.pos, "end")
        step: ir.Expr = ir.Const(t.LINT, 1)
        if node.step is not None:
            raw = self.settled(node.step, kind)
            if (
                raw.type is not t.ERROR
                and not t.is_int(raw.type)
                and not (self.codesys and t.is_bits(raw.type))
            ):
                self.error(node.step.pos, "type", f"BY is a whole number, this is {raw.type.name}")
                return None
            if isinstance(raw, ir.Const) and raw.value == 0:
                self.error(node.step.pos, "loop", "BY 0 never ends")
                return None
            step = self.meet(raw, t.LINT, node.pos)
        return ir.For(
            node.pos, variable, start, self.meet(end, t.LINT, node.pos), step, self._loop(node.body)
        )
