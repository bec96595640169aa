"""What a move is worth: benefit, cost and risk in core-seconds, and the five levels as data.

The formulas and where they come from are in docs/subsystems/balancer.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .answers import Effect, Figures
from .frame import MIB, Bools, Floats, Frame
from .model import Plant
from .state import State


@dataclass(frozen=True, slots=True)
class Level:
    """How eager the balancer is. Ratios are of a host's usable shared CPUs, or of its ordinary memory."""

    name: str
    #: makes moves for balance at all, not only to mend
    balances: bool
    #: load above this is contention
    threshold: float
    #: worth of evenness, in cores per unit of (load ratio)² of an average host
    even: float
    #: standard deviation of load ratios above which evenness alone is acted upon
    imbalance: float
    #: benefit must exceed cost and risk by this share
    margin: float
    #: and by so many core-seconds for each minute of horizon
    least: float
    #: weight of the risk
    risk: float
    #: memory in use above this is contention
    memory_threshold: float = 1.0
    #: worth of memory below the threshold: a whole host of it, in whole hosts of CPUs
    memory: float = 0.0
    #: as `even` and `imbalance`, of memory
    memory_even: float = 0.0
    memory_imbalance: float = 1.0
    #: worth of memory promised above `memory_threshold`, as a share of that of memory in use
    promised: float = 0.0

    @property
    def memory_full(self) -> float:
        """Memory in use above this is acted upon at once: half of what was left at the threshold is gone."""
        return (1.0 + self.memory_threshold) / 2


#: 1 is the most conservative, 5 the most aggressive; the middle one is the default.
LEVELS: dict[int, Level] = {
    1: Level("mend only", False, 0.95, 0.0, 1.0, 0.5, 2.0, 1.0),
    2: Level("conservative", True, 0.95, 0.0, 1.0, 0.7, 1.0, 0.75, 0.97, 0.5),
    3: Level("moderate", True, 0.88, 0.0, 1.0, 0.5, 0.5, 0.5, 0.93, 1.0, promised=0.25),
    4: Level("eager", True, 0.85, 0.05, 0.15, 0.1, 0.25, 0.35, 0.9, 1.0, 0.05, 0.2, 0.25),
    5: Level("aggressive", True, 0.80, 0.15, 0.08, 0.1, 0.1, 0.25, 0.85, 1.0, 0.15, 0.12, 0.25),
}

#: cores that a migration keeps busy, both ends together (QEMU sends at most with one thread an end)
MIGRATION_CORES = 1.0
#: core-seconds for each second that a GiB is held twice
DOUBLE_GIB = 0.005
#: a guest that writes faster than this share of the link is throttled to it
CONVERGES = 0.8
#: how much dearer each level of priority above 0 makes a move, and how many times as dear at most
PRIORITY_PRICE, MOST_PRICE = 0.25, 3.0
#: worth of evenness when a machine is placed, where nothing has to move for it
PLACE_EVEN = 0.1


def seconds(frame: Frame, unit: int, source: int, share: float = 1.0) -> Floats:
    """Expected time of a migration to each host: T = bytes / (bandwidth - dirty rate)."""
    band = np.minimum(frame.link, frame.link[source]) * share
    time: Floats = frame.carried[unit] / np.maximum(
        band - frame.dirty[unit], (1 - CONVERGES) * band
    )
    return time


def cost(frame: Frame, unit: int, source: int) -> Floats:
    """Core-seconds that the migration takes: CPU at both ends, memory twice, the guest slowed down.

    What is important is disturbed last: its moves count for more than they take.
    """
    time = seconds(frame, unit, source)
    band = np.minimum(frame.link, frame.link[source])
    slowed = np.minimum(1.0, frame.dirty[unit] / band) * frame.demand[unit]
    held = DOUBLE_GIB * frame.carried[unit] / 2**30
    important = min(MOST_PRICE, 1.0 + PRIORITY_PRICE * max(0, int(frame.priority[unit])))
    total: Floats = important * (time * (MIGRATION_CORES + slowed + held) + frame.disruption[unit])
    return total


