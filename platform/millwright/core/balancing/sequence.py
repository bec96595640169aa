"""The inner loop that looks for a shorter order of moves: annealing over the order in which legs start.

A sequence names a unit for each leg; the unit's vias say where its legs go, the last one goes to its target. Whatever
can start does, what stands first before the others. But nothing that stands behind a *wall*, a unit that waits and lets
nobody past, starts before its leg: so room is kept for what is large. With walls everywhere each leg starts as early as
it can, but not before the one that stands before it, and every schedule in which nothing waits needlessly is such a
sequence; without, nearly every sequence is a fair one. Only what adds up on a host is looked at here (memory, disks,
CPUs promised, bandwidth); `order` makes what was found anew with every hard rule, or leaves it.

Compiled by numba at the first call and cached on disk; imported only when there is something to look for.
"""

from __future__ import annotations

from math import inf, log
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: as `score.CONVERGES`: a guest that writes faster than this share of the link is throttled to it
_CONVERGES = 0.8
#: legs that one unit may have
MOST_LEGS = 3
#: worth of each leg's earlier end, and price of a detour, as shares of the whole
_EARLIER, _DETOUR = 0.05, 0.002
#: what is accepted at the end, as a share of the whole
_COLD = 0.0005

_A, _B, _C = np.uint64(12), np.uint64(25), np.uint64(27)
_STAR, _HALF = np.uint64(2685821657736338717), np.uint64(32)


class Problem(NamedTuple):
    """Units that move, by number; hosts that matter, by number. Times in seconds, memory in bytes."""

    need: NDArray[np.int64]  # row, unit
    free: NDArray[np.int64]  # row, host; while everything stands where it is
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    allowed: NDArray[np.bool_]  # unit, host
    carried: NDArray[np.float64]
    dirty: NDArray[np.float64]
    band: NDArray[np.float64]  # of each host, what one migration may take
    per_host: int
    pool: int


class Sequence(NamedTuple):
    """Which unit each leg moves; hosts on the way, and how many, for each unit."""

    units: NDArray[np.int64]
    vias: NDArray[np.int64]  # unit, number
    hops: NDArray[np.int64]


class Scratch(NamedTuple):
    """What one evaluation writes over."""

    free: NDArray[np.int64]
    at: NDArray[np.int64]
    to: NDArray[np.int64]
    leg: NDArray[np.int64]
    #: hosts that the unit's next leg touches, as bits (64 and more share them); none while it is on its way
    touches: NDArray[np.uint64]
    busy: NDArray[np.int64]
    ends: NDArray[np.float64]
    who: NDArray[np.int64]
    waiting: NDArray[np.int64]
    #: units of the legs in the order in which they started
    begun: NDArray[np.int64]


def scratch(p: Problem) -> Scratch:
    """Room for one evaluation."""
    units, hosts = len(p.source), len(p.band)
    return Scratch(
        p.free.copy(),
        p.source.copy(),
        p.target.copy(),
        np.zeros(units, np.int64),
        np.zeros(units, np.uint64),
        np.zeros(hosts, np.int64),
        np.zeros(p.pool),
        np.zeros(p.pool, np.int64),
        np.zeros(units * MOST_LEGS + 1, np.int64),
        np.zeros(units * MOST_LEGS + 1, np.int64),
    )


@njit(cache=True, nogil=True)
def _below(random: NDArray[np.uint64], n: int) -> np.int64:
    x = random[0]
    x ^= x >> _A
    x ^= x << _B
    x ^= x >> _C
    random[0] = x
    return np.int64((((x * _STAR) >> _HALF) * np.uint64(n)) >> _HALF)


@njit(cache=True, nogil=True)
def _price(last: float, total: float, legs: int, units: int) -> float:
    return last * (1.0 + _DETOUR * (legs - units)) + _EARLIER * total / legs


