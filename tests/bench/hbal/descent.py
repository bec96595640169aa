"""Steepest descent on hbal's score: every move of every machine priced from what it changes.

A deviation after a move follows from the sums of values and of squares, so a move costs a dozen
roots whatever the number of nodes. What a move changes on the side of the primary and of the disks
is shared by the kinds of move that end alike.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

from .data import Bools, Cluster, Floats, Ints

#: Kinds of move: to the secondary; another secondary; then to it; over the secondary to another
#: node; to the secondary with another behind; to any node (shared disks).
FAILOVER, REPLACE, REPLACE_FAILOVER, REPLACE_PRIMARY, FAILOVER_REPLACE, ANYWHERE = range(6)
#: hbal's own: a step must gain so much once the score is below the limit.
LEAST_GAIN, GAIN_LIMIT, LEAST_SCORE = 0.01, 0.1, 1e-9

# Rows of `Board.value`: the primary's, then those of both sides' disks, then kept memory.
_P, _B, _KEPT = 4, 7, 7
_WEIGHT = np.array([0.5, 0.5, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0])
#: Less than this is rounding, no gain.
_NOISE = 1e-10
_KEPT_SUM, _FAIL, _AWAY, _AWAY_FIRST, _CONFLICT = 0.25, 1.0, 4.0, 16.0, 2.0


class Board(NamedTuple):
    """The cluster, the placement and what follows from it."""

    # constant
    unit: Floats  # 7 x N: what one unit more changes in `value`
    amount: Floats  # V x 7: what a machine brings, in those units
    kept: Floats  # V: memory kept for it on its secondary
    base: Floats  # 7 x N: `value` of the empty node
    memory: Floats
    disk: Floats
    cpus: Floats
    speed: Floats
    limit: Floats
    ratio: Floats
    offline: Bools
    migrates: Bools
    movable: Bools
    local: Bools
    tag_start: Ints
    tag: Ints
    # state
    primary: Ints
    secondary: Ints
    value: Floats  # 8 x N: less the mean over the nodes that are up
    mean: Floats  # 8
    square: Floats  # 8: sum of squares over the nodes that are up
    left: Floats  # N: free memory, planned free memory, free disk, spindles, CPUs used
    planned: Floats
    room: Floats
    spindles: Floats
    vcpus: Floats
    first: Ints  # N: primaries, machines
    machines: Ints
    reserve: Floats  # N x N: memory kept on row for the machines of column
    most: Floats  # N: largest of the row, the next, and whose it is
    second: Floats
    whose: Ints
    tags: Ints  # N x tags
    parts: Floats  # now: deviations of the primary's, of the disks, kept sum, everything counted


def board(cluster: Cluster) -> Board:
    """The board of a file, as it stands."""
    count = len(cluster.nodes)
    one = np.ones(len(cluster.instances))
    with_disk = cluster.disk > 0
    unit = np.zeros((7, count))
    unit[0] = unit[1] = -1.0 / cluster.memory
    unit[2] = 1.0 / (cluster.cpus * cluster.speed)
    unit[3] = unit[5] = 1.0
    unit[4] = np.where(with_disk, -1.0 / np.maximum(cluster.disk, 1.0), 0.0)
    unit[6] = 1.0 / cluster.spindle_limit
    amount = np.stack(
        [
            cluster.size_up,
            cluster.size,
            cluster.vcpus,
            one,
            cluster.size_disk,
            one,
            cluster.spindles,
        ],
        axis=1,
    )
    left, planned, room = (
        cluster.memory_left.copy(), cluster.memory_planned.copy(), cluster.disk_left.copy()
    )  # fmt: skip
    vcpus = cluster.cpus_used.copy()
    for where in (cluster.primary, cluster.secondary):
        has = where >= 0
        np.add.at(room, where[has], cluster.size_disk[has])
    np.add.at(left, cluster.primary, cluster.size_up)
    np.add.at(planned, cluster.primary, cluster.size)
    np.subtract.at(vcpus, cluster.primary, cluster.vcpus)
    base = np.stack([left, planned, vcpus, 0 * left, room, 0 * left, 0 * left])
    made = Board(
        unit=unit,
        amount=np.ascontiguousarray(amount),
        kept=cluster.size_kept,
        base=base,
        memory=cluster.memory,
        disk=cluster.disk,
        cpus=cluster.cpus,
        speed=cluster.speed,
        limit=cluster.spindle_limit,
        ratio=cluster.vcpu_ratio,
        offline=cluster.offline,
        migrates=cluster.migrates,
        movable=cluster.movable,
        local=cluster.local,
        tag_start=cluster.tag_start,
        tag=cluster.tag,
        primary=cluster.primary.copy(),
        secondary=cluster.secondary.copy(),
        value=np.zeros((8, count)),
        mean=np.zeros(8),
        square=np.zeros(8),
        left=np.zeros(count),
        planned=np.zeros(count),
        room=np.zeros(count),
        spindles=np.zeros(count),
        vcpus=np.zeros(count),
        first=np.zeros(count, np.int64),
        machines=np.zeros(count, np.int64),
        reserve=np.zeros((count, count)),
        most=np.zeros(count),
        second=np.zeros(count),
        whose=np.zeros(count, np.int64),
        tags=np.zeros((count, int(cluster.tag.max(initial=-1)) + 1), np.int64),
        parts=np.zeros(4),
    )
    refresh(made)
    return made


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _share(b: Board) -> float:
    """One part of the nodes that are up."""
    up = 0
    for n in range(b.offline.shape[0]):
        up += not b.offline[n]
    return 1.0 / max(1, up)


@njit(cache=True, nogil=True, _nrt=False)
def refresh(b: Board) -> float:
    """Everything that follows from the placement. Returns the score."""
    count = b.memory.shape[0]
    for n in range(count):
        b.left[n], b.planned[n] = b.base[0, n], b.base[1, n]
        b.vcpus[n], b.room[n], b.spindles[n] = b.base[2, n], b.base[4, n], 0.0
        b.first[n] = b.machines[n] = 0
        for m in range(count):
            b.reserve[n, m] = 0.0
        for j in range(b.tags.shape[1]):
            b.tags[n, j] = 0
    for i in range(b.primary.shape[0]):
        p, s = b.primary[i], b.secondary[i]
        b.left[p] -= b.amount[i, 0]
        b.planned[p] -= b.amount[i, 1]
        b.vcpus[p] += b.amount[i, 2]
        b.room[p] -= b.amount[i, 4]
        b.spindles[p] += b.amount[i, 6]
        b.first[p] += 1
        b.machines[p] += 1
        for j in range(b.tag_start[i], b.tag_start[i + 1]):
            b.tags[p, b.tag[j]] += 1
        if s >= 0:
            b.room[s] -= b.amount[i, 4]
            b.spindles[s] += b.amount[i, 6]
            b.machines[s] += 1
            b.reserve[s, p] += b.kept[i]
    up = 0
    for k in range(8):
        b.mean[k] = b.square[k] = 0.0
    counted = 0.0
    kept = 0.0
    for n in range(count):
        b.most[n] = 0.0
        b.second[n] = 0.0
        b.whose[n] = -1
        for m in range(count):
            held = b.reserve[n, m]
            if held > b.most[n]:
                b.second[n] = b.most[n]
                b.most[n] = held
                b.whose[n] = m
            elif held > b.second[n]:
                b.second[n] = held
        b.value[0, n] = b.left[n] / b.memory[n]
        b.value[1, n] = b.planned[n] / b.memory[n]
        b.value[2, n] = b.vcpus[n] / (b.cpus[n] * b.speed[n])
        b.value[3, n] = b.first[n]
        b.value[4, n] = b.room[n] / b.disk[n] if b.disk[n] > 0.0 else 1.0
        b.value[5, n] = b.machines[n]
        b.value[6, n] = b.spindles[n] / b.limit[n]
        b.value[_KEPT, n] = b.most[n] / b.memory[n]
        if b.offline[n]:
            counted += _AWAY * b.machines[n] + _AWAY_FIRST * b.first[n]
            continue
        up += 1
        kept += b.value[_KEPT, n]
        for k in range(8):
            b.mean[k] += b.value[k, n]
        if b.left[n] <= b.most[n]:
            counted += _FAIL * b.machines[n]
        for j in range(b.tags.shape[1]):
            if b.tags[n, j] > 1:
                counted += _CONFLICT * (b.tags[n, j] - 1)
    for k in range(8):
        b.mean[k] /= max(1, up)
        for n in range(count):
            b.value[k, n] -= b.mean[k]
            if not b.offline[n]:
                b.square[k] += b.value[k, n] ** 2
    b.parts[0] = b.parts[1] = 0.0
    for k in range(_P):
        b.parts[0] += _WEIGHT[k] * sqrt(b.square[k] / max(1, up))
    for k in range(_P, _B):
        b.parts[1] += _WEIGHT[k] * sqrt(b.square[k] / max(1, up))
    b.parts[2] = kept
    b.parts[3] = counted
    deviation = _WEIGHT[_KEPT] * sqrt(b.square[_KEPT] / max(1, up))
    return b.parts[0] + b.parts[1] + deviation + _KEPT_SUM * kept + counted


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _part(b: Board, up: float, i: int, a: int, t: int, low: int, high: int) -> float:
    """Weighted deviations of rows low to high when machine i leaves a for t."""
    total = 0.0
    gone = not b.offline[a]
    there = not b.offline[t]
    for k in range(low, high):
        brings = b.amount[i, k]
        change = 0.0
        square = b.square[k]
        if gone:
            d = -brings * b.unit[k, a]
            change += d
            square += d * (2.0 * b.value[k, a] + d)
        if there:
            d = brings * b.unit[k, t]
            change += d
            square += d * (2.0 * b.value[k, t] + d)
        change *= up
        spread = square * up - change * change
        if spread > 0.0:
            total += _WEIGHT[k] * sqrt(spread)
    return total


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _fits_first(b: Board, i: int, n: int, left: float, planned: float, room: float,
                spindles: float, most: float, force: bool) -> bool:  # fmt: skip
    """May i run on n, of which this is left without it? Soft rules are dropped with `force`."""
    if left - b.amount[i, 0] <= 0.0:
        return False
    if b.local[i] and room - b.amount[i, 4] <= 0.0:
        return False
    if force:
        return True
    if b.local[i] and spindles + b.amount[i, 6] > b.limit[n]:
        return False
    if left - b.amount[i, 0] <= most < left:
        return False
    if b.ratio[n] >= 0.0 and b.ratio[n] < (b.vcpus[n] + b.amount[i, 2]) / b.cpus[n]:
        return False
    for j in range(b.tag_start[i], b.tag_start[i + 1]):
        if b.tags[n, b.tag[j]] > 0:
            return False
    return planned - b.amount[i, 1] > 0.0


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _fits_second(b: Board, i: int, n: int, left: float, planned: float, room: float,
                 spindles: float, before: float, after: float, force: bool, any_disk: bool) -> bool:  # fmt: skip
    """May n stand behind i, keeping `after` free where it kept `before`?"""
    if not any_disk and room - b.amount[i, 4] <= 0.0:
        return False
    if force:
        return True
    if spindles + b.amount[i, 6] > b.limit[n]:
        return False
    if b.kept[i] >= left or b.kept[i] >= planned:
        return False
    return not (before < left <= after)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _counted(b: Board, n: int, left: float, most: float, machines: int, first: int) -> float:
    """Change of what counts whole for node n when it stands so."""
    if b.offline[n]:
        gone = machines - b.machines[n]
        return _AWAY * gone + _AWAY_FIRST * (first - b.first[n])
    change = 0.0
    if left <= most:
        change += _FAIL * machines
    if b.left[n] <= b.most[n]:
        change -= _FAIL * b.machines[n]
    return change


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _tags_change(b: Board, i: int, a: int, t: int) -> float:
    change = 0.0
    for j in range(b.tag_start[i], b.tag_start[i + 1]):
        tag = b.tag[j]
        if not b.offline[a] and b.tags[a, tag] > 1:
            change -= _CONFLICT
        if not b.offline[t] and b.tags[t, tag] > 0:
            change += _CONFLICT
    return change


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _kept_part(b: Board, up: float, n: int, most_n: float, m: int, most_m: float) -> float:
    """Price of the memory kept when n and m keep so much."""
    square = b.square[_KEPT]
    change = 0.0
    if not b.offline[n]:
        d = (most_n - b.most[n]) / b.memory[n]
        change += d
        square += d * (2.0 * b.value[_KEPT, n] + d)
    if m != n and not b.offline[m]:
        d = (most_m - b.most[m]) / b.memory[m]
        change += d
        square += d * (2.0 * b.value[_KEPT, m] + d)
    spread = square * up - change * up * change * up
    total = _KEPT_SUM * (b.parts[2] + change)
    return total + _WEIGHT[_KEPT] * sqrt(spread) if spread > 0.0 else total


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _price(b: Board, up: float, i: int, kind: int, t: int, first: float, disks: float) -> float:
    """Score after a move whose deviations are known; inf where it is not allowed."""
    a, s = b.primary[i], b.secondary[i]
    up_i, size, disk, sp, kept = (
        b.amount[i, 0], b.amount[i, 1], b.amount[i, 4], b.amount[i, 6], b.kept[i]
    )  # fmt: skip
    away = b.offline[a]
    if kind == ANYWHERE:
        if not b.migrates[a, t] or not _fits_first(
            b, i, t, b.left[t], b.planned[t], b.room[t], b.spindles[t], b.most[t], away
        ):
            return inf
        counted = _counted(b, a, b.left[a] + up_i, b.most[a], b.machines[a] - 1, b.first[a] - 1)
        counted += _counted(b, t, b.left[t] - up_i, b.most[t], b.machines[t] + 1, b.first[t] + 1)
        counted += _tags_change(b, i, a, t)
        return first + disks + _kept_part(b, up, a, b.most[a], a, b.most[a]) + b.parts[3] + counted
    # What the secondary keeps once i is no longer behind it.
    others = b.second[s] if b.whose[s] == a else b.most[s]
    without = max(others, b.reserve[s, a] - kept)
    if kind == REPLACE:
        after = max(b.most[t], b.reserve[t, a] + kept)
        if b.left[a] <= 0.0 or (b.local[i] and b.room[a] <= 0.0):
            return inf
        if not _fits_second(
            b, i, t, b.left[t], b.planned[t], b.room[t], b.spindles[t], b.most[t], after,
            b.offline[s], False,
        ):  # fmt: skip
            return inf
        counted = _counted(b, s, b.left[s], without, b.machines[s] - 1, b.first[s])
        counted += _counted(b, t, b.left[t], after, b.machines[t] + 1, b.first[t])
        return first + disks + _kept_part(b, up, s, without, t, after) + b.parts[3] + counted
    left_a, planned_a = b.left[a] + up_i, b.planned[a] + size
    room_a, spindles_a = b.room[a] + disk, b.spindles[a] - sp
    if kind == REPLACE_FAILOVER:
        after = max(b.most[a], b.reserve[a, t] + kept)
        if not b.migrates[a, t] or not _fits_first(
            b, i, t, b.left[t], b.planned[t], b.room[t], b.spindles[t], b.most[t], False
        ):
            return inf
        if not _fits_second(
            b, i, a, left_a, planned_a, room_a, spindles_a, b.most[a], after, b.offline[s], False
        ):
            return inf
        counted = _counted(b, a, left_a, after, b.machines[a], b.first[a] - 1)
        counted += _counted(b, s, b.left[s], without, b.machines[s] - 1, b.first[s])
        counted += _counted(b, t, b.left[t] - up_i, b.most[t], b.machines[t] + 1, b.first[t] + 1)
        counted += _tags_change(b, i, a, t)
        return first + disks + _kept_part(b, up, a, after, s, without) + b.parts[3] + counted
    # The rest runs on the secondary, if only for a moment.
    room_s, spindles_s = b.room[s] + disk, b.spindles[s] - sp
    if not b.migrates[a, s] or not _fits_first(
        b, i, s, b.left[s], b.planned[s], room_s, spindles_s, without, away
    ):
        return inf
    if kind == FAILOVER:
        after = max(b.most[a], b.reserve[a, s] + kept)
        if not _fits_second(
            b, i, a, left_a, planned_a, room_a, spindles_a, b.most[a], after, away, away
        ):
            return inf
        counted = _counted(b, a, left_a, after, b.machines[a], b.first[a] - 1)
        counted += _counted(b, s, b.left[s] - up_i, without, b.machines[s], b.first[s] + 1)
        counted += _tags_change(b, i, a, s)
        return first + disks + _kept_part(b, up, a, after, s, without) + b.parts[3] + counted
    counted = _counted(b, a, left_a, b.most[a], b.machines[a] - 1, b.first[a] - 1)
    if kind == REPLACE_PRIMARY:
        after = max(without, b.reserve[s, t] + kept)
        if not b.migrates[s, t] or not _fits_first(
            b, i, t, b.left[t], b.planned[t], b.room[t], b.spindles[t], b.most[t], away
        ):
            return inf
        if not _fits_second(
            b, i, s, b.left[s], b.planned[s], room_s, spindles_s, without, after, away, False
        ):
            return inf
        counted += _counted(b, s, b.left[s], after, b.machines[s], b.first[s])
        counted += _counted(b, t, b.left[t] - up_i, b.most[t], b.machines[t] + 1, b.first[t] + 1)
        counted += _tags_change(b, i, a, t)
        return first + disks + _kept_part(b, up, s, after, s, after) + b.parts[3] + counted
    after = max(b.most[t], b.reserve[t, s] + kept)
    if not _fits_second(
        b, i, t, b.left[t], b.planned[t], b.room[t], b.spindles[t], b.most[t], after, away, False
    ):
        return inf
    counted += _counted(b, s, b.left[s] - up_i, without, b.machines[s], b.first[s] + 1)
    counted += _counted(b, t, b.left[t], after, b.machines[t] + 1, b.first[t])
    counted += _tags_change(b, i, a, s)
    return first + disks + _kept_part(b, up, s, without, t, after) + b.parts[3] + counted


@njit(cache=True, nogil=True, _nrt=False)
def price(b: Board, i: int, kind: int, t: int) -> float:
    """Score after one move; inf where it is not allowed."""
    up = _share(b)
    a, s = b.primary[i], b.secondary[i]
    first, disks = b.parts[0], b.parts[1]
    if kind != REPLACE:
        to = s if kind in (FAILOVER, FAILOVER_REPLACE) else t
        first = _part(b, up, i, a, to, 0, _P)
    if kind in (REPLACE, REPLACE_FAILOVER):
        disks = _part(b, up, i, s, t, _P, _B)
    elif kind != FAILOVER:
        disks = _part(b, up, i, a, t, _P, _B)
    return _price(b, up, i, kind, t, first, disks)


@njit(cache=True, nogil=True, _nrt=False)
def best(b: Board, now: float, only: Bools) -> tuple[int, int, int, float]:
    """The best move of the machines in `only`: machine, kind, node, score; kind -1 for none."""
    up = _share(b)
    found_i, found_kind, found_t, least = -1, -1, -1, now - _NOISE
    for i in range(b.primary.shape[0]):
        if not (b.movable[i] and only[i]):
            continue
        a, s = b.primary[i], b.secondary[i]
        over = s >= 0 and not b.offline[s]
        to_s = _part(b, up, i, a, s, 0, _P) if over else 0.0
        from_a = from_s = first = 0.0
        # Node -1 stands for the failover. One call of `_price`, so that it is compiled once.
        for node in range(-1 if over else 0, b.memory.shape[0]):
            t = s if node < 0 else node
            low, high = FAILOVER, FAILOVER
            if node >= 0:
                if t in (a, s) or b.offline[t]:
                    continue
                first = _part(b, up, i, a, t, 0, _P)
                from_a = _part(b, up, i, a, t, _P, _B)
                low = high = ANYWHERE
                if s >= 0:
                    from_s = _part(b, up, i, s, t, _P, _B)
                    low = REPLACE
                    high = FAILOVER_REPLACE if over else REPLACE_FAILOVER
            for kind in range(low, high + 1):
                one = first
                if kind == REPLACE:
                    one = b.parts[0]
                elif kind in (FAILOVER, FAILOVER_REPLACE):
                    one = to_s
                two = from_a
                if kind == FAILOVER:
                    two = b.parts[1]
                elif kind in (REPLACE, REPLACE_FAILOVER):
                    two = from_s
                score = _price(b, up, i, kind, t, one, two)
                if score < least:
                    found_i, found_kind, found_t, least = i, kind, t, score
    return found_i, found_kind, found_t, least


@njit(cache=True, nogil=True, _nrt=False)
def make(b: Board, i: int, kind: int, t: int) -> float:
    """Make a move. Returns the score after it."""
    a, s = b.primary[i], b.secondary[i]
    if kind in (ANYWHERE, REPLACE_PRIMARY):
        b.primary[i] = t
    elif kind == REPLACE:
        b.secondary[i] = t
    elif kind == FAILOVER:
        b.primary[i], b.secondary[i] = s, a
    elif kind == REPLACE_FAILOVER:
        b.primary[i], b.secondary[i] = t, a
    else:
        b.primary[i], b.secondary[i] = s, t
    return refresh(b)


@njit(cache=True, nogil=True, _nrt=False)
def descend(b: Board, everyone: Bools, moves: Ints, made: int, floor: float) -> tuple[int, float]:
    """Best move after best move into `moves` from row `made` on, by hbal's rules for stopping.

    Returns the number of rows and the score.
    """
    now = refresh(b)
    while made < moves.shape[0] and now > floor + LEAST_SCORE:
        i, kind, t, after = best(b, now, everyone)
        if kind < 0 or (now <= GAIN_LIMIT and now - after < LEAST_GAIN):
            break
        now = make(b, i, kind, t)
        moves[made, 0], moves[made, 1], moves[made, 2] = i, kind, t
        made += 1
    return made, now
