"""Recorded scans repeated with the recorded program, or with another one on the same inputs."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from industrial.runtime import shm as twin
from industrial.runtime.carry import plan
from industrial.runtime.variables import Place, Variables
from industrial.st import Compiled

from .machine import FAULTS, Machine
from .recording import BEGIN, END, Record, Recording, RecordingError

_WRITE = struct.Struct("<BBBBIQ")
_ARENA = 3
#: What is recorded of inputs beside their values.
_QUALITY, _STAMP = 4, 5


@dataclass(slots=True)
class Replayed:
    """What came out. `first` is the first scan that differs from the recorded one; None when all are alike."""

    scans: int = 0
    first: dict[str, Any] | None = None
    #: Writes and forces of variables that this program does not have.
    dropped: int = 0
    #: Variables that do not begin with the recorded value, with the reason.
    lost: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        return {
            "scans": self.scans,
            "identical": self.first is None,
            "first_difference": self.first,
            "dropped_writes": self.dropped,
            "not_carried": self.lost,
        }


class Replay(Machine):
    """A program moved by a recording."""

    def begin_with(self, recording: Recording, symbols: Mapping[str, Any]) -> Replayed:
        """Take the recorded state over; by name and type where the program is another one.

        Raises:
            RecordingError: the tasks differ.
        """
        found = Replayed()
        names = [str(row["name"]) for row in recording.symbols.get("tasks", [])]
        mine = [name for name, _, _ in self.tasks]
        if names and sorted(names) != sorted(mine):
            raise RecordingError(f"tasks {', '.join(mine)}: recorded were {', '.join(names)}")
        self._task_of = [mine.index(name) for name in names] or list(range(len(mine)))
        inputs, outputs, memory, arena = recording.images
        self._moves: list[tuple[int, int, int]] | None = None
        if recording.symbols.get("layout_hash") == symbols.get("layout_hash"):
            size = self._library.simulation_arena_size(self._handle)
            if len(arena) != size:
                raise RecordingError(f"{len(arena)} bytes of variables were recorded, not {size}")
            self._fill(_ARENA, 0, arena)
            self._fill(1, 0, outputs)
            self._fill(2, 0, memory)
        else:
            carried = plan(recording.symbols, symbols)
            found.lost = carried.lost
            self._moves = []
            for at in range(80, len(carried.data), 16):
                kind, old, new, size = struct.unpack_from("<4I", carried.data, at)
                if kind == 0:
                    self._moves.append((old, new, size))
                    self._fill(_ARENA, new, arena[old : old + size])
            self._fill(1, 0, outputs)
            self._fill(2, 0, memory)
        quality, stamps = recording.judged
        if quality:
            base = self._library.simulation_shm(self._handle)
            ctypes.memmove(base + twin.QUALITY_STAGE_AT, quality, len(quality))
            ctypes.memmove(base + twin.STAMP_STAGE_AT, stamps, len(stamps))
        self._fill(0, 0, inputs)
        self._set_forces(
            [recording.forces[at : at + 16] for at in range(0, len(recording.forces), 16)], found
        )
        return found

    def _fill(self, area: int, offset: int, data: bytes) -> None:
        ctypes.memmove(self._library.simulation_write(self._handle, area) + offset, data, len(data))

    def _judge(self, area: int, first: int, value: int) -> None:
        """A run of inputs of one quality, or answered for at one time."""
        count, what = value >> 32, value & 0xFFFFFFFF
        if area == _QUALITY:
            at, data = twin.QUALITY_STAGE_AT + first, bytes([what & 0xFF]) * count
            room = twin.IN_SIZE - first
        else:
            at, data = twin.STAMP_STAGE_AT + 4 * first, struct.pack("<I", what) * count
            room = 2 * twin.IN_SIZE - 4 * first
        if len(data) > room:
            raise RecordingError("the recording is damaged: quality of more inputs than there are")
        ctypes.memmove(self._library.simulation_shm(self._handle) + at, data, len(data))
        self._library.simulation_write(self._handle, 0)

    def _moved(self, raw: bytes, found: Replayed) -> tuple[int, int, int, int, int] | None:
        area, size, bit, _, offset, value = _WRITE.unpack(raw)
        if area == _ARENA and self._moves is not None:
            for old, new, length in self._moves:
                if old <= offset and offset + max(size, 1) <= old + length:
                    return area, size, bit, offset - old + new, value
            found.dropped += 1
            return None
        return area, size, bit, offset, value

    def _set_forces(self, rows: list[bytes], found: Replayed) -> None:
        moved = [entry for raw in rows if (entry := self._moved(raw, found)) is not None]
        base = self._library.simulation_shm(self._handle) + twin.FORCES_AT
        table = b"".join(_WRITE.pack(a, s, b, 0, o, v) for a, s, b, o, v in moved)
        sequence = ctypes.c_uint64.from_address(base)
        ctypes.memmove(base + 8, struct.pack("<II", len(moved), 0), 8)
        ctypes.memmove(base + 16, table, len(table))
        sequence.value = (sequence.value | 1) + 1

    def step(self, record: Record, found: Replayed) -> int:
        """The beginning or the end of a scan; returns the code of a fault at its end."""
        task = self._task_of[record.task]
        if record.kind == BEGIN:
            for raw in record.writes:
                if (entry := self._moved(raw, found)) is None:
                    continue
                area, size, bit, offset, value = entry
                if area in (_QUALITY, _STAMP):
                    self._judge(area, offset, value)
                    continue
                at = self._library.simulation_write(self._handle, area) + offset
                if size == 0:
                    byte, mask = ctypes.c_uint8.from_address(at), 1 << bit
                    byte.value = byte.value | mask if value else byte.value & ~mask & 0xFF
                else:
                    ctypes.memmove(at, value.to_bytes(8, "little"), size)
            if record.forces is not None:
                self._set_forces(list(record.forces), found)
            self._library.simulation_clock(record.now_ns)
            self.now_us = record.now_ns // 1000
            self._held = ctypes.create_string_buffer(record.raw, len(record.raw))
            self._library.simulation_replay(self._handle, self._held)
            self._library.simulation_begin(self._handle, task)
            return 0
        return int(self._library.simulation_end(self._handle, task))

    def through(self, recording: Recording, found: Replayed) -> Iterator[tuple[Record, str, int]]:
        """Every scan's end: the record, the task, a fault's code."""
        for record in recording.records():
            code = self.step(record, found)
            if record.kind == END:
                found.scans += 1
                yield record, self.tasks[self._task_of[record.task]][0], code

    def outputs(self) -> bytes:
        """The image of the outputs as published."""
        return ctypes.string_at(self._library.simulation_read(self._handle, 1), twin.OUT_SIZE)

    def outputs_sum(self) -> int:
        """Its checksum, as the engine records it."""
        return int(self._library.simulation_sum(self._handle))


def _told(record: Record, task: str, text: str) -> dict[str, Any]:
    return {"task": task, "scan": record.scan, "time_us": record.now_ns // 1000, "what": text}


def replay_program(recording: Recording, compiled: Compiled, *, compiler: str = "tcc") -> Replayed:
    """Repeat a recording and hold every scan's outputs against the recorded ones.

    Raises:
        SimulationError: the program does not load, or has other tasks.
    """
    with Replay(compiled, compiler=compiler) as machine:
        found = machine.begin_with(recording, compiled.symbols)
        for record, task, code in machine.through(recording, found):
            if found.first is not None:
                continue
            if code != record.code:
                words = [
                    FAULTS.get(n, f"fault {n}") if n else "no fault" for n in (code, record.code)
                ]
                found.first = _told(record, task, f"{words[0]}; recorded was: {words[1]}")
            elif machine.outputs_sum() != record.sum:
                found.first = _told(record, task, "other outputs than recorded")
    return found


def compare(
    recording: Recording, one: Compiled, other: Compiled, *, compiler: str = "tcc", most: int = 10
) -> dict[str, Any]:
    """Both programs on the same inputs: in which scans which outputs differ, the first `most` of them.

    Raises:
        SimulationError: one of them does not load, or has other tasks.
    """
    seen: list[tuple[int, bytes]] = []
    with Replay(one, compiler=compiler) as machine:
        first = machine.begin_with(recording, one.symbols)
        for _, _, code in machine.through(recording, first):
            data = machine.outputs()
            # Most scans change nothing: the same object is kept, not a copy.
            seen.append((code, seen[-1][1] if seen and seen[-1][1] == data else data))
    rows: list[dict[str, Any]] = []
    differing = 0
    with Replay(other, compiler=compiler) as machine:
        second = machine.begin_with(recording, other.symbols)
        watched = _outputs(one, other)
        for number, (record, task, code) in enumerate(machine.through(recording, second)):
            was, before = seen[number]
            now = machine.outputs()
            if now == before and code == was:
                continue
            values = [
                (path, place.decode(_cut(place, before)), place.decode(_cut(place, now)))
                for path, place in watched
            ]
            odd = {path: [old, new] for path, old, new in values if old != new}
            if code != was:
                odd["fault"] = [FAULTS.get(n, f"fault {n}") if n else "" for n in (was, code)]
            if not odd:
                continue
            differing += 1
            if len(rows) < most:
                rows.append({"task": task, "scan": record.scan, "time_us": record.now_ns // 1000, "outputs": odd})  # fmt: skip
    return {
        "scans": second.scans,
        "identical": differing == 0,
        "differing_scans": differing,
        "differences": rows,
        "dropped_writes": second.dropped,
        "not_carried": second.lost,
    }


def _outputs(one: Compiled, other: Compiled) -> list[tuple[str, Place]]:
    """The outputs that both programs have at the same place."""
    rows = {
        str(row["path"]).upper(): (row["offset"], row.get("bit"), row["type"])
        for row in one.symbols["symbols"]
        if row["area"] == "Q"
    }
    variables = Variables(other.symbols["symbols"])
    return [
        (str(row["path"]), variables.find(str(row["path"])))
        for row in other.symbols["symbols"]
        if row["area"] == "Q"
        and rows.get(str(row["path"]).upper()) == (row["offset"], row.get("bit"), row["type"])
    ]


def _cut(place: Place, data: bytes) -> bytes:
    return data[place.offset : place.offset + place.width * place.count]
