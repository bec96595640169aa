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
#: halvings between what is too short and what is not
BISECTIONS = 24


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
            bound = max(bound, _by_slots(free, need, ways, size, limits))
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


def _by_slots(
    free: Ints, need: dict[int, int], ways: list[_Way], size: int, limits: Limits
) -> float:
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
    prices = [
        _Price(
            sum(takes[way.unit] * way.time for way in ways) / shared,
            {way.unit: takes[way.unit] * way.extra / shared for way in large},
        )
        for takes, shared in ((slots, room), (need, free_bytes))
    ]
    parts = max(
        _by_parts([_Part.of(hosts, spare, slots, large, limits.pool) for hosts in cut], prices)
        for cut in (_islands(large), _circles(large))
    )
    parts = max(parts, _by_open_hosts(spare, slots, large, ways, prices, limits))
    return max(over, parts, min(straight, one_more))


@dataclass(frozen=True, slots=True)
class _Price:
    """What all moves take of something that is shared, in seconds, and what each adds that goes aside."""

    share: float
    each: dict[int, float]


@dataclass(frozen=True, slots=True)
class _Part:
    """Hosts, and the moves that touch them: each slot is (how many, when it is free at the earliest)."""

    #: slots times seconds that machines on their way into the part take there
    inside: float
    holes: int
    leavers: list[tuple[int, float]]
    stayers: list[tuple[int, float]]
    units: list[int]
    #: how many can be on their way out of it at once
    hands: int

    @classmethod
    def of(
        cls,
        hosts: set[int],
        spare: Ints,
        slots: dict[int, int],
        ways: list[_Way],
        hands: int,
        *,
        used: bool = True,
    ) -> _Part:
        """`used`: no more holes of a host are looked at than machines come to it; the others are to go aside to."""
        room = {host: int(spare[host]) for host in hosts}
        leavers = []
        if used:
            coming = dict.fromkeys(hosts, 0)
            for way in ways:
                if way.target in hosts:
                    coming[way.target] += slots[way.unit]
            room = {host: min(room[host], coming[host]) for host in hosts}
        else:
            coming = dict.fromkeys(hosts, sum(slots.values()) + sum(room.values()))
        left = {host: coming[host] - room[host] for host in hosts}
        here = [way for way in ways if way.source in hosts]
        for way in sorted(here, key=lambda way: way.leaving):
            if way.target not in hosts:
                given = min(slots[way.unit], left[way.source])
                left[way.source] -= given
                leavers.append((given, way.leaving))
        stayers = [way for way in here if way.target in hosts]
        return cls(
            sum(slots[way.unit] * way.coming for way in ways if way.target in hosts),
            sum(room.values()),
            [leaver for leaver in leavers if leaver[0]],
            [(slots[way.unit], way.leaving) for way in stayers],
            [way.unit for way in stayers],
            hands,
        )

    @property
    def closed(self) -> bool:
        """Whether nothing can ever come in that is to."""
        return self.inside > 0 and not (self.holes or self.leavers or self.stayers)

    def aside(self, end: float) -> int | None:
        """How many machines must at least go aside if all is to end by then; None where none suffice."""
        lack = self.inside - self.holes * end
        if lack <= 0:
            return 0
        # What each gives: its slots, from when it has left to the end.
        fixed = sum(size * max(0.0, end - left) for size, left in self.leavers)
        gains = sorted((size * max(0.0, end - left) for size, left in self.stayers), reverse=True)
        # The same if only so many can leave at once: the largest on the earliest times.
        times = sorted(left for _, left in (*self.leavers, *self.stayers))
        times = [
            max(time, done / self.hands)
            for time, done in zip(times, accumulate(times), strict=True)
        ]
        sizes = sorted((size for size, _ in self.stayers), reverse=True)
        for count in range(len(gains) + 1):
            if fixed + sum(gains[:count]) < lack:
                continue
            chosen = sorted((*(size for size, _ in self.leavers), *sizes[:count]), reverse=True)
            if sum(s * max(0.0, end - t) for s, t in zip(chosen, times, strict=False)) >= lack:
                return count
        return None


def _by_parts(parts: list[_Part], prices: list[_Price]) -> float:
    """The bound by hosts that have few holes among themselves.

    A move into such a part needs one of the holes there: those of the beginning, those that moves out
    of the part leave once they are made, and those that machines leave which go aside, one leg more
    each. With more of these the part is done sooner, but all of them take of what is shared.
    """
    if any(part.closed for part in parts):
        return inf
    sums = [
        [[0.0, *accumulate(sorted(price.each[unit] for unit in part.units))] for part in parts]
        for price in prices
    ]

    def may_end(end: float) -> bool:
        counts = [part.aside(end) for part in parts]
        return (
            all(
                price.share + sum(s[c] for s, c in zip(each, counts, strict=True) if c is not None)
                <= end
                for price, each in zip(prices, sums, strict=True)
            )
            and None not in counts
        )

    low, high = 0.0, max(price.share for price in prices) + 1e-3
    while not may_end(high):
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if may_end(middle) else (middle, high)
    return low


def _by_open_hosts(
    spare: Ints,
    slots: dict[int, int],
    large: list[_Way],
    ways: list[_Way],
    prices: list[_Price],
    limits: Limits,
) -> float:
    """The bound by the hosts that have holes at first: who goes aside from the others uses their hands."""
    touched = {way.source for way in large} | {way.target for way in large}
    opened = set(np.flatnonzero(spare > 0).tolist())
    rest = touched - opened
    if not rest or not opened:
        return 0.0
    left = spare.copy()
    for way in large:
        left[way.source] += slots[way.unit]
        left[way.target] -= slots[way.unit]
    bound = 0.0
    for used in (False, True):
        aside = opened | {host for host in rest if used and left[host] > 0}
        hands = limits.per_host * len(aside)
        work = sum(
            (way.source in aside) * way.leaving + (way.target in aside) * way.coming for way in ways
        )
        each = {way.unit: (way.leaving + way.coming) / hands for way in large}
        part = _Part.of(rest, spare, slots, large, min(hands, limits.pool), used=used)
        bound = max(bound, _by_parts([part], [*prices, _Price(work / hands, each)]))
    return bound


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