@njit(cache=True, nogil=True)
def _span(p: Problem, s: Scratch, units: NDArray[np.int64], length: int, vias: NDArray[np.int64],
          hops: NDArray[np.int64], walls: NDArray[np.bool_], limit: float) -> tuple[float, float]:  # fmt: skip
    """When the last leg ends, and all legs' ends summed; infinite where a leg finds no room, or the price is above.

    In one piece, since numba counts references to each array that it hands on: parts take three times as long.
    """
    count, rows, one = len(p.source), p.need.shape[0], np.uint64(1)
    s.free[:, :] = p.free
    s.at[:] = p.source
    s.leg[:] = 0
    s.busy[:] = 0
    for unit in range(count):
        s.to[unit] = vias[unit, 0] if hops[unit] > 0 else p.target[unit]
        s.touches[unit] = (one << np.uint64(s.at[unit] & 63)) | (one << np.uint64(s.to[unit] & 63))
    for index in range(length):
        s.waiting[index] = units[index]
    now, last, total, running, begun, waiting, full = 0.0, 0.0, 0.0, 0, 0, length, True
    fresh = np.uint64(0)
    while True:
        if full:
            fresh = np.uint64(0xFFFFFFFFFFFFFFFF)
        kept, index, full = 0, 0, False
        while index < waiting:
            unit = s.waiting[index]
            # Where nothing ended since it was looked at, it still cannot start.
            if s.touches[unit] & fresh == 0:
                if walls[unit]:
                    full = True
                    break
                s.waiting[kept] = unit
                kept += 1
                index += 1
                continue
            if running == p.pool:
                full = True
                break
            here, there = s.at[unit], s.to[unit]
            good = (
                s.touches[unit] != 0
                and here != there
                and s.busy[here] < p.per_host
                and s.busy[there] < p.per_host
            )
            if good:
                for row in range(rows):
                    need = p.need[row, unit]
                    if need > 0 and need > s.free[row, there]:
                        good = False
                        break
            if not good:
                if walls[unit]:
                    full = True
                    break
                s.waiting[kept] = unit
                kept += 1
                index += 1
                continue
            band = min(p.band[here], p.band[there])
            end = now + p.carried[unit] / max(band - p.dirty[unit], (1 - _CONVERGES) * band)
            for row in range(rows):
                s.free[row, there] -= p.need[row, unit]
            s.busy[here] += 1
            s.busy[there] += 1
            s.touches[unit] = 0
            s.ends[running], s.who[running] = end, unit
            running += 1
            last = max(last, end)
            total += end
            s.begun[begun] = unit
            begun += 1
            index += 1
        while index < waiting:
            s.waiting[kept] = s.waiting[index]
            kept += 1
            index += 1
        waiting = kept
        if waiting == 0:
            return last, total
        if running == 0:
            return inf, inf
        # Go on to the next end, and end all that end then.
        now = s.ends[0]
        for slot in range(1, running):
            now = min(now, s.ends[slot])
        if _price(last, total + waiting * now, length, count) > limit:
            return inf, inf
        fresh = np.uint64(0)
        slot = 0
        while slot < running:
            if s.ends[slot] > now:
                slot += 1
                continue
            moved = s.who[slot]
            here, there = s.at[moved], s.to[moved]
            for row in range(rows):
                s.free[row, here] += p.need[row, moved]
            s.busy[here] -= 1
            s.busy[there] -= 1
            fresh |= (one << np.uint64(here & 63)) | (one << np.uint64(there & 63))
            s.at[moved] = there
            s.leg[moved] += 1
            onward = s.leg[moved] < hops[moved]
            s.to[moved] = vias[moved, s.leg[moved]] if onward else p.target[moved]
            s.touches[moved] = (one << np.uint64(there & 63)) | (one << np.uint64(s.to[moved] & 63))
            running -= 1
            s.ends[slot], s.who[slot] = s.ends[running], s.who[running]


@njit(cache=True, nogil=True)
def _drop(units: NDArray[np.int64], length: int, unit: int, number: int) -> int:
    """Take the unit's leg of that number out of the sequence."""
    seen = 0
    for index in range(length):
        if units[index] == unit:
            if seen == number:
                for later in range(index, length - 1):
                    units[later] = units[later + 1]
                return length - 1
            seen += 1
    return length


@njit(cache=True, nogil=True)
def _insert(units: NDArray[np.int64], length: int, unit: int, index: int) -> int:
    for later in range(length, index, -1):
        units[later] = units[later - 1]
    units[index] = unit
    return length + 1


