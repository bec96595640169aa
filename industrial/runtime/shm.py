"""The protocols' view of the memory shared with the scan. Twin of native/vplc_shm.h."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .histogram import FINE
from .shm_rows import (
    Area,
    Clock,
    Command,
    Event,
    EventKind,
    Quality,
    Retain,
    Retained,
    Role,
    ScanSilent,
    ShmError,
    Snapshot,
    Start,
    State,
    TaskFault,
    TaskStats,
    Write,
)

MAGIC, VERSION = 0x434C5056, 3
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
QUALITY_STAGE_AT = TRACE_AT + TRACE * SAMPLE_SIZE
QUALITY_AT = QUALITY_STAGE_AT + IN_SIZE
STAMP_STAGE_AT = QUALITY_AT + IN_SIZE
STAMP_AT = STAMP_STAGE_AT + 2 * IN_SIZE
RECORDER_HEAD_AT = STAMP_AT + 2 * IN_SIZE
RECORDER, RECORDER_AT = 65536, RECORDER_HEAD_AT + 8
FAULT_ARENA_AT = RECORDER_AT + RECORDER * 16 + 8
LATCHED_AT = FAULT_ARENA_AT + MAX_ARENA
LATE_FINE_AT = LATCHED_AT + IN_SIZE
HISTORY_HEAD_AT = LATE_FINE_AT + 16 * FINE * 8
PAST_GENERATION_AT, PAST_AT, IMAGES = HISTORY_HEAD_AT + 16, HISTORY_HEAD_AT + 32, STAGE_AT - IN_AT
HISTORY, HISTORY_AT = 32768, PAST_AT + IMAGES + MAX_ARENA
SIZE = HISTORY_AT + HISTORY * 16
MORE_AT, MORE_SIZE = TASKS_AT + 16 * TASK_SIZE, 192
EVENTS, EVENTS_AT, MAX_RETAIN = 64, MORE_AT + 16 * MORE_SIZE, 256 << 10

_GENERATION, _STATE, _PID, _N_TASKS, _ARENA_SIZE, _FIFO = 8, 12, 16, 20, 24, 28
_LAYOUT, _HEARTBEAT, _SEQ, _COMMAND, _DONE = 32, 64, 72, 80, 84
_FAULT, _PROTOCOLS, _HEAD, _TAIL, _IN_SEQ = 88, 104, 112, 116, 120
_EPOCH, _OUT_SCAN, _ROLE, _START, _READY, _CLOCK = 128, 136, 144, 148, 152, 156
_EVENT_HEAD, _CRASHES, _SAVED, _RESULT, _REFUSED, _WHY = 184, 192, 208, 216, 224, 232
_RETAIN_FAILED, PROGRAM_EPOCH_MS = 744, 752
#: Where the program's time begins in recorded stamps, milliseconds.
PROGRAM_MS = 0x40000000

_U64 = struct.Struct("<Q").unpack_from

__all__ = [
    "Area",
    "Clock",
    "Command",
    "Event",
    "EventKind",
    "Quality",
    "Retain",
    "Retained",
    "Role",
    "ScanSilent",
    "SharedMemory",
    "ShmError",
    "Snapshot",
    "Start",
    "State",
    "TaskFault",
    "TaskStats",
    "Write",
]


class SharedMemory:
    """An open view. One process may write (journal, input stage): the protocols."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), SIZE)
        except (OSError, ValueError) as error:
            raise ShmError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        self._inode = path.stat().st_ino
        self._path = path
        #: Whose layout the writer's offsets mean; None takes that of the program there is now.
        self.layout: int | None = None
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

    @property
    def epoch(self) -> int:
        """Raised at every start and change of role: whose outputs these are."""
        return self._u64(_EPOCH)

    @property
    def out_scan(self) -> int:
        """Scans published in this epoch."""
        return self._u64(_OUT_SCAN)

    @property
    def role(self) -> Role:
        return Role(self._u32(_ROLE))

    @property
    def start_kind(self) -> Start:
        """How the program came up."""
        return Start(self._u32(_START))

    @property
    def clock(self) -> Clock:
        trusted, steps, gaps, step, gap = struct.unpack_from("<IIIqQ", self._map, _CLOCK)
        return Clock(bool(trusted), steps, gaps, step, gap)

    @property
    def crashes(self) -> int:
        """Starts before this one that did not last."""
        return self._u32(_CRASHES)

    @property
    def retain(self) -> Retain:
        result, size, saves = struct.unpack_from("<3I", self._map, _CRASHES + 4)
        at = self._u64(_SAVED)
        age = (time.monotonic_ns() - at) / 1e9 if at else None
        failed, wrong = struct.unpack_from("<2I", self._map, _RETAIN_FAILED)
        return Retain(Retained(result), size, saves, age, failed, wrong)

    @property
    def changes(self) -> int:
        """Online changes since the scan process began."""
        return self._u32(_RESULT + 4)

    @property
    def journal_refused(self) -> int:
        """Writes that were dropped because they meant another program's layout."""
        return self._u32(_REFUSED)

    @property
    def refusal(self) -> str:
        """Why the last command was refused; empty when it was obeyed."""
        if not self._u32(_RESULT):
            return ""
        text = bytes(self._map[_WHY : _WHY + 512]).split(b"\0")[0].decode(errors="replace")
        return text or "refused"

    def inputs_ready(self) -> None:
        """Say that every input of this program has been read and is good: its first scan may begin."""
        struct.pack_into("<I", self._map, _READY, self.generation)

    def faults(self) -> list[TaskFault]:
        """The tasks that stand, and where."""
        found = []
        for index, task in enumerate(self.tasks()):
            at = MORE_AT + index * MORE_SIZE
            scan, now_ns, code, line = struct.unpack_from("<QQII", self._map, at + 32)
            if code:
                file = bytes(self._map[at + 64 : at + 192]).split(b"\0")[0]
                found.append(
                    TaskFault(task.name, code, line, file.decode(errors="replace"), scan, now_ns)
                )
        return found

    def fault_arena(self) -> bytes:
        """The variables of the task that faulted last, as they were at the fault; empty when none did."""
        size = min(self._u32(FAULT_ARENA_AT - 8), MAX_ARENA)
        return bytes(self._map[FAULT_ARENA_AT : FAULT_ARENA_AT + size])

    def events(self, since: int = 0) -> list[Event]:
        """Events from a number on that are still there."""
        head = self._u64(_EVENT_HEAD)
        found = []
        for number in range(max(since, head - EVENTS, 0), head):
            at = EVENTS_AT + number % EVENTS * 32
            at_ns, wall_ns, value, kind, arg = struct.unpack_from("<QqqII", self._map, at)
            if kind in EventKind._value2member_map_:
                found.append(Event(number, EventKind(kind), arg, value, at_ns, wall_ns))
        return found

    def late_fine(self, task: int) -> tuple[int, ...]:
        """How late a task's scans began, in the buckets of `histogram`."""
        return struct.unpack_from(f"<{FINE}Q", self._map, LATE_FINE_AT + task * FINE * 8)

    def tasks(self) -> list[TaskStats]:
        found = []
        for index in range(min(16, self._u32(_N_TASKS))):
            raw = struct.unpack_from(
                f"<32s8Q{2 * BUCKETS}Q", self._map, TASKS_AT + index * TASK_SIZE
            )
            name = raw[0].split(b"\0")[0].decode(errors="replace")
            least, earliest, skipped, watchdog = struct.unpack_from(
                "<4Q", self._map, MORE_AT + index * MORE_SIZE
            )
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
                    least,
                    earliest,
                    skipped,
                    watchdog,
                    struct.unpack_from("<i", self._map, MORE_AT + index * MORE_SIZE + 60)[0],
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

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of the images, all of one scan: first and last byte + 1, from the start of this memory.

        Raises:
            ShmError: the writer died in the middle of it.
        """
        memory = self._map
        for attempt in range(2000):
            before = _U64(memory, _SEQ)
            if not before[0] & 1:
                found = [memory[first:last] for first, last in spans]
                if _U64(memory, _SEQ) == before:
                    return found
            if attempt > 20:
                time.sleep(0.0002)
        raise ShmError("the process image is not stable: the scan died while it wrote")

    @property
    def written(self) -> int:
        """A mark behind the last write that was queued; see `applied`."""
        return self._u32(_HEAD)

    def applied(self, mark: int) -> bool:
        """Whether a scan has taken everything that was queued before a mark."""
        return (self._u32(_TAIL) - mark) & 0xFFFFFFFF < 1 << 31

    def write(self, writes: Iterable[Write]) -> None:
        """Queue writes for the next scan boundary: all or none of them.

        Raises:
            ShmError: the journal is full.
        """
        entries = list(writes)
        head, tail = self._u32(_HEAD), self._u32(_TAIL)
        if ((head - tail) & 0xFFFFFFFF) + len(entries) > JOURNAL:
            raise ShmError(f"the journal is full ({JOURNAL} writes wait for a scan)")
        layout = (self.generation if self.layout is None else self.layout) & 0xFF
        for number, entry in enumerate(entries):
            at = JOURNAL_AT + ((head + number) % JOURNAL) * 16
            value = entry.value & ((1 << 64) - 1)
            struct.pack_into(
                "<BBBBIQ", self._map, at,
                entry.area, entry.size, entry.bit, layout, entry.offset, value,
            )  # fmt: skip
        # Published last: the scan takes what lies before the head.
        struct.pack_into("<I", self._map, _HEAD, (head + len(entries)) & 0xFFFFFFFF)

    def stage_inputs(
        self,
        changes: Iterable[tuple[int, bytes]],
        bits: Iterable[tuple[int, int, bool]] = (),
        *,
        quality: Iterable[tuple[int, int, Quality]] = (),
    ) -> None:
        """Put device values where the next scan latches them; the scan sees all of a call or none.

        Args:
            quality: (first byte, bytes, quality) of inputs; good ones take this moment as their time.
        """
        sequence = self._u64(_IN_SEQ)
        struct.pack_into("<Q", self._map, _IN_SEQ, sequence + 1)
        for offset, data in changes:
            if offset >= 0 and offset + len(data) <= IN_SIZE:
                self._map[STAGE_AT + offset : STAGE_AT + offset + len(data)] = data
        for offset, bit, value in bits:
            if 0 <= offset < IN_SIZE:
                old = self._map[STAGE_AT + offset]
                self._map[STAGE_AT + offset] = old | 1 << bit if value else old & ~(1 << bit) & 0xFF
        now_ms = time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF
        for offset, size, word in quality:
            if offset < 0 or offset + size > IN_SIZE or size <= 0:
                continue
            first = QUALITY_STAGE_AT + offset
            self._map[first : first + size] = bytes([word]) * size
            if word == Quality.GOOD:
                for pair in range(offset // 2, (offset + size + 1) // 2):
                    struct.pack_into("<I", self._map, STAMP_STAGE_AT + pair * 4, now_ms)
        struct.pack_into("<Q", self._map, _IN_SEQ, sequence + 2)

    def quality(self, offset: int, size: int = 1) -> tuple[Quality, float | None]:
        """Of an input's bytes as latched: the worst quality, and seconds since the device of the oldest answered.

        None: one never did.
        """
        words = {
            min(word, 2) for word in self._map[QUALITY_AT + offset : QUALITY_AT + offset + size]
        }
        word = next((row for row in (Quality.BAD, Quality.UNKNOWN) if row in words), Quality.GOOD)
        now_ms = time.monotonic_ns() // 1_000_000
        oldest = 0
        for pair in range(offset // 2, (offset + size + 1) // 2):
            (stamp,) = struct.unpack_from("<I", self._map, STAMP_AT + pair * 4)
            if not stamp and word is not Quality.GOOD:
                return word, None
            oldest = max(oldest, (now_ms - stamp) & 0xFFFFFFFF)
        return word, oldest / 1000

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

    def order(self, verb: Command, *, timeout_s: float = 15.0) -> str:
        """Give the scan process an order and wait for its answer: empty when obeyed, else the reason."""
        if not self.command(verb, timeout_s=timeout_s):
            return f"the scan process did not answer within {timeout_s:g} s"
        return self.refusal

    def command(self, verb: Command, *, timeout_s: float = 10.0) -> bool:
        """Give the scan process an order and wait until it has answered; False when it did not in time."""
        number = ((self._u32(_COMMAND) >> 8) + 1) & 0xFFFFFF
        word = number << 8 | verb
        struct.pack_into("<I", self._map, _COMMAND, word)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._u32(_DONE) == word:
                return True
            time.sleep(0.002)
        return False
