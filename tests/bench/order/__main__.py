"""`python -m tests.bench.order [--count 1000] [--from 0] [--room 0] [--seed 1] [--refute] [--proven 0]`: orders of random tight exchanges against a lower bound.

Each exchange: 6 to 16 hosts filled to the last byte (but for `--room`), one of them half empty; circles of two
to five hosts hand on machines of one size, a few machines go to the half empty host. The bound is
`Schedule.bound_s`: the longest move, each host's and the pool's work, and waiting for room. Every order is
looked at by the independent checker at every moment. `took_*`: the processor's seconds for one order.

`--proven N`: exchanges of at most N moves alone, each also against what CP-SAT proves (see `optimum`); `proven_*`
is the makespan over that, and `optimal` how many of those proofs are closed: the least that any order takes;
`found_*` the makespan over the best order that CP-SAT found, which begins with ours. `--larger N`: more than N moves.

`--refute`: of each exchange above 1.25 of the bound, CP-SAT is asked whether any order ends within ours / 1.25 (see
`refute`). Where none does, that is a bound as well, and the order is within 1.25 of it. Each such exchange is a line
as soon as it is known; `by_bound`, `by_proof` and `open` are how many there are of each, `shorter` those of which such
an order was found (of legs rounded down to tenths of a second). `--work`: CP-SAT's work for each, `--from`: the first
to look at, `--only`: the numbers to look at.

`--keep FILE`: what is found of each exchange is added to the file, and what stands there is not looked at again; so
many can be looked at in parts, and the last line counts all. `--workers 2`: two at a time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .series import Asked, Found, series, summary


def _line(found: Found) -> str:
    """One exchange that was above 1.25 of its bound."""
    told = {
        "number": found.number,
        "hosts": found.hosts,
        "moves": found.moves,
        "seconds": round(found.seconds, 1),
        "ratio": round(found.ratio, 3),
        "took": found.took,
        "shorter": found.shorter,
        "work": found.work,
        "proof_took": found.proof_took,
    }
    return json.dumps(told)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.order", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first", help="exchanges left out")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="the numbers to look at")
    parser.add_argument("--room", type=int, default=0, help="GiB that stay free on each host")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proven", type=int, default=0, help="most moves of what CP-SAT looks at")
    parser.add_argument("--larger", type=int, default=0, help="moves that are too few")
    parser.add_argument("--work", type=float, default=20.0, help="CP-SAT's work for each")
    parser.add_argument("--refute", action="store_true", help="prove what is above 1.25")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="what was found, and is found")
    parser.add_argument("--workers", type=int, default=1, choices=(1, 2))
    asked = parser.parse_args()
    each = Asked(asked.room, asked.seed, asked.larger, asked.proven, asked.refute, asked.work)
    numbers = asked.only or range(asked.first, asked.first + asked.count)
    all_found = []
    for found, new in series(each, numbers, asked.keep, asked.workers):
        all_found.append(found)
        if new and found.shorter:
            print(_line(found), flush=True)
    print(json.dumps(summary(each, all_found)))


if __name__ == "__main__":
    main()
