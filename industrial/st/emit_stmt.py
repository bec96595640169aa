"""Statements to C."""

from __future__ import annotations

from . import ir
from . import types as t
from .emit_base import c_int
from .emit_expr import EmitExpr
from .errors import FILE_SHIFT, OFFSET_MASK

#: A CASE whose labels cover more values than this becomes comparisons.
MAX_SWITCH = 1024
#: Branches of an IF that stand in one another; more stand in a row.
MAX_NESTED = 100


class EmitStmt(EmitExpr):
    """Emits statement lists."""

    loops: list[tuple[str, set[str]]]

    def statements(self, body: list[ir.Stmt]) -> None:
        """Emit in order."""
        for statement in body:
            self.statement(statement)

    def mark(self, pos: int) -> None:
        """Tell the engine which line runs."""
        file = self.project.files[pos >> FILE_SHIFT]
        line = file.locate(pos & OFFSET_MASK)[0]
        if line != self.line:
            self.line = line
            self.out.append(f"c->line = {line};")

    def block(self, body: list[ir.Stmt]) -> None:
        """A nested list: afterwards the line is not known."""
        self.line = 0
        self.statements(body)
        self.line = 0

    def statement(self, s: ir.Stmt) -> None:
        """Emit one."""
        self.temps.clear()
        if isinstance(s, ir.Jump):
            self._jump(s)
            return
        self.mark(s.pos)
        if isinstance(s, ir.Assign):
            if isinstance(s.target.type, t.StringType) and isinstance(
                s.value, ir.Select | ir.Builtin | ir.Call
            ):
                self.out.append("{")
                self.store(s.target, self.expr(s.value))
                self.out.append("}")
                return
            opened = len(self.out)
            value = self.expr(s.value)
            if not isinstance(s.target, ir.VarPlace) and len(self.out) > opened:
                value = self.save(s.value.type, value)
            self.store(s.target, value)
            if any(
                line.startswith(("uint", "int", "vp_", "float ", "double "))
                for line in self.out[opened:]
            ):
                self.out.insert(opened, "{")
                self.out.append("}")
        elif isinstance(s, ir.Evaluate):
            self.out.append("{")
            self.expr(s.value)
            self.out.append("}")
        elif isinstance(s, ir.CallBlock):
            self._call_block(s)
        elif isinstance(s, ir.CallAction):
            self._call_action(s)
        elif isinstance(s, ir.CallBase):
            self.out.append(f"p{s.pou.number}(c, sp + {self.frame_name}, self);")
            self.line = 0
        elif isinstance(s, ir.If):
            self._if(s.branches, s.otherwise)
        elif isinstance(s, ir.Case):
            self._case(s)
        elif isinstance(s, ir.For):
            self._for(s)
        elif isinstance(s, ir.While):
            self._while(s)
        elif isinstance(s, ir.Repeat):
            self._repeat(s)
        else:
            raise AssertionError(type(s))

    # --- calls ------------------------------------------------------------------------------------------------

    def _call_block(self, s: ir.CallBlock) -> None:
        size = s.pou.type.size if s.pou.type else 4
        self.out.append("{")
        if s.enable is None and s.eno is not None:
            self.store(s.eno, "1")
        if s.enable is not None:
            enable = self.expr(s.enable)
            if s.eno is not None:
                enable = self.save(t.BOOL, enable)
                self.store(s.eno, f"!!{enable}")
            self.out.append(f"if ({enable}) {{")
        where = self.address(s.instance)
        inst = self.save(t.UDINT, self.instance(where, size))
        values = self.ordered(
            [
                *(value for _, value in s.inputs),
                *(ir.AddressOf(t.UDINT, place) for _, place in s.inouts),
            ]
        )
        for (var, _), text in zip(s.inputs, values, strict=False):
            pointer = f"(A + {inst} + {var.offset}u)"
            if isinstance(var.type, t.StringType):
                self.out.append(
                    f"vp_{'w' if var.type.wide else 's'}_store(c, {pointer}, {var.type.length}u, {text}, {self.strict});"
                )
            elif t.is_scalar(var.type):
                self.out.append(f"*({self.mtype(var.type)} *){pointer} = {text};")
            else:
                self.out.append(f"memmove({pointer}, {text}, {var.type.size}u);")
        for (var, _), text in zip(s.inouts, values[len(s.inputs) :], strict=True):
            self.out.append(f"*(vp_u32 *)(A + {inst} + {var.offset}u) = {text};")
        self.out.append(f"p{s.pou.number}(c, sp + {self.frame_name}, {inst});")
        if s.outputs:
            self.out.append(f"c->line = {self.line};")
        for target, value in s.outputs:
            self.temps.clear()
            self.store(target, self.expr(value))
        if s.enable is not None:
            self.out.append("}")
        self.out.append("}")
        self.line = 0

    def _call_action(self, s: ir.CallAction) -> None:
        position = (
            list(s.pou.body.actions).index(s.action)
            if s.action in s.pou.body.actions
            else [a.name.upper() for a in s.pou.node.actions].index(s.action)
        )
        if s.instance is None:
            self.out.append(f"a{s.pou.number}_{position}(c, sp, self);")
        else:
            size = s.instance.type.size
            inst = self.instance(self.address(s.instance), size)
            self.out.append(f"a{s.pou.number}_{position}(c, sp + {self.frame_name}, {inst});")
        self.line = 0

    # --- control ----------------------------------------------------------------------------------------------

    def _if(self, branches: list[tuple[ir.Expr, list[ir.Stmt]]], otherwise: list[ir.Stmt]) -> None:
        if len(branches) > MAX_NESTED:
            self._long_if(branches, otherwise)
            return
        depth = 0
        for position, (condition, body) in enumerate(branches):
            if position:
                self.out.append("else {")
                depth += 1
            self.temps.clear()
            self.out.append("{")
            depth += 1
            text = self.expr(condition)
            self.out.append(f"if ({text}) {{")
            self.block(body)
            self.out.append("}")
        if otherwise:
            self.out.append("else {")
            self.block(otherwise)
            self.out.append("}")
        self.out.append("}" * depth)
        self.line = 0

    def _long_if(
        self, branches: list[tuple[ir.Expr, list[ir.Stmt]]], otherwise: list[ir.Stmt]
    ) -> None:
        """One test after the other, each branch ending behind the last: tcc's stack ends some thousand blocks deep."""
        end = self.fresh()
        for condition, body in branches:
            self.temps.clear()
            self.out.append("{")
            text = self.expr(condition)
            self.out.append(f"if ({text}) {{")
            self.block(body)
            self.out.append(f"goto {end}; }}")
            self.out.append("}")
        self.block(otherwise)
        self.out.append(f"{end}:;")
        self.line = 0

    def _case(self, s: ir.Case) -> None:
        kind = t.scalar(s.selector.type)
        self.out.append("{")
        name = self.fresh()
        self.out.append(f"{kind.ctype} {name} = {self.expr(s.selector)};")
        total = sum(high - low + 1 for ranges, _ in s.branches for low, high in ranges)
        seen: set[int] = set()
        if total <= MAX_SWITCH and kind.size < 8:  # tcc 0.9.27 compares 32 bits of a label
            self.out.append(f"switch ({name}) {{")
            for ranges, body in s.branches:
                labels: list[int] = []
                for low, high in ranges:
                    labels += [value for value in range(low, high + 1) if value not in seen]
                    seen.update(range(low, high + 1))
                self.out += [f"case {c_int(kind, value)}:" for value in labels]
                if not labels:
                    continue
                self.out.append("{")
                self.block(body)
                self.out.append("} break;")
            self.out.append("default: {")
            self.block(s.otherwise)
            self.out.append("} break;")
            self.out.append("}")
        else:
            for ranges, body in s.branches:
                tests = [
                    f"({name} >= {c_int(kind, low)} && {name} <= {c_int(kind, high)})"
                    for low, high in ranges
                ]
                self.out.append(f"if ({' || '.join(tests) or '0'}) {{")
                self.block(body)
                self.out.append("} else")
            self.out.append("{")
            self.block(s.otherwise)
            self.out.append("}")
        self.out.append("}")
        self.line = 0

    def _enter_loop(self) -> str:
        label = f"L{self.fresh()[1:]}"
        self.loops.append((label, set()))
        self.out.append("VP_LOOP(c);")
        return label

    def _leave_loop(self, label: str, continuation: list[str]) -> None:
        _, used = self.loops.pop()
        if "CONTINUE" in used:
            self.out.append(f"{label}_next:;")
        self.out += continuation
        self.out.append("}")
        if "EXIT" in used:
            self.out.append(f"{label}_end:;")

    def _jump(self, s: ir.Jump) -> None:
        if s.kind == "RETURN":
            self.out.append("goto done;")
            return
        label, used = self.loops[-1]
        used.add(s.kind)
        self.out.append(f"goto {label}_{'end' if s.kind == 'EXIT' else 'next'};")

    def _for(self, s: ir.For) -> None:
        kind = t.scalar(s.variable.type)
        self.out.append("{")
        start, end, step = self.ordered([s.start, s.end, s.step])
        constant = (
            s.step.value if isinstance(s.step, ir.Const) and isinstance(s.step.value, int) else None
        )
        last = self.fresh()
        self.out.append(f"int64_t {last} = {end};")
        by = step
        if constant is None:
            by = self.fresh()
            self.out.append(f"int64_t {by} = {step};")
        self.store(s.variable, start)
        self.out.append("for (;;) {")
        self.temps.clear()
        now = f"(int64_t){self.load(s.variable)}"
        beyond = (
            f"{now} > {last}"
            if constant is not None and constant > 0
            else f"{now} < {last}"
            if constant is not None
            else f"({by} > 0 ? {now} > {last} : {now} < {last})"
        )
        self.out.append(f"if ({beyond}) break;")
        label = self._enter_loop()
        self.block(s.body)
        mark = len(self.out)
        self.temps.clear()
        following = self.fresh()
        self.out.append(f"int64_t {following} = (int64_t){self.load(s.variable)} + {by};")
        self.store(s.variable, f"({kind.ctype}){following}")
        # A counter that wraps around has passed the end: the loop is over.
        self.out.append(
            f"if ({following} < {c_int(t.LINT, kind.low)} || (uint64_t){following} > {kind.high if not kind.signed or kind.bits < 64 else (1 << 63) - 1}ULL && {following} > 0) break;"
        )
        tail = self.out[mark:]
        del self.out[mark:]
        self._leave_loop(label, tail)
        self.out.append("}")
        self.line = 0

    def _while(self, s: ir.While) -> None:
        self.out.append("for (;;) {")
        label = self._enter_loop()
        text = self.expr(s.condition)
        self.out.append(f"if (!({text})) break;")
        self.block(s.body)
        self.mark_again(s.pos)
        self._leave_loop(label, [])
        self.line = 0

    def _repeat(self, s: ir.Repeat) -> None:
        self.out.append("for (;;) {")
        label = self._enter_loop()
        self.block(s.body)
        mark = len(self.out)
        self.temps.clear()
        text = self.expr(s.condition)
        self.out.append(f"if ({text}) break;")
        tail = self.out[mark:]
        del self.out[mark:]
        self._leave_loop(label, tail)
        self.line = 0

    def mark_again(self, pos: int) -> None:
        """The loop's own line, for its condition."""
        self.line = 0
        self.mark(pos)
