"""From a checked problem to the flat tables that the kernel reads and the state that it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .problem import UNPLACED, Checked, Floats, Ints

Shorts = NDArray[np.int32]
#: No machine, no host. Typed, as is every index that a kernel hands on (`np.int64(…)` of what tables keep in 32 bits):
#: numba compiles a function anew for each mixture of the two widths and of constants.
NONE: Any = np.int64(-1)


class Tables(NamedTuple):
    """Constant during a solve, shared by all threads. Lists of lists are (start, items) pairs."""

    demand: Floats
    capacity: Floats
    safety: Floats
    load_weight: Floats
    even_price: Floats
    has_even: bool
    transient: NDArray[np.bool_]
    balance: Floats  # rows: first, second, target, weight
    home: Shorts
    location: Shorts
    neighbourhood: Shorts
    movable: Shorts  # indexes of the machines that may move
    move_price: Floats
    distance: Shorts
    has_distance: bool
    distance_weight: float
    eligible: NDArray[np.bool_]
    has_eligible: bool
    affinity: Floats
    has_affinity: bool
    exclusive_start: Shorts
    exclusive: Shorts
    spread_start: Shorts
    spread: Shorts
    spread_min: Shorts
    near_start: Shorts
    near: Shorts
    needs_start: Shorts
    needs: Shorts
    needed_start: Shorts
    needed: Shorts
    pair_start: Shorts
    pair: Shorts
    pair_price: Floats
    counted: Shorts
    group_price: float


class State(NamedTuple):
    """What moves change; one per thread."""

    at: Shorts  # V: host now
    free: Floats  # H x R: capacity left, transient use included
    room: Floats  # H x R: safety capacity left
    left: Floats  # H x R: capacity left, transient use not included
    present: NDArray[np.int16]  # exclusive group x H
    in_location: Shorts  # spread group x locations
    locations: Shorts  # spread group: locations with a member
    in_area: Shorts  # near group x neighbourhoods
    moved: Shorts  # counted group: machines away from home
    histogram: Shorts  # number of counted groups with so many moved
    most: Shorts  # [0]: the largest of `moved`
    cost: Floats  # [0]: running cost
    press: Floats  # H x R: how many times dearer an overflow just there has become
    random: NDArray[np.uint64]  # [0]: generator's state


class Walls(NamedTuple):
    """What the annealing asks beside the problem: whom it picks and what an overflow costs."""

    pick: Shorts  # movable machines by size, big ones named more often
    window: int  # in `pick`: how far apart machines of like size may stand
    floor: Floats  # H x R: least `free` allowed; below 0 only where the start was
    price: Floats  # R: per unit below the floor


def _lists(machines: int, groups: Sequence[Sequence[int]]) -> tuple[Shorts, Shorts]:
    """For each machine the groups that hold it."""
    if not groups:
        return np.zeros(machines + 1, np.int32), np.zeros(0, np.int32)
    members = np.concatenate([np.asarray(group, np.int64) for group in groups])
    index = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    order = np.argsort(members, kind="stable")
    start = np.zeros(machines + 1, np.int32)
    np.cumsum(np.bincount(members, minlength=machines), out=start[1:])
    return start, index[order]


def _flat(lists: Sequence[Sequence[int]]) -> tuple[Shorts, Shorts]:
    start = np.zeros(len(lists) + 1, np.int32)
    np.cumsum([len(items) for items in lists], out=start[1:])
    return start, np.asarray([item for items in lists for item in items], np.int32)


def build(problem: Checked) -> Tables:
    """The constant tables of a problem."""
    source = problem.source
    machines = len(problem.demand)
    groups = source.groups
    exclusive = [group.members for group in groups if group.exclusive and len(group.members) > 1]
    spread = [group for group in groups if group.spread > 1]
    tied = {index for index, group in enumerate(groups) if group.depends_on}
    tied |= {other for group in groups for other in group.depends_on}
    order = sorted(tied)
    place = {group: index for index, group in enumerate(order)}
    needs = [sorted({place[o] for o in groups[g].depends_on if o != g}) for g in order]
    needed: list[list[int]] = [[] for _ in order]
    for index, others in enumerate(needs):
        for other in others:
            needed[other].append(index)
    counted = np.full(machines, -1, np.int32)
    number = 0
    for group in groups:
        if group.counted:
            counted[np.asarray(group.members, np.int64)] = number
            number += 1
    both = [(a, b, w) for a, b, w in source.pairs] + [(b, a, w) for a, b, w in source.pairs]
    both.sort()
    pair_start = np.zeros(machines + 1, np.int32)
    if both:
        counts = np.bincount([a for a, _, _ in both], minlength=machines)
        np.cumsum(counts, out=pair_start[1:])
    exclusive_start, exclusive_items = _lists(machines, exclusive)
    spread_start, spread_items = _lists(machines, [group.members for group in spread])
    near_start, near_items = _lists(machines, [groups[g].members for g in order])
    needs_start, needs_items = _flat(needs)
    needed_start, needed_items = _flat(needed)
    capacity = problem.capacity.astype(np.float64)
    square = np.maximum(capacity, 1.0) ** 2
    return Tables(
        demand=problem.demand.astype(np.float64),
        capacity=capacity,
        safety=problem.safety.astype(np.float64),
        load_weight=problem.load_weight,
        even_price=problem.even_weight / square,
        has_even=bool(problem.even_weight.any()),
        transient=problem.transient,
        balance=np.array(
            [[b.first, b.second, b.target, b.weight] for b in source.balances], np.float64
        ).reshape(-1, 4),
        home=problem.home.astype(np.int32),
        location=problem.location.astype(np.int32),
        neighbourhood=problem.neighbourhood.astype(np.int32),
        movable=np.flatnonzero(problem.movable).astype(np.int32),
        move_price=problem.move_cost * source.move_weight,
        distance=np.zeros((1, 1), np.int32) if problem.distance is None else problem.distance,
        has_distance=problem.distance is not None and source.distance_weight > 0,
        distance_weight=float(source.distance_weight),
        eligible=np.ones((1, 1), np.bool_) if problem.eligible is None else problem.eligible,
        has_eligible=problem.eligible is not None,
        affinity=np.zeros((1, 1)) if problem.affinity is None else problem.affinity,
        has_affinity=problem.affinity is not None,
        exclusive_start=exclusive_start,
        exclusive=exclusive_items,
        spread_start=spread_start,
        spread=spread_items,
        spread_min=np.asarray([group.spread for group in spread], np.int32),
        near_start=near_start,
        near=near_items,
        needs_start=needs_start,
        needs=needs_items,
        needed_start=needed_start,
        needed=needed_items,
        pair_start=pair_start,
        pair=np.asarray([b for _, b, _ in both], np.int32),
        pair_price=np.asarray([w for _, _, w in both], np.float64),
        counted=counted,
        group_price=float(source.group_move_weight),
    )


def state(tables: Tables, at: Ints, seed: int, cost: float) -> State:
    """The state that an assignment leads to. `cost` is the assignment's, from the checker."""
    hosts = len(tables.capacity)
    machines = len(tables.home)
    placed = at != UNPLACED
    used = _sum_by(at[placed], tables.demand[placed], hosts)
    away = placed & (tables.home != UNPLACED) & (at != tables.home)
    ghost = _sum_by(tables.home[away], tables.demand[away], hosts) * tables.transient
    left = tables.capacity - used
    exclusive = int(tables.exclusive.max(initial=-1)) + 1
    present = np.zeros((exclusive, hosts), np.int16)
    _count(present, tables.exclusive_start, tables.exclusive, at)
    locations = int(tables.location.max(initial=0)) + 1
    in_location = np.zeros((len(tables.spread_min), locations), np.int32)
    _count(in_location, tables.spread_start, tables.spread, _through(tables.location, at))
    areas = int(tables.neighbourhood.max(initial=0)) + 1
    in_area = np.zeros((len(tables.needs_start) - 1, areas), np.int32)
    _count(in_area, tables.near_start, tables.near, _through(tables.neighbourhood, at))
    groups = int(tables.counted.max(initial=-1)) + 1
    mine = tables.counted[away]
    moved = np.bincount(mine[mine >= 0], minlength=groups).astype(np.int32)
    histogram = np.zeros(machines + 2, np.int32)
    histogram[: int(moved.max(initial=0)) + 1] = np.bincount(moved)[: machines + 1] if groups else 0
    return State(
        at=at.astype(np.int32),
        free=left - ghost,
        room=tables.safety - used,
        left=left,
        present=present,
        in_location=in_location,
        locations=(in_location > 0).sum(axis=1).astype(np.int32),
        in_area=in_area,
        moved=moved,
        histogram=histogram,
        most=np.array([moved.max(initial=0)], np.int32),
        cost=np.array([cost]),
        press=np.ones((hosts, tables.capacity.shape[1])),
        random=np.array([(seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) % 2**64 or 1], np.uint64),
    )


