"""Sequential function charts in text: steps, transitions, action blocks."""

from __future__ import annotations

from . import nodes as n
from .parse_stmt import StatementParser

QUALIFIERS = ("N", "S", "R", "P", "P0", "P1", "L", "D", "SD", "DS", "SL")
_TIMED = ("L", "D", "SD", "DS", "SL")


class SfcParser(StatementParser):
    """Parses the body of a POU written as a chart."""

    def sfc(self, pou: n.Pou) -> n.Sfc:
        """The chart; actions found inside are added to the POU."""
        chart = n.Sfc(self.token.pos, [], [])
        while True:
            if self.is_word("INITIAL_STEP", "STEP"):
                chart.steps.append(self._step())
            elif self.is_word("TRANSITION"):
                chart.transitions.append(self._transition())
            elif self.is_word("ACTION"):
                pos = self.advance().pos
                name = self.name("the name of the action")
                self.expect_op(":")
                body = self.statements("END_ACTION")
                self.expect_word("END_ACTION")
                self.op(";")
                pou.actions.append(n.Action(pos, name.text, body))
            else:
                return chart

    def _step(self) -> n.Step:
        initial = self.advance().up == "INITIAL_STEP"
        name = self.name("the name of the step")
        self.expect_op(":")
        actions: list[tuple[int, str, str, n.Expr | None]] = []
        while not self.word("END_STEP"):
            action = self.name("the name of an action or END_STEP")
            qualifier, time = "N", None
            if self.op("("):
                if not self.is_op(")"):
                    word = self.name("a qualifier")
                    qualifier = word.up
                    if qualifier not in QUALIFIERS:
                        self.sink.error(
                            word.pos,
                            "sfc",
                            f"{word.text}: a qualifier is one of {', '.join(QUALIFIERS)}",
                        )
                        qualifier = "N"
                    if self.op(","):
                        time = self.expression()
                    if qualifier in _TIMED and time is None:
                        self.sink.error(
                            word.pos,
                            "sfc",
                            f"{qualifier} needs a time",
                            hint=f"{action.text}({qualifier}, T#1s);",
                        )
                    if time is not None and qualifier not in _TIMED:
                        self.sink.error(
                            word.pos,
                            "sfc",
                            f"{qualifier} takes no time",
                            hint=f"with a time stand {', '.join(sorted(_TIMED))}",
                        )
                self.expect_op(")")
            self.expect_op(";")
            actions.append((action.pos, action.text, qualifier, time))
        self.op(";")
        return n.Step(name.pos, name.text, initial, actions)

    def _transition(self) -> n.Transition:
        pos = self.advance().pos
        priority = 0
        if not self.is_word("FROM") and not self.is_op("("):
            self.name("the name of the transition")
        if self.op("("):
            self.expect_word("PRIORITY")
            self.expect_op(":=")
            if self.token.kind != "int":
                raise self.fail("a number")
            priority = int(self.advance().text)
            self.expect_op(")")
        self.expect_word("FROM")
        sources = self._step_names()
        self.expect_word("TO")
        targets = self._step_names()
        self.expect_op(":=")
        condition = self.expression()
        self.expect_op(";")
        self.expect_word("END_TRANSITION")
        self.op(";")
        return n.Transition(pos, sources, targets, condition, priority)

    def _step_names(self) -> list[str]:
        if not self.op("("):
            return [self.name("a step").text]
        names = [self.name("a step").text]
        while self.op(","):
            names.append(self.name("a step").text)
        self.expect_op(")")
        return names
