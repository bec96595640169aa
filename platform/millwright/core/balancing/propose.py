"""Candidates for moves from the placement solver: the pool written as a problem in arrays."""

from __future__ import annotations

import numpy as np

from millwright.core.placement.solver import Group, Problem, steps

from .frame import Bools, Floats, Frame
from .model import HostState, RuleKind
from .score import Level, Strain, cost, memory_strain, promise_strain, strains
from .state import State

#: soft groups above this many machines are left to the exact check, as pairs grow with the square
PAIRED = 40
#: shared CPUs may be promised many times over; contention is priced, not forbidden
OVERSOLD = 1000
#: hosts at either end that are looked at for an exchange
ENDS = 8


def problem(
    state: State,
    candidates: set[int],
    level: Level,
    horizon_s: float,
    barred: set[tuple[int, int]],
) -> tuple[Problem, list[int]]:
    """The pool for the solver, and which unit each of its machines is.

    Beside the hard resources stand four soft ones: demand and peak in millicores, memory in use and promised
    in MiB. Prices are core-seconds. A moved machine counts on both hosts, so that the moves can be made in any order.
    """
    frame = state.frame
    units = np.flatnonzero(state.at >= 0)
    at = state.at[units]
    hosts = len(frame.hosts)
    used = frame.capacity - state.free
    # A host that is overfull is the mending's affair: here it only takes nothing more.
    hard = np.maximum(frame.capacity, used)
    soft = np.maximum((frame.usable * 1000).astype(np.int64), 1)
    memory, promised = memory_strain(state, level), promise_strain(state, level)
    room = memory.usable.astype(np.int64)
    capacity = np.vstack(
        [hard, soft * OVERSOLD, soft * OVERSOLD, room * OVERSOLD, room * OVERSOLD]
    ).T
    safety = np.vstack(
        [
            hard,
            (soft * level.threshold).astype(np.int64),
            soft,
            (room * memory.threshold).astype(np.int64),
            (room * promised.threshold).astype(np.int64),
        ]
    ).T
    demand = np.vstack(
        [
            frame.need[:, units],
            np.round(frame.demand[units] * 1000).astype(np.int64),
            np.round(frame.peak[units] * 1000).astype(np.int64),
            np.round(frame.ordinary[units]).astype(np.int64),
            frame.need[1, units],
        ]
    ).T
    rows = len(frame.resources)
    load_weight = np.zeros(rows + 4)
    load_weight[rows] = horizon_s / 1000
    load_weight[rows + 1] = level.risk * horizon_s / 1000
    load_weight[rows + 2] = memory.price * horizon_s
    load_weight[rows + 3] = promised.price * horizon_s
    even_weight = np.zeros(rows + 4)
    even_weight[rows] = level.even * float(frame.usable.mean()) * horizon_s * OVERSOLD**2
    even_weight[rows + 2] = memory.even * horizon_s * OVERSOLD**2
    position = {int(unit): index for index, unit in enumerate(units)}
    movable = np.zeros(len(units), np.bool_)
    movable[[position[unit] for unit in candidates]] = True
    eligible: Bools = frame.allowed[frame.signature[units]] & ~state.closed
    eligible[np.arange(len(units)), at] = True
    for unit, host in barred:
        eligible[position[unit], host] = False
    move_cost = np.zeros(len(units))
    for unit in candidates:
        move_cost[position[unit]] = float(cost(frame, unit, int(state.at[unit])).min())
    built = Problem(
        capacity=capacity,
        demand=demand,
        home=at,
        safety=safety,
        transient=np.array([True] * rows + [False] * 4),
        load_weight=load_weight,
        even_weight=even_weight if even_weight.any() else None,
        groups=_groups(frame, position),
        location=frame.domain,
        neighbourhood=frame.domain,
        eligible=eligible,
        movable=movable,
        move_cost=move_cost * (1 + level.margin),
        affinity=_affinity(frame, position, hosts, horizon_s),
        pairs=_pairs(frame, position, horizon_s),
    )
    return built, units.tolist()


def propose(
    state: State,
    candidates: set[int],
    level: Level,
    horizon_s: float,
    limit: int,
    barred: set[tuple[int, int]],
) -> list[tuple[int, int]]:
    """The best single moves in their order: pairs of unit and host."""
    if not candidates:
        return []
    built, units = problem(state, candidates, level, horizon_s, barred)
    _, made = steps(built, limit, least_gain=level.least * horizon_s / 60.0)
    return [(units[step.machine], step.target) for step in made]


def _groups(frame: Frame, position: dict[int, int]) -> list[Group]:
    groups = []
    for members in frame.apart:
        groups.append(Group([position[u] for u in members if u in position], exclusive=True))
    for members, minimum in zip(frame.spread, frame.spread_minimum, strict=True):
        inside = [position[u] for u in members if u in position]
        groups.append(Group(inside, spread=min(minimum, len(inside))))
    for members in frame.near:
        inside = [position[u] for u in members if u in position]
        if len(inside) > 1:
            groups.append(Group(inside[:1]))
            groups.append(Group(inside[1:], depends_on=[len(groups) - 1]))
    return groups


