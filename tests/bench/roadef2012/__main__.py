"""`python -m tests.bench.roadef2012 -t SECONDS -p MODEL -i INITIAL -o OUT -s SEED`"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from millwright.core.placement.solver import ProblemError, Solution, check, solve

from .model import FileError, read


def _started() -> float:
    """When this process began, on the monotonic clock: imports count in -t too."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


STARTED = _started()
#: Kept for writing the result and leaving, beside a share of the reading's time.
RESERVE_SECONDS = 0.5


def _in_time(work: Callable[[], Solution], seconds: float) -> Solution | None:
    """The result, or None when it does not come in time: the first compilation takes half a minute."""
    found: list[Solution] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.roadef2012", description=__doc__)
    parser.add_argument("-t", type=float, default=300.0, help="wall-clock seconds, all included")
    parser.add_argument("-p", type=Path, required=True, help="model file")
    parser.add_argument("-i", type=Path, required=True, help="initial assignment")
    parser.add_argument("-o", type=Path, required=True, help="where the new assignment goes")
    parser.add_argument("-s", type=int, default=1, help="seed")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if not asked.t > 0:
        parser.error(f"-t {asked.t}: must be more than 0 seconds")

    try:
        problem = read(asked.p, asked.i).validate()
    except (FileError, ProblemError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    before = check(problem, problem.home)
    reserve = RESERVE_SECONDS + 0.3 * (time.monotonic() - STARTED)
    budget = max(0.0, asked.t - reserve - (time.monotonic() - STARTED))
    solution = _in_time(
        lambda: solve(problem, budget, seed=asked.s, threads=asked.threads), budget + reserve / 2
    )
    at = problem.home if solution is None else solution.assignment
    after = check(problem, at)
    asked.o.write_text(" ".join(map(str, at.tolist())) + "\n")
    print(
        json.dumps(
            {
                "score": round(after.cost),
                "initial": round(before.cost),
                "violations": len(after.violations),
                "moves": len(solution.moves) if solution else 0,
                "proposals": solution.proposals if solution else 0,
                "seconds": round(time.monotonic() - STARTED, 3),
            }
        )
    )
    sys.stdout.flush()
    # A compilation that is still going on in the other thread is not waited for.
    os._exit(0 if after.feasible else 1)


if __name__ == "__main__":
    sys.exit(main())
