"""A shorter order of moves than lists give, where they stay above the bound: what is handed to the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .answers import Limits
from .state import State

if TYPE_CHECKING:
    from .order import Task

#: legs started in trying, all sequences together; about half a second, and a sixth of that where nobody more may go
#: over third hosts, which leaves less to look for
WORK = 6_000_000
FEW_WORK = 1_500_000
#: more moves than this are left as the lists order them
MOST_MOVES = 128
#: third hosts that are looked at beside those that the moves touch: those with the most room
THIRD_HOSTS = 12

#: searches: with walls at first or not (see `sequence`), how much longer orders are accepted at first, as a share of
#: the whole; each starts from the given order, the last from the best that was found
SEARCHES = ((True, 0.1), (False, 0.05), (True, 0.05), (True, 0.1), (True, 0.02))
#: where an order still takes so many times the bound after all of them, these as well: beginning hotter, so that they
#: come to what lies further from the given order
FAR = 1.25
FAR_SEARCHES = ((False, 0.3), (False, 0.3), (False, 0.3), (False, 0.2), (False, 0.1))
#: and where many moves are far even then, the same once more with so much of the work: each of its steps takes longer,
#: and there is more to change
MANY_MOVES = 20
MANY_TIMES = 4

#: A leg: which unit, and to which host.
Script = list[tuple[int, int]]


def shorten(
    state: State,
    tasks: Sequence[Task],
    limits: Limits,
    script: Script,
    most: int,
    enough: float,
    searches: tuple[tuple[bool, float], ...] = SEARCHES,
    times: int = 1,
) -> Script:
    """Legs in the order of their starts that end sooner than `script`, by what adds up on the hosts.

    `state`: everything where it is, nothing on its way. `most`: legs that may be made beyond one for
    each move. `enough`: no order that ends sooner is looked for. `searches`: see `SEARCHES`; `times`: how
    much of the work. The same arguments give the same legs.
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
    work = WORK if most > len(script) - len(tasks) else FEW_WORK
    steps = times * work // max(len(script), 1)
    best, found = start, np.inf
    for seed, (walled, hot) in enumerate(searches, 1):
        begin = best if seed == len(searches) else start
        one, last = shorter(
            problem, begin, most, steps // len(searches), enough, hot, seed, walled=walled
        )
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
