"""What can be wrong with a question to the balancer."""

from __future__ import annotations


class BalancingError(Exception):
    """Root of the tree."""


class SnapshotError(BalancingError):
    """A snapshot that cannot be used; names the field, its value and the rule."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {value!r}: {rule}")
        self.field = field
        self.value = value
        self.rule = rule
