"""How long a scan of the mix takes: `python -m tests.bench.st_scan` prints JSON, microseconds, best of the rounds.

Rounds are interleaved; the checksums of all must be the same. A peer's compilation of the same mix (`python -m
tests.bench.st_mix` prints it) is run beside with `--peer NAME=FILE`: a shared object, built elsewhere, with
`double block(long first, long n)`, which runs scans first to first + n at every 10 ms and returns the microseconds
of one, and `int check(void)`. `--peers DIR`: each `DIR/st_scan/NAME.so`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from industrial.st import Config, compile_project
from tests.bench.st_mix import source
from tests.support.st_harness import Plc

SCANS, ROUNDS = 2000, 31
NS = 10_000_000


#: The loop that peers have in theirs: Python's own calls would be a tenth of a scan.
_LOOP = """
#include <stdint.h>
#include <time.h>
double block(int (*scan)(void *, int, int64_t), void *handle, long first, long count, int64_t step) {
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (long number = first; number < first + count; number++) scan(handle, 0, number * step);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ((ended.tv_sec - begun.tv_sec) * 1e9 + (ended.tv_nsec - begun.tv_nsec)) / count / 1e3;
}
"""


def _loop(folder: Path) -> Any:
    source_file, library = folder / "loop.c", folder / "loop.so"
    source_file.write_text(_LOOP)
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source_file)], check=True
    )
    block = ctypes.CDLL(str(library)).block
    block.restype = ctypes.c_double
    block.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_long,
        ctypes.c_long,
        ctypes.c_int64,
    ]
    return block


class Stage:
    """One of our compilers' program."""

    def __init__(self, compiler: str, loop: Any) -> None:
        self._plc = Plc(compile_project({"mix.st": source()}, Config()), compiler)
        self._scan = ctypes.cast(self._plc.library.plc_scan, ctypes.c_void_p)
        self._loop = loop

    def block(self, first: int, count: int) -> float:
        """Run scans; microseconds of one."""
        return float(self._loop(self._scan, self._plc.handle, first, count, NS))

    def check(self) -> int:
        """The checksum after all scans."""
        return int(self._plc.get("Main.check"))


def peer(path: Path) -> Any:
    """A peer's program."""
    library = ctypes.CDLL(str(path.resolve()))
    library.block.restype, library.block.argtypes = ctypes.c_double, [ctypes.c_long, ctypes.c_long]
    return library


def measure(stages: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Each round runs each stage once."""
    found: dict[str, list[float]] = {name: [] for name in stages}
    blocks: dict[str, Callable[[int, int], float]] = {n: s.block for n, s in stages.items()}
    for number in range(rounds):
        for name, block in blocks.items():
            found[name].append(block(number * SCANS, SCANS))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.st_scan", description=__doc__)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--peers", type=Path, help="folder of peers")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    found = sorted((asked.peers / "st_scan").glob("*.so")) if asked.peers else []
    peers = {path.stem: str(path) for path in found}
    peers |= dict(text.split("=", 1) for text in asked.peer)
    with tempfile.TemporaryDirectory() as folder:
        loop = _loop(Path(folder))
    stages: dict[str, Any] = {name: Stage(name, loop) for name in ("tcc", "gcc")}
    stages |= {name: peer(Path(file)) for name, file in peers.items()}
    rows = measure(stages, asked.rounds)
    checks = {name: int(stage.check()) for name, stage in stages.items()}
    print(
        json.dumps(
            {
                "statements": 1000,
                **{f"{name}_us": round(min(values), 2) for name, values in rows.items()},
                "gcc_of_peer": {
                    name: round(
                        statistics.median(
                            a / b for a, b in zip(rows["gcc"], rows[name], strict=True)
                        ),
                        3,
                    )
                    for name in peers
                },
                "checksums_equal": len(set(checks.values())) == 1,
                "checksum": checks["gcc"],
            }
        )
    )


if __name__ == "__main__":
    main()
