"""What the images were, moment by moment: after every scan of a task of 100 ms or more, and ten times a second.

Whoever comes late gets all of them, as long as the ring in the shared memory holds them. Twin of native/history.c.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from . import shm as twin
from .shm import SharedMemory, ShmError, Snapshot

_PAST = struct.Struct("<QqIIII")
_RUN = struct.Struct("<II8x")
#: How often a moment is looked for that is not being written.
_ATTEMPTS = 2000


@dataclass(frozen=True, slots=True)
class Moment:
    """The images after a scan. `wall_ns`: since 1970; `layout`: the first bytes of the hash of the program's layout."""

    images: Snapshot
    wall_ns: int
    generation: int
    layout: bytes


class History:
    """One reader. Not for several threads."""

    def __init__(self, shm: SharedMemory) -> None:
        self.shm = shm
        self._at = -1
        self._now = bytearray()
        #: Times at which moments were gone before they were read.
        self.lost = 0

    def take(self) -> Iterator[Moment]:
        """The moments since the last call, in their order; at first, or after too long a time, the last one alone.

        Raises:
            ShmError: the scan died while it wrote.
        """
        head = self.shm._u64(twin.HISTORY_HEAD_AT)
        if head == self._at:
            return
        units = self._units(self._at, head) if 0 <= self._at < head else b""
        # What was claimed while it was copied may have been written over.
        (claimed,) = struct.unpack_from("<Q", self.shm._map, twin.HISTORY_HEAD_AT + 8)
        if not units or claimed - self._at > twin.HISTORY:
            self.lost += self._at >= 0
            yield self._begin()
            return
        self._at = head
        place = 0
        while place < len(units):
            _, wall_ns, generation, count, size, layout = _PAST.unpack_from(units, place)
            self._apply(units, place + _PAST.size, count)
            place += size * 16
            yield Moment(self._images(), wall_ns, generation, layout.to_bytes(4, "little"))

    def _begin(self) -> Moment:
        """The last moment whole, and where the next one will lie."""
        shm = self.shm
        for attempt in range(_ATTEMPTS):
            before = shm._u64(twin._SEQ)
            if not before & 1:
                head = shm._u64(twin.HISTORY_HEAD_AT)
                size = twin.IMAGES + min(shm._u32(twin._ARENA_SIZE), twin.MAX_ARENA)
                found = bytearray(shm._map[twin.PAST_AT : twin.PAST_AT + size])
                generation = shm._u32(twin.PAST_GENERATION_AT)
                layout = bytes(shm._map[twin.PAST_GENERATION_AT + 4 : twin.PAST_GENERATION_AT + 8])
                if shm._u64(twin._SEQ) == before:
                    self._at, self._now = head, found
                    return Moment(self._images(), time.time_ns(), generation, layout)
            if attempt > 20:
                time.sleep(0.0002)
        raise ShmError("the process image is not stable: the scan died while it wrote")

    def _units(self, first: int, last: int) -> bytes:
        if last - first > twin.HISTORY:
            return b""
        memory, found = self.shm._map, []
        while first < last:
            at = first % twin.HISTORY
            count = min(last - first, twin.HISTORY - at)
            begin = twin.HISTORY_AT + at * 16
            found.append(memory[begin : begin + count * 16])
            first += count
        return b"".join(found)

    def _apply(self, units: bytes, place: int, count: int) -> None:
        now = self._now
        for _ in range(count):
            offset, size = _RUN.unpack_from(units, place)
            place += _RUN.size
            if offset + size > len(now):
                # Another program's arena is larger.
                now.extend(bytes(offset + size - len(now)))
            now[offset : offset + size] = units[place : place + size]
            place += (size + 15) // 16 * 16

    def _images(self) -> Snapshot:
        whole, split = bytes(self._now), twin.IN_SIZE + twin.OUT_SIZE
        return Snapshot(
            whole[: twin.IN_SIZE],
            whole[twin.IN_SIZE : split],
            whole[split : twin.IMAGES],
            whole[twin.IMAGES :],
        )
