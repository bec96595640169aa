"""One program, loaded and moved by hand: variables by path, scans, the clock."""

from __future__ import annotations

import ctypes
import difflib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from industrial.runtime.build import ensure_simulator
from industrial.st import Compiled, build_shared_object

from .errors import SimulationError
from .values import decode, encode, width

FAULTS = {
    1: "division by zero",
    2: "index out of bounds",
    3: "bad reference",
    4: "string too long",
    5: "watchdog: the scan does not end",
    6: "calls nested too deep",
    7: "value out of range in a conversion",
}
_AREAS = {"I": 0, "Q": 1, "M": 2, "arena": 3}
_IMAGE = {"I": 4096, "Q": 4096, "M": 65536}
_ADDRESS = re.compile(r"%([IQM])([XBWDL]?)(\d+)(?:\.([0-7]))?", re.IGNORECASE)
_ADDRESS_TYPES = {"X": "BOOL", "B": "BYTE", "W": "WORD", "D": "DWORD", "L": "LWORD"}
_INDEX = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]$")
_BIT = re.compile(r"(.+)\.(\d{1,2})$")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a task stopped: where, and what its variables were is still to be read."""

    time_us: int
    task: str
    code: int
    file: str
    line: int

    @property
    def message(self) -> str:
        """For people."""
        return FAULTS.get(self.code, f"fault {self.code}")

    def as_dict(self) -> dict[str, Any]:
        """For the trace."""
        return {
            "time_us": self.time_us,
            "task": self.task,
            "fault": self.message,
            "code": self.code,
            "file": self.file,
            "line": self.line,
        }


@dataclass(frozen=True, slots=True)
class _Place:
    area: str
    offset: int
    type: str
    string_len: int | None = None
    bit: int | None = None
    enum: Mapping[str, int] | None = None
    dims: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        count = 1
        for low, high in self.dims:
            count *= high - low + 1
        return count


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(ensure_simulator()))
    pointer, number, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "open": (pointer, [text, ctypes.c_uint64, ctypes.c_int64]),
        "why": (text, [pointer]),
        "prepare": (ctypes.c_int, [pointer]),
        "clock": (None, [ctypes.c_uint64]),
        "scan": (ctypes.c_int, [pointer, number]),
        "line": (number, [pointer]),
        "file": (number, [pointer]),
        "files": (number, [pointer]),
        "file_name": (text, [pointer, number]),
        "tasks": (number, [pointer]),
        "task_name": (text, [pointer, number]),
        "interval_ns": (ctypes.c_uint64, [pointer, number]),
        "priority": (ctypes.c_int32, [pointer, number]),
        "arena_size": (number, [pointer]),
        "read": (pointer, [pointer, ctypes.c_int]),
        "write": (pointer, [pointer, ctypes.c_int]),
        "close": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"simulation_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Machine:
    """A compiled program in the engine. Use as a context manager; one at a time in a process moves its clock.

    `now_us` is the clock, `scans` counts scans of all tasks. The first scan sees t = 0.
    """

    #: The open one: the engine's clock is the process's.
    _open: Machine | None = None

    def __init__(
        self,
        compiled: Compiled,
        *,
        compiler: str = "tcc",
        scan_limit_s: float = 2.0,
        wall_start_s: float = 1_767_225_600.0,
    ) -> None:
        """Build and load.

        Args:
            scan_limit_s: real seconds after which an endless scan is told to stop.
            wall_start_s: the clock on the wall at t = 0, seconds since 1970 (2026-01-01 UTC).

        Raises:
            SimulationError: it does not load, or its initial values fault.
            BuildError: the C compiler failed.
        """
        if Machine._open is not None:
            raise SimulationError("another simulation is open in this process; close it first")
        self._folder = Path(tempfile.mkdtemp(prefix="mw-sim-"))
        self._pending: list[tuple[_Place, int, Any]] = []
        self.now_us, self.scans = 0, 0
        self.fault: Fault | None = None
        self._handle = None
        try:
            path = self._folder / "program.so"
            build_shared_object(compiled.c_source, path, compiler)
            self._library = _library()
            self._handle = self._library.simulation_open(
                str(path).encode(), int(scan_limit_s * 1e9), int(wall_start_s * 1e9)
            )
            if not self._handle:
                raise SimulationError("not enough memory")
            if why := self._library.simulation_why(self._handle):
                raise SimulationError(why.decode(errors="replace"))
            Machine._open = self
            self.symbols: dict[str, dict[str, Any]] = {
                row["path"].upper(): row for row in compiled.symbols["symbols"]
            }
            self._known = [row["path"] for row in compiled.symbols["symbols"]]
            code = self._library.simulation_prepare(self._handle)
            if code:
                raise SimulationError(f"initial values: {FAULTS.get(code, code)}")
        except BaseException:
            self.close()
            raise
        count = self._library.simulation_tasks(self._handle)
        self.tasks = [
            (
                self._library.simulation_task_name(self._handle, n).decode(),
                self._library.simulation_interval_ns(self._handle, n) // 1000,
                self._library.simulation_priority(self._handle, n),
            )
            for n in range(count)
        ]
        self._due = [0] * count

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload."""
        if self._handle:
            self._library.simulation_close(self._handle)
            self._handle = None
        if Machine._open is self:
            Machine._open = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def library_path(self) -> Path:
        """The loaded program's file."""
        return self._folder / "program.so"

    @property
    def next_us(self) -> int:
        """When the next task is due."""
        return min(self._due)

    # --- time -----------------------------------------------------------------------------------------

    def scan(self, count: int = 1) -> None:
        """Go to the next instant at which a task is due, so many times, and run what is due there.

        After a fault (see `fault`) nothing is scanned any more.
        """
        for _ in range(count):
            if self.fault is not None:
                return
            self._run_at(min(self._due))

    def advance(self, duration_us: int, *, scans: bool = True) -> None:
        """Let time pass; the scans due in it run, or with `scans=False` are missed, as on a machine that was paused.

        A fault ends the scans, not the time.
        """
        end = self.now_us + duration_us
        if scans:
            while self.fault is None and min(self._due) <= end:
                self._run_at(min(self._due))
        self.now_us = end
        if self.scans:  # before the first scan nothing was due yet
            for n, (_, interval, _priority) in enumerate(self.tasks):
                if self._due[n] <= end:
                    self._due[n] += ((end - self._due[n]) // interval + 1) * interval
        else:
            self._due = [end] * len(self.tasks)

    def _run_at(self, at_us: int) -> None:
        self.now_us = at_us
        self._library.simulation_clock(at_us * 1000)
        self._latch()
        due = [n for n in range(len(self.tasks)) if self._due[n] == at_us]
        for n in sorted(due, key=lambda n: (self.tasks[n][2], n)):
            self._due[n] += self.tasks[n][1]
            code = self._library.simulation_scan(self._handle, n)
            if code:
                self.fault = self._fault(n, code)
                return
        self.scans += 1

    def _fault(self, task: int, code: int) -> Fault:
        number = self._library.simulation_file(self._handle)
        known = number < self._library.simulation_files(self._handle)
        name = self._library.simulation_file_name(self._handle, number) if known else b""
        line = self._library.simulation_line(self._handle)
        return Fault(
            self.now_us, self.tasks[task][0], code, name.decode(errors="replace"), int(line)
        )

    # --- variables --------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """A variable, an array, or the members of a block or structure as an object.

        Raises:
            SimulationError: no such variable.
        """
        place, single = self._find(path)
        if place is not None:
            return self._read(place, single)
        prefix = path.upper() + "."
        members = {
            row["path"][len(prefix) :]: self.get(row["path"])
            for key, row in self.symbols.items()
            if key.startswith(prefix) and "." not in key[len(prefix) :]
        }
        if members:
            return members
        raise SimulationError(self._unknown(path))

    def set(self, path: str, value: Any) -> None:
        """Give a variable a value at the next input latch, that is at the beginning of the next scan.

        Raises:
            SimulationError: no such variable, or a value that it cannot hold.
        """
        place, single = self._find(path)
        if place is None:
            prefix = path.upper() + "."
            if isinstance(value, Mapping) and any(key.startswith(prefix) for key in self.symbols):
                for name, inner in value.items():
                    self.set(f"{path}.{name}", inner)
                return
            raise SimulationError(self._unknown(path))
        row = self.symbols.get(path.upper())
        if row is not None and row["constant"]:
            raise SimulationError(f"{path} is a constant")
        values = [value] if single or not place.dims else list(_flat(value, place.dims, path))
        size = width(place.type, place.string_len)
        for number, one in enumerate(values):
            try:
                data = encode(place.type, one, string_len=place.string_len, names=dict(place.enum or {}))  # fmt: skip
            except ValueError as error:
                raise SimulationError(f"{path} = {one!r}: {error}") from None
            self._pending.append((place, place.offset + number * size, data))

    def _latch(self) -> None:
        for place, offset, data in self._pending:
            base = self._library.simulation_write(self._handle, _AREAS[place.area])
            if place.bit is None:
                ctypes.memmove(base + offset, data, len(data))
            else:
                byte = ctypes.c_uint8.from_address(base + offset + place.bit // 8)
                mask = 1 << place.bit % 8
                byte.value = byte.value | mask if data[0] else byte.value & ~mask & 0xFF
        self._pending.clear()

    def _read(self, place: _Place, single: bool) -> Any:
        base = self._library.simulation_read(self._handle, _AREAS[place.area])
        size = width(place.type, place.string_len)
        if place.bit is not None:
            byte = ctypes.c_uint8.from_address(base + place.offset + place.bit // 8).value
            return bool(byte >> place.bit % 8 & 1)
        count = 1 if single else place.count
        data = ctypes.string_at(base + place.offset, size * count)
        values = [decode(place.type, data[n * size : (n + 1) * size]) for n in range(count)]
        return values[0] if single or not place.dims else _nested(values, place.dims)

    def _find(self, path: str) -> tuple[_Place | None, bool]:
        """Where a variable lies, and whether it is one value rather than a whole array."""
        path = path.strip()
        if path.startswith("%"):
            return self._address(path), True
        row = self.symbols.get(path.upper())
        if row is not None:
            place = _place(row)
            return place, not place.dims
        if found := _INDEX.search(path):
            row = self.symbols.get(path[: found.start()].rstrip().upper())
            if row is not None and row["dims"]:
                return self._element(path, row, [int(part) for part in found[1].split(",")]), True
            # Written with spaces, or as a[1][2] for a[1,2].
            tidy = re.sub(r"\s+", "", path).replace("][", ",")
            if tidy != path:
                return self._find(tidy)
        if found := _BIT.fullmatch(path):
            inner, single = self._find(found[1])
            if inner is not None and single and inner.bit is None and inner.type not in ("REAL", "LREAL", "STRING", "WSTRING", "BOOL"):  # fmt: skip
                bit = int(found[2])
                bits = 8 * width(inner.type, None)
                if bit >= bits:
                    raise SimulationError(f"{path}: {inner.type} has bits 0 to {bits - 1}")
                return _Place(inner.area, inner.offset, "BOOL", None, bit), True
        return None, False

    def _element(self, path: str, row: dict[str, Any], indices: list[int]) -> _Place:
        place = _place(row)
        if len(indices) != len(place.dims):
            raise SimulationError(f"{path}: {len(place.dims)} indices are wanted")
        position = 0
        for index, (low, high) in zip(indices, place.dims, strict=True):
            if not low <= index <= high:
                raise SimulationError(f"{path}: index {index} is not in {low}..{high}")
            position = position * (high - low + 1) + index - low
        size = width(place.type, place.string_len)
        return _Place(place.area, place.offset + position * size, place.type, place.string_len, None, place.enum)  # fmt: skip

    @staticmethod
    def _address(path: str) -> _Place:
        found = _ADDRESS.fullmatch(path)
        if found is None:
            raise SimulationError(f"{path}: an address is written like %IX0.0, %QW3 or %MD8")
        area, kind = found[1].upper(), (found[2] or "X").upper()
        size = {"X": 1, "B": 1, "W": 2, "D": 4, "L": 8}[kind]
        offset = int(found[3]) * size
        if (kind == "X") != (found[4] is not None) or offset + size > _IMAGE[area]:
            raise SimulationError(f"{path}: bits have a .0 to .7, and {area} has {_IMAGE[area]} bytes")  # fmt: skip
        return _Place(area, offset, _ADDRESS_TYPES[kind], None, int(found[4]) if found[4] else None)

    def _unknown(self, path: str) -> str:
        near = difflib.get_close_matches(path.upper(), list(self.symbols), 3, 0.6)
        names = [self.symbols[key]["path"] for key in near]
        hint = f"did you mean {' or '.join(names)}?" if names else f"variables: {', '.join(self._known[:12])}{' …' if len(self._known) > 12 else ''}"  # fmt: skip
        return f"{path!r} is not a variable of the program; {hint}"


def _place(row: dict[str, Any]) -> _Place:
    dims = tuple((low, high) for low, high in row["dims"] or ())
    return _Place(row["area"], row["offset"], row["type"], row["string_len"], row["bit"], row["enum"], dims)  # fmt: skip


def _flat(value: Any, dims: tuple[tuple[int, int], ...], path: str) -> Iterator[Any]:
    low, high = dims[0]
    if not isinstance(value, list) or len(value) != high - low + 1:
        raise SimulationError(f"{path} = {value!r}: a list of {high - low + 1} values")
    for one in value:
        if len(dims) > 1:
            yield from _flat(one, dims[1:], path)
        else:
            yield one


def _nested(values: list[Any], dims: tuple[tuple[int, int], ...]) -> list[Any]:
    for low, high in reversed(dims[1:]):
        size = high - low + 1
        values = [values[n : n + size] for n in range(0, len(values), size)]
    return values