def _affinity(
    frame: Frame, position: dict[int, int], hosts: int, horizon_s: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
    if not frame.drawn:
        return None
    table = np.zeros((len(position), hosts))
    for unit, priced in frame.drawn.items():
        if unit in position:
            for where, weight in priced:
                table[position[unit], where] += weight * horizon_s
    return table


def _pairs(
    frame: Frame, position: dict[int, int], horizon_s: float
) -> list[tuple[int, int, float]]:
    pairs: list[tuple[int, int, float]] = []
    for entry in frame.soft:
        inside = [position[unit] for unit in entry.members if unit in position]
        if len(inside) > PAIRED:
            continue
        sign = -1 if entry.kind in (RuleKind.TOGETHER, RuleKind.NEAR) else 1
        price = 2 * sign * entry.weight * horizon_s / max(len(entry.members) - 1, 1)
        for index, one in enumerate(inside):
            pairs.extend((one, other, price / 2) for other in inside[index + 1 :])
    return pairs


def exchanges(
    state: State,
    candidates: set[int],
    level: Level,
    horizon_s: float,
    limit: int,
    least: float,
) -> list[tuple[int, int]]:
    """Pairs that change places where no single move helps: from the fullest hosts with the emptiest.

    Only pairs whose both machines may move, that fit crosswise and at once (each host holds both
    while they pass), and that are worth more than `least` and the margin.
    """
    looked_at = strains(state, level)
    # What is only promised is much alike everywhere in a full plant, and tells nothing of where to look.
    ratio = np.max([each.ratio() / each.threshold for each in looked_at[:2]], axis=0)
    open_hosts = _open_hosts(state, ratio)
    found: list[tuple[int, int]] = []
    used: set[int] = set()
    for here in open_hosts[:ENDS]:
        best: tuple[float, int, int] | None = None
        mine = [u for u in np.flatnonzero(state.at == here).tolist() if u in candidates]
        for there in [host for host in open_hosts[::-1][:ENDS] if host != here]:
            theirs = [u for u in np.flatnonzero(state.at == there).tolist() if u in candidates]
            for one in mine:
                if one in used or not state.fits(one)[there]:
                    continue
                for other in theirs:
                    if other in used or all(
                        each.want[other] >= each.want[one] for each in looked_at
                    ):
                        continue
                    gain = _exchange_gain(state, one, other, level, horizon_s, looked_at)
                    if (
                        gain > least
                        and (best is None or gain > best[0] + 1e-9)
                        and state.fits(other)[here]
                    ):
                        best = (gain, one, other)
        if best is not None and len(found) < limit:
            found.append(best[1:])
            used |= set(np.flatnonzero(np.isin(state.at, state.at[list(best[1:])])).tolist())
    return found


def exchange_gains(
    state: State, one_of: set[int], other_of: set[int], level: Level, horizon_s: float, least: float
) -> list[tuple[float, int, int]]:
    """What pairs of the fullest and the emptiest hosts would gain by changing places, the most first.

    Gain (core-seconds, above `least`), the machine of the fuller host, the one of the emptier. Whether
    they find room is not asked.
    """
    looked_at = strains(state, level)
    # What is only promised is much alike everywhere in a full plant, and tells nothing of where to look.
    ratio = np.max([each.ratio() / each.threshold for each in looked_at[:2]], axis=0)
    hosts = _open_hosts(state, ratio)
    found = []
    for here in hosts[:ENDS]:
        mine = [u for u in np.flatnonzero(state.at == here).tolist() if u in one_of]
        for there in [host for host in hosts[::-1][:ENDS] if ratio[host] < ratio[here]]:
            theirs = [u for u in np.flatnonzero(state.at == there).tolist() if u in other_of]
            for one in mine:
                for other in theirs:
                    if all(each.want[other] >= each.want[one] for each in looked_at):
                        continue
                    gain = _exchange_gain(state, one, other, level, horizon_s, looked_at)
                    if gain > least:
                        found.append((gain, one, other))
    return sorted(found, key=lambda entry: (-entry[0], *entry[1:]))


def _open_hosts(state: State, ratio: Floats) -> list[int]:
    """Hosts that take machines, the fullest first."""
    return [
        host
        for host in np.argsort(-ratio, kind="stable").tolist()
        if not state.closed[host] and state.frame.hosts[host].state is HostState.UP
    ]


def _exchange_gain(
    state: State,
    one: int,
    other: int,
    level: Level,
    horizon_s: float,
    looked_at: tuple[Strain, ...],
) -> float:
    """Benefit less cost (with the margin) of both moves together, in core-seconds."""
    frame = state.frame
    here, there = int(state.at[one]), int(state.at[other])
    pair = np.array([here, there])
    gained = 0.0
    for each in looked_at:
        shift = each.want[one] - each.want[other]
        usable, now = each.usable[pair], each.load[pair]
        then = now + np.array([-shift, shift])
        above = np.maximum(0.0, now - each.threshold * usable).sum()
        above -= np.maximum(0.0, then - each.threshold * usable).sum()
        uneven = ((then / usable) ** 2 - (now / usable) ** 2).sum()
        gained += float(each.price * above - each.even * uneven)
    if gained <= 0 and not frame.soft and not frame.drawn:
        return -np.inf
    soft_one, soft_other = state.soft_price(one), state.soft_price(other)
    soft = soft_one[there] - soft_one[here] + soft_other[here] - soft_other[there]
    price = cost(frame, one, here)[there] + cost(frame, other, there)[here]
    return float((gained - soft) * horizon_s - price * (1 + level.margin))
