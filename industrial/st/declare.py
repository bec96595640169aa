"""Declarations to types, variables and layouts. Each is resolved when first needed, so that order does not matter."""

from __future__ import annotations

from . import ir
from . import nodes as n
from . import types as t
from .check_place import parse_direct
from .check_stmt import Checker
from .connect import hidden_programs, reach_instances
from .errors import Sink, SourceFile
from .events import event_programs
from .model import Pou, Var, align
from .open_arrays import add_bounds, is_open, settle_open
from .resolve_types import MAX_BYTES, TypeResolver
from .scope import Project, TypeEntry


def collect(files: list[SourceFile], units: list[n.Unit], sink: Sink, *, codesys: bool) -> Project:
    """Register every name; duplicates are told."""
    project = Project(files, sink, codesys)
    for unit in units:
        for declared in unit.types:
            key = declared.name.upper()
            if key in project.types or key in t.ELEMENTARY:
                sink.error(
                    declared.pos,
                    "duplicate",
                    f"type {declared.name} is declared twice",
                    length=len(declared.name),
                )
                continue
            project.types[key] = TypeEntry(declared)
        for node in unit.pous:
            key = node.name.upper()
            earlier = project.pous.get(key)
            if files[node.pos >> 32].library and (earlier is not None or key in project.types):
                continue  # a project's own declaration goes before one of the library that comes with us
            if earlier is not None or key in project.types:
                sink.error(
                    node.pos, "duplicate", f"{node.name} is declared twice", length=len(node.name)
                )
                continue
            pou = project.new_pou(node.kind, node.name, node)
            project.pous[key] = pou
            for method in node.methods:
                suffix = {"PROPERTY_GET": ".GET", "PROPERTY_SET": ".SET"}.get(method.kind, "")
                name = method.name.upper() + suffix
                if name in pou.methods:
                    sink.error(
                        method.pos,
                        "duplicate",
                        f"{node.name}.{method.name} is declared twice",
                        length=len(method.name),
                    )
                    continue
                pou.methods[name] = project.new_pou(method.kind, method.name, method, pou)
        for decl in unit.variables:
            key = decl.name.upper()
            if key in project.globals:
                sink.error(
                    decl.pos,
                    "duplicate",
                    f"global {decl.name} is declared twice",
                    length=len(decl.name),
                )
                continue
            project.globals[key] = Var(
                decl.name, t.VOID, "VAR_GLOBAL", decl.pos, "global", decl=decl, comment=decl.comment
            )
        project.tasks += unit.tasks
        project.instances += unit.instances
    hidden_programs(project)
    event_programs(project)
    return project