def copy_into(source: State, target: State) -> None:
    """Make `target` stand where `source` stands; its random numbers stay its own."""
    for name, value in source._asdict().items():
        if name != "random":
            getattr(target, name)[...] = value


def _sum_by(where: NDArray[np.integer], what: Floats, hosts: int) -> Floats:
    total = np.zeros((hosts, what.shape[1]))
    np.add.at(total, where, what)
    return total


def _through(labels: Shorts, at: Ints) -> Ints:
    return np.where(at == UNPLACED, UNPLACED, labels[at]).astype(np.int64)


def _count(table: NDArray[np.int16] | Shorts, start: Shorts, items: Shorts, where: Ints) -> None:
    owner = np.repeat(np.arange(len(start) - 1), np.diff(start))
    column = where[owner]
    known = column != UNPLACED
    np.add.at(table, (items[known], column[known]), 1)


#: Entries of `Walls.pick` per movable machine.
_PICKS = 8
#: Share of `pick` on either side of a machine that counts as of like size.
_LIKE_SIZE = 0.01
#: The wall of a transient resource is so much steeper: what left its home fills it still, so that
#: an overflow there is the hardest to get rid of.
_TRANSIENT_WALL = 3.0


def walls(tables: Tables, start: State, rise: float, big: float) -> Walls:
    """Whom to pick, and overflow prices that are alike for a like share of a host's capacity.

    `rise` is the typical price rise; it sets the scale where load has no price. A machine twice as
    big is picked 2**`big` as often.
    """
    scale = np.maximum(tables.capacity.mean(axis=0), 1.0) if len(tables.capacity) else 1.0
    size = (tables.demand / scale).sum(axis=1)
    priced = tables.load_weight > 0
    if priced.any():
        unit = float(tables.load_weight[priced].mean() * np.exp(np.log(scale).mean()))
    else:
        unit = rise / max(1e-9, float(size.mean()) / max(1, len(tables.load_weight)))
    order = tables.movable[np.argsort(size[tables.movable], kind="stable")]
    share = np.maximum(size[order], 1e-9) ** big
    names = np.maximum(1, np.round(share / max(1e-9, share.sum()) * _PICKS * len(order)))
    pick = np.repeat(order, names.astype(np.int64)).astype(np.int32)
    return Walls(
        pick=pick,
        window=max(1, int(_LIKE_SIZE * len(pick))),
        floor=np.minimum(0.0, start.free),
        price=unit / scale * np.where(tables.transient, _TRANSIENT_WALL, 1.0),
    )


