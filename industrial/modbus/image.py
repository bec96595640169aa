"""The contract's Modbus map on the process image, in the bytes of the wire.

coils %QX, discrete inputs %IX, input registers %IW, holding 0-1023 %QW, 1024-2047 %MW, 2048-4095 %MD,
4096-36863 %ML: the last three are windows on the same memory, in bytes from its start. A value of several
registers has its low word first, or its high word first where vplc.toml says so.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from industrial.runtime.shm import (
    IN_AT,
    IN_SIZE,
    MEM_AT,
    MEM_SIZE,
    OUT_AT,
    OUT_SIZE,
    Area,
    SharedMemory,
    Write,
)

HOLDING_QW = 1024
_SWAP = sys.byteorder == "little"


class OutOfMap(LookupError):
    """An address that the map does not have: Modbus exception 02."""


@dataclass(frozen=True, slots=True)
class Window:
    """Registers `first` to `end` - 1 on an area from byte `base` of it; `words` registers are one value."""

    first: int
    end: int
    area: Area
    at: int
    base: int
    words: int


HOLDING = (
    Window(0, HOLDING_QW, Area.OUT, OUT_AT, 0, 1),
    Window(1024, 2048, Area.MEM, MEM_AT, 0, 1),
    Window(2048, 4096, Area.MEM, MEM_AT, 0, 2),
    Window(4096, 4096 + MEM_SIZE // 2, Area.MEM, MEM_AT, 0, 4),
)
INPUT = (Window(0, IN_SIZE // 2, Area.IN, IN_AT, 0, 1),)


def _split(windows: tuple[Window, ...], first: int, count: int) -> list[tuple[Window, int, int]]:
    """The part of a range in each window: window, first register, register behind the last.

    Raises:
        OutOfMap: the range leaves the map.
    """
    end = first + count
    found = [
        (window, max(first, window.first), min(end, window.end))
        for window in windows
        if first < window.end and end > window.first
    ]
    if sum(last - begin for _, begin, last in found) != count:
        raise OutOfMap(f"registers {first} to {end - 1}")
    return found


class ModbusImage:
    """Registers and bits, read from one scan and written at the next boundary."""

    def __init__(
        self,
        shm: SharedMemory,
        symbols: Iterable[Mapping[str, Any]] = (),
        *,
        high_first: bool = False,
    ) -> None:
        self.shm = shm
        self._high_first = high_first
        #: frame of a request behind its number → where its registers lie, and how the answer begins
        self.plans: dict[bytes, tuple[tuple[tuple[int, int]], bytes]] = {}
        #: bytes and bits of outputs and memory that the program itself writes
        self._driven: set[tuple[Area, int, int | None]] = set()
        for symbol in symbols:
            if symbol.get("driven") and symbol.get("area") in ("Q", "M"):
                area = Area.OUT if symbol["area"] == "Q" else Area.MEM
                if symbol.get("bit") is not None:
                    self._driven.add((area, symbol["offset"], symbol["bit"]))
                else:
                    self._driven.update(
                        (area, symbol["offset"] + n, None) for n in range(symbol["size"])
                    )

    # --- reading --------------------------------------------------------------------------------------

    def registers(self, area: str, first: int, count: int) -> bytes:
        """Registers of "holding" or "input" as they go over the wire, all of the same scan.

        Raises:
            OutOfMap: one of them does not exist.
        """
        span = self.plain_span(area, first, count)
        return self._windows(first, count) if span is None else self.words((span,))

    def plain_span(self, area: str, first: int, count: int) -> tuple[int, int] | None:
        """Where registers lie in the memory, if they do in one piece and in its order.

        Raises:
            OutOfMap: one of them does not exist.
        """
        ((window, begin, end), *more) = _split(INPUT if area == "input" else HOLDING, first, count)
        if more or (self._high_first and window.words > 1):
            return None
        at = window.at + window.base - 2 * window.first
        return at + 2 * begin, at + 2 * end

    def words(self, spans: tuple[tuple[int, int]]) -> bytes:
        """A piece of the memory as registers go over the wire."""
        words = array("H", self.shm.read(spans)[0])
        if _SWAP:
            words.byteswap()
        return words.tobytes()

    def _windows(self, first: int, count: int) -> bytes:
        parts = _split(HOLDING, first, count)
        spans: list[tuple[int, int]] = []
        for window, begin, end in parts:
            if self._high_first:  # whole values, whose words are turned round
                begin -= (begin - window.first) % window.words
                end += -(end - window.first) % window.words
            spans.append(
                (window.at + 2 * (begin - window.first), window.at + 2 * (end - window.first))
            )
        found = b""
        for (window, begin, end), data in zip(parts, self.shm.read(spans), strict=True):
            words = array("H", data)
            if self._high_first and window.words > 1:
                skip = (begin - window.first) % window.words
                words = _turned(words, window.words)[skip : skip + end - begin]
            if _SWAP:
                words.byteswap()
            found += words.tobytes()
        return found

    def bits(self, area: str, first: int, count: int) -> bytes:
        """Coils or discrete inputs of one scan, packed as they go over the wire.

        Raises:
            OutOfMap: one of them does not exist.
        """
        at, size = (OUT_AT, OUT_SIZE) if area == "coil" else (IN_AT, IN_SIZE)
        if first + count > size * 8:
            raise OutOfMap(f"{area} {first + count - 1}")
        spans = ((at + first // 8, at + (first + count + 7) // 8),)
        number = int.from_bytes(self.shm.read(spans)[0], "little") >> first % 8
        return (number & (1 << count) - 1).to_bytes((count + 7) // 8, "little")

    # --- writing --------------------------------------------------------------------------------------

    def place(self, register: int) -> tuple[Area, int]:
        """Image area and byte of a holding register.

        Raises:
            OutOfMap: there is none.
        """
        ((window, _, _),) = _split(HOLDING, register, 1)
        at = register - window.first
        if self._high_first:
            at += window.words - 1 - 2 * (at % window.words)
        return window.area, window.base + 2 * at

    def is_driven(self, area: str, first: int, count: int) -> bool:
        """Whether the program itself writes one of them: a client's write would not last.

        Raises:
            OutOfMap: one of them does not exist.
        """
        if area == "coil":
            _coils(first, count)
            return any(
                (Area.OUT, n // 8, n % 8) in self._driven
                or (Area.OUT, n // 8, None) in self._driven
                for n in range(first, first + count)
            )
        for register in range(first, first + count):
            place, offset = self.place(register)
            # A bit that the program drives lies in a register too: writing the register would write it.
            if any(
                (place, byte, bit) in self._driven
                for byte in (offset, offset + 1)
                for bit in (None, *range(8))
            ):
                return True
        return False

    def write_registers(self, first: int, data: bytes) -> None:
        """Queue registers, as they came over the wire, for the next scan boundary: all or none.

        Raises:
            OutOfMap: one of them does not exist.
            ShmError: too many writes wait.
        """
        words = array("H", data)
        if _SWAP:
            words.byteswap()
        self.shm.write(
            Write(*self.place(first + number), 2, value) for number, value in enumerate(words)
        )

    def write_bits(self, first: int, count: int, packed: bytes) -> None:
        """Queue coils, packed as they came over the wire, for the next scan boundary: all or none.

        Raises:
            OutOfMap: one of them does not exist.
            ShmError: too many writes wait.
        """
        _coils(first, count)
        self.shm.write(
            Write(
                Area.OUT, (first + n) // 8, 0, packed[n // 8] >> n % 8 & 1, (first + n) % 8
            )
            for n in range(count)
        )  # fmt: skip


def _coils(first: int, count: int) -> None:
    if first + count > OUT_SIZE * 8:
        raise OutOfMap(f"coil {first + count - 1}")


def _turned(words: array[int], size: int) -> array[int]:
    """Words with each group of so many in the opposite order."""
    found = array("H", words)
    for n in range(size):
        found[n::size] = words[size - 1 - n :: size]
    return found