@njit(cache=True, nogil=True)
def _change(p: Problem, units: NDArray[np.int64], length: int, vias: NDArray[np.int64],
            hops: NDArray[np.int64], walls: NDArray[np.bool_], most: int, random: NDArray[np.uint64]) -> int:  # fmt: skip
    """One random change; the new length, or -1 where it comes to nothing."""
    count, hosts = len(p.source), len(p.band)
    kind = _below(random, 12)
    if kind < 4:
        one, other = _below(random, length), _below(random, length)
        unit = units[one]
        step = 1 if other > one else -1
        for index in range(one, other, step):
            units[index] = units[index + step]
        units[other] = unit
        return length if one != other else -1
    if kind < 6:
        one, other = _below(random, length), _below(random, length)
        units[one], units[other] = units[other], units[one]
        return length if units[one] != units[other] else -1
    unit = _below(random, count)
    if kind > 9:
        walls[unit] = not walls[unit]
        return length
    via = _below(random, hosts)
    if kind == 6:
        if hops[unit] == 0:
            return -1
        number = _below(random, hops[unit])
        if not p.allowed[unit, via]:
            return -1
        vias[unit, number] = via
        return length
    if kind == 7:
        if hops[unit] == 0:
            return -1
        number = _below(random, hops[unit])
        for later in range(number, hops[unit] - 1):
            vias[unit, later] = vias[unit, later + 1]
        hops[unit] -= 1
        return _drop(units, length, unit, number)
    if kind == 8 and hops[unit] > 0:
        # Another goes aside in its place.
        other = _below(random, count)
        if other == unit or hops[other] >= vias.shape[1] or not p.allowed[other, via]:
            return -1
        hops[unit] -= 1
        length = _drop(units, length, unit, _below(random, hops[unit] + 2))
    else:
        other = unit
        if length - count >= most or hops[unit] >= vias.shape[1] or not p.allowed[unit, via]:
            return -1
    vias[other, hops[other]] = via
    hops[other] += 1
    return _insert(units, length, other, _below(random, length + 1))


@njit(cache=True, nogil=True)
def _anneal(p: Problem, s: Scratch, units: NDArray[np.int64], length: int, vias: NDArray[np.int64],
            hops: NDArray[np.int64], walls: NDArray[np.bool_], most: int, steps: int,
            enough: float, hot: float, random: NDArray[np.uint64]) -> tuple[int, float]:  # fmt: skip
    """Leaves the best that was found in the arrays, in the order of starts; its length and its end."""
    count = len(p.source)
    last, total = _span(p, s, units, length, vias, hops, walls, inf)
    if last == inf:
        return length, inf
    price = _price(last, total, length, count)
    best_price, best_last, best_length = price, last, length
    best_units, best_vias, best_hops = units.copy(), vias.copy(), hops.copy()
    old_units, old_vias, old_hops = units.copy(), vias.copy(), hops.copy()
    best_walls, old_walls = walls.copy(), walls.copy()
    for step in range(steps):
        if best_last <= enough:
            break
        warm = best_last * hot * (_COLD / hot) ** (step / steps)
        old_units[:length] = units[:length]
        old_vias[:, :] = vias
        old_hops[:] = hops
        old_walls[:] = walls
        fresh = _change(p, units, length, vias, hops, walls, most, random)
        good = False
        if fresh > 0:
            limit = price - warm * log((_below(random, 1 << 30) + 1) / (1 << 30))
            last, total = _span(p, s, units, fresh, vias, hops, walls, limit)
            if last < inf:
                after = _price(last, total, fresh, count)
                good = after <= limit
        if not good:
            units[:length] = old_units[:length]
            vias[:, :] = old_vias
            hops[:] = old_hops
            walls[:] = old_walls
            continue
        length, price = fresh, after
        if price < best_price:
            best_price, best_last, best_length = price, last, length
            best_units[:length] = units[:length]
            best_vias[:, :] = vias
            best_hops[:] = hops
            best_walls[:] = walls
    units[:best_length] = best_units[:best_length]
    vias[:, :] = best_vias
    hops[:] = best_hops
    walls[:] = best_walls
    _span(p, s, units, best_length, vias, hops, walls, inf)
    units[:best_length] = s.begun[:best_length]
    return best_length, best_last


def shorter(
    p: Problem,
    start: Sequence,
    most: int,
    steps: int,
    enough: float,
    hot: float,
    seed: int,
    *,
    walled: bool = True,
) -> tuple[Sequence, float]:
    """The shortest order found from `start` with at most so many detours, and when it ends.

    The same arguments give the same order. `enough`: no shorter one is looked for. `hot`: what longer ones are
    accepted at first, as a share of the whole. `walled`: with walls at first, which makes of a start what it was.
    """
    units = np.zeros(len(p.source) * MOST_LEGS + 1, np.int64)
    units[: len(start.units)] = start.units
    vias, hops = start.vias.copy(), start.hops.copy()
    random = np.array([seed * 0x9E3779B97F4A7C15 % 2**64 or 1], np.uint64)
    room, walls = scratch(p), np.full(len(p.source), walled)
    # Without walls the start may come to nothing: what is large then never finds room.
    if not walled and _span(p, room, units, len(start.units), vias, hops, walls, inf)[0] == inf:
        walls[:] = True
    length, last = _anneal(
        p, room, units, len(start.units), vias, hops, walls, most, steps, enough, hot, random
    )
    return Sequence(units[:length].copy(), vias, hops), float(last)
