"""The recorder's ring in the shared memory, and the state between two scans that a recording begins with."""

from __future__ import annotations

import struct

from . import shm as twin
from .shm import SharedMemory


def head(shm: SharedMemory) -> int:
    """Units of 16 bytes ever written."""
    return shm._u64(twin.RECORDER_HEAD_AT)


def units(shm: SharedMemory, first: int, last: int) -> bytes:
    """Units from one number to another; what the ring has lost meanwhile is not told here."""
    found = []
    while first < last:
        at = first % twin.RECORDER
        count = min(last - first, twin.RECORDER - at)
        begin = twin.RECORDER_AT + at * 16
        found.append(bytes(shm._map[begin : begin + count * 16]))
        first += count
    return b"".join(found)


def state(shm: SharedMemory, at: int) -> tuple[bytes, ...] | None:
    """Latched inputs, outputs, memory, arena, quality, stamps and forces, if the ring's head is still there; else None.

    Stamps are in the program's time, as the engine records them.

    A scan that has taken its writes and not yet said so in the ring does no harm: its record gives them again.
    """
    before = shm._u64(twin._SEQ)
    if before & 1 or head(shm) != at:
        return None
    memory, size = shm._map, shm._u32(twin._ARENA_SIZE)
    found = (
        bytes(memory[twin.LATCHED_AT : twin.LATCHED_AT + twin.IN_SIZE]),
        bytes(memory[twin.OUT_AT : twin.OUT_AT + twin.OUT_SIZE]),
        bytes(memory[twin.MEM_AT : twin.MEM_AT + twin.MEM_SIZE]),
        bytes(memory[twin.ARENA_AT : twin.ARENA_AT + size]),
    )
    quality = bytes(memory[twin.QUALITY_AT : twin.QUALITY_AT + twin.IN_SIZE])
    stamps = _in_program_time(
        bytes(memory[twin.STAMP_AT : twin.STAMP_AT + 2 * twin.IN_SIZE]),
        shm._u32(twin.PROGRAM_EPOCH_MS),
    )
    count = min(shm._u32(twin.FORCES_AT + 8), twin.FORCES)
    forces = bytes(memory[twin.FORCES_AT + 16 : twin.FORCES_AT + 16 + count * 16])
    if head(shm) != at or shm._u64(twin._SEQ) != before:
        return None
    return (*found, quality, stamps, forces)


def _in_program_time(stamps: bytes, epoch_ms: int) -> bytes:
    rows = struct.unpack(f"<{len(stamps) // 4}I", stamps)
    shift = twin.PROGRAM_MS - epoch_ms
    return struct.pack(
        f"<{len(rows)}I", *((row + shift) & 0xFFFFFFFF if row else 0 for row in rows)
    )
