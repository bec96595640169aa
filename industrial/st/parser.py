"""Declarations: types, variables, program organisation units, configurations; and the whole file."""

from __future__ import annotations

from . import nodes as n
from .errors import Sink, SourceFile
from .lexer import tokenize
from .parse_base import UNIT_STARTS, SyntaxSlip
from .parse_sfc import SfcParser

_VAR_KINDS = (
    "VAR",
    "VAR_INPUT",
    "VAR_OUTPUT",
    "VAR_IN_OUT",
    "VAR_TEMP",
    "VAR_EXTERNAL",
    "VAR_GLOBAL",
    "VAR_STAT",
    "VAR_INST",
)
_POU_ENDS = {
    "PROGRAM": "END_PROGRAM",
    "FUNCTION": "END_FUNCTION",
    "FUNCTION_BLOCK": "END_FUNCTION_BLOCK",
    "METHOD": "END_METHOD",
    "INTERFACE": "END_INTERFACE",
    "PROPERTY": "END_PROPERTY",
}
_AFTER_VARS = frozenset([*UNIT_STARTS, "END_VAR", *_POU_ENDS.values()])
_ACCESS = ("PUBLIC", "PRIVATE", "PROTECTED", "INTERNAL")


def parse(file: SourceFile, sink: Sink, *, codesys: bool = False) -> n.Unit:
    """The tree of a file; what is wrong goes to the sink, what is right is in the tree."""
    tokens, comments = tokenize(file, sink)
    return Parser(tokens, comments, sink, codesys=codesys).unit()


