"""The protocols' view of the memory shared with the scan. Twin of native/vplc_shm.h."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAGIC, VERSION = 0x434C5056, 2
IN_SIZE, OUT_SIZE, MEM_SIZE, MAX_ARENA, JOURNAL, BUCKETS = 4096, 4096, 65536, 1 << 20, 1024, 24
TASKS_AT, TASK_SIZE = 1024, 480
IN_AT = 20480
OUT_AT = IN_AT + IN_SIZE
MEM_AT = OUT_AT + OUT_SIZE
STAGE_AT = MEM_AT + MEM_SIZE
JOURNAL_AT = STAGE_AT + IN_SIZE
ARENA_AT = JOURNAL_AT + JOURNAL * 16
FORCES_AT = ARENA_AT + MAX_ARENA
FORCES, TRACED, TRACE = 256, 16, 4096
TRACED_AT = FORCES_AT + 16 + FORCES * 16
TRACE_HEAD_AT = TRACED_AT + 16 + TRACED * 16
TRACE_AT = TRACE_HEAD_AT + 8
SAMPLE_SIZE = 16 + TRACED * 8
SIZE = TRACE_AT + TRACE * SAMPLE_SIZE

_GENERATION, _STATE, _PID, _N_TASKS, _ARENA_SIZE, _FIFO = 8, 12, 16, 20, 24, 28
_LAYOUT, _HEARTBEAT, _SEQ, _COMMAND, _DONE = 32, 64, 72, 80, 84
_FAULT, _PROTOCOLS, _HEAD, _TAIL, _IN_SEQ = 88, 104, 112, 116, 120


class State(IntEnum):
    NO_PROGRAM = 0
    RUN = 1
    STOP = 2
    FAULT = 3


class Command(IntEnum):
    RUN = 1
    STOP = 2
    RELOAD = 3
    STEP = 4


class Area(IntEnum):
    IN = 0
    OUT = 1
    MEM = 2
    ARENA = 3


class ShmError(RuntimeError):
    """The shared memory is not there, of another version, or its journal is full."""


@dataclass(frozen=True, slots=True)
class TaskStats:
    """Counters of one task since its program was taken over. Durations in nanoseconds."""

    name: str
    interval_ns: int
    scans: int
    overruns: int
    scan_ns_sum: int
    scan_ns_max: int
    late_ns_sum: int
    late_ns_max: int
    scan_buckets: tuple[int, ...]
    late_buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The images after one scan: nothing of two scans in it."""

    inputs: bytes
    outputs: bytes
    memory: bytes
    arena: bytes

    def area(self, area: Area) -> bytes:
        return (self.inputs, self.outputs, self.memory, self.arena)[area]


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a client. `size` in bytes; 0 is the bit `bit`."""

    area: Area
    offset: int
    size: int
    value: int
    bit: int = 0


class SharedMemory:
    """An open view. One process may write (journal, input stage): the protocols."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), SIZE)
        except (OSError, ValueError) as error:
            raise ShmError(f"{path}: {error}") from None
        self._inode = path.stat().st_ino
        self._path = path
        magic, version = struct.unpack_from("<II", self._map, 0)
        if magic != MAGIC or version != VERSION:
            raise ShmError(f"{path}: version {version} (magic {magic:#x}); expected {VERSION}")

    def close(self) -> None:
        self._map.close()

    @property
    def replaced(self) -> bool:
        """Whether a new scan process has made a new memory of that name."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def _u32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self._map, at)[0])

    def _u64(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self._map, at)[0])

    @property
    def state(self) -> State:
        return State(self._u32(_STATE))

    @property
    def generation(self) -> int:
        return self._u32(_GENERATION)

    @property
    def scan_pid(self) -> int:
        return self._u32(_PID)

    @property
    def fifo(self) -> bool:
        return bool(self._u32(_FIFO))

    @property
    def layout_hash(self) -> str:
        return bytes(self._map[_LAYOUT : _LAYOUT + 32]).hex()

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the scan process last said that it lives."""
        return (time.monotonic_ns() - self._u64(_HEARTBEAT)) / 1e9

    def beat(self) -> None:
        """Say that the protocols live."""
        struct.pack_into("<Q", self._map, _PROTOCOLS, time.monotonic_ns())

    @property
    def fault(self) -> tuple[int, int, int, int]:
        """Code, source line, file index, task index."""
        code, line, file, task = struct.unpack_from("<IIII", self._map, _FAULT)
        return code, line, file, task

    def tasks(self) -> list[TaskStats]:
        found = []
        for index in range(min(16, self._u32(_N_TASKS))):
            raw = struct.unpack_from(
                f"<32s8Q{2 * BUCKETS}Q", self._map, TASKS_AT + index * TASK_SIZE
            )
            name = raw[0].split(b"\0")[0].decode(errors="replace")
            found.append(
                TaskStats(
                    name,
                    raw[1],
                    raw[2],
                    raw[3],
                    raw[4],
                    raw[5],
                    raw[6],
                    raw[7],
                    tuple(raw[9 : 9 + BUCKETS]),
                    tuple(raw[9 + BUCKETS :]),
                )
            )
        return found

    def snapshot(self, *, arena: bool = False) -> Snapshot:
        """The images of one scan; waits out a writer.

        Raises:
            ShmError: the writer died in the middle of it.
        """
        size = self._u32(_ARENA_SIZE) if arena else 0
        for attempt in range(2000):
            before = self._u64(_SEQ)
            if not before & 1:
                images = bytes(self._map[IN_AT:STAGE_AT])
                copy = bytes(self._map[ARENA_AT : ARENA_AT + size])
                if self._u64(_SEQ) == before:
                    split = IN_SIZE + OUT_SIZE
                    return Snapshot(images[:IN_SIZE], images[IN_SIZE:split], images[split:], copy)
            if attempt > 20:
                time.sleep(0.0002)
        raise ShmError("the process image is not stable: the scan died while it wrote")

    def write(self, writes: Iterable[Write]) -> None:
        """Queue writes for the next scan boundary: all or none of them.

        Raises:
            ShmError: the journal is full.
        """
        entries = list(writes)
        head, tail = self._u32(_HEAD), self._u32(_TAIL)
        if ((head - tail) & 0xFFFFFFFF) + len(entries) > JOURNAL:
            raise ShmError(f"the journal is full ({JOURNAL} writes wait for a scan)")
        for number, entry in enumerate(entries):
            at = JOURNAL_AT + ((head + number) % JOURNAL) * 16
            value = entry.value & ((1 << 64) - 1)
            struct.pack_into(
                "<BBBBIQ", self._map, at, entry.area, entry.size, entry.bit, 0, entry.offset, value
            )
        # Published last: the scan takes what lies before the head.
        struct.pack_into("<I", self._map, _HEAD, (head + len(entries)) & 0xFFFFFFFF)

    def stage_inputs(
        self, changes: Iterable[tuple[int, bytes]], bits: Iterable[tuple[int, int, bool]] = ()
    ) -> None:
        """Put device values where the next scan latches them; the scan sees all of a call or none."""
        sequence = self._u64(_IN_SEQ)
        struct.pack_into("<Q", self._map, _IN_SEQ, sequence + 1)
        for offset, data in changes:
            if offset >= 0 and offset + len(data) <= IN_SIZE:
                self._map[STAGE_AT + offset : STAGE_AT + offset + len(data)] = data
        for offset, bit, value in bits:
            if 0 <= offset < IN_SIZE:
                old = self._map[STAGE_AT + offset]
                self._map[STAGE_AT + offset] = old | 1 << bit if value else old & ~(1 << bit) & 0xFF
        struct.pack_into("<Q", self._map, _IN_SEQ, sequence + 2)

    # --- forces and the trace: written by one tool at a time -------------------------------------------

    def forces(self) -> list[Write]:
        """What is forced now."""
        (count,) = struct.unpack_from("<I", self._map, FORCES_AT + 8)
        return [self._entry(FORCES_AT + 16 + n * 16) for n in range(min(count, FORCES))]

    def set_forces(self, entries: Iterable[Write]) -> None:
        """Force exactly these from the next scan on: they go before the program, and it before clients.

        Raises:
            ShmError: more than the table holds.
        """
        self._table(FORCES_AT, list(entries), FORCES, "forces")

    def start_trace(self, entries: Iterable[Write], task: int = 0) -> int:
        """Note these after every scan of a task; no entries end it. Returns the number of the next record.

        Raises:
            ShmError: more than a trace holds.
        """
        self._table(TRACED_AT, list(entries), TRACED, "traced variables", task)
        return self._u64(TRACE_HEAD_AT)

    def trace(self, since: int) -> list[tuple[int, int, int, tuple[int, ...]]]:
        """Records from a number on that are still there: (number, scan, time in ns, values)."""
        head = self._u64(TRACE_HEAD_AT)
        found = []
        for number in range(max(since, head - TRACE + 1, 0), head):
            at = TRACE_AT + (number % TRACE) * SAMPLE_SIZE
            scan, now_ns, *values = struct.unpack_from(f"<{2 + TRACED}Q", self._map, at)
            found.append((number, scan, now_ns, tuple(values)))
        # What the scan wrote over meanwhile is not told.
        lost = self._u64(TRACE_HEAD_AT) - TRACE
        return [row for row in found if row[0] > lost]

    def _entry(self, at: int) -> Write:
        area, size, bit, _, offset, value = struct.unpack_from("<BBBBIQ", self._map, at)
        return Write(Area(area), offset, size, value, bit)

    def _table(self, at: int, entries: list[Write], most: int, what: str, extra: int = 0) -> None:
        if len(entries) > most:
            raise ShmError(f"{len(entries)} {what}: at most {most}")
        sequence = self._u64(at) | 1
        struct.pack_into("<Q", self._map, at, sequence)
        for number, entry in enumerate(entries):
            value = entry.value & ((1 << 64) - 1)
            struct.pack_into(
                "<BBBBIQ", self._map, at + 16 + number * 16,
                entry.area, entry.size, entry.bit, 0, entry.offset, value,
            )  # fmt: skip
        struct.pack_into("<II", self._map, at + 8, len(entries), extra)
        struct.pack_into("<Q", self._map, at, sequence + 1)

    def command(self, verb: Command, *, timeout_s: float = 10.0) -> bool:
        """Give the scan process an order and wait until it has obeyed; False when it did not in time."""
        number = ((self._u32(_COMMAND) >> 8) + 1) & 0xFFFFFF
        word = number << 8 | verb
        struct.pack_into("<I", self._map, _COMMAND, word)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._u32(_DONE) == word:
                return True
            time.sleep(0.01)
        return False
