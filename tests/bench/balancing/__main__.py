"""`python -m tests.bench.balancing [--traces 50] [--hours 24]`: moves and contention beside two other rules.

Each trace: 8 hosts of 16 CPUs and 80 machines, a sample each five minutes; an office shift by day, CAE batches
by night, one noisy neighbour. The other rules are written from what their projects document, on the same
demand (CPU), the same hosts and with room for memory asked for as here:

- Proxmox's automatic rebalancing: relative standard deviation of the hosts' CPU above 30 % for three cycles of
  ten seconds, then the one migration that lowers it most, if by a tenth at least; so ten at most in a sample.
  Its default, and with 10 % in place of 30, where it relieves about as much as the others.
- ProxLB: largest minus smallest CPU use above ten points: the machine with the highest use of the fullest host
  goes to the emptiest, again and again; run once an hour.

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
THRESHOLD = 0.9
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


def loads(demand: np.ndarray, places: Places) -> np.ndarray:
    return np.bincount(places, weights=demand, minlength=HOSTS) / CPUS


def fits(memory: list[int], places: Places, machine: int, host: int) -> bool:
    used = sum(size for size, place in zip(memory, places, strict=True) if place == host)
    return used + memory[machine] <= MEMORY


def own(memory: list[int]) -> Chooser:
    """Rounds of Millwright, automatic, with the settings that it comes with."""
    hosts = tuple(Host(f"h{i}", CPUS, MEMORY) for i in range(HOSTS))
    held: dict[str, BalanceState] = {"state": BalanceState()}
    past: list[np.ndarray] = []
    slow: list[np.ndarray] = []

    def choose(_step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
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


def proxmox(memory: list[int], limit: float = 0.3) -> Chooser:
    def spread(load: np.ndarray) -> float:
        return float(load.std() / max(load.mean(), 1e-9))

    def choose(_step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
        here, moves = list(places), []
        for _ in range(10):
            load = loads(demand, here)
            before = spread(load)
            if before <= limit:
                break
            best = (before, -1, -1)
            for machine in range(MACHINES):
                for host in range(HOSTS):
                    if host == here[machine]:
                        continue
                    new = load.copy()
                    new[here[machine]] -= demand[machine] / CPUS
                    new[host] += demand[machine] / CPUS
                    value = spread(new)
                    if value < best[0] and fits(memory, here, machine, host):
                        best = (value, machine, host)
            if best[1] < 0 or before - best[0] < 0.1 * before:
                break
            moves.append(best[1:])
            here[best[1]] = best[2]
        return moves

    return choose


def proxlb(memory: list[int]) -> Chooser:
    def choose(step: int, demand: np.ndarray, places: Places) -> list[tuple[int, int]]:
        here, moves = list(places), []
        if step % 12:
            return []
        for _ in range(MACHINES):
            load = loads(demand, here)
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


def none(_memory: list[int]) -> Chooser:
    return lambda _step, _demand, _places: []


def replay(seed: int, steps: int, rule: Callable[[list[int]], Chooser]) -> dict[str, float]:
    demand, memory, begin = trace(seed, steps)
    places, choose = list(begin), rule(memory)
    left: dict[tuple[int, int], int] = {}
    moves = contended = back = 0
    lacking = 0.0
    for step in range(steps):
        load = loads(demand[step], places)
        contended += int((load > THRESHOLD).sum())
        lacking += float(np.maximum(load - THRESHOLD, 0).sum()) * CPUS * STEP_S
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
    asked = parser.parse_args()
    for name, rule in (
        ("none", none),
        ("millwright", own),
        ("proxmox", proxmox),
        ("proxmox at 10 %", partial(proxmox, limit=0.1)),
        ("proxlb", proxlb),
    ):
        begun = time.perf_counter()
        rows = [replay(seed, asked.hours * 3600 // STEP_S, rule) for seed in range(asked.traces)]
        print(
            json.dumps(
                {
                    "rule": name,
                    "moves": sum(row["moves"] for row in rows),
                    "host_minutes_above_90_percent": sum(row["host_minutes"] for row in rows),
                    "core_hours_above": round(sum(row["lack"] for row in rows) / 3600, 1),
                    "ping_pongs": sum(row["back"] for row in rows),
                    "traces_with_ping_pong": sum(row["back"] > 0 for row in rows),
                    "seconds": round(time.perf_counter() - begun, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
