"""Values between devices, the program's variables and the images."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from industrial.runtime.shm import Area, Snapshot

AREA = {"I": Area.IN, "Q": Area.OUT, "M": Area.MEM, "arena": Area.ARENA}
FORMATS = {
    "SINT": "<b",
    "USINT": "<B",
    "BYTE": "<B",
    "INT": "<h",
    "UINT": "<H",
    "WORD": "<H",
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "LINT": "<q",
    "ULINT": "<Q",
    "LWORD": "<Q",
    "REAL": "<f",
    "LREAL": "<d",
    "TIME": "<I",
}


def encode(symbol: Mapping[str, Any], value: float) -> bytes:
    """A value as the symbol's bytes, saturated at its range."""
    layout = FORMATS[symbol["type"]]
    if layout in ("<f", "<d"):
        return struct.pack(layout, value)
    bits = struct.calcsize(layout) * 8
    low, high = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if layout[1].islower() else (0, (1 << bits) - 1)
    )
    return struct.pack(layout, max(low, min(high, round(value))))


def decode(symbol: Mapping[str, Any], images: Snapshot) -> float | bool:
    """A symbol's value from the images."""
    data = images.area(AREA[symbol["area"]])
    if symbol["type"] == "BOOL":
        byte = data[symbol["offset"]]
        return bool(byte >> symbol["bit"] & 1) if symbol.get("bit") is not None else bool(byte)
    value: float = struct.unpack_from(FORMATS[symbol["type"]], data, symbol["offset"])[0]
    return value
