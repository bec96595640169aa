"""`python -m tests.bench.roadef2012 -t SECONDS -p MODEL -i INITIAL -o OUT -s SEED`"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

STARTED = time.monotonic()
#: Kept for writing the result and leaving, beside a share of the reading's time.
RESERVE_SECONDS = 0.5


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

    from millwright.core.placement.solver import ProblemError, check, solve

    from .model import FileError, read

    try:
        problem = read(asked.p, asked.i).validate()
    except (FileError, ProblemError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    before = check(problem, problem.home)
    reserve = RESERVE_SECONDS + 0.3 * (time.monotonic() - STARTED)
    budget = max(0.0, asked.t - reserve - (time.monotonic() - STARTED))
    solution = solve(problem, budget, seed=asked.s, threads=asked.threads)
    after = check(problem, solution.assignment)
    asked.o.write_text(" ".join(map(str, solution.assignment.tolist())) + "\n")
    print(
        json.dumps(
            {
                "score": round(after.cost),
                "initial": round(before.cost),
                "violations": len(after.violations),
                "moves": len(solution.moves),
                "proposals": solution.proposals,
                "seconds": round(time.monotonic() - STARTED, 3),
            }
        )
    )
    return 0 if after.feasible else 1


if __name__ == "__main__":
    sys.exit(main())
