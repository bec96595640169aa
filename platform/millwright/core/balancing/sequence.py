"""The inner loop that looks for a shorter order of moves: annealing over the order in which legs start.

A sequence names a unit for each leg; the unit's vias say where its legs go, the last one goes to its target. Each
leg starts as early as it can, but not before the one that stands before it: every schedule in which nothing waits
needlessly is such a sequence. Only what adds up on a host is looked at here (memory, disks, CPUs promised, bandwidth);
`order` makes what was found anew with every hard rule, or leaves it.

Compiled by numba at the first call and cached on disk; imported only when there is something to look for.
"""

from __future__ import annotations

from math import exp, inf
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
    leg: NDArray[np.int64]
    flying: NDArray[np.bool_]
    busy: NDArray[np.int64]
    ends: NDArray[np.float64]
    who: NDArray[np.int64]
    whither: NDArray[np.int64]


def scratch(p: Problem) -> Scratch:
    """Room for one evaluation."""
    units, hosts = len(p.source), len(p.band)
    return Scratch(
        p.free.copy(),
        p.source.copy(),
        np.zeros(units, np.int64),
        np.zeros(units, np.bool_),
        np.zeros(hosts, np.int64),
        np.zeros(p.pool),
        np.zeros(p.pool, np.int64),
        np.zeros(p.pool, np.int64),
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
def _span(p: Problem, s: Scratch, units: NDArray[np.int64], length: int, vias: NDArray[np.int64],
          hops: NDArray[np.int64]) -> tuple[float, float]:  # fmt: skip
    """When the last leg ends, and all legs' ends summed; infinite where a leg finds no room for ever."""
    rows = p.need.shape[0]
    s.free[:, :] = p.free
    s.at[:] = p.source
    s.leg[:] = 0
    s.flying[:] = False
    s.busy[:] = 0
    now, last, total, running = 0.0, 0.0, 0.0, 0
    for index in range(length):
        unit = units[index]
        while True:
            if not s.flying[unit] and running < p.pool:
                here = s.at[unit]
                there = vias[unit, s.leg[unit]] if s.leg[unit] < hops[unit] else p.target[unit]
                good = here != there and s.busy[here] < p.per_host and s.busy[there] < p.per_host
                if good:
                    for row in range(rows):
                        need = p.need[row, unit]
                        if need > 0 and need > s.free[row, there]:
                            good = False
                            break
                if good:
                    break
            if running == 0:
                return inf, inf
            # Go on to the next end, and end all that end then.
            now = s.ends[0]
            for slot in range(1, running):
                now = min(now, s.ends[slot])
            slot = 0
            while slot < running:
                if s.ends[slot] > now:
                    slot += 1
                    continue
                moved, to = s.who[slot], s.whither[slot]
                for row in range(rows):
                    s.free[row, s.at[moved]] += p.need[row, moved]
                s.busy[s.at[moved]] -= 1
                s.busy[to] -= 1
                s.at[moved] = to
                s.leg[moved] += 1
                s.flying[moved] = False
                running -= 1
                s.ends[slot], s.who[slot] = s.ends[running], s.who[running]
                s.whither[slot] = s.whither[running]
        band = min(p.band[here], p.band[there])
        end = now + p.carried[unit] / max(band - p.dirty[unit], (1 - _CONVERGES) * band)
        for row in range(rows):
            s.free[row, there] -= p.need[row, unit]
        s.busy[here] += 1
        s.busy[there] += 1
        s.flying[unit] = True
        s.ends[running], s.who[running], s.whither[running] = end, unit, there
        running += 1
        last = max(last, end)
        total += end
    return last, total


@njit(cache=True, nogil=True)
def _price(last: float, total: float, legs: int, units: int) -> float:
    return last * (1.0 + _DETOUR * (legs - units)) + _EARLIER * total / legs


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
            hops: NDArray[np.int64], most: int, random: NDArray[np.uint64]) -> int:  # fmt: skip
    """One random change; the new length, or -1 where it comes to nothing."""
    count, hosts = len(p.source), len(p.band)
    kind = _below(random, 10)
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
            hops: NDArray[np.int64], most: int, steps: int, enough: float, hot: float,
            random: NDArray[np.uint64]) -> tuple[int, float]:  # fmt: skip
    """Leaves the best that was found in the arrays; its length and its end."""
    count = len(p.source)
    last, total = _span(p, s, units, length, vias, hops)
    if last == inf:
        return length, inf
    price = _price(last, total, length, count)
    best_price, best_last, best_length = price, last, length
    best_units, best_vias, best_hops = units.copy(), vias.copy(), hops.copy()
    old_units, old_vias, old_hops = units.copy(), vias.copy(), hops.copy()
    for step in range(steps):
        if best_last <= enough:
            break
        warm = best_last * hot * (_COLD / hot) ** (step / steps)
        old_units[:length] = units[:length]
        old_vias[:, :] = vias
        old_hops[:] = hops
        fresh = _change(p, units, length, vias, hops, most, random)
        good = False
        if fresh > 0:
            last, total = _span(p, s, units, fresh, vias, hops)
            if last < inf:
                after = _price(last, total, fresh, count)
                chance = _below(random, 1 << 30) / (1 << 30)
                good = after <= price or chance < exp((price - after) / warm)
        if not good:
            units[:length] = old_units[:length]
            vias[:, :] = old_vias
            hops[:] = old_hops
            continue
        length, price = fresh, after
        if price < best_price:
            best_price, best_last, best_length = price, last, length
            best_units[:length] = units[:length]
            best_vias[:, :] = vias
            best_hops[:] = hops
    units[:best_length] = best_units[:best_length]
    vias[:, :] = best_vias
    hops[:] = best_hops
    return best_length, best_last


def shorter(
    p: Problem, start: Sequence, most: int, steps: int, enough: float, hot: float, seed: int
) -> tuple[Sequence, float]:
    """The shortest order found from `start` with at most so many detours, and when it ends.

    The same arguments give the same order. `enough`: no shorter one is looked for. `hot`: what longer ones are
    accepted at first, as a share of the whole.
    """
    units = np.zeros(len(p.source) * MOST_LEGS + 1, np.int64)
    units[: len(start.units)] = start.units
    vias, hops = start.vias.copy(), start.hops.copy()
    random = np.array([seed * 0x9E3779B97F4A7C15 % 2**64 or 1], np.uint64)
    length, last = _anneal(
        p, scratch(p), units, len(start.units), vias, hops, most, steps, enough, hot, random
    )
    return Sequence(units[:length].copy(), vias, hops), float(last)
