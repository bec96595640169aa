"""The recorder's ring in the shared memory, and the state between two scans that a recording begins with."""

from __future__ import annotations

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


def state(shm: SharedMemory, at: int) -> tuple[bytes, bytes, bytes, bytes, bytes] | None:
    """Latched inputs, outputs, memory, arena and forces, if the ring's head is still there; None when it is not.

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
    count = min(shm._u32(twin.FORCES_AT + 8), twin.FORCES)
    forces = bytes(memory[twin.FORCES_AT + 16 : twin.FORCES_AT + 16 + count * 16])
    if head(shm) != at or shm._u64(twin._SEQ) != before:
        return None
    return (*found, forces)
