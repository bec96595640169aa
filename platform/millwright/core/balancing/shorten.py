"""A shorter order of moves than lists give, where they stay above the bound: what is handed to the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .answers import Limits
from .state import State

if TYPE_CHECKING:
    from .order import Task

#: legs started in trying, all sequences together; about a second
WORK = 6_000_000
#: more moves than this are left as the lists order them
MOST_MOVES = 128
#: third hosts that are looked at beside those that the moves touch: those with the most room
THIRD_HOSTS = 12

#: how much longer orders are accepted at first, as shares of the whole: one search with each
HOT = (0.03, 0.1, 0.3)

#: A leg: which unit, and to which host.
Script = list[tuple[int, int]]


def shorten(
    state: State, tasks: Sequence[Task], limits: Limits, script: Script, most: int, enough: float
) -> Script:
    """Legs in the order of their starts that end sooner than `script`, by what adds up on the hosts.

    `state`: everything where it is, nothing on its way. `most`: legs that may be made beyond one for
    each move. `enough`: no order that ends sooner is looked for. The same arguments give the same legs.
    """
    # Importing numba takes longer than most orders.
    from .sequence import MOST_LEGS, Problem, Sequence, shorter

    frame = state.frame
    units = [task.unit for task in tasks]
    number = {unit: index for index, unit in enumerate(units)}
    touched = {int(state.at[unit]) for unit in units} | {task.target for task in tasks}
    touched |= {host for _, host in script}
    room = (state.free / np.maximum(frame.capacity, 1)).min(axis=0)
    third = [host for host in np.argsort(-room, kind="stable").tolist() if host not in touched]
    hosts = sorted(touched) + third[:THIRD_HOSTS]
    place = {host: index for index, host in enumerate(hosts)}
    rows = np.flatnonzero(frame.need[:, units].any(axis=1))
    allowed = np.array([frame.allowed[frame.signature[u]][hosts] for u in units])
    # What a unit may go by, that is: once it is where it is to be, it has come.
    allowed[np.arange(len(units)), [place[task.target] for task in tasks]] = False
    problem = Problem(
        np.ascontiguousarray(frame.need[rows][:, units], np.int64),
        np.ascontiguousarray(state.free[rows][:, hosts], np.int64),
        np.array([place[int(state.at[u])] for u in units], np.int64),
        np.array([place[task.target] for task in tasks], np.int64),
        np.ascontiguousarray(allowed & ~state.closed[hosts], np.bool_),
        np.array([frame.carried[u] for u in units], np.float64),
        np.array([frame.dirty[u] for u in units], np.float64),
        frame.link[hosts] / limits.per_host,
        limits.per_host,
        limits.pool,
    )
    vias = np.zeros((len(units), MOST_LEGS - 1), np.int64)
    hops = np.zeros(len(units), np.int64)
    ends = dict(zip(units, (task.target for task in tasks), strict=True))
    for unit, host in script:
        index = number[unit]
        if host != ends[unit]:
            if hops[index] == MOST_LEGS - 1:
                return script
            vias[index, hops[index]] = place[host]
            hops[index] += 1
    start = Sequence(np.array([number[unit] for unit, _ in script], np.int64), vias, hops)
    steps = WORK // max(len(script), 1)
    best, found = start, np.inf
    for seed, hot in enumerate(HOT, 1):
        one, last = shorter(problem, start, most, steps // len(HOT), enough, hot, seed)
        if last < found:
            best, found = one, last
    made = [0] * len(units)
    legs: Script = []
    for index in best.units.tolist():
        there = (
            hosts[int(best.vias[index, made[index]])]
            if made[index] < best.hops[index]
            else ends[units[index]]
        )
        made[index] += 1
        legs.append((units[index], there))
    return legs
