"""Runs a compiled program scan by scan in this process: a small C file catches faults as the engine does."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from industrial.st import Compiled, Config, build_shared_object, compile_project

ROOT = Path(__file__).resolve().parents[2]
ABI = ROOT / "industrial" / "runtime" / "native" / "vplc_abi.h"
FAULTS = {
    1: "division",
    2: "bounds",
    3: "reference",
    4: "string",
    5: "watchdog",
    6: "stack",
    7: "conversion",
}
_CATCHER = r"""
#include <setjmp.h>
#include <stdlib.h>
#include <dlfcn.h>
#include "vplc_abi.h"
static jmp_buf back;
static void fault(vplc_ctx *c, uint32_t code) { (void)c; longjmp(back, (int)code); }
typedef struct plc { const vplc_program *p; vplc_ctx c; uint8_t in[4096], out[4096], mem[65536]; volatile uint32_t stop; } plc;
plc *plc_open(const char *path, char **why) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) { *why = dlerror(); return 0; }
    plc *x = calloc(1, sizeof *x);
    x->p = dlsym(library, "vplc_program_v1");
    x->c.arena = calloc(1, x->p->arena_size); x->c.arena_size = x->p->arena_size;
    x->c.in = x->in; x->c.out = x->out; x->c.mem = x->mem;
    x->c.in_size = 4096; x->c.out_size = 4096; x->c.mem_size = 65536;
    x->c.stop = &x->stop; x->c.fault = fault; x->c.flags = 1;
    return x;
}
int plc_init(plc *x, int warm) { int code = setjmp(back); if (code) return code; x->p->init(&x->c, warm); return 0; }
int plc_scan(plc *x, unsigned task, uint64_t now) {
    int code = setjmp(back);
    if (code) return code;
    x->c.now_ns = now; x->c.depth = 0;
    x->p->tasks[task].run(&x->c);
    x->c.scan++; x->c.flags = 0;
    return 0;
}
uint8_t *plc_area(plc *x, int area) { return area == 0 ? x->c.arena : area == 1 ? x->in : area == 2 ? x->out : x->mem; }
unsigned plc_line(plc *x) { return x->c.line; }
unsigned plc_file(plc *x) { return x->c.file; }
unsigned plc_tasks(plc *x) { return x->p->n_tasks; }
void plc_stop(plc *x, unsigned v) { x->stop = v; }
"""
FORMATS = {
    "BOOL": "B", "BYTE": "B", "USINT": "B", "SINT": "b", "WORD": "H", "UINT": "H", "INT": "h", "DWORD": "I", "UDINT": "I", "DINT": "i",
    "LWORD": "Q", "ULINT": "Q", "LINT": "q", "REAL": "f", "LREAL": "d", "TIME": "I", "DATE": "I", "TOD": "I", "DT": "I",
    "LTIME": "q", "LDATE": "q", "LTOD": "q", "LDT": "q", "CHAR": "B", "WCHAR": "H",
}  # fmt: skip


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mw-st-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _catcher() -> ctypes.CDLL:
    folder = _scratch()
    (folder / "catcher.c").write_text(_CATCHER)
    subprocess.run(
        [
            "gcc",
            "-O1",
            "-shared",
            "-fPIC",
            f"-I{ABI.parent}",
            "-o",
            "catcher.so",
            "catcher.c",
            "-ldl",
        ],
        cwd=folder,
        check=True,
    )
    library = ctypes.CDLL(str(folder / "catcher.so"))
    library.plc_open.restype = ctypes.c_void_p
    library.plc_area.restype = ctypes.c_void_p
    for name in (
        "plc_init",
        "plc_scan",
        "plc_area",
        "plc_line",
        "plc_file",
        "plc_tasks",
        "plc_stop",
    ):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64][
            : 3 if name == "plc_scan" else 2 if name in ("plc_init", "plc_area", "plc_stop") else 1
        ]
    library.plc_scan.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint64]
    library.plc_init.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.plc_area.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.plc_stop.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    return library


class Plc:
    """A loaded program; variables by path."""

    def __init__(self, compiled: Compiled, compiler: str = "tcc") -> None:
        assert compiled.ok, "\n".join(item.render() for item in compiled.diagnostics)
        digest = hashlib.sha256(compiled.c_source.encode()).hexdigest()[:20]
        path = _scratch() / f"{digest}-{compiler}.so"
        if not path.exists():
            build_shared_object(compiled.c_source, path, compiler)
        copy = _scratch() / f"{digest}-{compiler}-{id(self)}.so"
        copy.write_bytes(
            path.read_bytes()
        )  # a file of its own: the loader would share the statics otherwise
        self.library = _catcher()
        why = ctypes.c_char_p()
        self.handle = self.library.plc_open(str(copy).encode(), ctypes.byref(why))
        copy.unlink()
        assert self.handle, why.value
        self.symbols = {row["path"].upper(): row for row in compiled.symbols["symbols"]}
        self.now_us = 0
        assert self.library.plc_init(self.handle, 0) == 0

    def _place(self, path: str) -> tuple[dict[str, Any], int, int]:
        name, _, index = path.partition("[")
        row = self.symbols.get(path.upper())
        position = 0
        if row is None:
            row = self.symbols[name.upper()]
            numbers = [int(part) for part in index.rstrip("]").split(",")]
            for (low, high), number in zip(row["dims"], numbers, strict=True):
                position = position * (high - low + 1) + number - low
        base = self.library.plc_area(self.handle, {"arena": 0, "I": 1, "Q": 2, "M": 3}[row["area"]])
        count = 1
        for low, high in row["dims"] or []:
            count *= high - low + 1
        stride = row["size"] // count
        return row, base + row["offset"] + position * stride, stride

    def get(self, path: str) -> Any:
        """A variable's value."""
        row, address, size = self._place(path)
        data = ctypes.string_at(address, size)
        if row["type"] == "STRING":
            return data.split(b"\0")[0].decode("latin-1")
        if row["type"] == "WSTRING":
            return data.decode("utf-16-le").split("\0")[0]
        value = struct.unpack(
            "<" + FORMATS[row["type"]], data[: struct.calcsize(FORMATS[row["type"]])]
        )[0]
        if row["bit"] is not None:
            return bool(value >> row["bit"] & 1)
        return bool(value) if row["type"] == "BOOL" else value

    def set(self, path: str, value: Any) -> None:
        """Set a variable."""
        row, address, size = self._place(path)
        if row["type"] == "STRING":
            data = value.encode("latin-1")[: size - 1].ljust(size, b"\0")
        elif row["bit"] is not None:
            old = ctypes.string_at(address, 1)[0]
            data = bytes([old | 1 << row["bit"] if value else old & ~(1 << row["bit"])])
        else:
            data = struct.pack("<" + FORMATS[row["type"]], value)
        ctypes.memmove(address, data, len(data))

    def scan(self, count: int = 1, interval_us: int = 10_000, task: int = 0) -> str:
        """Run scans; the name of a fault, or nothing."""
        for _ in range(count):
            code = self.library.plc_scan(self.handle, task, self.now_us * 1000)
            self.now_us += interval_us
            if code:
                return FAULTS[code]
        return ""

    def init(self, *, warm: bool) -> None:
        """Start again."""
        assert self.library.plc_init(self.handle, int(warm)) == 0

    @property
    def line(self) -> int:
        """The line that ran last."""
        return int(self.library.plc_line(self.handle))

    def watchdog(self) -> None:
        """As the engine does when a scan takes too long."""
        self.library.plc_stop(self.handle, 1)


def compiled(source: str, *, dialect: str = "iec") -> Compiled:
    """A source that must be right."""
    result = compile_project({"test.st": source}, Config(dialect=dialect))
    assert result.ok, "\n".join(item.render() for item in result.diagnostics)
    return result


def plc(source: str, *, dialect: str = "iec", compiler: str = "tcc") -> Plc:
    """Compile and load."""
    return Plc(compiled(source, dialect=dialect), compiler)


def program(declarations: str, body: str) -> str:
    """A program Main around a body."""
    return f"PROGRAM Main\nVAR\n{declarations}\nEND_VAR\n{body}\nEND_PROGRAM\n"


def errors(source: str, *, dialect: str = "iec") -> list[tuple[int, int, str]]:
    """Line, column, code of every error."""
    result = compile_project({"test.st": source}, Config(dialect=dialect))
    return [
        (item.line, item.column, item.code)
        for item in result.diagnostics
        if item.severity == "error"
    ]
