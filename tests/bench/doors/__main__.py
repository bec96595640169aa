"""`python -m tests.bench.doors [--hosts 1000] [--machines 20000]`: seconds of the balancer's questions.

Each question is asked from the plant alone: turning it into tables is in the figure, but for the placement,
which is also asked of tables that are there already, as a service that keeps them would.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from millwright.core.balancing import (
    Host,
    HostState,
    Mode,
    Plant,
    Pool,
    Rule,
    RuleKind,
    Settings,
    Vm,
    admit,
    after,
    balance,
    capacity,
    drain,
    failure_capacity,
    order,
    recover,
    violations,
)
from millwright.core.balancing.admit import admit_units
from millwright.core.balancing.frame import Frame
from millwright.core.balancing.state import State

GIB = 2**30
T = TypeVar("T")


def pool(hosts: int, machines: int, seed: int = 1) -> Plant:
    """Racks of twenty hosts, CPUs three quarters wanted and unevenly; a pair in each two hundred kept apart."""
    dice = random.Random(seed)  # noqa: S311
    per_host = machines / hosts
    racks = tuple(
        Host(f"h{i}", 2.1 * per_host, int(14 * GIB * per_host), cores=4, domain=f"rack{i // 20}")
        for i in range(hosts)
    )
    vms = []
    for index in range(machines):
        demand = dice.choice([0.2, 0.5, 1.0, 2.0, 4.0]) * dice.uniform(0.7, 1.3)
        # Some hosts are much fuller than others, so that there is something to balance.
        where = dice.randrange(hosts) if dice.random() < 0.7 else index % hosts
        vms.append(
            Vm(
                f"v{index}",
                vcpus=4,
                memory_bytes=dice.choice([2, 4, 8, 16]) * GIB,
                host=f"h{where}",
                demand_short=demand,
                demand_long=demand,
                demand_peak=demand * 1.2,
                dirty_bytes_s=dice.uniform(0, 3e7),
                pool=f"p{index % 10}",
            )
        )
    apart = tuple(
        Rule(f"r{i}", RuleKind.APART, (f"v{i}", f"v{i + 1}")) for i in range(0, machines, 200)
    )
    return Plant(
        racks,
        tuple(vms),
        pools=tuple(Pool(f"p{i}") for i in range(10)),
        rules=apart,
        settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=1, max_moves=50),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.doors", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20000)
    asked = parser.parse_args()
    figures: dict[str, float] = {}

    def timed(name: str, question: Callable[[], T]) -> T:
        begun = time.perf_counter()
        answer = question()
        figures[name] = time.perf_counter() - begun
        return answer

    plant = pool(asked.hosts, asked.machines)
    new = Vm("new", 4, 8 * GIB, demand_long=1.0)
    known = {(entry.kind, entry.subject) for entry in timed("check", lambda: violations(plant))}
    timed("placement_from_the_plant", lambda: admit(plant, [new]))
    frame = Frame(replace(plant, vms=(*plant.vms, new)))
    state = State(frame)
    unit = int(frame.unit_of[frame.vm_index["new"]])
    timed("placement", lambda: admit_units(state, [unit], 0))
    made = timed("round", lambda: balance(plant))
    figures["round_moves"] = len(made.moves)
    emptied = timed("drain", lambda: drain(plant, ["h1"]))
    figures["drain_blockers"] = len(emptied.blockers)
    timed("drain_order", lambda: order(plant, emptied.moves))
    verdict = timed("spare_1", lambda: failure_capacity(plant, 1))
    figures["spare_1_sets"] = verdict.checked
    dead = replace(
        plant,
        hosts=tuple(replace(h, state=HostState.DOWN) if h.name == "h1" else h for h in plant.hosts),
    )
    timed("recover", lambda: recover(dead, ["h1"]))
    timed("capacity", lambda: capacity(plant, new))
    for moves in (made.moves, emptied.moves):
        wrong = {(e.kind, e.subject) for e in violations(after(plant, moves))} - known
        if wrong:
            raise SystemExit(f"a plan broke a hard rule: {sorted(wrong)[:3]}")
    figures["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