class Resolver(TypeResolver):
    """Resolves variables and POUs."""

    def checker(self, pou: Pou | None = None) -> Checker:
        """An expression checker in the scope of a POU."""
        return Checker(self.project, self, pou)

    # --- variables ----------------------------------------------------------------------------------------------

    def global_variable(self, up: str) -> Var | None:
        """A global, resolved."""
        var = self.project.globals.get(up)
        if var is None or var.decl is None:
            return var
        decl, var.decl = var.decl, None
        owner, self.project.sink.pou = self.project.sink.pou, ""
        self._fill(var, decl, None)
        self.project.sink.pou = owner
        if var.storage == "self":
            var.storage = "global"
        self.complete(var.type)
        return var

    def external(self, var: Var) -> Var | None:
        """The global that a VAR_EXTERNAL means."""
        found = self.global_variable(var.name.upper())
        if found is None:
            self.error(
                var.pos,
                "undeclared",
                f"VAR_EXTERNAL {var.name}: there is no global of this name",
                length=len(var.name),
            )
            return Var(var.name, t.ERROR, "VAR", var.pos)
        if not t.same(found.type, var.type) and t.ERROR not in (found.type, var.type):
            self.error(
                var.pos,
                "type",
                f"VAR_EXTERNAL {var.name} is {var.type.name}, the global is {found.type.name}",
            )
        return found

    def _fill(self, var: Var, decl: n.VarDecl, pou: Pou | None) -> None:
        """Type, place and initial value of a variable."""
        checker = self.checker(pou)
        var.type = self.spec(decl.spec, pou)
        var.comment = decl.comment
        var.retain, var.constant = decl.retain, decl.constant
        if decl.kind not in ("VAR_IN_OUT", "VAR_EXTERNAL"):
            self.concrete(var.type, decl)
        if decl.located:
            self._locate(var, decl)
        if decl.init is not None:
            var.init = self.initial(decl.init, var.type, checker)
        else:
            var.init = self.default_of(decl.spec)
        # A VAR_INPUT CONSTANT is an input all the same: its caller says what it holds.
        fixed = decl.constant and decl.kind not in ("VAR_INPUT", "VAR_OUTPUT", "VAR_IN_OUT")
        if fixed and (t.is_scalar(var.type) or t.is_string(var.type)):
            if isinstance(var.init, int | float | tuple):
                var.value = var.init
            elif decl.init is None and t.is_scalar(var.type):
                var.value = var.type.initial if isinstance(var.type, t.EnumType) else 0

    def _locate(self, var: Var, decl: n.VarDecl) -> None:
        if decl.located.endswith("*"):
            self.error(
                decl.pos,
                "address",
                f"{decl.located}: an incomplete address is not supported",
                hint="write the address, for example %QX0.0",
            )
            return
        try:
            area, letter, byte, bit = parse_direct(decl.located)
        except ValueError as error:
            self.error(decl.pos, "address", f"{decl.located}: {error}")
            return
        kind = var.type
        if kind is t.ERROR:
            return
        scalar = t.base_of(kind)
        wanted = {"X": 1, "B": 8, "W": 16, "D": 32, "L": 64}[letter]
        if isinstance(scalar, t.Elementary):
            if scalar.bits != wanted:
                self.error(
                    decl.pos,
                    "address",
                    f"{decl.located} has {wanted} bit{'s' if wanted > 1 else ''}, {kind.name} has {scalar.bits}",
                    hint="X: BOOL, B: 8 bits, W: 16, D: 32, L: 64",
                )
                return
        elif bit is not None or isinstance(kind, t.BlockType | t.PointerType | t.InterfaceType):
            self.error(decl.pos, "address", f"{kind.name} cannot lie at {decl.located}")
            return
        from .model import IMAGE_SIZES

        if byte + kind.size > IMAGE_SIZES[area]:
            self.error(
                decl.pos,
                "address",
                f"{decl.located}: {kind.name} does not fit, %{area} has {IMAGE_SIZES[area]} bytes",
            )
            return
        var.storage, var.area, var.offset, var.bit, var.located = (
            "image",
            area,
            byte,
            bit,
            decl.located,
        )

    # --- POUs -----------------------------------------------------------------------------------------------------

    def resolve(self, pou: Pou) -> None:
        """Variables, result, ancestors. Idempotent."""
        if pou.resolved:
            return
        pou.resolved = True
        outer, self.project.sink.pou = self.project.sink.pou, (pou.owner or pou).name
        before = len(self.project.sink.items)
        self.block_type(pou) if pou.kind in ("FUNCTION_BLOCK", "PROGRAM", "INTERFACE") else None
        self._ancestors(pou)
        is_call = pou.kind in ("FUNCTION", "METHOD", "PROPERTY_GET", "PROPERTY_SET")
        if pou.node.returns is not None:
            pou.returns = self.spec(pou.node.returns, pou)
            if pou.returns is not t.ERROR:
                self.complete(pou.returns)
            pou.result = Var(
                pou.name,
                pou.returns,
                "RESULT",
                pou.node.pos,
                "auto",
                init=self.default_of(pou.node.returns),
                number=len(pou.variables),
            )
        for decl in pou.node.variables:
            up = decl.name.upper()
            if up in pou.variables:
                self.error(
                    decl.pos, "duplicate", f"{decl.name} is declared twice", length=len(decl.name)
                )
                continue
            if pou.result is not None and up == pou.name.upper() and pou.kind != "PROPERTY_SET":
                self.error(
                    decl.pos,
                    "duplicate",
                    f"{decl.name} is the name of the {pou.kind.lower()} itself",
                    length=len(decl.name),
                )
                continue
            if (
                pou.base is not None
                and pou.base.member(up) is not None
                and pou.kind == "FUNCTION_BLOCK"
            ):
                self.error(
                    decl.pos,
                    "duplicate",
                    f"{decl.name} is already a variable of {pou.base.name}",
                    length=len(decl.name),
                )
            var = Var(decl.name, t.ERROR, decl.kind, decl.pos, number=len(pou.variables) + 1)
            var.decl = decl
            if is_call or decl.kind == "VAR_TEMP":
                var.storage = "auto"
            pou.variables[up] = var
            if is_open(decl, pou):
                add_bounds(var, decl, pou)
        for var in pou.variables.values():
            self.settle(var, pou)
        if any(item.severity == "error" for item in self.project.sink.items[before:]):
            pou.broken = True
        self.project.sink.pou = outer

    def settle(self, var: Var, pou: Pou) -> None:
        """Resolve a variable of a POU, in its turn or when another declaration asks for it. Idempotent."""
        decl, var.decl = var.decl, None
        if decl is None:
            return
        is_call = pou.kind in ("FUNCTION", "METHOD", "PROPERTY_GET", "PROPERTY_SET")
        if isinstance(var.type, t.OpenArrayType):
            settle_open(self, var, decl, pou)
        else:
            self._fill(var, decl, pou)
        if decl.kind == "VAR_IN_OUT":
            var.by_reference = True
        elif decl.kind == "VAR_EXTERNAL":
            var.storage = "external"
        elif is_call and var.type is not t.ERROR:
            self.complete(var.type)
        if is_call and decl.retain:
            self.error(
                decl.pos,
                "retain",
                f"a {pou.kind.lower()} keeps nothing: RETAIN has no meaning here",
            )
        if decl.located and (
            is_call or decl.kind not in ("VAR", "VAR_GLOBAL") or pou.kind == "FUNCTION_BLOCK"
        ):
            self.error(
                decl.pos, "address", "only variables of programs and globals have an address"
            )
        if var.type is t.ERROR:
            pou.broken = True

    def _ancestors(self, pou: Pou) -> None:
        node = pou.node
        for name in node.extends:
            parent = self.project.pous.get(name.upper())
            if parent is None or parent.kind != pou.kind:
                self.error(
                    node.pos,
                    "undeclared",
                    f"{pou.name} EXTENDS {name}: no {'interface' if pou.kind == 'INTERFACE' else 'function block'} of this name",
                )
                continue
            if pou in parent.chain() or (
                pou.kind == "INTERFACE" and parent.resolved and pou in parent.interfaces
            ):
                self.error(node.pos, "recursive", f"{pou.name} extends itself")
                continue
            if parent.node.final:
                self.error(node.pos, "oop", f"{parent.name} is FINAL: it cannot be extended")
            if pou.kind == "INTERFACE":
                pou.interfaces.append(parent)
            else:
                pou.base = parent
            self.resolve(parent)
            if pou.base is parent and pou in parent.chain():
                pou.base = None
                self.error(node.pos, "recursive", f"{pou.name} extends itself")
                continue
            parent.derived.append(pou)
        for name in node.implements:
            interface = self.project.pous.get(name.upper())
            if interface is None or interface.kind != "INTERFACE":
                self.error(
                    node.pos,
                    "undeclared",
                    f"{pou.name} IMPLEMENTS {name}: no interface of this name",
                )
                continue
            self.resolve(interface)
            pou.interfaces.append(interface)
            interface.derived.append(pou)

    def layout(self, pou: Pou) -> bool:
        """Offsets of an instance's variables; False when it contains itself."""
        if pou.laid_out == 2:
            return True
        if pou.laid_out == 1:
            self.error(
                pou.node.pos,
                "recursive",
                f"{pou.name} contains an instance of itself",
                hint="a REF_TO or POINTER TO can stand in between",
            )
            pou.broken = True
            return False
        pou.laid_out = 1
        self.resolve(pou)
        offset, widest, good = 0, 4, True
        pou.has_tag = pou.kind == "FUNCTION_BLOCK" and bool(
            pou.methods
            or pou.base
            or pou.interfaces
            or pou.derived
            or pou.node.methods
            or self._is_base(pou)
        )
        if pou.base is not None:
            good = self.layout(pou.base) and good
            offset = pou.base.type.size if pou.base.type else 0
            widest = pou.base.type.align if pou.base.type else 4
        elif pou.has_tag:
            offset = 4
        for var in pou.variables.values():
            if var.storage != "self":
                continue
            if not self.complete(var.type):
                good = False
                var.type = t.ERROR
            size, alignment = var.slot
            var.offset = offset = align(offset, alignment)
            offset += size
            widest = max(widest, alignment)
        kind = self.block_type(pou)
        kind.align = widest
        kind.size = max(align(offset, widest), widest)
        if kind.size > MAX_BYTES:
            self.error(
                pou.node.pos,
                "size",
                f"an instance of {pou.name} would take {kind.size} bytes: at most {MAX_BYTES}",
            )
            good = False
        pou.laid_out = 2
        return good

    def _is_base(self, pou: Pou) -> bool:
        up = pou.name.upper()
        return any(
            up in (name.upper() for name in other.node.extends)
            for other in self.project.pous.values()
        )

    def program_instance(self, program: Pou) -> Var:
        """The one instance of a program that others call by its name."""
        up = "%" + program.name.upper()
        var = self.project.globals.get(up)
        if var is None:
            kind = self.block_type(program)
            self.layout(program)
            var = Var(program.name, kind, "PROGRAM", program.node.pos, "global")
            self.project.globals[up] = var
        return var


