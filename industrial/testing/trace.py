"""What a test's variables did over virtual time, thinned so that a chart can show all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

#: More rows than pixels help nobody: at this many, every second one is dropped and every second noted.
MOST_ROWS = 500
#: More lines than these in one chart are not told apart.
MOST_TAGS = 16


class Trace:
    """Rows of numbers, from the first scan to the last, at most `MOST_ROWS` of them."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(tags)
        self.time_us: list[int] = []
        self.values: list[list[float]] = [[] for _ in self.tags]
        self._every = 1
        self._count = 0

    def note(self, now_us: int, read: Callable[[str], Any]) -> None:
        """Take a row, if it is its turn."""
        if self._count % self._every == 0:
            if len(self.time_us) >= MOST_ROWS:
                self._every *= 2
                self.time_us = self.time_us[::2]
                self.values = [column[::2] for column in self.values]
            if self._count % self._every == 0:
                self.time_us.append(now_us)
                for column, tag in zip(self.values, self.tags, strict=True):
                    column.append(float(read(tag)))
        self._count += 1

    def as_dict(self) -> dict[str, Any]:
        """For the JSON report: times in microseconds, and a column of numbers for each tag."""
        return {"time_us": self.time_us, "values": dict(zip(self.tags, self.values, strict=True))}


def worth_tracing(symbols: Iterable[dict[str, Any]], plant: Iterable[str]) -> tuple[str, ...]:
    """The plant's variables, then the program's located numbers and switches, then its other ones."""
    numbers = {"BOOL", "BYTE", "WORD", "DWORD", "LWORD", "SINT", "INT", "DINT", "LINT", "USINT", "UINT", "UDINT", "ULINT", "REAL", "LREAL"}  # fmt: skip
    plain = [
        row
        for row in symbols
        if row.get("type") in numbers and not row.get("dims") and not row.get("constant")
    ]
    located = [str(row["path"]) for row in plain if row.get("located")]
    others = [str(row["path"]) for row in plain if not row.get("located") and row["path"].count(".") == 1]  # fmt: skip
    return tuple([*plant, *located, *others][:MOST_TAGS])
