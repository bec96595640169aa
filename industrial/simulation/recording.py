"""A recording of a live controller: where it stood between two scans, and what every scan since then was given.

The engine writes inputs, clients' writes, forces, time and flags of each scan into a ring in the shared memory, and the
checksum of the outputs when it has ended. With the state to begin with, the scans can be repeated bit for bit.
"""

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from industrial.runtime import ring
from industrial.runtime import shm as twin
from industrial.runtime.shm import SharedMemory

from .errors import SimulationError

FORMAT = 1
BEGIN, END, LAYOUT = 1, 2, 3
UNCHANGED = (1 << 64) - 1
_HEAD = struct.Struct("<BBHIQQqIIQQQ")
#: What the engine may have written beyond the head when it is read, in units.
_AHEAD = 8192


class RecordingError(SimulationError):
    """A recording that cannot be made or read; says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """The beginning or the end of one scan. `raw` is what the engine takes at a replay; times in nanoseconds."""

    kind: int
    task: int
    scan: int
    now_ns: int
    code: int
    sum: int
    writes: tuple[bytes, ...]
    forces: tuple[bytes, ...] | None
    raw: bytes


@dataclass(slots=True)
class Recording:
    """Images at the beginning (inputs, outputs, memory, arena), forces then, and the units of the ring since.

    `judged`: quality of the inputs and when they were answered for, in the program's time; empty: every input is good.
    """

    about: dict[str, Any]
    symbols: dict[str, Any]
    images: tuple[bytes, bytes, bytes, bytes]
    forces: bytes
    units: bytes = b""
    note: str = ""
    scans: int = field(default=0)
    judged: tuple[bytes, bytes] = (b"", b"")

    def records(self) -> Iterator[Record]:
        """In the order in which they happened."""
        yield from parse(self.units)

    def save(self, path: Path) -> None:
        """As one JSON file."""
        found = {
            "format": FORMAT,
            "program": self.about,
            "scans": self.scans,
            "note": self.note,
            "symbols": self.symbols,
            "images": [_packed(data) for data in self.images],
            "judged": [_packed(data) for data in self.judged],
            "forces": _packed(self.forces),
            "units": _packed(self.units),
        }
        path.write_text(json.dumps(found), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read one back.

        Raises:
            RecordingError: not a recording, or damaged.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise RecordingError(
                    f"{path}: format = {data['format']!r}: this version reads {FORMAT}"
                )
            unpack = [_unpacked(text) for text in (*data["images"], data["forces"], data["units"])]
            inputs, outputs, memory, arena, forces, units = unpack
            # Recordings of before have none.
            quality, stamps = (_unpacked(text) for text in data.get("judged", [_packed(b"")] * 2))
            found = cls(
                dict(data["program"]), dict(data["symbols"]), (inputs, outputs, memory, arena),
                forces, units, str(data["note"]), int(data["scans"]), (quality, stamps),
            )  # fmt: skip
            if (len(quality), len(stamps)) not in ((0, 0), (twin.IN_SIZE, 2 * twin.IN_SIZE)):
                raise ValueError("judged: quality and stamps of all inputs")
            for _ in found.records():
                pass
        except (OSError, ValueError, KeyError, TypeError, zlib.error, struct.error) as error:
            raise RecordingError(f"{path}: no recording, or damaged ({error})") from None
        return found


def parse(units: bytes) -> Iterator[Record]:
    """Records from the units of a ring, from a border of records on."""
    at = 0
    while at < len(units):
        kind, task, _, n, scan, now_ns, _, _, code, total, _, forces = _HEAD.unpack_from(units, at)
        raw = units[at : at + _HEAD.size]
        at += _HEAD.size
        rows = tuple(units[at + 16 * k : at + 16 * k + 16] for k in range(n))
        if kind not in (BEGIN, END, LAYOUT) or (n and len(rows[-1]) != 16):
            raise RecordingError("the recording is damaged: no record where one should begin")
        at += 16 * n
        split = n if forces == UNCHANGED else n - min(forces, n)
        yield Record(
            kind, task, scan, now_ns, code, total, rows[:split],
            None if forces == UNCHANGED else rows[split:], raw,
        )  # fmt: skip


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


class Recorder:
    """Follows the ring of a live controller."""

    def __init__(self, shm: SharedMemory) -> None:
        self._shm = shm
        self._at = ring.head(shm)
        self._generation = shm.generation

    def _drain(self) -> bytes:
        head = ring.head(self._shm)
        data = ring.units(self._shm, self._at, head)
        if ring.head(self._shm) - self._at > twin.RECORDER - _AHEAD:
            raise RecordingError("scans came faster than they were read: nothing whole is left")
        self._at = head
        return data

    def record(self, package: Path, scans: int, *, limit_s: float = 60.0) -> Recording:
        """So many scans of all tasks together, from a moment on at which none runs.

        Raises:
            RecordingError: no such moment came, or the scans did not come, in time.
        """
        end = time.monotonic() + limit_s
        found = self._start(package, end)
        parts: list[bytes] = []
        while found.scans < scans:
            if time.monotonic() > end:
                raise RecordingError(f"{found.scans} of {scans} scans came within {limit_s:g} s")
            time.sleep(0.02)
            data = self._drain()
            if self._shm.generation != self._generation:
                found.note = "another program was taken over: the recording ends before it"
                break
            for row in parse(data):
                parts += [row.raw, *row.writes, *(row.forces or ())]
                found.scans += row.kind == END
                if found.scans >= scans:
                    break
        found.units = b"".join(parts)
        return found

    def _start(self, package: Path, end: float) -> Recording:
        """The state at a moment between scans of every task."""
        try:
            symbols = json.loads((package / "symbols.json").read_text())
            about = json.loads((package / "about.json").read_text())
        except (OSError, ValueError) as error:
            raise RecordingError(f"no program runs here ({error})") from None
        standing = {row.task for row in self._shm.faults()}
        unseen = {n for n, task in enumerate(self._shm.tasks()) if task.name not in standing}
        if not unseen:
            raise RecordingError("no task runs: there is nothing to record")
        running: set[int] = set()
        while time.monotonic() < end:
            for row in parse(self._drain()):
                if row.kind == BEGIN:
                    running.add(row.task)
                else:
                    running.discard(row.task)
                    unseen.discard(row.task)
            if not running and not unseen:
                state = ring.state(self._shm, self._at)
                if state is not None:
                    inputs, outputs, memory, arena, quality, stamps, forces = state
                    images = (inputs, outputs, memory, arena)
                    return Recording(about, symbols, images, forces, judged=(quality, stamps))
            time.sleep(0.001)
        raise RecordingError("no moment between two scans was found in time")
