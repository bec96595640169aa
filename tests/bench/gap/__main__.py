"""`python -m tests.bench.gap [--count 5] [--rounds N] [--seconds 60]`: gap of placing and balancing to the optimum.

Generated pools of 10 hosts and 150 machines, half of them to be balanced, half to be placed at
once. The gap is (our price - CP-SAT's bound) / bound: where CP-SAT has not proven its answer, the
true gap is smaller. Every assignment, CP-SAT's too, is priced by the solver's checker.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from millwright.core.placement.solver import check, solve

from .model import optimum, pool


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.gap", description=__doc__)
    parser.add_argument("--count", type=int, default=5, help="pools of each kind")
    parser.add_argument("--rounds", type=int, default=10_000_000, help="our proposals per thread")
    parser.add_argument("--seconds", type=float, default=60.0, help="CP-SAT's time for each pool")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    gaps: dict[str, list[float]] = {"balance": [], "place": []}
    proven = broken = 0
    for number in range(asked.count):
        for kind, found in gaps.items():
            problem = pool(asked.seed * 1000 + number, placed=kind == "balance")
            begun = time.perf_counter()
            ours = solve(problem, rounds=asked.rounds, seed=asked.seed, threads=2)
            took = time.perf_counter() - begun
            best = optimum(problem, asked.seconds, hint=ours.assignment.tolist())
            verdicts = check(problem, ours.assignment), check(problem, np.array(best.assignment))
            broken += sum(not verdict.feasible for verdict in verdicts)
            found.append((ours.cost - best.bound) / best.bound if best.bound else 0.0)
            proven += best.proven
            print(
                f"{kind} {number}: ours {ours.cost:.0f} in {took:.1f} s with {len(ours.moves)} moves, "
                f"CP-SAT {verdicts[1].cost:.0f}, bound {best.bound:.0f}, gap {found[-1]:.3%}"
            )
    print(
        json.dumps(
            {
                **{f"{kind}_gap_mean": round(float(np.mean(g)), 5) for kind, g in gaps.items()},
                **{f"{kind}_gap_worst": round(max(g), 5) for kind, g in gaps.items()},
                "proven": proven,
                "pools": 2 * asked.count,
                "broken": broken,
            }
        )
    )
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
