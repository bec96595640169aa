"""How long moves take at least, whoever orders them; only the machines that are to move are moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from .answers import Limits
from .frame import Ints
from .score import CONVERGES, seconds
from .state import State

if TYPE_CHECKING:
    from .order import Task

#: shares of a need that are looked at as slots: the needs themselves, the largest so many
MOST_SLOT_SIZES = 8


def move_seconds(state: State, task: Task, share: float) -> float:
    """Seconds of the unit's own move with that share of the links."""
    frame = state.frame
    return float(seconds(frame, task.unit, int(state.at[task.unit]), share)[task.target])


@dataclass(frozen=True, slots=True)
class _Way:
    """One unit's way: at least how long a leg lasts that touches its source, its target; both at once."""

    unit: int
    source: int
    target: int
    leaving: float
    coming: float

    @property
    def time(self) -> float:
        return max(self.leaving, self.coming)

    @property
    def extra(self) -> float:
        """What a third host costs more: two legs instead of one."""
        return min(self.leaving, self.coming)

    def back(self) -> _Way:
        return _Way(self.unit, self.target, self.source, self.coming, self.leaving)


def lower_bound(state: State, tasks: Sequence[Task], limits: Limits) -> float:
    """No schedule is shorter. The largest of these, each for every resource that adds up on a host:

    - the longest move; each host's work by its hands; all work by the pool's;
    - what is on its way is held twice, so all of it shares the room that is free in the whole pool,
      counted in whole machines of each size: a hole of 12 GiB does not take 16;
    - hosts that only exchange among themselves and have no such hole need one leg more;
    - a move whose target has no room waits for those that leave there, and so on along the chain,
      or some machine goes over a third host, which is one leg more; the same seen from the end.
    """
    if not tasks:
        return 0.0
    ways = [_way(state, task, limits) for task in tasks]
    work: dict[int, list[float]] = {}
    for way in ways:
        work.setdefault(way.source, []).append(way.leaving)
        work.setdefault(way.target, []).append(way.coming)
    bound = max(
        _by_hands([way.time for way in ways], limits.pool),
        *(_by_hands(times, limits.per_host) for times in work.values()),
    )
    frame = state.frame
    units = [way.unit for way in ways]
    for row in np.flatnonzero(frame.need[:, units].any(axis=1)).tolist():
        need = {unit: int(frame.need[row, unit]) for unit in units}
        free = np.maximum(state.free[row], 0).astype(np.int64)
        sizes = sorted({size for size in need.values() if size > 0}, reverse=True)
        for size in (1, *sizes[:MOST_SLOT_SIZES]):
            bound = max(bound, _by_slots(free, need, ways, size))
    return bound


def _way(state: State, task: Task, limits: Limits) -> _Way:
    frame, unit = state.frame, task.unit
    source = int(state.at[unit])
    ends = []
    for host in (source, task.target):
        band = float(frame.link[host]) / limits.per_host
        slowest = max(band - float(frame.dirty[unit]), (1 - CONVERGES) * band)
        ends.append(float(frame.carried[unit]) / slowest)
    return _Way(unit, source, task.target, ends[0], ends[1])


