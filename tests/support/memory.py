"""The memory between scan and protocols, with a scan that is played: for tests that need no engine."""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path

from industrial.runtime import shm
from industrial.runtime.shm import Area, SharedMemory, State

_AT = {Area.IN: shm.IN_AT, Area.OUT: shm.OUT_AT, Area.MEM: shm.MEM_AT, Area.ARENA: shm.ARENA_AT}


class PlayedScan:
    """Makes the memory; `scan` does what the engine does at a boundary."""

    def __init__(self, path: Path, *, arena: int = 0) -> None:
        with path.open("wb") as file:
            file.truncate(shm.SIZE)
        with path.open("r+b") as file:
            file.write(struct.pack("<IIIII", shm.MAGIC, shm.VERSION, 1, State.RUN, 1))
        self.shm = SharedMemory(path)
        self._map = self.shm._map
        struct.pack_into("<I", self._map, shm._ARENA_SIZE, arena)
        self.beat()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    def beat(self) -> None:
        """Say that the scan lives."""
        struct.pack_into("<Q", self._map, shm._HEARTBEAT, time.monotonic_ns())

    def put(self, area: Area, offset: int, data: bytes) -> None:
        """Set bytes of an area as a scan would."""
        at = _AT[area] + offset
        self._map[at : at + len(data)] = data

    def get(self, area: Area, offset: int, size: int) -> bytes:
        """Bytes of an area."""
        return bytes(self._map[_AT[area] + offset : _AT[area] + offset + size])

    def scan(self) -> None:
        """Take what waits in the journal and the stage of inputs."""
        self.beat()
        sequence = self.shm._u64(shm._SEQ)
        struct.pack_into("<Q", self._map, shm._SEQ, sequence + 1)
        self._map[shm.IN_AT : shm.IN_AT + shm.IN_SIZE] = self._map[
            shm.STAGE_AT : shm.STAGE_AT + shm.IN_SIZE
        ]
        tail, head = self.shm._u32(shm._TAIL), self.shm._u32(shm._HEAD)
        while tail != head:
            entry = self.shm._entry(shm.JOURNAL_AT + tail % shm.JOURNAL * 16)
            at = _AT[entry.area] + entry.offset
            if entry.size:
                self._map[at : at + entry.size] = entry.value.to_bytes(8, "little")[: entry.size]
            else:
                old = self._map[at]
                self._map[at] = old | 1 << entry.bit if entry.value else old & ~(1 << entry.bit)
            tail = (tail + 1) & 0xFFFFFFFF
        struct.pack_into("<I", self._map, shm._TAIL, tail)
        struct.pack_into("<Q", self._map, shm._SEQ, sequence + 2)

    def start(self, every_s: float = 0.005) -> None:
        """Scan again and again in a thread."""

        def run() -> None:
            while not self._end.wait(every_s):
                self.scan()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(10)
