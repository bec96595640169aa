"""Tokens to tree: declarations and statements; after an error it takes up at the next one."""

from __future__ import annotations

from . import tree as t
from .diagnostics import Diagnostic, StopError
from .expressions import ExpressionParser
from .lexer import tokens_of

SECTIONS = {
    "VAR",
    "VAR_INPUT",
    "VAR_OUTPUT",
    "VAR_IN_OUT",
    "VAR_TEMP",
    "VAR_GLOBAL",
    "VAR_EXTERNAL",
}
POUS = {
    "PROGRAM": "END_PROGRAM",
    "FUNCTION_BLOCK": "END_FUNCTION_BLOCK",
    "FUNCTION": "END_FUNCTION",
}
_UNSUPPORTED = {
    "INITIAL_STEP": "sequential function charts",
    "METHOD": "methods",
    "INTERFACE": "interfaces",
    "CLASS": "classes",
    "NAMESPACE": "namespaces",
    "CONFIGURATION": "configurations in the source (tasks stand in vplc.toml)",
}


class Parser(ExpressionParser):
    """Parses one file into a unit."""

    def __init__(self, file: str, source: str) -> None:
        tokens, errors = tokens_of(file, source)
        super().__init__(tokens)
        self.errors: list[Diagnostic] = errors

    def unit(self) -> t.Unit:
        """Everything the file declares."""
        unit = t.Unit()
        while self.token.kind != "end":
            try:
                self._declaration(unit)
            except StopError as stop:
                self.errors.append(stop.diagnostic)
                self._skip_to({*POUS, "TYPE", "VAR_GLOBAL"})
        return unit

    def _skip_to(self, keys: set[str]) -> None:
        self.advance()
        while self.token.kind != "end" and self.token.key not in keys:
            self.advance()

    def _declaration(self, unit: t.Unit) -> None:
        key = self.token.key
        if key in POUS:
            unit.pous.append(self._pou(key))
        elif key == "TYPE":
            self._types(unit)
        elif key == "VAR_GLOBAL":
            unit.globals += self._section()
        elif key in _UNSUPPORTED:
            raise self.error("E090", f"{_UNSUPPORTED[key]} are not supported yet")
        else:
            raise self.expected("PROGRAM, FUNCTION_BLOCK, FUNCTION, TYPE or VAR_GLOBAL")

    def _pou(self, kind: str) -> t.Pou:
        place = self.advance().place
        name = self.word("the name of the POU").text
        result = None
        if kind == "FUNCTION":
            self.sign(":")
            result = self._type()
        self.accept(";")
        variables: list[t.Variable] = []
        while self.token.key in SECTIONS:
            variables += self._section()
        if self.token.key in _UNSUPPORTED:
            raise self.error("E090", f"{_UNSUPPORTED[self.token.key]} are not supported yet")
        body = self.statements({POUS[kind]})
        self.key(POUS[kind])
        self.accept(";")
        return t.Pou(place, kind, name, variables, body, result)

    def _types(self, unit: t.Unit) -> None:
        self.key("TYPE")
        while self.token.key != "END_TYPE":
            name = self.word("the name of a type")
            self.sign(":")
            if self.accept("STRUCT"):
                members: list[t.Variable] = []
                while self.token.key != "END_STRUCT":
                    members += self._variables("STRUCT", constant=False, retain=False)
                self.advance()
                unit.types.append(t.TypeDef(name.place, name.text, members=members))
            elif self.accept("("):
                values: list[tuple[str, t.Expr | None]] = []
                while True:
                    value = self.word("the name of a value").text
                    values.append((value, self.expression() if self.accept(":=") else None))
                    if not self.accept(","):
                        break
                self.sign(")")
                unit.types.append(t.TypeDef(name.place, name.text, values=values))
            else:
                raise self.expected("STRUCT or an enumeration in brackets")
            self.accept(";")
        self.advance()
        self.accept(";")

    def _section(self) -> list[t.Variable]:
        section = self.advance().key
        constant = retain = False
        while self.token.key in ("CONSTANT", "RETAIN", "NON_RETAIN", "PERSISTENT"):
            word = self.advance().key
            constant |= word == "CONSTANT"
            retain |= word in ("RETAIN", "PERSISTENT")
        found: list[t.Variable] = []
        while self.token.key != "END_VAR":
            if self.token.kind == "end":
                raise self.expected("END_VAR")
            try:
                found += self._variables(section, constant=constant, retain=retain)
            except StopError as stop:
                self.errors.append(stop.diagnostic)
                while self.token.key not in (";", "END_VAR") and self.token.kind != "end":
                    self.advance()
                self.accept(";")
        self.advance()
        self.accept(";")
        return found

    def _variables(self, section: str, *, constant: bool, retain: bool) -> list[t.Variable]:
        names = [self.word("the name of a variable")]
        located = ""
        while self.accept(","):
            names.append(self.word("the name of a variable"))
        if self.accept("AT"):
            if self.token.kind != "located":
                raise self.expected("an address such as %IW0 or %QX1.2")
            located = self.advance().key
        self.sign(":")
        kind = self._type()
        initial = self._initial() if self.accept(":=") else None
        self.sign(";")
        return [
            t.Variable(name.place, name.text, kind, section, initial, located, constant, retain)
            for name in names
        ]

    def _initial(self) -> t.Expr | list[t.Expr]:
        if not self.accept("["):
            return self.expression()
        values: list[t.Expr] = []
        while True:
            first = self.expression()
            # `3(0)` reads as a call of the number 3: the standard's repetition.
            if (
                isinstance(first, t.Call)
                and isinstance(first.target, t.Literal)
                and len(first.arguments) == 1
            ):
                count = first.target.value
                if not isinstance(count, int) or not 0 <= count <= 1 << 20:
                    raise self.error("E034", "a repetition is a whole number up to 1048576")
                values += [first.arguments[0].value] * count
            else:
                values.append(first)
            if not self.accept(","):
                break
        self.sign("]")
        return values

    def _type(self) -> t.TypeRef:
        place = self.token.place
        dims: list[tuple[t.Expr, t.Expr]] = []
        if self.accept("ARRAY"):
            self.sign("[")
            while True:
                low = self.expression()
                self.sign("..")
                dims.append((low, self.expression()))
                if not self.accept(","):
                    break
            self.sign("]")
            self.key("OF")
            if self.token.key == "ARRAY":
                raise self.error(
                    "E090",
                    "arrays of arrays are not supported yet",
                    "write ARRAY [a..b, c..d] OF …",
                )
        if self.token.key in ("POINTER", "REF_TO", "STRING", "WSTRING"):
            raise self.error("E090", f"{self.token.key} is not supported yet")
        return t.TypeRef(place, self.word("a type").text, dims)

    # --- statements ---------------------------------------------------------------------------

    def statements(self, ends: set[str]) -> list[t.Statement]:
        """Statements up to one of the closing words."""
        found: list[t.Statement] = []
        while self.token.key not in ends:
            if self.token.kind == "end":
                raise self.expected(" or ".join(sorted(ends)))
            if self.accept(";"):
                continue
            try:
                found.append(self._statement())
            except StopError as stop:
                self.errors.append(stop.diagnostic)
                while (
                    self.token.kind != "end" and self.token.key not in ends and not self.accept(";")
                ):
                    self.advance()
        return found

    def _statement(self) -> t.Statement:
        token = self.token
        handler = {
            "IF": self._if,
            "CASE": self._case,
            "FOR": self._for,
            "WHILE": self._while,
            "REPEAT": self._repeat,
        }.get(token.key)
        if handler is not None:
            self.advance()
            statement = handler()
            self.accept(";")
            return statement
        if token.key in ("EXIT", "CONTINUE", "RETURN"):
            self.advance()
            self.sign(";")
            return t.Jump(token.place, token.key)
        target = self.postfix()
        if isinstance(target, t.Call):
            self.sign(";")
            return t.CallStatement(token.place, target)
        if self.token.key == "=":
            raise self.error("E012", "an assignment is written :=, not =")
        self.sign(":=")
        value = self.expression()
        self.sign(";")
        return t.Assign(token.place, target, value)

    def _if(self) -> t.Statement:
        branches = [self._branch()]
        while self.accept("ELSIF"):
            branches.append(self._branch())
        otherwise = self.statements({"END_IF"}) if self.accept("ELSE") else []
        self.key("END_IF")
        return t.If(branches[0][0].place, branches, otherwise)

    def _branch(self) -> tuple[t.Expr, list[t.Statement]]:
        condition = self.expression()
        self.key("THEN")
        return condition, self.statements({"ELSIF", "ELSE", "END_IF"})

    def _case(self) -> t.Statement:
        selector = self.expression()
        self.key("OF")
        branches: list[tuple[list[tuple[t.Expr, t.Expr | None]], list[t.Statement]]] = []
        while self.token.key not in ("ELSE", "END_CASE"):
            labels: list[tuple[t.Expr, t.Expr | None]] = []
            while True:
                low = self.expression()
                labels.append((low, self.expression() if self.accept("..") else None))
                if not self.accept(","):
                    break
            self.sign(":")
            branches.append((labels, self._case_body()))
        otherwise = self.statements({"END_CASE"}) if self.accept("ELSE") else []
        self.key("END_CASE")
        return t.Case(selector.place, selector, branches, otherwise)

    def _case_body(self) -> list[t.Statement]:
        found: list[t.Statement] = []
        while self.token.key not in ("ELSE", "END_CASE") and not self._label_follows():
            if self.token.kind == "end":
                raise self.expected("END_CASE")
            if not self.accept(";"):
                found.append(self._statement())
        return found

    def _label_follows(self) -> bool:
        """Whether a case label begins here: what is before the next colon is no statement."""
        at = self.position
        while self.tokens[at].kind != "end":
            key = self.tokens[at].key
            if key == ":":
                return True
            if key in (":=", ";", "(", "THEN", "DO", "OF") or key.startswith("END_"):
                return False
            at += 1
        return False

    def _for(self) -> t.Statement:
        variable = self.postfix()
        self.sign(":=")
        first = self.expression()
        self.key("TO")
        last = self.expression()
        step = self.expression() if self.accept("BY") else None
        self.key("DO")
        body = self.statements({"END_FOR"})
        self.key("END_FOR")
        return t.For(variable.place, variable, first, last, step, body)

    def _while(self) -> t.Statement:
        condition = self.expression()
        self.key("DO")
        body = self.statements({"END_WHILE"})
        self.key("END_WHILE")
        return t.While(condition.place, condition, body)

    def _repeat(self) -> t.Statement:
        body = self.statements({"UNTIL"})
        self.key("UNTIL")
        condition = self.expression()
        self.accept(";")
        self.key("END_REPEAT")
        return t.While(condition.place, condition, body, repeat=True)