@dataclass(frozen=True, slots=True)
class Strain:
    """One resource as balancing looks at it: what hosts carry and units want, in the resource's own unit."""

    load: Floats
    want: Floats
    #: what hosts have; where there is next to nothing of it the host counts as not having it
    usable: Floats
    threshold: float
    #: cores that a unit of it above the threshold is worth
    price: float
    #: cores per unit of (load ratio)²
    even: float

    def over(self, load: Floats) -> Floats:
        """Of each host what it carries above the threshold."""
        above: Floats = np.maximum(0.0, load - self.threshold * self.usable)
        return above

    def ratio(self) -> Floats:
        """Load of each host, 0 where it has nothing of it."""
        found: Floats = np.where(self.usable >= 1e-6, self.load / self.usable, 0.0)
        return found

    def relief(self, unit: int, source: int) -> tuple[Floats, Floats]:
        """Cores of contention, and of unevenness too, that the unit's going to each host takes away.

        The contention alone is what stands beside a peak, see `worth`.
        """
        want, usable = self.want[unit], self.usable
        there = self.over(self.load + want) - self.over(self.load)
        left = self.over(self.load - want)[source] - self.over(self.load)[source]
        after, before = (self.load + want) / usable, self.load / usable
        uneven = after**2 - before**2
        uneven_left = ((self.load[source] - want) / usable[source]) ** 2 - before[source] ** 2
        relieved: Floats = -(self.price * (there + left) + self.even * (uneven + uneven_left))
        return there, relieved


def _average(usable: Floats) -> float:
    return float(usable.mean()) if len(usable) else 1.0


def cpu_strain(state: State, level: Level) -> Strain:
    """Shared CPUs, in cores."""
    frame = state.frame
    even = level.even * _average(frame.usable)
    return Strain(state.load, frame.demand, frame.usable, level.threshold, 1.0, even)


def memory_strain(state: State, level: Level) -> Strain:
    """Ordinary memory in use, in MiB: what lies in hugepages is nobody else's and lacks nobody."""
    frame = state.frame
    cores = _average(frame.usable)
    return Strain(
        state.ordinary,
        frame.ordinary,
        frame.ordinary_usable,
        level.memory_threshold,
        level.memory * cores / _average(frame.ordinary_usable),
        level.memory_even * cores,
    )


def promise_strain(state: State, level: Level) -> Strain:
    """Ordinary memory promised, in MiB: what would be in use if every guest took all that is its.

    It is priced beside what is in use, by a share of that price: the room was there for it when the machine
    came, but a guest may take it from one minute to the next, and a move takes longer than that.
    """
    frame = state.frame
    used = memory_strain(state, level)
    return Strain(
        (frame.capacity[1] - state.free[1]).astype(np.float64),
        frame.need[1].astype(np.float64),
        frame.ordinary_usable,
        level.memory_threshold,
        level.promised * used.price,
        0.0,
    )


def strains(state: State, level: Level) -> tuple[Strain, ...]:
    """What balancing looks at: CPUs, memory in use, memory promised (where the level asks for it)."""
    found = cpu_strain(state, level), memory_strain(state, level)
    return (*found, promise_strain(state, level)) if level.promised else found


def figures(state: State, level: Level, live: Bools) -> Figures:
    """How the pool stands; only live hosts count."""
    frame = state.frame
    cpu, memory = cpu_strain(state, level), memory_strain(state, level)
    ratio, used = cpu.ratio()[live], memory.ratio()[live]
    if not len(ratio):
        return Figures(0.0, 0.0, "", 0.0)
    names = [name for name, alive in zip(frame.host_names, live, strict=True) if alive]
    return Figures(
        float(ratio.std()),
        float(ratio.max()),
        names[int(np.argmax(ratio))],
        float(cpu.over(cpu.load)[live].sum()),
        # A host whose memory is all hugepages is neither full nor empty.
        float(used[memory.usable[live] > 1.0].std()) if (memory.usable[live] > 1.0).any() else 0.0,
        float(used.max()),
        names[int(np.argmax(used))],
        float(memory.over(memory.load)[live].sum()) * MIB,
    )


