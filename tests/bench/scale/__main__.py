"""`python -m tests.bench.scale [--hosts 1000] [--machines 20000]`: seconds of one placement, round, drain.

The kernel is compiled on a small pool first; its compilation is not in the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import time

import numpy as np
from millwright.core.placement.solver import UNPLACED, Prices, Problem, check, steps


def pool(hosts: int, machines: int, seed: int) -> Problem:
    """Millicores, MiB and MiB of disk; hosts filled unevenly to about 60 %."""
    dice = np.random.default_rng(seed)
    demand = np.column_stack(
        [
            dice.integers(200, 4000, machines),
            dice.integers(512, 16384, machines),
            dice.integers(2048, 65536, machines),
        ]
    )
    capacity = np.tile((demand.sum(axis=0) / hosts * 1.7).astype(np.int64), (hosts, 1))
    free = capacity.copy()
    home = np.empty(machines, np.int64)
    for machine in range(machines):
        for host in dice.permutation(hosts):
            if (demand[machine] <= free[host]).all():
                break
        home[machine] = host
        free[host] -= demand[machine]
    return Problem(
        capacity=capacity,
        demand=demand,
        home=home,
        safety=(capacity * 0.8).astype(np.int64),
        load_weight=[1e-3, 1e-3, 0],
        even_weight=[1000.0, 1000.0, 0.0],
        move_cost=np.full(machines, 1.0),
        eligible=np.ones((machines, hosts), np.bool_),
    )


def measure(hosts: int, machines: int) -> dict[str, float]:
    """Wall seconds of each question; every answer goes through the checker."""
    known = pool(hosts, machines, 1).validate()
    fresh = known.home.copy()
    fresh[0] = UNPLACED
    prices = Prices(dataclasses.replace(known.source, home=fresh))
    begun = time.perf_counter()
    chosen = int(np.argmin(prices.of(0)))
    placement = time.perf_counter() - begun
    begun = time.perf_counter()
    result, made = steps(known, 50)
    round_seconds = time.perf_counter() - begun
    if not check(known, result.assignment).feasible:
        raise SystemExit("the round broke a hard rule")
    eligible = np.ones((machines, hosts), np.bool_)
    eligible[:, chosen] = False
    begun = time.perf_counter()
    drained, _ = steps(dataclasses.replace(known.source, eligible=eligible), 0)
    drain = time.perf_counter() - begun
    return {
        "placement_seconds": placement,
        "round_seconds": round_seconds,
        "round_moves": len(made),
        "drain_seconds": drain,
        "drain_left": int((drained.assignment == chosen).sum()),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20000)
    asked = parser.parse_args()
    measure(8, 80)
    figures = measure(asked.hosts, asked.machines)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