class Parser(SfcParser):
    """Parses a file."""

    def unit(self) -> n.Unit:
        """All declarations of the file."""
        unit = n.Unit()
        while self.token.kind != "end":
            self.depth = 0
            before = self.at
            try:
                self._declaration(unit)
            except SyntaxSlip:
                if self.at == before:
                    self.advance()
                self.sync_to(UNIT_STARTS)
        return unit

    def _declaration(self, unit: n.Unit) -> None:
        if self.op(";"):
            return
        token = self.token
        if self.word("TYPE"):
            self._types(unit)
        elif self.is_word("PROGRAM", "FUNCTION", "FUNCTION_BLOCK", "FUNCTIONBLOCK", "INTERFACE"):
            unit.pous.append(self._pou())
        elif self.is_word("VAR_GLOBAL"):
            unit.variables.extend(self._var_block())
        elif self.word("CONFIGURATION"):
            self._configuration(unit)
        elif self.is_word("ACTION"):
            action = self._action()
            if not unit.pous:
                self.sink.error(
                    token.pos, "syntax", "an ACTION belongs to the POU before it; there is none"
                )
            else:
                unit.pous[-1].actions.append(action)
        elif self.is_word("CLASS", "NAMESPACE"):
            self.sink.error(
                token.pos,
                "unsupported",
                f"{token.up} is not supported",
                hint="use FUNCTION_BLOCK with methods",
            )
            self.advance()
            raise SyntaxSlip
        else:
            raise self.fail(
                "PROGRAM, FUNCTION, FUNCTION_BLOCK, INTERFACE, TYPE, VAR_GLOBAL or CONFIGURATION"
            )

    # --- types ----------------------------------------------------------------------------------------------

    def _types(self, unit: n.Unit) -> None:
        while not self.word("END_TYPE"):
            if self.op(";"):
                continue
            name = self.name("the name of a type")
            self.expect_op(":")
            spec = self.type_spec()
            init = self.initial() if self.op(":=") else None
            unit.types.append(n.TypeDecl(name.pos, name.text, spec, init))
            if (
                not self.op(";")
                and not self.is_word("END_TYPE")
                and not self.tokens[self.at - 1].up.startswith("END_")
            ):
                raise self.fail("';'")

    def type_spec(self) -> n.TypeSpec:
        """A type."""
        with self.level():
            return self._type_spec()

    def _type_spec(self) -> n.TypeSpec:
        token = self.token
        if self.word("ARRAY"):
            self.expect_op("[")
            ranges: list[tuple[n.Expr, n.Expr]] = []
            dimensions = 0
            if self.op("*"):
                dimensions = 1
                while self.op(","):
                    self.expect_op("*")
                    dimensions += 1
            else:
                while True:
                    low = self.expression()
                    self.expect_op("..")
                    ranges.append((low, self.expression()))
                    if not self.op(","):
                        break
            self.expect_op("]")
            self.expect_word("OF")
            return n.ArraySpec(token.pos, ranges, self.type_spec(), dimensions)
        if self.is_word("STRUCT", "UNION"):
            return self._struct()
        if self.word("POINTER"):
            self.expect_word("TO")
            return n.PointerSpec(token.pos, self.type_spec(), ref=False)
        if self.word("REF_TO"):
            return n.PointerSpec(token.pos, self.type_spec(), ref=True)
        if self.is_word("STRING", "WSTRING"):
            self.advance()
            length: n.Expr | None = None
            if self.is_op("[") or self.is_op("("):
                close = "]" if self.advance().text == "[" else ")"
                length = self.expression()
                self.expect_op(close)
            return n.StringSpec(token.pos, token.up == "WSTRING", length)
        if self.is_op("("):
            return self._enum(None)
        name = self.name("a type")
        base: n.TypeSpec = n.NamedType(name.pos, name.text)
        while self.is_op(".") and self.peek().kind == "id":  # namespace.type
            self.advance()
            base = n.NamedType(name.pos, self.advance().text)
        if self.is_op("("):
            if self.peek().kind == "id" and self.peek(2).text in (",", ":=", ")"):
                return self._enum(base)
            self.advance()
            low = self.expression()
            self.expect_op("..")
            high = self.expression()
            self.expect_op(")")
            return n.SubrangeSpec(token.pos, base, low, high)
        return base

    def _enum(self, base: n.TypeSpec | None) -> n.TypeSpec:
        pos = self.expect_op("(").pos
        values: list[tuple[int, str, n.Expr | None]] = []
        while True:
            name = self.name("the name of an enumerated value")
            values.append((name.pos, name.text, self.expression() if self.op(":=") else None))
            if not self.op(","):
                break
        self.expect_op(")")
        if base is None and self.token.kind == "id" and not self.is_word("END_TYPE", "END_VAR"):
            base = n.NamedType(self.token.pos, self.advance().text)  # (A, B) UINT
        return n.EnumSpec(pos, values, base)

    def _struct(self) -> n.TypeSpec:
        opening = self.advance()
        union = opening.up == "UNION"
        end = "END_UNION" if union else "END_STRUCT"
        fields: list[n.VarDecl] = []
        self.word("OVERLAP")
        while not self.word(end):
            if self.op(";"):
                continue
            before = self.at
            fields.extend(self._variables("FIELD", {}, frozenset([end, "END_TYPE"])))
            if (
                self.token.kind == "end"
                or self.is_word("END_TYPE")
                or (self.at == before and self.is_word(*_AFTER_VARS))
            ):
                raise self.fail(end)
            if self.at == before:
                self.advance()
        return n.StructSpec(opening.pos, fields, union)

    # --- variables ------------------------------------------------------------------------------------------

    def _var_block(self) -> list[n.VarDecl]:
        kind = self.advance().up
        if kind in ("VAR_STAT", "VAR_INST"):
            kind = "VAR"
        flags = {"constant": False, "retain": False}
        while True:
            if self.word("CONSTANT"):
                flags["constant"] = True
            elif self.word("RETAIN", "PERSISTENT"):
                flags["retain"] = True
            elif self.word("NON_RETAIN", *_ACCESS):
                pass
            else:
                break
        if (
            self.peek().text not in (",", ":", "AT")
            and self.token.kind == "id"
            and self.peek().kind == "id"
            and self.peek().up != "AT"
            and kind == "VAR_GLOBAL"
        ):
            self.advance()  # the name of a list of globals
        variables: list[n.VarDecl] = []
        while not self.word("END_VAR"):
            if (
                self.token.kind == "end"
                or self.is_word(*UNIT_STARTS)
                or self.is_word("END_PROGRAM", "END_FUNCTION", "END_FUNCTION_BLOCK")
            ):
                raise self.fail("END_VAR")
            if self.op(";"):
                continue
            before = self.at
            variables.extend(self._variables(kind, flags, frozenset(["END_VAR"])))
            if self.at == before:
                self.advance()
        return variables

    def _variables(
        self, kind: str, flags: dict[str, bool], ends: frozenset[str]
    ) -> list[n.VarDecl]:
        """One declaration line; several names may share it."""
        names = []
        located = ""
        try:
            while True:
                names.append(self.name("the name of a variable"))
                if self.word("AT"):
                    if self.token.kind != "direct":
                        raise self.fail("an address such as %QX0.0")
                    located = self.advance().up
                if not self.op(","):
                    break
            self.expect_op(":", hint="name : type;")
            if self.codesys and not located and self.word("AT"):
                located = self.advance().up
            if located and len(names) > 1:
                self.sink.error(
                    names[1].pos,
                    "address",
                    f"{', '.join(name.text for name in names)} AT {located}: with AT one name is declared",
                    hint="give each variable a line and an address of its own",
                    length=len(names[1].text),
                )
            edge = ""
            spec = self.type_spec()
            if self.is_word("R_EDGE", "F_EDGE"):
                edge = self.advance().up
            init = self.initial() if self.op(":=") else None
            forgiven = self.codesys and self.token.kind == "id" and self.token.up in ends
            if not self.op(";") and not forgiven:
                raise self.fail("';'")
        except SyntaxSlip:
            while (
                self.token.kind != "end"
                and not self.is_word(*ends)
                and not self.is_word(*_AFTER_VARS)
            ):
                if self.op(";"):
                    break
                self.advance()
            return []
        line = self.sink.files[names[0].pos >> 32].locate(
            self.tokens[self.at - 1].pos & 0xFFFFFFFF
        )[0]
        comment = self.comments.get(line, "")
        return [
            n.VarDecl(
                name.pos,
                name.text,
                spec,
                kind,
                init,
                located,
                flags.get("constant", False),
                flags.get("retain", False),
                edge,
                comment,
            )
            for name in names
        ]

    # --- program organisation units ---------------------------------------------------------------------------

    def _pou(self) -> n.Pou:
        keyword = self.advance()
        kind = "FUNCTION_BLOCK" if keyword.up == "FUNCTIONBLOCK" else keyword.up
        pou = n.Pou(keyword.pos, kind, "", [], [])
        while self.is_word("ABSTRACT", "FINAL", *_ACCESS) and self.peek().kind == "id":
            self._modifier(pou)
        name = self.name(f"the name of the {kind}")
        pou.name, pou.pos = name.text, name.pos
        self.sink.pou = name.text
        if kind == "INTERFACE" and self.word("EXTENDS"):
            pou.extends.append(self.name("an interface").text)
            while self.op(","):
                pou.extends.append(self.name("an interface").text)
        elif self.word("EXTENDS"):
            pou.extends.append(self.name("the function block it extends").text)
        if self.word("IMPLEMENTS"):
            pou.implements.append(self.name("an interface").text)
            while self.op(","):
                pou.implements.append(self.name("an interface").text)
        if self.op(":"):
            pou.returns = self.type_spec()
        self.op(";")
        self._pou_body(
            pou,
            (_POU_ENDS[kind], "END_FUNCTIONBLOCK")
            if kind == "FUNCTION_BLOCK"
            else (_POU_ENDS[kind],),
        )
        self.sink.pou = ""
        return pou

    def _modifier(self, pou: n.Pou) -> None:
        word = self.advance().up
        if word == "ABSTRACT":
            pou.abstract = True
        elif word == "FINAL":
            pou.final = True
        elif word == "OVERRIDE":
            pou.override = True
        else:
            pou.access = word

    def _pou_body(self, pou: n.Pou, ends: tuple[str, ...]) -> None:
        while True:
            if self.is_word(*_VAR_KINDS):
                pou.variables.extend(self._var_block())
            elif self.is_word("METHOD") and pou.kind in ("FUNCTION_BLOCK", "INTERFACE", "PROGRAM"):
                pou.methods.append(self._method(interface=pou.kind == "INTERFACE"))
            elif self.is_word("PROPERTY") and pou.kind in (
                "FUNCTION_BLOCK",
                "INTERFACE",
                "PROGRAM",
            ):
                pou.methods.extend(self._property(interface=pou.kind == "INTERFACE"))
            elif self.is_word("ACTION") and self.peek().kind == "id" and self.peek(2).text == ":":
                pou.actions.append(self._action())
            elif self.is_word("_LD_BODY", "_FBD_BODY", "_SFC_BODY", "_CFC_BODY", "_IL_BODY"):
                language = self.token.text.split("_")[1]
                self.sink.error(
                    self.token.pos,
                    "unsupported",
                    f"{pou.name} is written in {language}: only Structured Text is read",
                    hint="export it as Structured Text",
                    length=len(self.token.text),
                )
                while self.token.kind != "end" and not self.is_word(*ends):
                    self.advance()
            elif self.is_word("INITIAL_STEP"):
                pou.sfc = self.sfc(pou)
            elif self.is_word(*ends):
                break
            elif self.token.kind == "end":
                raise self.fail(ends[0])
            else:
                before = self.at
                pou.body.extend(
                    self.statements(*ends, "METHOD", "PROPERTY", "ACTION", "INITIAL_STEP")
                    if self._oop(pou)
                    else self.statements(*ends)
                )
                if self.at == before:
                    raise self.fail(
                        ends[0],
                        hint="a word that closes something which is not open"
                        if self.token.up.startswith("END_")
                        else "",
                    )
        pou.end = self.advance().pos
        self.op(";")

    def _oop(self, pou: n.Pou) -> bool:
        return pou.kind in ("FUNCTION_BLOCK", "INTERFACE", "PROGRAM")

    def _method(self, *, interface: bool) -> n.Pou:
        pos = self.advance().pos
        pou = n.Pou(pos, "METHOD", "", [], [])
        while self.is_word("ABSTRACT", "FINAL", "OVERRIDE", *_ACCESS) and self.peek().kind == "id":
            self._modifier(pou)
        name = self.name("the name of the method")
        pou.name, pou.pos = name.text, name.pos
        if self.op(":"):
            pou.returns = self.type_spec()
        self.op(";")
        pou.abstract = pou.abstract or interface
        self._pou_body(pou, ("END_METHOD",))
        return pou

    def _property(self, *, interface: bool) -> list[n.Pou]:
        self.advance()
        head = n.Pou(self.token.pos, "PROPERTY", "", [], [])
        while self.is_word("ABSTRACT", "FINAL", "OVERRIDE", *_ACCESS) and self.peek().kind == "id":
            self._modifier(head)
        name = self.name("the name of the property")
        self.expect_op(":")
        spec = self.type_spec()
        self.op(";")
        found: list[n.Pou] = []
        while not self.word("END_PROPERTY"):
            kind = self.expect_word("GET", "SET").up
            pou = n.Pou(
                name.pos,
                f"PROPERTY_{kind}",
                name.text,
                [],
                [],
                access=head.access,
                abstract=head.abstract or interface,
                final=head.final,
            )
            if kind == "GET":
                pou.returns = spec
            else:
                pou.variables.append(n.VarDecl(name.pos, name.text, spec, "VAR_INPUT"))
            if not (interface and not self.is_word("VAR", f"END_{kind}")):
                self._pou_body(pou, (f"END_{kind}",))
            found.append(pou)
        self.op(";")
        return found

    def _action(self) -> n.Action:
        pos = self.advance().pos
        name = self.name("the name of the action")
        self.expect_op(":")
        body = self.statements("END_ACTION")
        self.expect_word("END_ACTION")
        self.op(";")
        return n.Action(pos, name.text, body)

    # --- configuration ----------------------------------------------------------------------------------------

    def _configuration(self, unit: n.Unit) -> None:
        self.name("the name of the configuration")
        while not self.word("END_CONFIGURATION"):
            if self.op(";"):
                continue
            if self.is_word("VAR_CONFIG", "VAR_ACCESS"):
                self._unsupported_block()
                continue
            if self.is_word("VAR_GLOBAL"):
                unit.variables.extend(self._var_block())
            elif self.word("RESOURCE"):
                self.name("the name of the resource")
                self.expect_word("ON")
                self.name("the kind of processor")
                while not self.word("END_RESOURCE"):
                    if not self._resource_item(unit):
                        raise self.fail("TASK, PROGRAM, VAR_GLOBAL or END_RESOURCE")
            elif not self._resource_item(unit):
                raise self.fail("RESOURCE, TASK, PROGRAM, VAR_GLOBAL or END_CONFIGURATION")
        self.op(";")

    def _unsupported_block(self) -> None:
        """VAR_CONFIG and VAR_ACCESS: told once, then left out as a whole."""
        self.sink.error(
            self.token.pos,
            "unsupported",
            f"{self.token.up} is not supported",
            hint="write the address at the variable; protocols reach every variable by its path",
            length=len(self.token.text),
        )
        while self.token.kind != "end" and not self.word("END_VAR"):
            self.advance()

    def _resource_item(self, unit: n.Unit) -> bool:
        if self.op(";"):
            return True
        if self.is_word("VAR_GLOBAL"):
            unit.variables.extend(self._var_block())
            return True
        if self.word("TASK"):
            name = self.name("the name of the task")
            settings: dict[str, n.Expr] = {}
            self.expect_op("(")
            while True:
                key = self.name("INTERVAL, PRIORITY or SINGLE")
                if key.up not in ("INTERVAL", "PRIORITY", "SINGLE"):
                    self.sink.error(
                        key.pos,
                        "unsupported",
                        f"{key.text}: a task has INTERVAL, PRIORITY and SINGLE",
                    )
                self.expect_op(":=")
                settings[key.up] = self.expression()
                if not self.op(","):
                    break
            self.expect_op(")")
            self.expect_op(";")
            unit.tasks.append(n.TaskDecl(name.pos, name.text, settings))
            return True
        if self.word("PROGRAM"):
            name = self.name("the name of the program's instance")
            task = self.name("a task").text if self.word("WITH") else ""
            self.expect_op(":")
            kind = self.name("a program").text
            connections: list[n.Arg] = []
            if self.op("("):
                connections = self.arguments()
            self.expect_op(";")
            unit.instances.append(n.ProgramInstance(name.pos, name.text, task, kind, connections))
            return True
        return False
