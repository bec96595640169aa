"""How many more of a template fit, when the pool is full, and what one more host would bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from .answers import Capacity
from .failure import Spare, Trial, verdict
from .frame import Frame, Ints
from .model import Host, HostState, Plant, Vm
from .shared import most_copies, shared_room
from .state import State

#: copies of one template that are counted at most
MOST = 100_000


def capacity(
    plant: Plant,
    template: Vm,
    growth_per_day: float = 0.0,
    k: int = 0,
    host: Host | None = None,
    woken: Collection[str] | None = None,
) -> Capacity:
    """Count copies of `template` (its name and host do not matter).

    `growth_per_day`: machines a day, for the days until the pool is full. `k`: as many as leave room
    for any k hosts to die. `host`: the host that might be bought; nothing: one like the most common. `woken`: hosts
    that could be woken; nothing: all that sleep.
    """
    per_host, limits = _count(plant, template, k)
    fits = sum(per_host.values())
    extra = host or _usual(plant)
    more = fits
    if extra is not None:
        bought = replace(extra, name="one more host", state=HostState.UP, domain="")
        grown = replace(plant, hosts=(*plant.hosts, bought))
        more = sum(_count(grown, template, k)[0].values())
    days = fits / growth_per_day if growth_per_day > 0 else None
    name = extra.name if extra is not None else ""
    asleep = [
        each.name
        for each in plant.hosts
        if each.state is HostState.ASLEEP and (woken is None or each.name in woken)
    ]
    then = _woken(plant, template, k, asleep) if asleep else None
    return Capacity(fits, per_host, limits, days, more, name, len(asleep), then)


def _woken(plant: Plant, template: Vm, k: int, names: Collection[str]) -> int:
    """How many would fit with these hosts awake."""
    hosts = tuple(
        replace(host, state=HostState.UP) if host.name in names else host for host in plant.hosts
    )
    return sum(_count(replace(plant, hosts=hosts), template, k)[0].values())


def _usual(plant: Plant) -> Host | None:
    """The most common kind of host that is up; ties to the first."""
    up = [host for host in plant.hosts if host.state is HostState.UP]
    if not up:
        return None
    kinds = Counter((h.cpus, h.memory_bytes, h.cores) for h in up)
    best = max(kinds.values())
    return next(h for h in up if kinds[(h.cpus, h.memory_bytes, h.cores)] == best)


def _count(plant: Plant, template: Vm, k: int) -> tuple[dict[str, int], dict[str, int]]:
    probe = replace(template, name="\x00probe", host=None, node=None, pool="", after=())
    frame = Frame(replace(plant, vms=(*plant.vms, probe)))
    state = State(frame)
    unit = int(frame.unit_of[frame.vm_index[probe.name]])
    counts, limits = _fill(state, unit)
    most, pool = most_copies(shared_room(plant), probe)
    if most is not None and most < sum(counts):
        limits = Counter({f"storage pool {pool}": sum(1 for count in counts if count)})
        counts = [int(number) for number in deal(counts, most)]
    if k and probe.protected:
        counts = _with_spare(state, unit, counts, k)
    per_host = {frame.host_names[i]: n for i, n in enumerate(counts) if n}
    return per_host, dict(limits)


def _fill(state: State, unit: int) -> tuple[list[int], Counter[str]]:
    """Copies on each host by itself, and what runs out first there."""
    frame = state.frame
    open_hosts = frame.allowed[frame.signature[unit]] & ~state.closed
    counts = [0] * len(frame.hosts)
    limits: Counter[str] = Counter()
    exact = unit in frame.node_need or unit in frame.gpu_need
    for host in np.flatnonzero(open_hosts).tolist():
        rows = frame.wanted[unit]
        room = {
            row: max(0, int(state.free[row, host])) // int(frame.need[row, unit]) for row in rows
        }
        most = min(room.values(), default=MOST)
        limit = next((frame.resources[row].name for row in rows if room[row] == most), "nothing")
        if exact and most:
            held = _one_by_one(state, unit, host, most)
            if held < most:
                limit = "NUMA nodes or cards"
            most = held
        counts[host] = min(most, MOST)
        limits[limit] += 1
    for _ in range(int((~open_hosts).sum())):
        limits["host state or rules"] += 1
    return counts, limits


def _one_by_one(state: State, unit: int, host: int, most: int) -> int:
    trial = state.copy()
    count = 0
    while count < most and trial.fits(unit)[host]:
        trial.take(unit, host)
        # The copy stays; its record is set free for the next.
        trial.nodes.pop(unit, None)
        trial.cards.pop(unit, None)
        trial.at[unit] = -1
        count += 1
    return count


def deal(counts: Sequence[int], number: int) -> Ints:
    """`number` copies dealt evenly over hosts that take at most `counts` each, from the first on."""
    most = np.array(counts, np.int64)
    low, high = 0, int(most.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        if int(np.minimum(most, level).sum()) <= number:
            low = level
        else:
            high = level - 1
    given: Ints = np.minimum(most, low)
    more = np.flatnonzero(most > low)[: max(number - int(given.sum()), 0)]
    given[more] += 1
    return given


def _with_spare(state: State, unit: int, counts: list[int], k: int) -> list[int]:
    """The largest number, dealt evenly, after which any k hosts may still die (bisection)."""
    trial = Trial(state)
    holds = Spare(trial, unit, k).holds if trial.plain[unit] else _by_frames(state, unit, k)
    if not holds(deal(counts, 0)):
        return [0] * len(counts)
    low, high = 0, sum(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if holds(deal(counts, middle)):
            low = middle
        else:
            high = middle - 1
    return [int(number) for number in deal(counts, low)]


def _by_frames(state: State, unit: int, k: int) -> Callable[[Ints], bool]:
    """For copies that want nodes or cards: a plant with each of them in it."""
    frame = state.frame
    probe = frame.vms[frame.units[unit][0]]
    others = tuple(vm for vm in frame.vms if vm is not probe)

    def holds(dealt: Ints) -> bool:
        added = [
            replace(probe, name=f"\x00probe {host} {copy}", host=frame.host_names[host])
            for host, many in enumerate(dealt.tolist())
            for copy in range(many)
        ]
        return verdict(State(Frame(replace(frame.plant, vms=(*others, *added)))), k).room

    return holds
