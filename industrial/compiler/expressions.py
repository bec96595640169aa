"""Expressions by precedence, and the parser's handling of tokens."""

from __future__ import annotations

import re

from . import tree as t
from .diagnostics import Diagnostic, StopError
from .lexer import Token

#: Weakest first; each level binds from the left.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("OR", "OR_ELSE"),
    ("XOR",),
    ("AND", "&", "AND_THEN"),
    ("=", "<>"),
    ("<", ">", "<=", ">="),
    ("+", "-"),
    ("*", "/", "MOD"),
)
_SPANS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
    "ns": 0,
}
_INTEGERS = {
    "SINT",
    "INT",
    "DINT",
    "LINT",
    "USINT",
    "UINT",
    "UDINT",
    "ULINT",
    "BYTE",
    "WORD",
    "DWORD",
    "LWORD",
}


class ExpressionParser:
    """Works on a list of tokens that ends with one of kind "end"."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0

    # --- tokens ---------------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.position += 1
        return token

    def accept(self, key: str) -> bool:
        if self.token.key == key and self.token.kind != "end":
            self.advance()
            return True
        return False

    def sign(self, key: str) -> None:
        if not self.accept(key):
            hint = "a statement ends with ;" if key == ";" else ""
            raise self.expected(f"'{key}'", hint)

    def key(self, key: str) -> None:
        if not self.accept(key):
            raise self.expected(key)

    def word(self, what: str) -> Token:
        if self.token.kind != "word":
            raise self.expected(what)
        return self.advance()

    def error(self, code: str, message: str, hint: str = "") -> StopError:
        return StopError(Diagnostic(self.token.place, code, message, hint))

    def expected(self, what: str, hint: str = "") -> StopError:
        found = f"{self.token.text!r}" if self.token.kind != "end" else "the end of the file"
        return self.error("E010", f"expected {what}, found {found}", hint)

    # --- expressions ----------------------------------------------------------------------------------

    def expression(self, level: int = 0) -> t.Expr:
        """An expression of this precedence or stronger."""
        if level == len(LEVELS):
            return self._power()
        left = self.expression(level + 1)
        while self.token.key in LEVELS[level] and self.token.kind in ("word", "sign"):
            token = self.advance()
            left = t.Binary(token.place, token.key, left, self.expression(level + 1))
        return left

    def _power(self) -> t.Expr:
        base = self._unary()
        while self.token.key == "**":
            place = self.advance().place
            base = t.Binary(place, "**", base, self._unary())
        return base

    def _unary(self) -> t.Expr:
        token = self.token
        if token.key in ("-", "+", "NOT"):
            self.advance()
            operand = self._unary()
            if (
                token.key == "-"
                and isinstance(operand, t.Literal)
                and not isinstance(operand.value, bool)
            ):
                return t.Literal(token.place, -operand.value, operand.type)
            return operand if token.key == "+" else t.Unary(token.place, token.key, operand)
        return self.postfix()

    def postfix(self) -> t.Expr:
        """A name or literal with members, indexes and calls behind it."""
        found = self._primary()
        while True:
            token = self.token
            if token.key == ".":
                self.advance()
                if self.token.kind == "integer":
                    found = t.Member(token.place, found, self.advance().text)
                else:
                    found = t.Member(token.place, found, self.word("the name of a member").text)
            elif token.key == "[":
                self.advance()
                indexes = [self.expression()]
                while self.accept(","):
                    indexes.append(self.expression())
                self.sign("]")
                found = t.Index(token.place, found, indexes)
            elif token.key == "(":
                self.advance()
                found = t.Call(found.place, found, self._arguments())
            else:
                return found

    def _arguments(self) -> list[t.Argument]:
        found: list[t.Argument] = []
        while self.token.key != ")":
            following = self.tokens[self.position + 1].key if self.token.kind == "word" else ""
            if following in (":=", "=>"):
                name = self.advance().text
                output = self.advance().key == "=>"
                found.append(t.Argument(name, self.expression(), output))
            else:
                found.append(t.Argument("", self.expression()))
            if not self.accept(","):
                break
        self.sign(")")
        return found

    def _primary(self) -> t.Expr:
        token = self.token
        if token.key == "(":
            self.advance()
            inner = self.expression()
            self.sign(")")
            return inner
        if token.key in ("TRUE", "FALSE"):
            self.advance()
            return t.Literal(token.place, token.key == "TRUE", "BOOL")
        if token.kind == "integer":
            self.advance()
            return t.Literal(token.place, int(token.text.replace("_", "")), "")
        if token.kind == "real":
            self.advance()
            return t.Literal(token.place, float(token.text.replace("_", "")), "REAL?")
        if token.kind == "based":
            return self._based(self.advance(), "")
        if token.kind == "typed":
            return self._typed(self.advance())
        if token.kind == "string":
            raise self.error("E090", "strings are not supported yet")
        if token.kind == "word":
            self.advance()
            return t.Name(token.place, token.text)
        raise self.expected("a value")

    def _based(self, token: Token, kind: str) -> t.Expr:
        base, digits = token.text.rsplit("#", 1)
        try:
            return t.Literal(token.place, int(digits.replace("_", ""), int(base)), kind)
        except ValueError:
            raise StopError(
                Diagnostic(token.place, "E011", f"{token.text}: not a number of base {base}")
            ) from None

    def _typed(self, token: Token) -> t.Expr:
        kind, _, text = token.key.partition("#")
        if kind in ("T", "TIME"):
            return t.Literal(token.place, _time_ms(token), "TIME")
        if kind == "BOOL" and text in ("TRUE", "FALSE", "0", "1"):
            return t.Literal(token.place, text in ("TRUE", "1"), "BOOL")
        if kind in ("REAL", "LREAL"):
            try:
                return t.Literal(token.place, float(text.replace("_", "")), kind)
            except ValueError:
                pass
        if kind in _INTEGERS and self.token.text.startswith("#"):
            raise self.error("E011", "a based number is written TYPE#16#FF without spaces")
        if kind in _INTEGERS:
            try:
                return t.Literal(token.place, int(text.replace("_", "")), kind)
            except ValueError:
                pass
        # TYPE#Value of an enumeration.
        if re.fullmatch(r"[A-Z_]\w*", text):
            original = token.text.split("#")
            return t.Member(token.place, t.Name(token.place, original[0]), original[1])
        raise StopError(
            Diagnostic(token.place, "E011", f"{token.text}: not a literal that is known")
        )


def _time_ms(token: Token) -> int:
    """T#1d2h3m4s5ms in milliseconds."""
    text = token.text.split("#", 1)[1].replace("_", "").lower()
    negative, text = text.startswith("-"), text.lstrip("+-")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|ns|d|h|m|s)", text)
    if negative or not parts or "".join(number + unit for number, unit in parts) != text:
        raise StopError(
            Diagnostic(
                token.place, "E011", f"{token.text}: not a duration", "as in T#1m30s or T#250ms"
            )
        )
    return round(sum(float(number) * _SPANS[unit] for number, unit in parts)) // 1000
