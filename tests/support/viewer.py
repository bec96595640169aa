"""A small viewer of screens: it shakes hands, asks for one picture and takes it apart."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[], bytes]
Write = Callable[[bytes], object]
RESIZED = -223


@dataclass(frozen=True)
class Picture:
    """What was on the screen: size, the screen's name, and pixels of 4 bytes, row by row."""

    width: int
    height: int
    name: str
    pixels: bytes

    @property
    def colours(self) -> int:
        """How many different pixels there are."""
        return len({self.pixels[at : at + 4] for at in range(0, len(self.pixels), 4)})


class Viewer:
    """RFB 3.8 without a sign-in, raw pixels; `read` blocks until there is something."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read, self._write = read, write
        self._kept = b""
        assert self._take(12) == b"RFB 003.008\n"
        write(b"RFB 003.008\n")
        kinds = self._take(self._take(1)[0])
        assert 1 in kinds, kinds
        write(b"\x01")
        assert self._take(4) == bytes(4)
        write(b"\x01")  # beside others
        self.width, self.height = struct.unpack(">HH", self._take(4))
        bits, _, big, true, *_ = struct.unpack(">BBBBHHHBBBxxx", self._take(16))
        assert (bits, big, true) == (32, 0, 1)
        self.name = self._take(struct.unpack(">I", self._take(4))[0]).decode()
        # Raw pixels, and word of another size of the screen.
        write(struct.pack(">BxHii", 2, 2, 0, RESIZED))

    def picture(self) -> Picture:
        """The whole screen, drawn anew."""
        while (pixels := self._drawn()) is None:
            pass
        return Picture(self.width, self.height, self.name, pixels)

    def _drawn(self) -> bytes | None:
        """One update; None where it said that the screen has another size now."""
        self._write(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        pixels = bytearray(4 * self.width * self.height)
        while (kind := self._take(1)[0]) == 2:  # bell
            pass
        assert kind == 0, kind
        (count,) = struct.unpack(">xH", self._take(3))
        resized = False
        for _ in range(count):
            left, top, width, height, coding = struct.unpack(">HHHHi", self._take(12))
            if coding == RESIZED:
                self.width, self.height, resized = width, height, True
                continue
            assert coding == 0, coding
            for row in range(height):
                at = 4 * ((top + row) * self.width + left)
                pixels[at : at + 4 * width] = self._take(4 * width)
        return None if resized else bytes(pixels)

    def key(self, symbol: int) -> None:
        """Press and release."""
        for down in (1, 0):
            self._write(struct.pack(">BBxxI", 4, down, symbol))

    def _take(self, size: int) -> bytes:
        while len(self._kept) < size:
            self._kept += self._read()
        data, self._kept = self._kept[:size], self._kept[size:]
        return data
