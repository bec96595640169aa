"""Rules and groups as data, and durations as Prometheus writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule: `level:metric:operations`, as Prometheus' naming practice has it."""

    record: str
    expr: str

    def document(self) -> dict[str, Any]:
        return {"record": self.record, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that run one after the other; each sees what those before it have just recorded."""

    name: str
    rules: tuple[Any, ...]
    #: seconds; None: the server's evaluation interval
    interval_s: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        head: dict[str, Any] = {"name": self.name}
        if self.interval_s is not None:
            head["interval"] = duration(self.interval_s)
        return {**head, **self.extra, "rules": [rule.document() for rule in self.rules]}


def duration(seconds: int) -> str:
    """300 → "5m": the largest unit that fits without a rest."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
