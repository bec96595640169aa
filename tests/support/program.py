"""Runs a compiled program scan by scan in this process, in virtual time."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

from industrial.st import build_shared_object, compile_folder

FORMATS = {
    "BOOL": "<B",
    "SINT": "<b",
    "USINT": "<B",
    "BYTE": "<B",
    "INT": "<h",
    "UINT": "<H",
    "WORD": "<H",
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "LINT": "<q",
    "ULINT": "<Q",
    "LWORD": "<Q",
    "REAL": "<f",
    "LREAL": "<d",
    "TIME": "<I",
}


class FaultRaised(Exception):
    def __init__(self, code: int, line: int) -> None:
        super().__init__(code, line)
        self.code, self.line = code, line


FAULT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)


class Ctx(ctypes.Structure):
    _fields_ = (
        ("arena", ctypes.c_void_p),
        ("arena_size", ctypes.c_uint32),
        ("inp", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("mem", ctypes.c_void_p),
        ("in_size", ctypes.c_uint32),
        ("out_size", ctypes.c_uint32),
        ("mem_size", ctypes.c_uint32),
        ("now_ns", ctypes.c_uint64),
        ("wall_ns", ctypes.c_int64),
        ("scan", ctypes.c_uint64),
        ("line", ctypes.c_uint32),
        ("file", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("stop", ctypes.c_void_p),
        ("fault", FAULT),
        ("flags", ctypes.c_uint32),
    )


class Task(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("interval_ns", ctypes.c_uint64),
        ("priority", ctypes.c_int32),
        ("watchdog_ns", ctypes.c_uint64),
        ("run", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )


class ProgramStruct(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("layout", ctypes.c_uint8 * 32),
        ("arena_size", ctypes.c_uint32),
        ("retain", ctypes.c_void_p),
        ("n_retain", ctypes.c_uint32),
        ("files", ctypes.c_void_p),
        ("n_files", ctypes.c_uint32),
        ("tasks", ctypes.POINTER(Task)),
        ("n_tasks", ctypes.c_uint32),
        ("init", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)),
    )


class RunningProgram:
    """Set and get variables by path; `scan` runs one scan of the first task."""

    def __init__(
        self, source: str, folder: Path, *, compiler: str = "", interval_us: int = 10000
    ) -> None:
        manifest = f'name = "t"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = {interval_us}\nprograms = ["P"]\n'
        compiled = compile_folder({"vplc.toml": manifest, "src/p.st": source})
        assert compiled.ok, [row.message for row in compiled.diagnostics]
        target = folder / f"program-{compiler or 'cc'}.so"
        build_shared_object(compiled.c_source, target, compiler=compiler)
        self._library = ctypes.CDLL(str(target))
        self._program = ProgramStruct.in_dll(self._library, "vplc_program_v1")
        self.symbols: dict[str, dict[str, Any]] = {
            row["path"].lower(): row for row in compiled.symbols["symbols"]
        }
        self._areas = {
            "arena": ctypes.create_string_buffer(self._program.arena_size),
            "I": ctypes.create_string_buffer(4096),
            "Q": ctypes.create_string_buffer(4096),
            "M": ctypes.create_string_buffer(65536),
        }
        self._stop = ctypes.c_uint32(0)
        address = {name: ctypes.addressof(buffer) for name, buffer in self._areas.items()}
        self.ctx = Ctx(
            address["arena"],
            self._program.arena_size,
            address["I"],
            address["Q"],
            address["M"],
            4096,
            4096,
            65536,
            stop=ctypes.addressof(self._stop),
            fault=FAULT(lambda *_: None),
        )
        self.now_us = 0
        self.interval_us = interval_us
        self._program.init(ctypes.addressof(self.ctx), 0)

    def scan(self, count: int = 1) -> None:
        """Scans, each an interval after the other; the first sees t = 0."""
        for _ in range(count):
            self.ctx.now_ns, self.ctx.depth = self.now_us * 1000, 0
            self._program.tasks[0].run(ctypes.addressof(self.ctx))
            self.ctx.scan += 1
            self.now_us += self.interval_us

    def get(self, path: str) -> Any:
        row = self.symbols[f"p.{path}".lower()]
        data = self._areas[row["area"]].raw
        if row["bit"] is not None:
            return bool(data[row["offset"]] >> row["bit"] & 1)
        layout = FORMATS[row["type"]]
        size = struct.calcsize(layout)
        values = [
            struct.unpack_from(layout, data, row["offset"] + n * size)[0]
            for n in range(row["size"] // size)
        ]
        values = [bool(value) for value in values] if row["type"] == "BOOL" else values
        return values if row["dims"] else values[0]

    def set(self, path: str, value: Any) -> None:
        row = self.symbols[f"p.{path}".lower()]
        buffer = self._areas[row["area"]]
        if row["bit"] is not None:
            old = buffer.raw[row["offset"]]
            mask = 1 << row["bit"]
            struct.pack_into(
                "<B", buffer, row["offset"], old | mask if value else old & ~mask & 0xFF
            )
            return
        struct.pack_into(FORMATS[row["type"]], buffer, row["offset"], value)
