"""What a move is worth: benefit, cost and risk in core-seconds, and the five levels as data.

The formulas and where they come from are in docs/subsystems/balancer.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .answers import Effect, Figures
from .frame import Bools, Floats, Frame
from .state import State


@dataclass(frozen=True, slots=True)
class Level:
    """How eager the balancer is. Ratios are of a host's usable shared CPUs."""

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


#: 1 is the most conservative, 5 the most aggressive; the middle one is the default.
LEVELS: dict[int, Level] = {
    1: Level("mend only", False, 0.95, 0.0, 1.0, 0.5, 2.0, 1.0),
    2: Level("conservative", True, 0.95, 0.0, 1.0, 0.7, 1.0, 0.75),
    3: Level("moderate", True, 0.88, 0.0, 1.0, 0.5, 0.5, 0.5),
    4: Level("eager", True, 0.85, 0.05, 0.15, 0.1, 0.25, 0.35),
    5: Level("aggressive", True, 0.80, 0.15, 0.08, 0.1, 0.1, 0.25),
}

#: cores that a migration keeps busy, both ends together (QEMU sends at most with one thread an end)
MIGRATION_CORES = 1.0
#: core-seconds for each second that a GiB is held twice
DOUBLE_GIB = 0.005
#: a guest that writes faster than this share of the link is throttled to it
CONVERGES = 0.8
#: worth of evenness when a machine is placed, where nothing has to move for it
PLACE_EVEN = 0.1
GIB_MIB = 1024.0


def seconds(frame: Frame, unit: int, source: int, share: float = 1.0) -> Floats:
    """Expected time of a migration to each host: T = bytes / (bandwidth - dirty rate)."""
    band = np.minimum(frame.link, frame.link[source]) * share
    time: Floats = frame.carried[unit] / np.maximum(
        band - frame.dirty[unit], (1 - CONVERGES) * band
    )
    return time


def cost(frame: Frame, unit: int, source: int) -> Floats:
    """Core-seconds that the migration takes: CPU at both ends, memory twice, the guest slowed down."""
    time = seconds(frame, unit, source)
    band = np.minimum(frame.link, frame.link[source])
    slowed = np.minimum(1.0, frame.dirty[unit] / band) * frame.demand[unit]
    held = DOUBLE_GIB * frame.carried[unit] / 2**30
    total: Floats = time * (MIGRATION_CORES + slowed + held) + frame.disruption[unit]
    return total


def over(load: Floats, frame: Frame, level: Level) -> Floats:
    """Cores of contention on each host."""
    return np.maximum(0.0, load - level.threshold * frame.usable)


def figures(state: State, level: Level, live: Bools) -> Figures:
    """How the pool stands; only live hosts count."""
    frame = state.frame
    ratio = (state.load / frame.usable)[live]
    if not len(ratio):
        return Figures(0.0, 0.0, "", 0.0)
    top = int(np.flatnonzero(live)[int(np.argmax(ratio))])
    memory = (state.memory / frame.memory_usable)[live]
    return Figures(
        float(ratio.std()),
        float(ratio.max()),
        frame.host_names[top],
        float(over(state.load, frame, level)[live].sum()),
        float(memory.std()),
    )


@dataclass(frozen=True, slots=True)
class Worth:
    """One unit's move to each host, in core-seconds."""

    benefit: Floats
    cost: Floats
    risk: Floats

    @property
    def net(self) -> Floats:
        return self.benefit - self.cost - self.risk


def worth(state: State, unit: int, level: Level, horizon_s: float) -> Worth:
    """Benefit, cost and risk of the unit's going to each host (meaningless at its own)."""
    frame = state.frame
    source = int(state.at[unit])
    demand, peak, usable = frame.demand[unit], frame.peak[unit], frame.usable
    mean = float(usable.mean())
    there = over(state.load + demand, frame, level) - over(state.load, frame, level)
    left = over(state.load - demand, frame, level)[source] - over(state.load, frame, level)[source]
    ratio, after = state.load / usable, (state.load + demand) / usable
    uneven = after**2 - ratio**2
    uneven_left = ((state.load[source] - demand) / usable[source]) ** 2 - ratio[source] ** 2
    lasting = np.maximum(0.0, horizon_s - seconds(frame, unit, source))
    soft = state.soft_price(unit)
    benefit = -(there + left + level.even * mean * (uneven + uneven_left)) * lasting
    benefit -= (soft - soft[source]) * horizon_s
    worst = np.maximum(0.0, state.peak + peak - usable) - np.maximum(0.0, state.peak - usable)
    # A peak that is contention already is not counted again as risk.
    risk = level.risk * horizon_s * np.maximum(0.0, worst - np.maximum(0.0, there))
    return Worth(benefit, cost(frame, unit, source), risk)


def effect(state: State, unit: int, target: int, value: Worth) -> Effect:
    """The effect of one move, before it is made."""
    frame = state.frame
    source = int(state.at[unit])
    demand = frame.demand[unit]
    return Effect(
        benefit=float(value.benefit[target]),
        cost=float(value.cost[target]),
        risk=float(value.risk[target]),
        source_before=float(state.load[source] / frame.usable[source]),
        source_after=float((state.load[source] - demand) / frame.usable[source]),
        target_before=float(state.load[target] / frame.usable[target]),
        target_after=float((state.load[target] + demand) / frame.usable[target]),
    )


def place_parts(state: State, unit: int, level: Level, horizon_s: float) -> dict[str, Floats]:
    """Parts of the price of an unplaced unit's being on each host, in core-seconds."""
    frame = state.frame
    demand = frame.demand[unit]
    mean = float(frame.usable.mean()) if len(frame.usable) else 0.0
    there = over(state.load + demand, frame, level) - over(state.load, frame, level)
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
