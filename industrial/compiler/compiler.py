"""The whole: declarations, statements, tasks; C and the table of symbols."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from . import tree as t
from .check import Expressions, Value
from .diagnostics import Diagnostic, Place, StopError
from .emit import HEAD, literal
from .layout import Scope, Spot, Types, aligned, stop
from .types import Type, range_of

_AREA = {"in": "I", "out": "Q", "mem": "M", "arena": "arena"}


class Compiler:
    """Compiles a unit for the given tasks. Collects every error it can find."""

    def __init__(self, unit: t.Unit, files: list[str]) -> None:
        self.unit, self.files = unit, files
        self.errors: list[Diagnostic] = []
        self.types = Types(unit, self._constant)
        self.globals = Scope()
        self.types.constants = self.globals
        self.functions = {row.name.lower(): row for row in unit.pous if row.kind == "FUNCTION"}
        self.programs = {row.name.lower(): row for row in unit.pous if row.kind == "PROGRAM"}
        self.signatures: dict[str, tuple[Type, list[tuple[str, Type]]]] = {}
        self.driven: set[int] = set()
        self.arena = 8  # offset 0 stays free, as the null reference
        self.program_at: dict[str, int] = {}
        self.code: dict[str, str] = {}
        self.prototypes: list[str] = []

    def _constant(self, expr: t.Expr, scope: Scope | None) -> int:
        return Expressions(self.types, scope or Scope(), {}, {}).constant(expr)

    def _try(self, work: Any, *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except StopError as found:
            self.errors.append(found.diagnostic)
            return None

    # --- declarations ---------------------------------------------------------------------------------

    def declare(self) -> None:
        """Globals, signatures, programs."""
        for variable in self.unit.globals:
            self._try(self._global, variable)
        for key, row in self.functions.items():
            self._try(self._signature, key, row)
        for key, row in self.programs.items():
            scope = self._try(self.types.scope_of, row)
            if scope is None:
                continue
            self.arena = aligned(self.arena, 8)
            self.program_at[key] = self.arena
            ends = [
                spot.offset + spot.type.size for spot in scope.spots.values() if spot.base == "self"
            ]
            self.arena += aligned(max(ends, default=0), 8)

    def _global(self, variable: t.Variable) -> None:
        key = variable.name.lower()
        if key in self.globals.spots:
            raise stop(variable.place, "E024", f"{variable.name} is declared twice")
        if variable.located:
            self.globals.spots[key] = self.types.located(variable)
            return
        kind = self.types.resolve(variable.type)
        if variable.constant and kind.elementary and isinstance(variable.initial, t.Expr):
            value = Expressions(self.types, self.globals, {}, {}).value(variable.initial)
            Expressions(self.types, self.globals, {}, {}).convert(
                value, kind, variable.place, variable.name
            )
            if value.constant is not None:
                self.globals.spots[key] = Spot("const", 0, kind, variable, value=value.constant)
                return
        self.arena = aligned(self.arena, kind.align)
        self.globals.spots[key] = Spot("arena", self.arena, kind, variable)
        self.arena += kind.size

    def _signature(self, key: str, row: t.Pou) -> None:
        if row.result is None:
            raise stop(row.place, "E043", f"{row.name} has no result type")
        result = self.types.resolve(row.result)
        inputs = []
        for variable in row.variables:
            kind = self.types.resolve(variable.type)
            if not kind.elementary or not result.elementary:
                raise stop(
                    variable.place, "E090", "functions take and give elementary values only, so far"
                )
            if variable.section == "VAR_INPUT":
                inputs.append((variable.name.lower(), kind))
            elif variable.section not in ("VAR", "VAR_TEMP"):
                raise stop(
                    variable.place, "E090", f"{variable.section} of functions is not supported yet"
                )
        self.signatures[key] = (result, inputs)

    # --- bodies ---------------------------------------------------------------------------------------

    def bodies(self) -> None:
        """Emit every POU."""
        for row in self.unit.pous:
            self._try(self._pou, row)

    def _pou(self, row: t.Pou) -> None:
        key = row.name.lower()
        if row.kind == "FUNCTION":
            if key in self.signatures:
                self._function(key, row)
            return
        scope = self.types.scope_of(row)
        if row.kind == "FUNCTION_BLOCK":
            self.types.named(row.name, row.place)
        name = f"{'p' if row.kind == 'PROGRAM' else 'b'}_{key}"
        self.prototypes.append(f"static void {name}(vplc_ctx *c, uint8_t *s);")
        self.prototypes.append(f"static void {name}_init(vplc_ctx *c, uint8_t *s);")
        body = Statements(self, scope, row).block(row.body)
        self.code[f"{name}"] = (
            f"static void {name}(vplc_ctx *c, uint8_t *s) {{\n(void)s; mw_enter(c);\n{body}out: __attribute__((unused));\nc->depth--;\n}}\n"
        )
        self.code[f"{name}_init"] = (
            f"static void {name}_init(vplc_ctx *c, uint8_t *s) {{\n(void)c; (void)s;\n{self._initials(scope)}}}\n"
        )

    def _initials(self, scope: Scope) -> str:
        return "".join(self._try(self._initial, spot, scope) or "" for spot in scope.spots.values())

    def _initial(self, spot: Spot, scope: Scope) -> str:
        if spot.base == "const":
            return ""
        place = Expressions._spot(spot)
        expressions = Expressions(self.types, scope, {}, {})
        given = spot.variable.initial
        if spot.type.kind == "fb":
            return f"b_{spot.type.name.lower()}_init(c, {place.pointer});\n"
        if spot.type.kind == "array" and spot.type.element is not None:
            return self._array_initial(spot, place, expressions, given)
        if given is None or isinstance(given, list):
            return ""
        value = expressions.convert(
            expressions.value(given), spot.type, given.place, spot.variable.name
        )
        return store(place, value)

    def _array_initial(
        self,
        spot: Spot,
        place: Value,
        expressions: Expressions,
        given: t.Expr | list[t.Expr] | None,
    ) -> str:
        element = spot.type.element
        if element is None:
            return ""
        count = spot.type.size // element.size
        text = ""
        if element.kind == "fb":
            text += f"for (uint32_t i = 0; i < {count}u; i++) b_{element.name.lower()}_init(c, {place.pointer} + {element.size}u * i);\n"
        if isinstance(given, list):
            if len(given) > count:
                raise stop(
                    spot.variable.place, "E032", f"{len(given)} initial values for {count} elements"
                )
            for number, expr in enumerate(given):
                value = expressions.convert(
                    expressions.value(expr), element, expr.place, spot.variable.name
                )
                text += f"AT({element.c}, {place.pointer}, {number * element.size}) = {value};\n"
        return text

    def _function(self, key: str, row: t.Pou) -> None:
        result, _ = self.signatures[key]
        scope = Scope(up=self.globals)
        declared = []
        parameters = []
        number = 1
        scope.spots[key] = Spot(
            "local",
            0,
            result,
            t.Variable(row.place, row.name, row.result or t.TypeRef(row.place, ""), "VAR"),
        )
        declared.append(f"{result.c} v0 = 0;")
        for variable in row.variables:
            kind = self.types.resolve(variable.type)
            scope.spots[variable.name.lower()] = Spot("local", number, kind, variable)
            if variable.section == "VAR_INPUT":
                parameters.append(f"{kind.c} v{number}")
            else:
                value = "0"
                if isinstance(variable.initial, t.Expr):
                    expressions = Expressions(self.types, scope, self.functions, self.signatures)
                    value = expressions.convert(
                        expressions.value(variable.initial), kind, variable.place, variable.name
                    )
                declared.append(f"{kind.c} v{number} = {value};")
            number += 1
        head = f"static {result.c} f_{key}({', '.join(['vplc_ctx *c', *parameters])})"
        self.prototypes.append(f"{head};")
        body = Statements(self, scope, row).block(row.body)
        self.code[f"f_{key}"] = (
            f"{head} {{\n{' '.join(declared)} mw_enter(c);\n{body}out: __attribute__((unused));\nc->depth--;\nreturn v0;\n}}\n"
        )

    # --- the whole ------------------------------------------------------------------------------------

    def source(self, name: str, version: str, tasks: list[dict[str, Any]]) -> str:
        """The complete C file."""
        runs = []
        rows = []
        for number, task in enumerate(tasks):
            calls = ""
            for program in task["programs"]:
                key = program.lower()
                if key not in self.program_at:
                    raise stop(
                        Place("vplc.toml", 1, 1),
                        "E050",
                        f"task {task['name']}: there is no PROGRAM {program}",
                    )
                calls += f"p_{key}(c, c->arena + {self.program_at[key]});\n"
            runs.append(f"static void task_{number}(vplc_ctx *c) {{\n{calls}}}\n")
            rows.append(
                f"{{{_text(task['name'])}, {int(task['interval_us']) * 1000}ULL, {int(task.get('priority', 1))}, {int(task.get('watchdog_us', 0)) * 1000}ULL, task_{number}}}"
            )
        init = self._initials(self.globals)
        init += "".join(
            f"p_{key}_init(c, c->arena + {at});\n" for key, at in self.program_at.items()
        )
        retain = self.retain_ranges()
        files = ", ".join(_text(file) for file in self.files) or '""'
        layout = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(self.layout_hash()))
        return "".join(
            [
                HEAD,
                "\n".join(self.prototypes),
                "\n",
                *self.code.values(),
                *runs,
                f"static void program_init(vplc_ctx *c, int warm) {{\n(void)warm; uint8_t *s = c->arena; (void)s;\n{init}}}\n",
                f"static const vplc_task tasks[] = {{{', '.join(rows)}}};\n",
                f"static const vplc_range retain[] = {{{', '.join(f'{{{a}u, {n}u}}' for a, n in retain) or '{0u, 0u}'}}};\n",
                f"static const char *const files[] = {{{files}}};\n",
                f'__attribute__((visibility("default"))) const vplc_program vplc_program_v1 = {{VPLC_ABI_VERSION, {_text(name)}, {_text(version)}, {{{layout}}}, {aligned(self.arena, 8)}u, retain, {len(retain)}u, files, {len(self.files)}u, tasks, {len(tasks)}u, program_init}};\n',
            ]
        )

    def retain_ranges(self) -> list[tuple[int, int]]:
        """Ranges of the arena that outlive a restart."""
        found = [
            (spot.offset, spot.type.size)
            for spot in self.globals.spots.values()
            if spot.base == "arena" and spot.variable.retain
        ]
        for key, at in self.program_at.items():
            found += [
                (at + spot.offset, spot.type.size)
                for spot in self.types.scopes[key].spots.values()
                if spot.base == "self" and spot.variable.retain
            ]
        return sorted(found)

    def layout_hash(self) -> str:
        rows = [
            [row["path"], row["type"], row["area"], row["offset"], row["size"]]
            for row in self.symbols()
        ]
        return hashlib.sha256(json.dumps([rows, self.retain_ranges()]).encode()).hexdigest()

    def symbols(self) -> list[dict[str, Any]]:
        """Every elementary variable with its path and place."""
        found: list[dict[str, Any]] = []
        for spot in self.globals.spots.values():
            if spot.base != "const":
                self._flatten(found, spot.variable.name, spot.type, spot, spot.offset)
        for key, at in self.program_at.items():
            program = self.programs[key].name
            for spot in self.types.scopes[key].spots.values():
                offset = at + spot.offset if spot.base == "self" else spot.offset
                self._flatten(found, f"{program}.{spot.variable.name}", spot.type, spot, offset)
        return found

    def _flatten(
        self, found: list[dict[str, Any]], path: str, kind: Type, spot: Spot, offset: int
    ) -> None:
        if kind.members:
            for name, (inner, member) in kind.members.items():
                self._flatten(
                    found,
                    f"{path}.{name.upper() if kind.kind == 'fb' else name}",
                    member,
                    spot,
                    offset + inner,
                )
            return
        element = kind.element if kind.kind == "array" else kind
        if element is None or not element.elementary:
            return
        found.append(
            {
                "path": path,
                "type": "DINT" if element.kind == "enum" else element.name,
                "area": _AREA.get(spot.base, "arena"),
                "offset": offset,
                "bit": spot.bit,
                "size": kind.size,
                "dims": [list(dim) for dim in kind.dims] or None,
                "string_len": None,
                "direction": {"VAR_INPUT": "in", "VAR_OUTPUT": "out"}.get(
                    spot.variable.section, "var"
                ),
                "retain": spot.variable.retain,
                "constant": spot.variable.constant,
                "located": spot.variable.located or None,
                "driven": id(spot.variable) in self.driven,
                "comment": "",
                "enum": element.values or None,
            }
        )


def _text(value: str) -> str:
    """A C string in which nothing of the value is code."""
    return (
        '"'
        + "".join(
            chr(b)
            if 48 <= b < 58 or 65 <= b < 91 or 97 <= b < 123 or b in b" ._-/"
            else f"\\{b:03o}"
            for b in value.encode()
        )
        + '"'
    )


def store(target: Value, value: str) -> str:
    """C that writes a value to a place."""
    if target.bit:
        return f"{target.pointer}[0] = (uint8_t)({value} ? {target.pointer}[0] | {1 << int(target.bit)}u : {target.pointer}[0] & ~{1 << int(target.bit)}u);\n"
    return f"{target.c} = {value};\n"


class Statements:
    """Statements of one POU."""

    def __init__(self, compiler: Compiler, scope: Scope, pou: t.Pou) -> None:
        self.compiler, self.scope, self.pou = compiler, scope, pou
        self.check = Expressions(compiler.types, scope, compiler.functions, compiler.signatures)
        self.loops = 0

    def block(self, statements: list[t.Statement]) -> str:
        """C of statements; one that is wrong is reported and left out."""
        return "".join(self.compiler._try(self._statement, row) or "" for row in statements)

    def _statement(self, row: t.Statement) -> str:
        handlers = {
            t.Assign: self._assign,
            t.CallStatement: self._call,
            t.If: self._if,
            t.Case: self._case,
            t.For: self._for,
            t.While: self._while,
            t.Jump: self._jump,
        }
        file = (
            self.compiler.files.index(row.place.file)
            if row.place.file in self.compiler.files
            else 0
        )
        where = f"c->line = {row.place.line}u; c->file = {file}u;\n"
        handler: Any = handlers[type(row)]
        return f"{where}{handler(row)}"

    def _place(self, expr: t.Expr) -> Value:
        target = self.check.value(expr)
        if target.spot is None or target.spot.base == "const":
            raise stop(expr.place, "E051", "this cannot be written to")
        if target.spot.variable.constant:
            raise stop(expr.place, "E051", f"{target.spot.variable.name} is constant")
        if target.spot.base == "in":
            raise stop(
                expr.place, "E051", f"{target.spot.variable.name} is an input: devices write it"
            )
        if (
            target.spot.variable.section == "VAR_INPUT"
            and self.pou.kind == "FUNCTION_BLOCK"
            and isinstance(expr, t.Name)
        ):
            raise stop(expr.place, "E051", f"{target.spot.variable.name} is an input of this block")
        self.compiler.driven.add(id(target.spot.variable))
        return target

    def _assign(self, row: t.Assign) -> str:
        target, value = self._place(row.target), self.check.value(row.value)
        if not target.type.elementary:
            if target.type != value.type or target.type.kind == "fb":
                raise stop(
                    row.place, "E030", f"{value.type.name} cannot be assigned to {target.type.name}"
                )
            return f"memmove({target.pointer}, {value.pointer}, {target.type.size}u);\n"
        return store(target, self.check.convert(value, target.type, row.value.place, "the target"))

    def _call(self, row: t.CallStatement) -> str:
        call = row.call
        if isinstance(call.target, t.Name) and self.scope.find(call.target.name) is None:
            return f"(void){self.check.value(call).c};\n"
        instance = self.check.value(call.target)
        if instance.type.kind != "fb":
            raise stop(call.place, "E052", f"{instance.type.name} cannot be called")
        block = self.compiler.types.blocks[instance.type.name.lower()]
        sections = {variable.name.lower(): variable for variable in block.variables}
        inputs = [variable for variable in block.variables if variable.section == "VAR_INPUT"]
        before, after = "", ""
        for number, argument in enumerate(call.arguments):
            name = argument.name.lower() or (
                inputs[number].name.lower() if number < len(inputs) else ""
            )
            wanted = "VAR_OUTPUT" if argument.output else "VAR_INPUT"
            if name not in sections or sections[name].section != wanted:
                raise stop(
                    argument.value.place,
                    "E053",
                    f"{instance.type.name} has no {'output' if argument.output else 'input'} {argument.name or number + 1}",
                )
            offset, kind = instance.type.members[name]
            place = Expressions._at(kind, f"({instance.pointer} + {offset})", None)
            if argument.output:
                target = self._place(argument.value)
                after += store(
                    target,
                    self.check.convert(place, target.type, argument.value.place, "the target"),
                )
            else:
                value = self.check.value(argument.value)
                before += store(
                    place,
                    self.check.convert(value, kind, argument.value.place, f"input {name.upper()}"),
                )
        return f"{before}b_{instance.type.name.lower()}(c, {instance.pointer});\n{after}"

    def _if(self, row: t.If) -> str:
        text = ""
        for number, (condition, body) in enumerate(row.branches):
            text += f"{'' if number == 0 else ' else '}if ({self.check.boolean(condition, 'a condition')}) {{\n{self.block(body)}}}"
        return text + (f" else {{\n{self.block(row.otherwise)}}}\n" if row.otherwise else "\n")

    def _case(self, row: t.Case) -> str:
        selector = self.check.value(row.selector)
        if selector.type.kind not in ("int", "bits", "enum"):
            raise stop(
                row.place,
                "E054",
                f"CASE wants a whole number or an enumeration, this is {selector.type.name}",
            )
        text = f"{{ int64_t w = (int64_t){selector.c}; (void)w;\n"
        seen: list[tuple[int, int]] = []
        for number, (labels, body) in enumerate(row.branches):
            tests = []
            for low, high in labels:
                first = self.check.constant(low)
                last = self.check.constant(high) if high is not None else first
                bounds = range_of(selector.type)
                if not bounds[0] <= first <= last <= bounds[1]:
                    raise stop(
                        low.place,
                        "E032",
                        f"the label {first}..{last} does not fit {selector.type.name}",
                    )
                if any(a <= last and first <= b for a, b in seen):
                    raise stop(low.place, "E055", f"the label {first} stands twice")
                seen.append((first, last))
                tests.append(f"(w >= {literal(first, _INT64)} && w <= {literal(last, _INT64)})")
            text += f"{'' if number == 0 else ' else '}if ({' || '.join(tests)}) {{\n{self.block(body)}}}"
        return text + (f"{' else' if row.branches else ''} {{\n{self.block(row.otherwise)}}}\n}}\n")

    def _for(self, row: t.For) -> str:
        variable = self._place(row.variable)
        if variable.type.kind != "int":
            raise stop(
                row.place, "E056", f"FOR counts with a whole number, this is {variable.type.name}"
            )
        first = self.check.convert(self.check.value(row.first), variable.type, row.first.place)
        last = self.check.convert(self.check.value(row.last), variable.type, row.last.place)
        step = (
            self.check.convert(self.check.value(row.step), variable.type, row.step.place)
            if row.step
            else "1"
        )
        if row.step is not None and self.check.value(row.step).constant == 0:
            raise stop(row.step.place, "E037", "a step of zero never ends")
        number = self.loops
        self.loops += 1
        body = self.block(row.body)
        # Counted in 64 bits: the last step may leave the variable's own range.
        return (
            f"{{ int64_t n{number} = {first}, e{number} = {last}, d{number} = {step};\n"
            f"for (; d{number} >= 0 ? n{number} <= e{number} : n{number} >= e{number}; n{number} += d{number}) {{ LOOP(c);\n"
            f"{store(variable, f'({variable.type.c})n{number}')}{body}n{number} = {variable.c};\n}}\n"
            f"{store(variable, f'({variable.type.c})n{number}')}}}\n"
        )

    def _while(self, row: t.While) -> str:
        condition = self.check.boolean(row.condition, "a condition")
        self.loops += 1
        body = self.block(row.body)
        if row.repeat:
            return f"do {{ LOOP(c);\n{body}}} while (!({condition}));\n"
        return f"while ({condition}) {{ LOOP(c);\n{body}}}\n"

    def _jump(self, row: t.Jump) -> str:
        return {"EXIT": "break;\n", "CONTINUE": "continue;\n", "RETURN": "goto out;\n"}[row.kind]


_INT64 = Type("LINT", 8, 8, "int", "int64_t", True)
