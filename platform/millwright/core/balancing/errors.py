"""What can be wrong with a question to the balancer."""

from __future__ import annotations


class BalancingError(Exception):
    """Root of the tree."""


class SnapshotError(BalancingError):
    """A snapshot that cannot be used; names the field, its value and the rule."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        shown = _shown(value)
        super().__init__(f"{field}: {shown if len(shown) <= 120 else shown[:117] + '...'}: {rule}")
        self.field = field
        self.value = value
        self.rule = rule


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits has no text, nor has what lies thousands deep in itself.
        return f"a {type(value).__name__} too large to be shown"
