"""Small pools for the solver, and the same pools for OR-tools' CP-SAT, written from `Problem` alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from millwright.core.placement.solver import UNPLACED, Group, Problem
from ortools.sat.python import cp_model

GIB = 1024


def pool(seed: int, *, hosts: int = 10, machines: int = 150, placed: bool = True) -> Problem:
    """A pool with uneven load: `placed` to be balanced, otherwise every machine to be placed at once.

    Resources: shared CPUs in millicores (soft from seven tenths on), memory in MiB and disk (both
    counted twice while moving). Racks of two hosts, machines apart and spread, some tied to a half
    of the hosts, wishes for hosts.
    """
    dice = random.Random(seed)  # noqa: S311  # play, not secrets
    memory = np.array([dice.choice([2, 4, 4, 8, 16]) * GIB for _ in range(machines)])
    cpu = np.array([dice.randint(50, 2500) for _ in range(machines)])
    disk = np.array([dice.choice([10, 20, 40, 80]) for _ in range(machines)])
    demand = np.stack([cpu, memory, disk], axis=1)
    total = demand.sum(axis=0)
    # If all were even, CPUs would be a tenth below what is free of charge, memory and disk at five eighths.
    even = total / hosts
    capacity = np.stack([even * scale for scale in np.linspace(0.85, 1.15, hosts)])
    capacity = (capacity * np.array([1.9, 1.6, 1.6])).astype(np.int64)
    safety = capacity.copy()
    safety[:, 0] = (capacity[:, 0] * 0.585).astype(np.int64)
    apart = [sorted(dice.sample(range(machines), 4)) for _ in range(6)]
    wide = [sorted(dice.sample(range(machines), 3)) for _ in range(4)]
    groups = [Group(members, exclusive=True) for members in apart]
    groups += [Group(members, spread=2) for members in wide]
    eligible = np.ones((machines, hosts), np.bool_)
    for machine in dice.sample(range(machines), machines // 10):
        side = dice.randrange(2)
        eligible[machine, side * hosts // 2 : (side + 1) * hosts // 2] = False
    affinity = np.zeros((machines, hosts))
    for machine in dice.sample(range(machines), machines // 5):
        affinity[machine] = [dice.randrange(0, 400, 20) for _ in range(hosts)]
    home = np.full(machines, UNPLACED)
    if placed:
        home = _crowded(dice, demand, capacity, eligible, apart, wide)
    return Problem(
        capacity=capacity,
        demand=demand,
        home=home,
        safety=safety,
        transient=[False, True, True],
        load_weight=[1, 0, 0],
        groups=groups,
        location=np.arange(hosts) // 2,
        eligible=eligible,
        move_cost=20 + memory // 64 if placed else None,
        affinity=affinity,
    )


def _crowded(
    dice: random.Random,
    demand: np.ndarray,
    capacity: np.ndarray,
    eligible: np.ndarray,
    apart: list[list[int]],
    wide: list[list[int]],
) -> np.ndarray:
    """Each machine on the fuller of two hosts that hold it and break no rule; the tied ones first."""
    home = np.full(len(demand), UNPLACED)
    free = capacity.astype(np.int64).copy()
    ties = np.bincount([m for members in (*apart, *wide) for m in members], minlength=len(demand))
    tied = ties + ~eligible.all(axis=1)
    for machine in np.lexsort((-demand[:, 1], -tied)).tolist():
        fits = eligible[machine] & (free >= demand[machine]).all(axis=1)
        for members in apart:
            if machine in members:
                fits[[home[m] for m in members if home[m] != UNPLACED]] = False
        for members in wide:
            others = [int(home[m]) // 2 for m in members if m != machine]
            if machine in members and min(others) >= 0 and len(set(others)) == 1:
                fits[[h for h in range(len(free)) if h // 2 == others[0]]] = False
        choice = np.flatnonzero(fits).tolist()
        if not choice:
            raise ValueError(f"machine {machine}: no host holds it; another seed may do")
        home[machine] = min(dice.sample(choice, min(2, len(choice))), key=lambda h: free[h, 0])
        free[home[machine]] -= demand[machine]
    return home


@dataclass(frozen=True)
class Optimum:
    """What CP-SAT found: its best price, the price that no placement is below, and whether they met."""

    price: float
    bound: float
    proven: bool
    assignment: list[int]


def optimum(
    problem: Problem, seconds: float, *, workers: int = 2, hint: list[int] | None = None
) -> Optimum:
    """CP-SAT's answer. Only what `pool` uses is written: capacity, safety, moves, groups, wishes.

    Raises `RuntimeError` where there is no answer in time.
    """
    known = problem.validate()
    model = cp_model.CpModel()
    machines, hosts = len(known.demand), len(known.capacity)
    may = np.ones((machines, hosts), np.bool_) if known.eligible is None else known.eligible
    at = [
        [model.new_bool_var(f"x{v}_{h}") if may[v, h] else None for h in range(hosts)]
        for v in range(machines)
    ]
    price = []
    for v in range(machines):
        model.add_exactly_one(x for x in at[v] if x is not None)
        for h, x in enumerate(at[v]):
            if x is None:
                continue
            cost = 0.0 if known.affinity is None else known.affinity[v, h]
            if known.home[v] not in (UNPLACED, h):
                cost += known.move_cost[v] * problem.move_weight
            if cost:
                price.append(round(cost) * x)
            if hint is not None:
                model.add_hint(x, hint[v] == h)
    for h in range(hosts):
        for r in range(known.demand.shape[1]):
            load = []
            ghost = 0
            for v in range(machines):
                amount, x = int(known.demand[v, r]), at[v][h]
                if known.transient[r] and known.home[v] == h:
                    ghost += amount
                elif x is not None:
                    load.append(amount * x)
            model.add(sum(load) + ghost <= int(known.capacity[h, r]))
            if known.load_weight[r]:
                over = model.new_int_var(0, int(known.capacity[h, r]), f"over{h}_{r}")
                model.add(
                    over
                    >= sum(
                        int(known.demand[v, r]) * x
                        for v in range(machines)
                        if (x := at[v][h]) is not None
                    )
                    - int(known.safety[h, r])
                )
                price.append(round(known.load_weight[r]) * over)
    for group in problem.groups:
        for h in range(hosts) if group.exclusive else ():
            model.add_at_most_one(x for v in group.members if (x := at[v][h]) is not None)
        if group.spread > 1:
            reached = []
            for place in np.unique(known.location).tolist():
                here = [
                    x
                    for v in group.members
                    for h in np.flatnonzero(known.location == place).tolist()
                    if (x := at[v][h]) is not None
                ]
                there = model.new_bool_var("")
                model.add_bool_or([*here, there.negated()])
                reached.append(there)
            model.add(sum(reached) >= group.spread)
    model.minimize(sum(price))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise RuntimeError(f"CP-SAT: {solver.status_name(status)} after {seconds} s")
    where = [
        next(h for h, x in enumerate(row) if x is not None and solver.boolean_value(x))
        for row in at
    ]
    return Optimum(
        solver.objective_value, solver.best_objective_bound, status == cp_model.OPTIMAL, where
    )
