"""What the scanner needs of a connection to a device, whatever its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .config import Point

#: A point's value in the device's unit; None: the device says itself that it is bad.
Reading = tuple[Point, float | bool | None]


class Link(Protocol):
    """A connection. Errors of each call: OSError (TimeoutError and ConnectionError with it)."""

    async def open(self) -> None:
        """Connect."""

    async def read(self) -> Sequence[Reading]:
        """The inputs."""

    async def write(self, wanted: Sequence[tuple[Point, float | bool]]) -> None:
        """Set outputs, in the device's unit; neighbours with one request."""

    async def close(self) -> None:
        """End it, whatever state it is in."""
