"""`python -m tests.bench.balancing [--traces 50] [--hours 24] [--of cpu|memory]`: moves and contention beside two
other rules.

Each trace: 8 hosts of 16 CPUs and 80 machines, a sample each five minutes; an office shift by day, CAE batches
by night, one noisy neighbour. The other rules are written from what their projects document, on the same
demand (CPU), the same hosts and with room for memory asked for as here:

- Proxmox's automatic rebalancing: relative standard deviation of the hosts' CPU above 30 % for three cycles of
  ten seconds, then the one migration that lowers it most, if by a tenth at least; so ten at most in a sample.
  Its default, and with 10 % in place of 30, where it relieves about as much as the others.
- ProxLB: largest minus smallest CPU use above ten points: the machine with the highest use of the fullest host
  goes to the emptiest, again and again; run once an hour.

`--of memory`: hosts that were filled one after the other, CPUs that idle, and guests that use more or less of
their memory by day, by night or always; the other rules go by memory then, as both projects offer.

A ping-pong is a machine that is back within two hours on the host that it left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from millwright.core.balancing import BalanceState, Host, Mode, Plant, Settings, Vm, after, balance

GIB = 2**30
HOSTS, MACHINES, CPUS, MEMORY = 8, 80, 16.0, 96 * GIB
STEP_S = 300
#: above this is contention: two hundredths above what our level 3 goes by
THRESHOLDS = {"cpu": 0.9, "memory": 0.95}
#: of a host: CPUs, and memory in GiB
SIZES = {"cpu": CPUS, "memory": MEMORY / GIB}
BACK = 24
Places = list[int]
Chooser = Callable[[int, np.ndarray, Places], list[tuple[int, int]]]


def trace(seed: int, steps: int) -> tuple[np.ndarray, list[int], Places]:
    """Demand in cores (steps x machines), bytes of memory, and where the machines begin."""
    dice = np.random.default_rng(seed)
    hour = (np.arange(steps) * STEP_S / 3600 + 6) % 24
    day = np.clip(np.minimum(hour - 6, 18 - hour) / 2, 0, 1)
    night = ((hour >= 22) | (hour < 5)).astype(float)
    demand = np.empty((steps, MACHINES))
    for machine in range(MACHINES):
        kind = dice.choice(3, p=[0.5, 0.25, 0.25])
        base = dice.uniform(0.1, 0.5)
        if kind == 0:
            level = base + dice.uniform(0.5, 2.5) * day
        elif kind == 1:
            level = base + dice.uniform(1.5, 4.0) * night * (dice.random() < 0.8)
        else:
            level = np.full(steps, base + dice.uniform(0.2, 1.2))
        noise = np.empty(steps)
        value = 0.0
        for step in range(steps):
            value = 0.8 * value + dice.normal(0, 0.12)
            noise[step] = value
        demand[:, machine] = level * (1 + noise)
    begin = int(dice.integers(steps // 4, steps // 2))
    demand[begin : begin + 36, 0] = 6.0
    memory = [int(size) * GIB for size in dice.choice([2, 4, 8], MACHINES)]
    return np.clip(demand, 0.02, 8.0), memory, [int(h) for h in dice.permutation(MACHINES) % HOSTS]


def memory_trace(seed: int, steps: int) -> tuple[np.ndarray, list[int], Places]:
    """Memory in use in GiB (steps x machines), bytes of memory, and where the machines begin."""
    dice = np.random.default_rng(seed)
    hour = (np.arange(steps) * STEP_S / 3600 + 6) % 24
    day = np.clip(np.minimum(hour - 6, 18 - hour) / 2, 0, 1)
    night = ((hour >= 22) | (hour < 5)).astype(float)
    memory = [int(size) * GIB for size in dice.choice([4, 8, 12], MACHINES, p=[0.4, 0.4, 0.2])]
    used = np.empty((steps, MACHINES))
    # Machines of a kind were asked for together, so they came to lie together.
    kinds = np.repeat(dice.choice(3, MACHINES // 10, p=[0.5, 0.25, 0.25]), 10)
    for machine, kind in enumerate(kinds.tolist()):
        level = dice.uniform(0.4, 0.6) + dice.uniform(0.3, 0.6) * (day, night, np.ones(steps))[kind]
        noise = np.empty(steps)
        value = 0.0
        for step in range(steps):
            value = 0.9 * value + dice.normal(0, 0.02)
            noise[step] = value
        used[:, machine] = np.clip(level + noise, 0.1, 1.0) * memory[machine] / GIB
    places: Places = [-1] * MACHINES
    for machine in range(MACHINES):
        places[machine] = next(host for host in range(HOSTS) if fits(memory, places, machine, host))
    return used, memory, places


TRACES = {"cpu": trace, "memory": memory_trace}


def loads(demand: np.ndarray, places: Places, size: float = CPUS) -> np.ndarray:
    return np.bincount(places, weights=demand, minlength=HOSTS) / size


def fits(memory: list[int], places: Places, machine: int, host: int) -> bool:
    used = sum(size for size, place in zip(memory, places, strict=True) if place == host)
    return used + memory[machine] <= MEMORY


def own(memory: list[int], of: str = "cpu") -> Chooser:
    """Rounds of Millwright, automatic, with the settings that it comes with."""
    hosts = tuple(Host(f"h{i}", CPUS, MEMORY) for i in range(HOSTS))
    held: dict[str, BalanceState] = {"state": BalanceState()}
    past: list[np.ndarray] = []
    slow: list[np.ndarray] = []

    def choose(_step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
        used = demand if of == "memory" else None
        demand = np.full(MACHINES, 0.2) if of == "memory" else demand
        past.append(demand)
        slow.append(demand if not slow else slow[-1] + (demand - slow[-1]) / 6)
        worst = np.max(past[-36:], axis=0)
        vms = tuple(
            Vm(
                f"v{i}",
                8,
                memory[i],
                host=f"h{places[i]}",
                demand_short=float(demand[i]),
                demand_long=float(slow[-1][i]),
                demand_peak=float(worst[i]),
                memory_active_bytes=None if used is None else int(used[i] * GIB),
                dirty_bytes_s=1e7,
            )
            for i in range(MACHINES)
        )
        plant = Plant(hosts, vms, settings=replace(Settings(), mode=Mode.AUTOMATIC))
        made = balance(plant, held["state"])
        held["state"] = made.state
        end = after(plant, made.moves)
        return [
            (i, int(str(vm.host)[1:])) for i, vm in enumerate(end.vms) if vm.host != f"h{places[i]}"
        ]

    return choose


def proxmox(memory: list[int], of: str = "cpu", limit: float = 0.3) -> Chooser:
    size = SIZES[of]

    def spread(load: np.ndarray) -> float:
        return float(load.std() / max(load.mean(), 1e-9))

    def choose(_step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
        here, moves = list(places), []
        for _ in range(10):
            load = loads(demand, here, size)
            before = spread(load)
            if before <= limit:
                break
            best = (before, -1, -1)
            for machine in range(MACHINES):
                for host in range(HOSTS):
                    if host == here[machine]:
                        continue
                    new = load.copy()
                    new[here[machine]] -= demand[machine] / size
                    new[host] += demand[machine] / size
                    value = spread(new)
                    if value < best[0] and fits(memory, here, machine, host):
                        best = (value, machine, host)
            if best[1] < 0 or before - best[0] < 0.1 * before:
                break
            moves.append(best[1:])
            here[best[1]] = best[2]
        return moves

    return choose


def proxlb(memory: list[int], of: str = "cpu") -> Chooser:
    def choose(step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
        here, moves = list(places), []
        if step % 12:
            return []
        for _ in range(MACHINES):
            load = loads(demand, here, SIZES[of])
            full, empty = int(load.argmax()), int(load.argmin())
            if load[full] - load[empty] <= 0.1:
                break
            guests = [
                machine
                for machine in np.argsort(-demand).tolist()
                if here[machine] == full and machine not in {m for m, _ in moves}
            ]
            guests = [machine for machine in guests if fits(memory, here, machine, empty)]
            if not guests:
                break
            moves.append((guests[0], empty))
            here[guests[0]] = empty
        return moves

    return choose


def none(_memory: list[int], _of: str = "cpu") -> Chooser:
    return lambda _step, _demand, _places: []


def replay(
    seed: int, steps: int, rule: Callable[..., Chooser], of: str = "cpu"
) -> dict[str, float]:
    """What a rule does to one trace; `lack` in core-seconds, of memory in GiB-seconds."""
    demand, memory, begin = TRACES[of](seed, steps)
    size, threshold = SIZES[of], THRESHOLDS[of]
    places, choose = list(begin), rule(memory, of)
    left: dict[tuple[int, int], int] = {}
    moves = contended = back = 0
    lacking = 0.0
    for step in range(steps):
        load = loads(demand[step], places, size)
        contended += int((load > threshold).sum())
        lacking += float(np.maximum(load - threshold, 0).sum()) * size * STEP_S
        for machine, host in choose(step, demand[step], places):
            back += step - left.get((machine, host), -BACK - 1) <= BACK
            left[machine, places[machine]] = step
            places[machine] = host
            moves += 1
    return {"moves": moves, "host_minutes": contended * STEP_S / 60, "back": back, "lack": lacking}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.balancing", description=__doc__)
    parser.add_argument("--traces", type=int, default=50)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--of", choices=sorted(TRACES), default="cpu")
    asked = parser.parse_args()
    for name, rule in (
        ("none", none),
        ("millwright", own),
        ("proxmox", proxmox),
        ("proxmox at 10 %", partial(proxmox, limit=0.1)),
        ("proxlb", proxlb),
    ):
        begun = time.perf_counter()
        steps = asked.hours * 3600 // STEP_S
        rows = [replay(seed, steps, rule, asked.of) for seed in range(asked.traces)]
        print(
            json.dumps(
                {
                    "rule": name,
                    "moves": sum(row["moves"] for row in rows),
                    f"host_minutes_above_{THRESHOLDS[asked.of]:.0%}": sum(
                        row["host_minutes"] for row in rows
                    ),
                    ("core_hours" if asked.of == "cpu" else "gib_hours") + "_above": round(
                        sum(row["lack"] for row in rows) / 3600, 1
                    ),
                    "ping_pongs": sum(row["back"] for row in rows),
                    "traces_with_ping_pong": sum(row["back"] > 0 for row in rows),
                    "seconds": round(time.perf_counter() - begun, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
