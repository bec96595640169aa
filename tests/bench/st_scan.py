"""How long a scan of the mix takes: `python -m tests.bench.st_scan` prints JSON, microseconds, best of the rounds.

The checksum of both stages must be the same.
"""

from __future__ import annotations

import json
import time

from industrial.st import Config, compile_project
from tests.bench.st_mix import source
from tests.support.st_harness import Plc

SCANS, ROUNDS = 2000, 5


def measure(compiler: str) -> tuple[float, int]:
    """Microseconds of a scan, and the checksum after all of them."""
    compiled = compile_project({"mix.st": source()}, Config())
    plc = Plc(compiled, compiler)
    best = float("inf")
    for number in range(ROUNDS):
        first = number * SCANS
        begun = time.perf_counter()
        for scan in range(first, first + SCANS):
            plc.library.plc_scan(plc.handle, 0, scan * 10_000_000)
        best = min(best, time.perf_counter() - begun)
    return best / SCANS * 1e6, plc.get("Main.check")


def main() -> None:
    """Measure and print."""
    rows = {compiler: measure(compiler) for compiler in ("tcc", "gcc")}
    print(
        json.dumps(
            {
                "statements": 1000,
                **{f"{name}_us": round(value, 2) for name, (value, _) in rows.items()},
                "checksums_equal": len({check for _, check in rows.values()}) == 1,
                "checksum": rows["gcc"][1],
            }
        )
    )


if __name__ == "__main__":
    main()