def typical_rise(tables: Tables, start: State, seed: int, quantile: float) -> float:
    """A quantile of what random shifts with room add to load, deviation and balance prices.

    The annealing's first temperature is measured in it. 1.0 where no shift costs anything.
    """
    movable = tables.movable[start.at[tables.movable] != UNPLACED]
    if not len(movable):
        return 1.0
    dice = np.random.default_rng(seed)
    p = dice.choice(movable, 20_000)
    b = dice.integers(0, len(tables.capacity), len(p))
    a = start.at[p]
    fits = (a != b) & (tables.demand[p] <= start.free[b]).all(axis=1)
    p, a, b = p[fits], a[fits], b[fits]
    d = tables.demand[p]
    over = np.maximum(0, d - start.room[b]) - np.maximum(0, -start.room[b])
    over += np.maximum(0, -start.room[a] - d) - np.maximum(0, -start.room[a])
    rise = over @ tables.load_weight
    used_b = tables.capacity[b] - start.left[b]
    used_a = tables.capacity[a] - start.left[a]
    rise += (tables.even_price[b] * d * (2 * used_b + d)).sum(axis=1)
    rise += (tables.even_price[a] * d * (d - 2 * used_a)).sum(axis=1)
    for first, second, target, weight in tables.balance:
        one, two = int(first), int(second)
        change = target * d[:, one] - d[:, two]
        on_b = target * start.left[b, one] - start.left[b, two]
        on_a = target * start.left[a, one] - start.left[a, two]
        rise += weight * (np.maximum(0, on_b - change) - np.maximum(0, on_b))
        rise += weight * (np.maximum(0, on_a + change) - np.maximum(0, on_a))
    rise = rise[rise > 0]
    return float(np.quantile(rise, quantile)) if len(rise) else 1.0
