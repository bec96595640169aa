"""What models have in common."""

from __future__ import annotations

from typing import Any


class Model:
    """A block beside the block. Inputs come with their names in lower case, those never set not at all."""

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        """The outputs for the inputs of this scan."""
        raise NotImplementedError

    def rises(self, name: str, value: Any) -> bool:
        """Whether a signal is TRUE and was not in the last scan; to be asked once in a scan."""
        was = self._before.get(name, False)
        self._before[name] = value
        return bool(value) and not was


def wrap(value: int, bits: int) -> int:
    """Without a sign, in so many bits."""
    return value % (1 << bits)
