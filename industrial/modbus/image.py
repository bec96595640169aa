"""The contract's Modbus map on the process image.

coils %QX, discrete inputs %IX, input registers %IW, holding 0-1023 %QW, 1024-2047 %MW, 2048-4095 %MD,
4096-36863 %ML: the last three are windows on the same memory, in bytes from its start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from industrial.runtime.shm import IN_SIZE, MEM_SIZE, OUT_SIZE, Area, SharedMemory, Snapshot, Write

HOLDING_QW = 1024
#: first register, last register + 1, byte of memory where the window begins
WINDOWS = ((1024, 2048, 0), (2048, 4096, 0), (4096, 4096 + MEM_SIZE // 2, 0))


class OutOfMap(LookupError):
    """An address that the map does not have: Modbus exception 02."""


def locate(area: str, address: int) -> tuple[Area, int]:
    """Image area and byte offset of a register.

    Raises:
        OutOfMap: there is none.
    """
    if area == "input":
        if address < IN_SIZE // 2:
            return Area.IN, address * 2
    elif address < HOLDING_QW:
        return Area.OUT, address * 2
    else:
        for first, end, base in WINDOWS:
            offset = base + (address - first) * 2
            if first <= address < end and offset + 2 <= MEM_SIZE:
                return Area.MEM, offset
    raise OutOfMap(f"{area} register {address}")


class ModbusImage:
    """Registers and bits, read from one scan and written at the next boundary."""

    def __init__(self, shm: SharedMemory, symbols: Iterable[Mapping[str, Any]] = ()) -> None:
        self.shm = shm
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

    def registers(
        self, area: str, first: int, count: int, snapshot: Snapshot | None = None
    ) -> list[int]:
        """Values of registers, all of the same scan.

        Raises:
            OutOfMap: one of them does not exist.
        """
        places = [locate(area, first + n) for n in range(count)]
        images = snapshot or self.shm.snapshot()
        return [struct.unpack_from("<H", images.area(place), offset)[0] for place, offset in places]

    def bits(self, area: str, first: int, count: int) -> list[bool]:
        """Coils or discrete inputs of one scan."""
        if first + count > (OUT_SIZE if area == "coil" else IN_SIZE) * 8:
            raise OutOfMap(f"{area} {first + count - 1}")
        images = self.shm.snapshot()
        data = images.outputs if area == "coil" else images.inputs
        return [bool(data[(first + n) // 8] >> ((first + n) % 8) & 1) for n in range(count)]

    def is_driven(self, area: str, first: int, count: int) -> bool:
        """Whether the program itself writes one of them: a client's write would not last."""
        if area == "coil":
            return any(
                (Area.OUT, (first + n) // 8, (first + n) % 8) in self._driven
                or (Area.OUT, (first + n) // 8, None) in self._driven
                for n in range(count)
            )
        for n in range(count):
            place, offset = locate("holding", first + n)
            if any((place, byte, None) in self._driven for byte in (offset, offset + 1)):
                return True
        return False

    def write_registers(self, first: int, values: list[int]) -> None:
        """Queue registers for the next scan boundary."""
        writes = []
        for n, value in enumerate(values):
            place, offset = locate("holding", first + n)
            writes.append(Write(place, offset, 2, value))
        self.shm.write(writes)

    def write_bits(self, first: int, values: list[bool]) -> None:
        """Queue coils for the next scan boundary."""
        if first + len(values) > OUT_SIZE * 8:
            raise OutOfMap(f"coil {first + len(values) - 1}")
        self.shm.write(
            Write(Area.OUT, (first + n) // 8, 0, int(value), (first + n) % 8)
            for n, value in enumerate(values)
        )
