"""Every exception of the solver on one page."""

from __future__ import annotations


class SolverError(Exception):
    """Base of what the solver raises."""


class ProblemError(SolverError, ValueError):
    """A problem that cannot be solved as written: final, the caller corrects it."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {value!r}: {rule}")
        self.field = field
        self.value = value
        self.rule = rule
