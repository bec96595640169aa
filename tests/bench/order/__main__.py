"""`python -m tests.bench.order [--count 1000] [--from 0] [--room 0] [--seed 1] [--refute] [--proven 0]`: orders of random tight exchanges against a lower bound.

Each exchange: 6 to 16 hosts filled to the last byte (but for `--room`), one of them half empty; circles of two
to five hosts hand on machines of one size, a few machines go to the half empty host. The bound is
`Schedule.bound_s`: the longest move, each host's and the pool's work, and waiting for room. Every order is
looked at by the independent checker at every moment.

`--proven N`: exchanges of at most N moves alone, each also against what CP-SAT proves (see `optimum`); `proven_*`
is the makespan over that, and `optimal` how many of those proofs are closed: the least that any order takes;
`found_*` the makespan over the best order that CP-SAT found, which begins with ours. `--larger N`: more than N moves.

`--refute`: of each exchange above 1.25 of the bound, CP-SAT is asked whether any order ends within ours / 1.25 (see
`refute`). Where none does, that is a bound as well, and the order is within 1.25 of it. Each such exchange is a line
as soon as it is known; `by_bound`, `by_proof` and `open` are how many there are of each, `shorter` those of which such
an order was found (of legs rounded down to tenths of a second). `--work`: CP-SAT's work for each, `--from`: the first
to look at, `--only`: the numbers to look at.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter

import numpy as np
from millwright.core.balancing import Host, Limits, Move, Plant, Schedule, Vm, Why, order, verify

from .optimum import least
from .refute import Verdict, within

GIB = 2**30
HOST = 64 * GIB
SIZES = [4 * GIB, 8 * GIB, 16 * GIB]
#: of a bound that an order may last, as the issue wants it
WANTED = 1.25


def exchange(dice: random.Random, left: int = 0) -> tuple[Plant, list[Move]]:
    """A plant and the moves that are wanted; the plant has room for all once they are made.

    `left`: bytes that stay free on each host beside.
    """
    count = dice.randint(6, 16)
    names = [f"h{index}" for index in range(count)]
    hosts = tuple(Host(name, 32, HOST + left) for name in names)
    vms: list[Vm] = []
    for index, name in enumerate(names):
        room = HOST if index else HOST // 2
        while room >= SIZES[0]:
            size = dice.choice([entry for entry in SIZES if entry <= room])
            vms.append(Vm(f"v{len(vms)}", 2, size, host=name, dirty_bytes_s=dice.uniform(0, 2e7)))
            room -= size
    there = {name: [vm for vm in vms if vm.host == name] for name in names}
    moves: dict[str, Move] = {}

    def send(vm: Vm, target: str) -> None:
        moves[vm.name] = Move(vm.name, str(vm.host), target, Why.ASKED, "", 0.0)

    for _ in range(dice.randint(2, count)):
        ring = dice.sample(names, dice.randint(2, 5))
        size = dice.choice(SIZES)
        chosen = [
            next(
                (vm for vm in there[name] if vm.memory_bytes == size and vm.name not in moves), None
            )
            for name in ring
        ]
        for vm, target in zip(chosen, (*ring[1:], ring[0]), strict=True):
            if vm is not None and all(chosen):
                send(vm, target)
    free = HOST // 2
    for name in dice.sample(names[1:], 2):
        for vm in there[name]:
            if vm.name not in moves and vm.memory_bytes <= free - 16 * GIB:
                send(vm, names[0])
                free -= vm.memory_bytes
                break
    return Plant(hosts, tuple(vms)), list(moves.values())


def refuted(
    number: int, plant: Plant, wanted: list[Move], schedule: Schedule, work: float
) -> Verdict:
    """Whether an order ends so soon that ours is above what is wanted; says so in a line."""
    begun = time.process_time()
    end_s = schedule.makespan_s / WANTED
    verdict, spent = within(plant, wanted, Limits(2, 8), schedule, end_s, work)
    line = {
        "number": number,
        "hosts": len(plant.hosts),
        "moves": len(wanted),
        "seconds": round(schedule.makespan_s, 1),
        "ratio": round(schedule.makespan_s / schedule.bound_s, 3),
        "shorter": verdict,
        "work": round(spent, 2),
        "took": round(time.process_time() - begun, 1),
    }
    print(json.dumps(line), flush=True)
    return verdict


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
    asked = parser.parse_args()
    proofs, beside, optimal = [], [], 0
    verdicts: Counter[Verdict] = Counter()
    ratios, moves, dropped, detours, broken, seconds = [], 0, 0, 0, 0, 0.0
    numbers = asked.only or range(asked.first, asked.first + asked.count)
    for number in numbers:
        plant, wanted = exchange(random.Random(asked.seed * 1_000_003 + number), asked.room * GIB)  # noqa: S311
        if asked.proven and not asked.larger < len(wanted) <= asked.proven:
            continue
        begun = time.perf_counter()
        schedule = order(plant, wanted, Limits(2, 8))
        seconds += time.perf_counter() - begun
        broken += bool(verify(plant, schedule))
        moves += len(wanted)
        dropped += len(schedule.dropped)
        detours += sum(leg.detour for leg in schedule.legs)
        if not schedule.dropped and schedule.bound_s:
            ratios.append(schedule.makespan_s / schedule.bound_s)
            if asked.proven:
                proof = least(plant, wanted, Limits(2, 8), schedule, asked.work)
                proofs.append(schedule.makespan_s / max(schedule.bound_s, proof.least_s))
                beside.append(schedule.makespan_s / min(schedule.makespan_s, proof.found_s))
                optimal += proof.optimal
            if asked.refute and ratios[-1] > WANTED:
                verdicts[refuted(number, plant, wanted, schedule, asked.work)] += 1
    found = np.array(ratios)
    proven = (
        {
            "proven_mean": round(float(np.mean(proofs)), 3),
            "proven_worst": round(max(proofs), 3),
            "proven_within_1_25": round(float((np.array(proofs) <= WANTED).mean()), 3),
            "optimal": optimal,
            "found_mean": round(float(np.mean(beside)), 3),
            "found_worst": round(max(beside), 3),
        }
        if proofs
        else {}
    )
    if asked.refute:
        proven = {
            "by_bound": int((found <= WANTED).sum()),
            "by_proof": verdicts[Verdict.NONE],
            "open": verdicts[Verdict.OPEN],
            "shorter": verdicts[Verdict.SOME],
        }
    print(
        json.dumps(
            {
                "exchanges": len(ratios) if asked.proven else len(numbers),
                "moves": moves,
                "dropped": dropped,
                "detours": detours,
                "broken": broken,
                "ratio_mean": round(float(found.mean()), 3),
                "ratio_median": round(float(np.median(found)), 3),
                "ratio_p95": round(float(np.quantile(found, 0.95)), 3),
                "ratio_worst": round(float(found.max()), 3),
                "within_1_25": round(float((found <= WANTED).mean()), 3),
                "seconds": round(seconds, 2),
                **proven,
            }
        )
    )


if __name__ == "__main__":
    main()