def _by_hands(times: list[float], hands: int) -> float:
    """Work shared among hands; of so many times as many of the longest, and one, some hand has one more."""
    bound = sum(times) / hands
    longest = sorted(times, reverse=True)
    for each in range((len(times) - 1) // hands + 1):
        bound = max(bound, sum(longest[each * hands - each : each * hands + 1]))
    return bound


def _by_slots(free: Ints, need: dict[int, int], ways: list[_Way], size: int) -> float:
    """The bound that slots of this size give: a machine takes as many as it has whole sizes.

    Whole sizes of parts never add up to more than those of the sum, so no host ever holds more
    slots than it has, even with all smaller machines gone.
    """
    slots = {way.unit: need[way.unit] // size for way in ways}
    large = [way for way in ways if slots[way.unit]]
    capacity = free.copy()
    taken = np.zeros(len(free), np.int64)
    for way in ways:
        capacity[way.source] += need[way.unit]
        taken[way.source] += slots[way.unit]
    spare = capacity // size - taken
    room, free_bytes = int(spare.sum()), int(free.sum())
    # A hole may be where not a byte is free: a machine of another size leaves it.
    if not room or not free_bytes:
        return 0.0
    volume = sum(slots[way.unit] * way.time for way in large)
    after = spare + taken
    for way in large:
        after[way.target] -= slots[way.unit]
    # The same seen from the end: then the last comes first, from where it goes to where it was.
    sides = ((spare, large), (after, [way.back() for way in large]))
    straight = max(_chained(free, slots, some, aside=False) for free, some in sides)
    over = max(_chained(free, slots, some, aside=True) for free, some in sides)
    one_more = (volume + min(slots[way.unit] * way.extra for way in large)) / room
    parts = max(
        _by_parts(spare, slots, large, hosts, ((slots, room), (need, free_bytes)), ways)
        for hosts in (_islands(large), _circles(large))
    )
    return max(over, parts, min(straight, one_more))


def _by_parts(
    spare: Ints,
    slots: dict[int, int],
    ways: list[_Way],
    parts: list[set[int]],
    rooms: Sequence[tuple[dict[int, int], int]],
    everything: list[_Way],
) -> float:
    """The bound by hosts that have few holes among themselves.

    A move into such a part needs one of the holes there: those of the beginning, those that moves out
    of the part leave, and those that machines leave which go aside, one leg more each. With more of
    these the part is done sooner, but all that is on its way shares the pool's room.

    `rooms`: what each takes, and how much of it is free in the pool: slots, and bytes.
    """
    shares = [sum(takes[way.unit] * way.time for way in everything) / room for takes, room in rooms]
    states: list[list[float]] = []  # of each part: how long it takes with 0, 1, ... aside
    prices: list[list[list[float]]] = []  # of each part, in each room: what those take of it
    for hosts in parts:
        here = [way for way in ways if way.source in hosts]
        inside = sum(slots[way.unit] * way.coming for way in ways if way.target in hosts)
        holes = int(spare[list(hosts)].sum())
        # The first hole is there when the first has left.
        head = 0.0 if holes or not here else min(way.leaving for way in here)
        holes += sum(slots[way.unit] for way in here if way.target not in hosts)
        each = sorted((slots[way.unit] for way in here), reverse=True)
        given = [holes + sum(each[:count]) for count in range(len(each) + 1)]
        states.append(
            [(head + inside / some if some else inf) if inside else 0.0 for some in given]
        )
        prices.append(
            [_least_sums([takes[w.unit] * w.extra / room for w in here]) for takes, room in rooms]
        )
    aside = [0] * len(parts)
    least = inf
    while True:
        times = [state[count] for state, count in zip(states, aside, strict=True)]
        shared = max(
            share + sum(price[number][count] for price, count in zip(prices, aside, strict=True))
            for number, share in enumerate(shares)
        )
        least = min(least, max(shared, *times))
        worst = int(np.argmax(times))
        if shared >= times[worst] or aside[worst] + 1 >= len(states[worst]):
            return least
        aside[worst] += 1


def _least_sums(values: list[float]) -> list[float]:
    """What none, the least one, the least two … come to."""
    return [0.0, *accumulate(sorted(values))]


def _islands(ways: Iterable[_Way]) -> list[set[int]]:
    """Hosts that exchange among themselves."""
    found: list[set[int]] = []
    for way in ways:
        joined = {way.source, way.target}
        apart = []
        for hosts in found:
            if hosts & joined:
                joined |= hosts
            else:
                apart.append(hosts)
        found = [*apart, joined]
    return found


def _circles(ways: list[_Way]) -> list[set[int]]:
    """Hosts that reach each other along moves; those that are on no circle are parts of their own."""
    hosts = sorted({way.source for way in ways} | {way.target for way in ways})
    place = {host: index for index, host in enumerate(hosts)}
    reach = np.eye(len(hosts), dtype=np.bool_)
    for way in ways:
        reach[place[way.source], place[way.target]] = True
    for over in range(len(hosts)):
        reach |= np.outer(reach[:, over], reach[over])
    both = reach & reach.T
    return [{hosts[i] for i in np.flatnonzero(row)} for row in np.unique(both, axis=0)]


def _chained(spare: Ints, slots: dict[int, int], ways: list[_Way], *, aside: bool) -> float:
    """When all have arrived at the earliest, if each waits until what leaves its target makes room.

    `aside`: what leaves may go somewhere else first, at once; else all go straight to their targets.
    """
    leaving: dict[int, list[_Way]] = {}
    for way in ways:
        leaving.setdefault(way.source, []).append(way)
    starts = {way.unit: 0.0 for way in ways}
    for _ in range(len(ways)):
        changed = False
        for way in ways:
            lack = slots[way.unit] - int(spare[way.target])
            if lack <= 0:
                continue
            begin = 0.0
            gone = sorted(
                (min(starts[w.unit] + w.time, w.leaving if aside else inf), slots[w.unit])
                for w in leaving.get(way.target, ())
            )
            for end, amount in gone:
                lack -= amount
                if lack <= 0:
                    begin = end
                    break
            if begin > starts[way.unit] + 1e-9:
                starts[way.unit] = begin
                changed = True
        if not changed:
            break
    return max(starts[way.unit] + way.coming for way in ways)