def references(made: list[ir.Stmt], checker: Checker) -> list[ir.Assign]:
    """What references begin with, as far as it has one place in each instance; the rest is told."""
    found = []
    for statement in made:
        if not isinstance(statement, ir.Assign):
            continue
        value = statement.value
        if isinstance(value, ir.AddressOf) and ir.is_fixed(value.place):
            found.append(statement)
        else:
            checker.error(
                statement.pos,
                "constant",
                "an initial value must be known before the program runs",
                hint="assign it in the first scan",
            )
    return found


def check_all(project: Project) -> Resolver:
    """Check every declaration and every body."""
    resolver = Resolver(project)
    for entry in list(project.types.values()):
        resolver.entry(entry)
    for key in list(project.globals):
        resolver.global_variable(key)
    for pou in list(project.pous.values()):
        project.sink.pou = pou.name
        resolver.resolve(pou)
        if pou.kind in ("PROGRAM", "FUNCTION_BLOCK"):
            resolver.layout(pou)
        for method in pou.methods.values():
            resolver.resolve(method)
    reach_instances(resolver)
    from .check_oop import check_contracts

    hidden_ones = {*project.connections.values(), *project.events.values()}

    def check(pou: Pou) -> None:
        hidden = pou in hidden_ones
        project.sink.pou = "" if hidden else (pou.owner or pou).name
        resolver.resolve(pou)
        before = len(project.sink.items)
        checker = resolver.checker(pou)
        pou.body.statements = checker.body(pou.node.body)
        pou.body.references = references(checker.body(pou.node.references), checker)
        for action in pou.node.actions:
            pou.body.actions[action.name.upper()] = checker.body(action.body)
        if pou.kind == "FUNCTION_BLOCK":
            check_contracts(project, pou)
        if any(item.severity == "error" for item in project.sink.items[before:]):
            pou.broken = True
        pou.checked = True

    waiting = [pou for pou in project.all_pous if not pou.library]
    while waiting:
        for pou in waiting:
            check(pou)
        # of the library that comes with us only what is used is looked at
        waiting = list(
            {
                used: None
                for pou in project.all_pous
                if pou.checked
                for used in pou.calls
                if not used.checked
            }
        )
    project.sink.pou = ""
    return resolver
