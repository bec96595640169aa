"""One program, loaded and moved by hand: variables by path, scans, the clock."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from industrial.runtime.build import ensure_simulator
from industrial.runtime.shm import QUALITY_STAGE_AT, Quality
from industrial.runtime.variables import Place, VariableError, Variables
from industrial.st import Compiled, build_shared_object

from .errors import SimulationError

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


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(ensure_simulator()))
    pointer, number, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "open": (pointer, [text, ctypes.c_uint64, ctypes.c_int64]),
        "why": (text, [pointer]),
        "prepare": (ctypes.c_int, [pointer]),
        "clock": (None, [ctypes.c_uint64]),
        "clock_event": (None, [pointer, ctypes.c_uint64, ctypes.c_int64]),
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
        "replay": (None, [pointer, pointer]),
        "begin": (None, [pointer, number]),
        "end": (ctypes.c_int, [pointer, number]),
        "shm": (pointer, [pointer]),
        "sum": (ctypes.c_uint64, [pointer]),
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
        self._pending: list[tuple[Place, bytes]] = []
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
            self.variables = Variables(compiled.symbols["symbols"])
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

    def __enter__(self) -> Self:
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

    def stand_still(self, duration_us: int, *, wall_step_s: float = 0.0) -> None:
        """The machine is paused or moved for so long: no scan runs, and the next one is told; or the wall clock is set."""
        self.advance(duration_us, scans=False)
        self._library.simulation_clock(self.now_us * 1000)
        self._library.simulation_clock_event(
            self._handle, duration_us * 1000, round(wall_step_s * 1e9)
        )

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
        if members := self.variables.members(path):
            return {name: self.get(f"{path}.{name}") for name in members}
        try:
            place = self.variables.find(path)
        except VariableError as error:
            raise SimulationError(str(error)) from None
        base = self._library.simulation_read(self._handle, _AREAS[place.area])
        return place.decode(ctypes.string_at(base + place.offset, place.width * place.count))

    def set(self, path: str, value: Any) -> None:
        """Give a variable a value at the next input latch, that is at the beginning of the next scan.

        Raises:
            SimulationError: no such variable, or a value that it cannot hold.
        """
        if isinstance(value, Mapping) and self.variables.members(path):
            for name, inner in value.items():
                self.set(f"{path}.{name}", inner)
            return
        try:
            place = self.variables.find(path)
            self._pending.append((place, place.encode(value)))
        except VariableError as error:
            raise SimulationError(str(error)) from None

    def silence(self, path: str, silent: bool = True) -> None:
        """The device that an input comes from answers no more, or again: its quality turns bad, and its age grows.

        Raises:
            SimulationError: no such variable, or no input.
        """
        try:
            place = self.variables.find(path)
        except VariableError as error:
            raise SimulationError(str(error)) from None
        if place.area != "I":
            raise SimulationError(f"{path} is not an input: it has no quality")
        base = self._library.simulation_shm(self._handle)
        word = Quality.BAD if silent else Quality.GOOD
        ctypes.memset(base + QUALITY_STAGE_AT + place.offset, word, place.width * place.count)

    def _latch(self) -> None:
        for place, data in self._pending:
            at = self._library.simulation_write(self._handle, _AREAS[place.area]) + place.offset
            if place.bit is None:
                ctypes.memmove(at, data, len(data))
            else:
                byte, mask = ctypes.c_uint8.from_address(at), 1 << place.bit
                byte.value = byte.value | mask if data[0] else byte.value & ~mask & 0xFF
        self._pending.clear()
