"""Types as written to types as they lie in memory, and initial values to numbers."""

from __future__ import annotations

from . import ir
from . import nodes as n
from . import types as t
from .check_stmt import Checker
from .model import Pou, align
from .scope import Project, TypeEntry

#: The largest array or structure, and the longest text: an arena is at most 1 MiB.
MAX_BYTES = 16 * 2**20
MAX_STRING = 32767
DEFAULT_STRING = 80


class TypeResolver:
    """Resolves types; each when it is first needed, so that order does not matter."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._busy: set[str] = set()

    def checker(self, pou: Pou | None = None) -> Checker:
        """An expression checker in the scope of a POU."""
        raise NotImplementedError

    def error(self, pos: int, code: str, message: str, *, hint: str = "", length: int = 1) -> None:
        """Record an error."""
        self.project.error(pos, code, message, hint=hint, length=length)

    # --- types ----------------------------------------------------------------------------------------------

    def find_type(self, name: str) -> t.Type | None:
        """A type by name, without complaint."""
        up = name.upper()
        if up in t.ELEMENTARY:
            return t.ELEMENTARY[up]
        if up in ("STRING", "WSTRING"):
            return t.string_type(DEFAULT_STRING, wide=up == "WSTRING")
        entry = self.project.types.get(up)
        if entry is not None:
            return self.entry(entry)
        pou = self.project.pous.get(up)
        if pou is not None and pou.kind in ("FUNCTION_BLOCK", "PROGRAM", "INTERFACE"):
            return self.block_type(pou)
        return None

    def block_type(self, pou: Pou) -> t.Type:
        """The type of a POU's instances."""
        if pou.type is None:
            pou.type = (
                t.InterfaceType(pou.name, 4, 4, pou)
                if pou.kind == "INTERFACE"
                else t.BlockType(pou.name, 0, 8, pou)
            )
        return pou.type

    def entry(self, entry: TypeEntry) -> t.Type:
        if entry.type is not None:
            return entry.type
        if entry.busy:
            self.error(
                entry.node.pos,
                "recursive",
                f"type {entry.node.name} contains itself",
                hint="a REF_TO or POINTER TO can stand in between",
            )
            entry.broken = True
            return t.ERROR
        entry.busy = True
        pou, self.project.sink.pou = self.project.sink.pou, entry.node.name
        before = len(self.project.sink.items)
        node = entry.node
        if isinstance(node.spec, n.StructSpec):
            shell = t.StructType(node.name, 0, 1, union=node.spec.union)
            entry.type = shell  # pointers to it may stand inside
            self._fill_struct(shell, node.spec, entry)
        else:
            entry.type = self.spec(node.spec, None, name=node.name)
        if node.init is not None and entry.type is not t.ERROR:
            entry.init = self.initial(node.init, entry.type, self.checker())
            # Of the type itself: one that only has another name for it leaves that one as it is.
            if isinstance(node.spec, n.EnumSpec) and isinstance(entry.type, t.EnumType) and isinstance(entry.init, int):  # fmt: skip
                entry.type.initial = entry.init
        entry.broken = entry.broken or any(
            item.severity == "error" for item in self.project.sink.items[before:]
        )
        self.project.sink.pou = pou
        entry.busy = False
        return entry.type

    def spec(self, node: n.TypeSpec, pou: Pou | None, *, name: str = "") -> t.Type:
        """The type that was written; ERROR after telling what is wrong."""
        if isinstance(node, n.NamedType):
            return self._named(node)
        if isinstance(node, n.StringSpec):
            length = DEFAULT_STRING
            if node.length is not None:
                given = self.checker(pou).constant_int(node.length)
                if given is None:
                    return t.ERROR
                if not 1 <= given <= MAX_STRING:
                    self.error(node.pos, "range", f"STRING[{given}]: 1 to {MAX_STRING}")
                    return t.ERROR
                length = given
            return t.string_type(length, wide=node.wide)
        if isinstance(node, n.ArraySpec):
            return self._array(node, pou, name)
        if isinstance(node, n.PointerSpec):
            target = self.spec(node.target, pou)
            word = "REF_TO" if node.ref else "POINTER TO"
            return (
                t.ERROR
                if target is t.ERROR
                else t.PointerType(name or f"{word} {target.name}", 4, 4, target, node.ref)
            )
        if isinstance(node, n.SubrangeSpec):
            return self._subrange(node, pou, name)
        if isinstance(node, n.EnumSpec):
            return self._enum(node, pou, name)
        if isinstance(node, n.StructSpec):
            shell = t.StructType(name or "STRUCT", 0, 1, union=node.union)
            self._fill_struct(shell, node, None)
            return shell
        raise AssertionError(type(node))

    def _named(self, node: n.NamedType) -> t.Type:
        found = self.find_type(node.name)
        if found is not None:
            return found
        from difflib import get_close_matches

        up = node.name.upper()
        pou = self.project.pous.get(up)
        if pou is not None:
            self.error(
                node.pos, "type", f"{node.name} is a function, not a type", length=len(node.name)
            )
            return t.ERROR
        known = [*t.ELEMENTARY, "STRING", *self.project.types, *self.project.pous]
        near = get_close_matches(up, known, 1, 0.75)
        hint = (
            "its declaration has an error"
            if up in self.project.broken
            else f"did you mean {near[0]}?"
            if near
            else "types of a library are given with --with"
        )
        self.error(
            node.pos,
            "undeclared",
            f"type {node.name} is not declared",
            hint=hint,
            length=len(node.name),
        )
        return t.ERROR

    def _array(self, node: n.ArraySpec, pou: Pou | None, name: str) -> t.Type:
        element = self.spec(node.element, pou)
        if node.open:
            self.error(
                node.pos,
                "type",
                "ARRAY[*] is only for VAR_IN_OUT of functions, methods and function blocks",
                hint="give the bounds",
            )
            return t.ERROR
        ranges: list[tuple[int, int]] = []
        for low_node, high_node in node.ranges:
            low, high = (
                self.checker(pou).constant_int(low_node),
                self.checker(pou).constant_int(high_node),
            )
            if low is None or high is None:
                return t.ERROR
            if high < low:
                self.error(
                    low_node.pos, "range", f"{low}..{high} is empty: the lower bound comes first"
                )
                return t.ERROR
            ranges.append((low, high))
        if element is t.ERROR or not self.complete(element):
            return t.ERROR
        stride = align(element.size, element.align)
        count = 1
        for low, high in ranges:
            count *= high - low + 1
        if count * stride > MAX_BYTES:
            self.error(
                node.pos,
                "size",
                f"this array would take {count * stride} bytes: at most {MAX_BYTES}",
            )
            return t.ERROR
        bounds = ", ".join(f"{low}..{high}" for low, high in ranges)
        return t.ArrayType(
            name or f"ARRAY[{bounds}] OF {element.name}",
            count * stride,
            element.align,
            ranges,
            element,
            self.default_of(node.element),
        )

    def _subrange(self, node: n.SubrangeSpec, pou: Pou | None, name: str) -> t.Type:
        base = t.base_of(self.spec(node.base, pou))
        low, high = (
            self.checker(pou).constant_int(node.low),
            self.checker(pou).constant_int(node.high),
        )
        if base is t.ERROR or low is None or high is None:
            return t.ERROR
        if not (isinstance(base, t.Elementary) and base.family in ("int", "bits")):
            self.error(
                node.pos, "type", f"a subrange is taken from a whole number, not from {base.name}"
            )
            return t.ERROR
        if not base.low <= low <= high <= base.high:
            self.error(
                node.pos,
                "range",
                f"{low}..{high} is not a range of {base.name} ({base.low} to {base.high})",
            )
            return t.ERROR
        return t.SubrangeType(
            name or f"{base.name} ({low}..{high})", base.size, base.align, base, low, high
        )

    def _enum(self, node: n.EnumSpec, pou: Pou | None, name: str) -> t.Type:
        base: t.Type = t.INT if node.base is None else t.base_of(self.spec(node.base, pou))
        if not (isinstance(base, t.Elementary) and base.family in ("int", "bits")):
            self.error(
                node.pos, "type", f"an enumeration's values are whole numbers, not {base.name}"
            )
            return t.ERROR
        kind = t.EnumType(
            name or "enumeration", base.size, base.align, base, {}, {}, open=node.base is not None
        )
        following = 0
        for pos, spelled, expression in node.values:
            if expression is not None:
                value = self.checker(pou).constant_int(expression)
                if value is None:
                    return t.ERROR
                following = value
            if not base.low <= following <= base.high:
                self.error(pos, "range", f"{spelled} = {following} does not fit {base.name}")
                return t.ERROR
            if spelled.upper() in kind.values:
                self.error(pos, "duplicate", f"{spelled} stands in this enumeration twice")
            kind.values[spelled.upper()] = following
            kind.spelled[spelled.upper()] = spelled
            self.project.enum_values.setdefault(spelled.upper(), []).append((kind, following))
            following += 1
        kind.initial = next(iter(kind.values.values()))
        return kind

    def _fill_struct(
        self, shell: t.StructType, node: n.StructSpec, entry: TypeEntry | None
    ) -> None:
        offset, largest = 0, 0
        for decl in node.fields:
            up = decl.name.upper()
            if up in shell.fields:
                self.error(decl.pos, "duplicate", f"{decl.name} stands in this structure twice")
                continue
            kind = self.spec(decl.spec, None)
            self.concrete(kind, decl)
            if kind is shell or kind is t.ERROR or not self.complete(kind):
                if kind is shell:
                    self.error(
                        decl.pos,
                        "recursive",
                        f"type {shell.name} contains itself",
                        hint="a REF_TO or POINTER TO can stand in between",
                    )
                if entry is not None:
                    entry.broken = True
                kind = t.ERROR
            offset = 0 if shell.union else align(offset, kind.align)
            init = (
                self.initial(decl.init, kind, self.checker())
                if decl.init is not None
                else self.default_of(decl.spec)
            )
            shell.fields[up] = t.Field(decl.name, kind, offset, init)
            largest = max(largest, kind.size)
            offset += kind.size
            shell.align = max(shell.align, kind.align)
            if offset > MAX_BYTES:
                self.error(decl.pos, "size", f"this structure takes more than {MAX_BYTES} bytes")
                break
        if not shell.fields:
            self.error(node.pos, "syntax", "a structure has at least one member")
        shell.size = align(largest if shell.union else offset, shell.align)
        shell.complete = True

    def default_of(self, spec: n.TypeSpec) -> object:
        """The initial value that a named type brings along."""
        if isinstance(spec, n.NamedType):
            entry = self.project.types.get(spec.name.upper())
            if entry is None or entry.init is not None:
                return entry.init if entry is not None else None
            return self.default_of(entry.node.spec)
        return None

    def complete(self, kind: t.Type) -> bool:
        """Make sure that sizes are known; False when that is impossible."""
        if isinstance(kind, t.BlockType):
            return self.layout(kind.pou)
        if isinstance(kind, t.StructType) and not kind.complete:
            return False
        if isinstance(kind, t.ArrayType):
            return self.complete(kind.element)
        return True

    def concrete(self, kind: t.Type, decl: n.VarDecl) -> None:
        """Tell where an instance of an ABSTRACT block would come into being."""
        while isinstance(kind, t.ArrayType):
            kind = kind.element
        if isinstance(kind, t.BlockType) and kind.pou.node.abstract:
            self.error(
                decl.pos,
                "oop",
                f"{kind.name} is ABSTRACT: it has no instances",
                length=len(decl.name),
                hint="declare a block that extends it; a VAR_IN_OUT or a reference may be of this type",
            )

    # --- initial values ---------------------------------------------------------------------------------------

    def initial(self, node: n.Expr, kind: t.Type, checker: Checker) -> object:
        """An initial value as model.encode takes it."""
        if kind is t.ERROR:
            return None
        if isinstance(kind, t.ArrayType):
            return self._initial_array(node, kind, checker)
        if isinstance(node, n.StructInit) and isinstance(kind, t.StructType | t.BlockType):
            self.complete(kind)
            chosen: dict[str, object] = {}
            for name, value in node.fields:
                up = name.upper()
                member: t.Type | None = None
                if isinstance(kind, t.StructType):
                    member = kind.fields[up].type if up in kind.fields else None
                else:
                    var = kind.pou.member(up)
                    member = var.type if var is not None else None
                if member is None:
                    self.error(value.pos, "undeclared", f"{kind.name} has no member {name}")
                    continue
                chosen[up] = self.initial(value, member, checker)
            return chosen
        if (
            isinstance(node, n.ArrayInit)
            and len(node.items) == 1
            and node.items[0][0] is None
            and node.items[0][1] is not None
        ):
            return self.initial(node.items[0][1], kind, checker)
        if isinstance(node, n.ArrayInit | n.StructInit) or isinstance(
            kind, t.StructType | t.BlockType
        ):
            self.error(node.pos, "type", f"this is not an initial value of {kind.name}")
            return None
        found = checker.value(node, kind, "initial value")
        if isinstance(found, ir.Const):
            if (
                isinstance(kind, t.StringType)
                and isinstance(found.value, tuple)
                and len(found.value) > kind.length
                and not self.project.codesys
            ):
                self.error(
                    node.pos,
                    "range",
                    f"this text has {len(found.value)} characters, {kind.name} holds {kind.length}",
                )
            return found.value
        if found.type is not t.ERROR:
            self.error(
                node.pos,
                "constant",
                "an initial value must be known before the program runs",
                hint="assign it in the first scan",
            )
        return None

    def _initial_array(self, node: n.Expr, kind: t.ArrayType, checker: Checker) -> object:
        if not isinstance(node, n.ArrayInit):
            if not self.project.codesys:
                self.error(
                    node.pos,
                    "type",
                    "the initial value of an array stands in brackets",
                    hint="[1, 2, 3] or [10(0)]",
                )
                return None
            node = n.ArrayInit(node.pos, [(None, node)], bare=True)
        items: list[object] = []
        self._spread(node, kind, checker, items)
        if len(items) > kind.count:
            self.error(node.pos, "range", f"{len(items)} initial values for {kind.count} elements")
            return None
        return items

    def _spread(
        self, node: n.ArrayInit, kind: t.ArrayType, checker: Checker, items: list[object]
    ) -> None:
        for count_node, value_node in node.items:
            count = 1
            if count_node is not None:
                found = checker.constant_int(count_node)
                if found is None:
                    return
                count = found
            if count > kind.count:
                self.error(node.pos, "range", f"{count} initial values for {kind.count} elements")
                return
            if value_node is None:
                part: list[object] = [None]
            elif isinstance(value_node, n.ArrayInit) and not isinstance(kind.element, t.ArrayType):
                part = []
                self._spread(
                    value_node, kind, checker, part
                )  # rows of several dimensions, or a repeated group
            else:
                part = [self.initial(value_node, kind.element, checker)]
            if len(items) + len(part) * count > kind.count + 4096:
                self.error(node.pos, "range", f"more initial values than {kind.count} elements")
                return
            items.extend(part * count)

    def layout(self, pou: Pou) -> bool:
        """See Resolver."""
        raise NotImplementedError
