"""Files of retained values as the engine writes them, made by hand: one number of eight bytes."""

from __future__ import annotations

import struct

LAYOUT = "1" * 64


def retained(number: int, *, scan: int = 1, saved_ns: int = 10**18, layout: str = LAYOUT) -> bytes:
    """A whole file that holds the number."""

    def head(checksum: int) -> bytes:
        return struct.pack(
            "<8s4I32s2Qq", b"VPLCRET2", 2, 1, 8, checksum, bytes.fromhex(layout), 5, scan, saved_ns
        )

    body = struct.pack("<2Iq", 0, 8, number)
    checksum = 2166136261
    for byte in head(0) + body:
        checksum = ((checksum ^ byte) * 16777619) % 2**32
    return head(checksum) + body


def number_in(data: bytes) -> int:
    """The number that a file holds."""
    return int(struct.unpack_from("<q", data, 88)[0])
