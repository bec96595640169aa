"""The parser's hands: looking at tokens, expecting them, and finding the next safe place after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Sink
from .lexer import Token

#: Words that are never names: they begin or end what a parser must find again after an error.
RESERVED = frozenset(
    [
        "IF",
        "THEN",
        "ELSE",
        "ELSIF",
        "END_IF",
        "CASE",
        "OF",
        "END_CASE",
        "FOR",
        "TO",
        "BY",
        "DO",
        "END_FOR",
        "WHILE",
        "END_WHILE",
        "REPEAT",
        "UNTIL",
        "END_REPEAT",
        "EXIT",
        "RETURN",
        "AND",
        "OR",
        "XOR",
        "NOT",
        "MOD",
        "VAR",
        "VAR_INPUT",
        "VAR_OUTPUT",
        "VAR_IN_OUT",
        "VAR_TEMP",
        "VAR_EXTERNAL",
        "VAR_GLOBAL",
        "VAR_CONFIG",
        "VAR_ACCESS",
        "END_VAR",
        "PROGRAM",
        "END_PROGRAM",
        "FUNCTION",
        "END_FUNCTION",
        "FUNCTION_BLOCK",
        "END_FUNCTION_BLOCK",
        "TYPE",
        "END_TYPE",
        "STRUCT",
        "END_STRUCT",
        "END_METHOD",
        "END_INTERFACE",
        "END_PROPERTY",
        "END_ACTION",
        "END_STEP",
        "END_TRANSITION",
        "CONFIGURATION",
        "END_CONFIGURATION",
        "END_RESOURCE",
        "ARRAY",
        "TRUE",
        "FALSE",
        "END_UNION",
    ]
)
#: Where statements end when their own end is missing.
CLOSERS = frozenset(
    [
        "END_IF",
        "ELSE",
        "ELSIF",
        "END_CASE",
        "END_FOR",
        "END_WHILE",
        "UNTIL",
        "END_REPEAT",
        "END_PROGRAM",
        "END_FUNCTION",
        "END_FUNCTION_BLOCK",
        "END_FUNCTIONBLOCK",
        "END_METHOD",
        "END_ACTION",
        "END_GET",
        "END_SET",
        "END_PROPERTY",
        "END_TYPE",
        "END_VAR",
        "END_STEP",
        "END_TRANSITION",
        "END_CONFIGURATION",
        "END_RESOURCE",
        "END_INTERFACE",
        "END_CLASS",
    ]
)
#: Where a body ends, whatever is open in it.
BODY_ENDS = frozenset(
    word
    for word in CLOSERS
    if word.startswith("END_")
    and word not in ("END_IF", "END_CASE", "END_FOR", "END_WHILE", "END_REPEAT")
)
OPENERS = frozenset(["IF", "CASE", "FOR", "WHILE", "REPEAT", "EXIT", "RETURN"])
UNIT_STARTS = frozenset(
    [
        "PROGRAM",
        "FUNCTION",
        "FUNCTION_BLOCK",
        "FUNCTIONBLOCK",
        "TYPE",
        "CONFIGURATION",
        "VAR_GLOBAL",
        "INTERFACE",
        "CLASS",
        "NAMESPACE",
    ]
)
#: A program nested deeper than this is refused; it also bounds this parser's own recursion.
MAX_DEPTH = 120
#: The same for `a + b + c …` and `a.b.c …`.
MAX_CHAIN = 400


class SyntaxSlip(Exception):
    """An error was recorded; whoever can find a safe place goes on from there."""


class TooDeep(SyntaxSlip):
    """Nothing around it can be read any more: whoever is outermost goes on."""


class TokenReader:
    """A cursor over the tokens of one file."""

    def __init__(
        self, tokens: list[Token], comments: dict[int, str], sink: Sink, *, codesys: bool
    ) -> None:
        self.tokens, self.comments, self.sink, self.codesys = tokens, comments, sink, codesys
        self.at = 0
        self.token = tokens[0]
        self.depth = 0
        #: How deep the list of statements is in which the current token stands.
        self.listed = 0

    def advance(self) -> Token:
        """Take the current token."""
        token = self.token
        if self.at < len(self.tokens) - 1:
            self.at += 1
            self.token = self.tokens[self.at]
        return token

    def peek(self, count: int = 1) -> Token:
        """A token further on."""
        return self.tokens[min(self.at + count, len(self.tokens) - 1)]

    def op(self, text: str) -> bool:
        """Whether the current token is this operator; takes it."""
        if self.token.kind == "op" and self.token.text == text:
            self.advance()
            return True
        return False

    def is_op(self, text: str) -> bool:
        """Whether the current token is this operator."""
        return self.token.kind == "op" and self.token.text == text

    def word(self, *words: str) -> bool:
        """Whether the current token is one of these words; takes it."""
        if self.token.kind == "id" and self.token.up in words:
            self.advance()
            return True
        return False

    def is_word(self, *words: str) -> bool:
        """Whether the current token is one of these words."""
        return self.token.kind == "id" and self.token.up in words

    def describe(self) -> str:
        """The current token, for people."""
        token = self.token
        if token.kind == "end":
            return "the end of the file"
        if token.kind in ("string", "wstring"):
            return "a string"
        return f"{token.text!r}"

    def fail(self, expected: str, hint: str = "") -> SyntaxSlip:
        """Record what was expected here; the caller raises what comes back."""
        self.sink.error(
            self.token.pos,
            "syntax",
            f"{expected} expected, found {self.describe()}",
            hint=hint,
            length=max(1, len(self.token.text)),
        )
        return SyntaxSlip()

    def expect_op(self, text: str, hint: str = "") -> Token:
        """Take this operator or fail."""
        if self.token.kind == "op" and self.token.text == text:
            return self.advance()
        raise self.fail(repr(text), hint)

    def expect_word(self, *words: str, hint: str = "") -> Token:
        """Take one of these words or fail."""
        if self.token.kind == "id" and self.token.up in words:
            return self.advance()
        raise self.fail(" or ".join(words), hint)

    def name(self, what: str = "a name") -> Token:
        """Take an identifier that is not reserved."""
        token = self.token
        if token.kind != "id":
            raise self.fail(what)
        if token.up in RESERVED:
            raise self.fail(what, hint=f"{token.up} is a word of the language")
        if not token.text.isascii():
            self.sink.error(
                token.pos,
                "name",
                f"{token.text!r}: names have letters A to Z, digits and underscores",
                length=len(token.text),
            )
        if len(token.text) > 256:
            self.sink.error(token.pos, "name", "this name is longer than 256 characters")
        return self.advance()

    def end_statement(self) -> None:
        """Take the semicolon; older tools let it go after END_… words."""
        if self.op(";"):
            while self.op(";"):
                pass
            return
        if self.codesys and (
            self.token.kind == "end"
            or self.token.up in CLOSERS
            or self.tokens[self.at - 1].up.startswith("END_")
        ):
            return
        previous = self.tokens[self.at - 1]
        place = previous.pos + len(previous.text)
        if self.tokens[self.at - 1].kind in ("string", "wstring"):
            place += 2
        self.sink.error(place, "syntax", f"';' expected before {self.describe()}")
        if self.token.kind == "id" or self.token.kind == "end":
            return  # the next statement most likely begins here
        raise SyntaxSlip

    @contextmanager
    def level(self) -> Iterator[None]:
        """Inside something that can stand in itself; refused where that goes too deep."""
        depth = self.depth
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                raise self.too_deep()
            yield
        finally:
            self.depth = depth

    def too_deep(self) -> TooDeep:
        """Record it, and leave the rest of this POU alone; the caller raises what comes back."""
        self.sink.error(self.token.pos, "syntax", f"nested deeper than {MAX_DEPTH} levels")
        self.sync_to(BODY_ENDS)
        return TooDeep()

    def sync_statement(self) -> None:
        """Go to the next place where a statement can begin."""
        while self.token.kind != "end":
            if self.op(";"):
                return
            if self.token.kind == "id" and (
                self.token.up in CLOSERS or self.token.up in OPENERS or self.token.up in UNIT_STARTS
            ):
                return
            self.advance()

    def sync_to(self, words: frozenset[str]) -> None:
        """Go to one of these words."""
        while self.token.kind != "end" and not (self.token.kind == "id" and self.token.up in words):
            self.advance()