def memory_loads(plant: Plant) -> dict[str, float]:
    """Of each host that is not down its ordinary memory in use, as rounds count it, as a ratio."""
    frame = Frame(plant)
    ratio = memory_strain(State(frame), LEVELS[plant.settings.level]).ratio()
    return {
        host.name: float(used)
        for host, used in zip(plant.hosts, ratio, strict=True)
        if not host.state.off
    }


@dataclass(frozen=True, slots=True)
class Worth:
    """One unit's move to each host, in core-seconds. `memory`: the part of the benefit that is memory's."""

    benefit: Floats
    cost: Floats
    risk: Floats
    memory: Floats

    @property
    def net(self) -> Floats:
        return self.benefit - self.cost - self.risk


def worth(state: State, unit: int, level: Level, horizon_s: float) -> Worth:
    """Benefit, cost and risk of the unit's going to each host (meaningless at its own).

    Memory has no risk of its own: a host takes a machine only with room for all the memory that it was
    promised, so what its balloon gives back later is there.
    """
    frame = state.frame
    source = int(state.at[unit])
    peak, usable = frame.peak[unit], frame.usable
    there, cpu = cpu_strain(state, level).relief(unit, source)
    _, memory = memory_strain(state, level).relief(unit, source)
    if level.promised:
        memory = memory + promise_strain(state, level).relief(unit, source)[1]
    lasting = np.maximum(0.0, horizon_s - seconds(frame, unit, source))
    soft = state.soft_price(unit)
    benefit = (cpu + memory) * lasting - (soft - soft[source]) * horizon_s
    worst = np.maximum(0.0, state.peak + peak - usable) - np.maximum(0.0, state.peak - usable)
    # A peak that is contention already is not counted again as risk.
    risk = level.risk * horizon_s * np.maximum(0.0, worst - np.maximum(0.0, there))
    return Worth(benefit, cost(frame, unit, source), risk, memory * lasting)


def effect(state: State, unit: int, target: int, value: Worth) -> Effect:
    """The effect of one move, before it is made."""
    frame = state.frame
    source = int(state.at[unit])
    demand = frame.demand[unit]
    held, used, room = state.ordinary, frame.ordinary[unit], frame.ordinary_usable
    return Effect(
        benefit=float(value.benefit[target]),
        cost=float(value.cost[target]),
        risk=float(value.risk[target]),
        source_before=float(state.load[source] / frame.usable[source]),
        source_after=float((state.load[source] - demand) / frame.usable[source]),
        target_before=float(state.load[target] / frame.usable[target]),
        target_after=float((state.load[target] + demand) / frame.usable[target]),
        memory_source_before=float(held[source] / room[source]),
        memory_source_after=float((held[source] - used) / room[source]),
        memory_target_before=float(held[target] / room[target]),
        memory_target_after=float((held[target] + used) / room[target]),
    )


def place_parts(state: State, unit: int, level: Level, horizon_s: float) -> dict[str, Floats]:
    """Parts of the price of an unplaced unit's being on each host, in core-seconds."""
    frame = state.frame
    demand = frame.demand[unit]
    mean = float(frame.usable.mean()) if len(frame.usable) else 0.0
    strain = cpu_strain(state, level)
    there = strain.over(state.load + demand) - strain.over(state.load)
    worst = np.maximum(0.0, state.peak + frame.peak[unit] - frame.usable)
    worst -= np.maximum(0.0, state.peak - frame.usable)
    cpu = ((state.load + demand) / frame.usable) ** 2 - (state.load / frame.usable) ** 2
    memory = ((state.memory + frame.memory[unit]) / frame.memory_usable) ** 2
    memory -= (state.memory / frame.memory_usable) ** 2
    return {
        "contention": there * horizon_s,
        "risk": level.risk * horizon_s * np.maximum(0.0, worst - there),
        "even_cpu": PLACE_EVEN * mean * cpu * horizon_s,
        "even_memory": PLACE_EVEN * mean * memory * horizon_s,
        "soft_rules": state.soft_price(unit) * horizon_s,
    }


def place_price(state: State, unit: int, level: Level, horizon_s: float) -> Floats:
    """The sum of `place_parts`."""
    parts = place_parts(state, unit, level, horizon_s)
    total: Floats = np.zeros(len(state.frame.hosts))
    for part in parts.values():
        total = total + part
    return total
