"""Expressions, with the standard's precedence, and initial values."""

from __future__ import annotations

from . import nodes as n
from .parse_base import MAX_CHAIN, MAX_DEPTH, RESERVED, SyntaxSlip, TokenReader

#: Loosest first. The standard puts NOT and the sign above **.
_LEVELS: tuple[dict[str, str], ...] = (
    {"OR": "OR", "OR_ELSE": "OR_ELSE"},
    {"XOR": "XOR"},
    {"AND": "AND", "&": "AND", "AND_THEN": "AND_THEN"},
    {"=": "=", "<>": "<>"},
    {"<": "<", ">": ">", "<=": "<=", ">=": ">="},
    {"+": "+", "-": "-"},
    {"*": "*", "/": "/", "MOD": "MOD"},
    {"**": "**"},
)


class ExpressionParser(TokenReader):
    """Parses expressions."""

    def expression(self) -> n.Expr:
        """An expression."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            if (
                self.listed > MAX_DEPTH - 4
            ):  # what nests is statements, and their ends are not found any more
                raise self.too_deep()
            self.sink.error(self.token.pos, "syntax", f"nested deeper than {MAX_DEPTH} levels")
            self.depth = 0
            raise SyntaxSlip
        result = self._level(0)
        self.depth -= 1
        return result

    def _level(self, level: int) -> n.Expr:
        if level == len(_LEVELS):
            return self._unary()
        operators = _LEVELS[level]
        left = self._level(level + 1)
        count = 0
        while (self.token.kind == "op" or self.token.kind == "id") and (
            op := operators.get(self.token.up)
        ):
            pos = self.advance().pos
            count += 1
            if count > MAX_CHAIN:
                self.sink.error(pos, "syntax", f"more than {MAX_CHAIN} operators in a row")
                raise SyntaxSlip
            left = n.Binary(pos, op, left, self._level(level + 1))
        return left

    def _unary(self) -> n.Expr:
        token = self.token
        if (token.kind == "op" and token.text in "+-") or (
            token.kind == "id" and token.up == "NOT"
        ):
            self.advance()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.sink.error(token.pos, "syntax", f"nested deeper than {MAX_DEPTH} levels")
                raise SyntaxSlip
            operand = self._unary()
            self.depth -= 1
            if token.text == "+":
                return operand
            if (
                token.text == "-"
                and isinstance(operand, n.Literal)
                and operand.kind in ("int", "real")
                and operand.text[0] != "-"
            ):
                return n.Literal(token.pos, operand.kind, "-" + operand.text)
            return n.Unary(token.pos, token.up, operand)
        return self._postfix(self._primary())

    def _primary(self) -> n.Expr:
        token = self.token
        if token.kind in ("int", "real", "string", "wstring"):
            self.advance()
            return n.Literal(token.pos, token.kind, token.text)
        if token.kind == "typed":
            self.advance()
            if token.text.endswith("#") and self.token.kind in ("string", "wstring"):
                text = self.advance()
                return n.Literal(
                    token.pos,
                    "typed",
                    token.text + ("'" if text.kind == "string" else '"') + text.text,
                )
            return n.Literal(token.pos, "typed", token.text)
        if token.kind == "direct":
            self.advance()
            return n.Direct(token.pos, token.text.upper())
        if self.op("("):
            inner = self.expression()
            self.expect_op(")")
            return inner
        if token.kind == "id":
            if token.up in ("TRUE", "FALSE"):
                self.advance()
                return n.Literal(token.pos, "typed", f"BOOL#{token.up}")
            # AND(a, b) and the like exist as functions too
            if token.up in RESERVED and not (
                token.up in ("AND", "OR", "XOR", "NOT", "MOD") and self.peek().text == "("
            ):
                raise self.fail("an expression", hint=f"{token.up} is a word of the language")
            self.advance()
            return n.Name(token.pos, token.text)
        raise self.fail("an expression")

    def _postfix(self, base: n.Expr) -> n.Expr:
        count = 0
        while self.token.kind == "op":
            token = self.token
            count += 1
            if count > MAX_CHAIN:
                raise self.fail("the end of this chain")
            if token.text == ".":
                self.advance()
                part = self.token
                if part.kind == "id" or part.kind == "int" or part.kind == "direct":
                    self.advance()
                    base = n.Member(part.pos, base, part.text)
                elif part.kind == "real" and part.text.replace(".", "").isdigit():
                    raise self.fail("one bit number")
                else:
                    raise self.fail("the name of a member")
            elif token.text == "[":
                self.advance()
                indices = [self.expression()]
                while self.op(","):
                    indices.append(self.expression())
                self.expect_op("]")
                base = n.Index(token.pos, base, indices)
            elif token.text == "^":
                self.advance()
                base = n.Deref(token.pos, base)
            elif token.text == "(" and isinstance(base, n.Name | n.Member | n.Index | n.Deref):
                self.advance()
                base = n.Call(token.pos, base, self.arguments())
            else:
                break
        return base

    def arguments(self) -> list[n.Arg]:
        """What follows ( in a call, to its )."""
        arguments: list[n.Arg] = []
        if self.op(")"):
            return arguments
        while True:
            token, following = self.token, self.peek()
            negated = False
            if token.up == "NOT" and following.kind == "id" and self.peek(2).text == "=>":
                self.advance()
                negated, token, following = True, self.token, self.peek()
            if token.kind == "id" and following.kind == "op" and following.text in (":=", "=>"):
                self.advance()
                self.advance()
                value = None if self.is_op(",") or self.is_op(")") else self.expression()
                arguments.append(
                    n.Arg(token.pos, token.text, value, following.text == "=>", negated)
                )
            else:
                arguments.append(n.Arg(token.pos, "", self.expression()))
            if self.op(")"):
                return arguments
            self.expect_op(",", hint="arguments are separated by commas, the list ends with )")

    # --- initial values -----------------------------------------------------------------------------------

    def initial(self) -> n.Expr:
        """What follows := in a declaration."""
        value = self._initial_item()
        if (isinstance(value, n.ArrayInit) and value.bare) or not (
            self.is_op(",") and self.codesys
        ):
            return value
        # a, b, c without brackets
        items: list[tuple[n.Expr | None, n.Expr | None]] = [(None, value)]
        while self.op(","):
            items.append(self._repeated())
        return n.ArrayInit(value.pos, items, bare=True)

    def _initial_item(self) -> n.Expr:
        with self.level():
            return self._one_initial()

    def _one_initial(self) -> n.Expr:
        token = self.token
        if self.op("["):
            items: list[tuple[n.Expr | None, n.Expr | None]] = []
            while not self.is_op("]"):
                items.append(self._repeated())
                if not self.op(","):
                    break
            self.expect_op("]")
            return n.ArrayInit(token.pos, items)
        if token.text == "(" and self.peek().kind == "id" and self.peek(2).text == ":=":
            self.advance()
            fields: list[tuple[str, n.Expr]] = []
            while True:
                name = self.name("the name of a member").text
                self.expect_op(":=")
                fields.append((name, self._initial_item()))
                if not self.op(","):
                    break
            self.expect_op(")")
            return n.StructInit(token.pos, fields)
        if self.codesys and token.kind == "int" and self.peek().text == "(":
            count, value = self._repeated()
            items = [(count, value)]
            while self.op(","):
                items.append(self._repeated())
            return n.ArrayInit(token.pos, items, bare=True)
        return self.expression()

    def _repeated(self) -> tuple[n.Expr | None, n.Expr | None]:
        """n(value) or a value."""
        token = self.token
        if token.kind in ("int", "id") and self.peek().text == "(" and (token.kind == "int"):
            self.advance()
            count = n.Literal(token.pos, "int", token.text)
            self.expect_op("(")
            if self.op(")"):
                return count, None
            inner = self._initial_item()
            if self.is_op(","):
                items: list[tuple[n.Expr | None, n.Expr | None]] = [(None, inner)]
                while self.op(","):
                    items.append(self._repeated())
                inner = n.ArrayInit(token.pos, items)
            self.expect_op(")")
            return count, inner
        return None, self._initial_item()
