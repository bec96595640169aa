"""Statements. After an error the parser goes on at the next statement, so that one run tells many."""

from __future__ import annotations

from . import nodes as n
from .parse_base import CLOSERS, MAX_DEPTH, RESERVED, UNIT_STARTS, SyntaxSlip, TooDeep
from .parse_expr import ExpressionParser

_IL = frozenset(["LD", "LDN", "ST", "STN", "JMPC", "JMPCN", "CALC", "RETC"])


class StatementParser(ExpressionParser):
    """Parses statement lists."""

    def statements(self, *ends: str) -> list[n.Stmt]:
        """Statements up to one of the words in `ends`, which is not taken."""
        body: list[n.Stmt] = []
        self._deeper()
        while self.token.kind != "end":
            if self.token.kind == "id" and (self.token.up in ends or self.token.up in CLOSERS):
                break
            if (
                self.token.kind == "id"
                and self.token.up in UNIT_STARTS
                and self.peek().kind == "id"
            ):
                break
            if self.op(";"):
                continue
            depth, before = self.depth, self.at
            self.listed = depth
            try:
                statement = self._statement()
                if statement is not None:
                    body.append(statement)
            except TooDeep:
                self.depth = depth
                if depth > 1:
                    raise
            except SyntaxSlip:
                self.depth = depth
                if self.at == before:
                    self.advance()
                self.sync_statement()
        self.depth -= 1
        return body

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.too_deep()

    def _statement(self) -> n.Stmt | None:
        token = self.token
        if token.kind == "id":
            handler = (
                getattr(self, f"_{token.up.lower()}_statement", None)
                if token.up in _WORDS
                else None
            )
            if handler is not None:
                statement: n.Stmt = handler()
                return statement
            if token.up in _IL and self.peek().kind in ("id", "int", "real", "direct", "typed"):
                self.sink.error(
                    token.pos,
                    "unsupported",
                    f"{token.up}: Instruction List is not supported",
                    hint="the standard removed it; write Structured Text",
                )
                raise SyntaxSlip
            if token.up == "JMP" or (self.peek().text == ":" and self.peek(2).text != "="):
                self.sink.error(
                    token.pos,
                    "unsupported",
                    "jumps and labels are not supported",
                    hint="use IF, loops, EXIT and RETURN",
                )
                raise SyntaxSlip
        target = self._postfix(self._primary())
        if self.is_op(":=") or self.is_op("?="):
            op = self.advance().text
            value: n.Expr = self.expression()
            if op == ":=" and self.is_op(":="):
                # a := b := c
                chain = [target, value]
                while self.op(":="):
                    chain.append(self.expression())
                self.end_statement()
                last = chain.pop()
                body: list[n.Stmt] = []
                for place in reversed(chain):
                    body.append(n.Assign(place.pos, place, last))
                    last = place
                return n.If(token.pos, [(n.Literal(token.pos, "typed", "BOOL#TRUE"), body)], [])
            self.end_statement()
            return n.Assign(token.pos, target, value, op)
        if self.is_word("REF") and self.peek().text == "=":
            self.advance()
            self.advance()
            reference = self.expression()
            self.end_statement()
            return n.Assign(token.pos, target, reference, "REF=")
        if isinstance(target, n.Call) or (self.codesys and self.is_op(";")):
            self.end_statement()
            return n.CallStmt(token.pos, target)
        if self.is_op("="):
            raise self.fail("':='", hint="= compares; := assigns")
        raise self.fail("':=' or '('", hint="a statement assigns a value or calls something")

    def _body_until(self, *ends: str) -> list[n.Stmt]:
        return self.statements(*ends)

    def _close(self, word: str, opened: int) -> None:
        if self.word(word):
            self.end_statement()
            return
        line, _ = self.sink.files[opened >> 32].locate(opened & 0xFFFFFFFF)
        raise self.fail(word, hint=f"it closes what began on line {line}")

    def _if_statement(self) -> n.Stmt:
        pos = self.advance().pos
        branches: list[tuple[n.Expr, list[n.Stmt]]] = []
        otherwise: list[n.Stmt] = []
        condition = self.expression()
        self.expect_word("THEN")
        branches.append((condition, self._body_until("ELSIF", "ELSE", "END_IF")))
        while self.word("ELSIF"):
            condition = self.expression()
            self.expect_word("THEN")
            branches.append((condition, self._body_until("ELSIF", "ELSE", "END_IF")))
        if self.word("ELSE"):
            otherwise = self._body_until("END_IF")
        self._close("END_IF", pos)
        return n.If(pos, branches, otherwise)

    def _case_statement(self) -> n.Stmt:
        pos = self.advance().pos
        selector = self.expression()
        self.expect_word("OF")
        branches: list[tuple[list[tuple[n.Expr, n.Expr | None]], list[n.Stmt]]] = []
        otherwise: list[n.Stmt] = []
        while not self.is_word("ELSE", "END_CASE") and self.token.kind != "end":
            labels: list[tuple[n.Expr, n.Expr | None]] = []
            while True:
                low = self.expression()
                labels.append((low, self.expression() if self.op("..") else None))
                if not self.op(","):
                    break
            self.expect_op(":", hint="labels end with a colon")
            branches.append((labels, self._case_body()))
        if self.word("ELSE"):
            self.op(":")  # some tools write ELSE:
            otherwise = self._body_until("END_CASE")
        self._close("END_CASE", pos)
        return n.Case(pos, selector, branches, otherwise)

    def _case_body(self) -> list[n.Stmt]:
        body: list[n.Stmt] = []
        self._deeper()
        while (
            self.token.kind != "end"
            and not self.is_word("ELSE", "END_CASE")
            and not self._at_label()
        ):
            if self.token.kind == "id" and self.token.up in CLOSERS:
                break
            if self.op(";"):
                continue
            depth, before = self.depth, self.at
            self.listed = depth
            try:
                statement = self._statement()
                if statement is not None:
                    body.append(statement)
            except TooDeep:
                raise
            except SyntaxSlip:
                self.depth = depth
                if self.at == before:
                    self.advance()
                self.sync_statement()
        self.depth -= 1
        return body

    def _at_label(self) -> bool:
        """A case label ends with a colon before any := or ; turns up."""
        token = self.token
        if token.kind in ("int", "typed") or token.text == "-":
            return True
        if token.kind != "id":
            return False
        at = self.at
        while True:
            token = self.tokens[at]
            if token.kind == "id" and token.up in RESERVED and token.up not in ("TRUE", "FALSE"):
                return False  # a statement: CASE y OF 1: has a colon, too
            if token.kind in ("id", "int", "typed") or token.text in (
                ",",
                "..",
                "-",
                ".",
                "+",
                "*",
            ):
                at += 1
                continue
            return token.text == ":"

    def _for_statement(self) -> n.Stmt:
        pos = self.advance().pos
        variable = self._postfix(self._primary())
        self.expect_op(":=")
        start = self.expression()
        self.expect_word("TO")
        end = self.expression()
        step = self.expression() if self.word("BY") else None
        self.expect_word("DO")
        body = self._body_until("END_FOR")
        self._close("END_FOR", pos)
        return n.For(pos, variable, start, end, step, body)

    def _while_statement(self) -> n.Stmt:
        pos = self.advance().pos
        condition = self.expression()
        self.expect_word("DO")
        body = self._body_until("END_WHILE")
        self._close("END_WHILE", pos)
        return n.While(pos, condition, body)

    def _repeat_statement(self) -> n.Stmt:
        pos = self.advance().pos
        body = self._body_until("UNTIL")
        self.expect_word("UNTIL", hint="REPEAT … UNTIL condition END_REPEAT")
        condition = self.expression()
        self.op(";")
        self._close("END_REPEAT", pos)
        return n.Repeat(pos, body, condition)

    def _jump(self, kind: str) -> n.Stmt:
        pos = self.advance().pos
        self.end_statement()
        return n.Jump(pos, kind)

    def _exit_statement(self) -> n.Stmt:
        return self._jump("EXIT")

    def _return_statement(self) -> n.Stmt:
        return self._jump("RETURN")

    def _continue_statement(self) -> n.Stmt:
        if self.peek().text != ";":  # a variable of that name
            target = self._postfix(self._primary())
            self.expect_op(":=")
            value = self.expression()
            self.end_statement()
            return n.Assign(target.pos, target, value)
        return self._jump("CONTINUE")


_WORDS = frozenset(["IF", "CASE", "FOR", "WHILE", "REPEAT", "EXIT", "RETURN", "CONTINUE"])
