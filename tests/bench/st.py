"""How fast sources are checked: `python -m tests.bench.st PATH… [--with FILE] [--dialect D]` prints JSON.

Measured as `vplc check` does it, tcc's share included; the best of five runs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from industrial.st import check
from industrial.st.compiler import find_sources


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--with", dest="extra", action="append", default=[], type=Path)
    parser.add_argument("--dialect", default="iec")
    chosen = parser.parse_args()
    lines = sum(len(path.read_bytes().splitlines()) for path in find_sources(chosen.paths))
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        report = check(chosen.paths, dialect=chosen.dialect, with_files=chosen.extra)
        best = min(best, time.perf_counter() - begun)
    print(
        json.dumps(
            {
                "lines": lines,
                "pous_and_types": len(report.rows),
                "ok": sum(row.ok for row in report.rows),
                "seconds": round(best, 3),
                "kloc_per_minute": round(lines / 1000 / best * 60),
            }
        )
    )


if __name__ == "__main__":
    main()
