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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from industrial.st import Config, compile_project
from tests.bench.st_mix import source
from tests.support.st_harness import Plc

SCANS, ROUNDS = 2000, 31
NS = 10_000_000


class Stage:
    """One of our compilers' program."""

    def __init__(self, compiler: str) -> None:
        self._plc = Plc(compile_project({"mix.st": source()}, Config()), compiler)

    def block(self, first: int, count: int) -> float:
        """Run scans; microseconds of one."""
        scan, handle = self._plc.library.plc_scan, self._plc.handle
        begun = time.perf_counter()
        for number in range(first, first + count):
            scan(handle, 0, number * NS)
        return (time.perf_counter() - begun) / count * 1e6

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
    stages: dict[str, Any] = {"tcc": Stage("tcc"), "gcc": Stage("gcc")}
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
