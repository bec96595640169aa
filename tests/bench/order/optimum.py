"""How long an exchange takes at least, proven by CP-SAT: memory, hands and the pool's limit, exactly.

Machines that nobody asked to move stay, as in every order of ours. A machine goes straight, over one third host, or
over two; what stands for two stands for more as well: then only its first and its last third host are looked at, and
the legs into the first, out of it, and to the target. So no order that there is ends before what is proven.

Times are rounded down, and that only shortens: keep of an order which leg ends before which begins, and start each as
early as that lets it. With shorter legs in whole tenths each starts no later than before, in whole tenths, and two
legs or two stays that overlap now did so before, for else one of them would still end before the other begins; as all
that overlap in pairs share a moment, nothing is held or busy now that was not then.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from millwright.core.balancing import Limits, Move, Plant, Schedule, Vm
from ortools.sat.python import cp_model

#: times are whole tenths of a second, rounded down; memory whole MiB
TENTHS = 10
MIB = 2**20
#: as the balancer's model has it: a guest that writes faster than this share is throttled to it
CONVERGES = 0.8


class Proof(NamedTuple):
    """Seconds before which nothing ends, whether an order that ends then was found as well, and the end of the best."""

    least_s: float
    optimal: bool
    found_s: float


class _Known(Enum):
    """A known order is where the search begins, or is all that is looked at."""

    HINT = "hint"
    PIN = "pin"


class _Held(NamedTuple):
    memory: list[tuple[cp_model.IntervalVar, int]]
    hands: list[cp_model.IntervalVar]


class _Model:
    """`horizon`: tenths in which all is done. `made`: a known order, and what it is there for."""

    def __init__(
        self, plant: Plant, limits: Limits, made: Schedule, horizon: int, use: _Known
    ) -> None:
        self.model = cp_model.CpModel()
        self.hosts = {host.name: host for host in plant.hosts}
        self.limits = limits
        self.horizon = horizon
        self.use = use
        self.end = self.time()
        self.held = {name: _Held([], []) for name in self.hosts}
        self.legs: list[tuple[cp_model.IntervalVar, int]] = []
        self.known: dict[str, list[tuple[str, int]]] = {}
        for leg in made.legs:
            self.known.setdefault(leg.vm, []).append((leg.target, int(leg.start_s * TENTHS)))

    def time(self) -> cp_model.IntVar:
        return self.model.new_int_var(0, self.horizon, "")

    def know(self, variable: cp_model.IntVar, value: int) -> None:
        if self.use is _Known.PIN:
            self.model.add(variable == value)
        else:
            self.model.add_hint(variable, value)

    def add(self, move: Move, memory_bytes: int, took: int) -> None:
        """One machine's ways."""
        model, size = self.model, memory_bytes // MIB
        first, onward, toward, last = (self.time() for _ in range(4))
        straight, once, twice = (model.new_bool_var("") for _ in range(3))
        model.add_exactly_one(straight, once, twice)
        model.add(last == first).only_enforce_if(straight)
        model.add(last >= first + took).only_enforce_if(once)
        model.add(onward >= first + took).only_enforce_if(twice)
        model.add(toward >= onward).only_enforce_if(twice)
        model.add(last >= toward + took).only_enforce_if(twice)
        model.add(self.end >= last + took)
        source, target = self.held[move.source], self.held[move.target]
        gone, stay = self.time(), self.time()
        model.add(gone == first + took)
        model.add(stay == self.horizon - last)
        source.memory.append((model.new_interval_var(0, gone, gone, ""), size))
        target.memory.append((model.new_interval_var(last, stay, self.horizon, ""), size))
        source.hands.append(self._leg(first, took))
        arriving = self._leg(last, took)
        target.hands.append(arriving)
        self.legs.append((arriving, size))
        self.legs.append((self._leg(first, took, ~straight), size))
        self.legs.append((self._leg(onward, took, twice), size))
        hops = self.known[move.vm]
        for variable, value in (
            (first, hops[0][1]), (last, hops[-1][1]),
            (onward, hops[1][1] if len(hops) > 2 else 0),
            (toward, hops[-2][1] if len(hops) > 2 else 0),
        ):  # fmt: skip
            self.know(variable, value)
        for number, flag in enumerate((straight, once, twice), 1):
            self.know(flag, min(len(hops), 3) == number)
        third = [name for name in self.hosts if name not in (move.source, move.target)]
        self._by(third, once, first, last, (took, size), hops[0][0] if len(hops) == 2 else None)
        others = [name for name in self.hosts if name != move.source]
        self._by(others, twice, first, onward, (took, size), hops[0][0] if len(hops) > 2 else None)
        others = [name for name in self.hosts if name != move.target]
        self._by(others, twice, toward, last, (took, size), hops[-2][0] if len(hops) > 2 else None)

    def _leg(
        self, start: cp_model.IntVar, took: int, there: cp_model.LiteralT = True
    ) -> cp_model.IntervalVar:
        return self.model.new_optional_fixed_size_interval_var(start, took, there, "")

    def _by(
        self,
        names: Sequence[str],
        chosen: cp_model.IntVar,
        into: cp_model.IntVar,
        out: cp_model.IntVar,
        what: tuple[int, int],
        known: str | None,
    ) -> None:
        """By one of these hosts, where it was chosen: there from the start of one leg to the end of another."""
        took, size = what
        model, over = self.model, []
        spell, until = self.time(), self.time()
        model.add(until == out + took).only_enforce_if(chosen)
        model.add(spell == until - into).only_enforce_if(chosen)
        for name in names:
            here = model.new_bool_var("")
            over.append(here)
            self.held[name].memory.append(
                (model.new_optional_interval_var(into, spell, until, here, ""), size)
            )
            self.held[name].hands.extend((self._leg(into, took, here), self._leg(out, took, here)))
            self.know(here, name == known)
        model.add(sum(over) == chosen)


def leg_tenths(plant: Plant, vm: Vm, limits: Limits) -> int:
    """Tenths of a second that each of the machine's legs lasts, rounded down; all links are alike."""
    (link,) = {host.link_bytes_s for host in plant.hosts}
    band = link / limits.per_host
    took = vm.memory_bytes / max(band - vm.dirty_bytes_s, (1 - CONVERGES) * band)
    return int(took * TENTHS)


def _built(
    plant: Plant,
    moves: Sequence[Move],
    limits: Limits,
    made: Schedule,
    horizon: int,
    use: _Known,
) -> _Model:
    one = _Model(plant, limits, made, horizon, use)
    vms = {vm.name: vm for vm in plant.vms}
    moving = {move.vm for move in moves}
    for move in moves:
        vm = vms[move.vm]
        one.add(move, vm.memory_bytes, leg_tenths(plant, vm, limits))
    sizes = [vms[move.vm].memory_bytes // MIB for move in moves]
    rooms = {
        name: (
            host.memory_bytes
            - sum(v.memory_bytes for v in plant.vms if v.host == name and v.name not in moving)
        )
        // MIB
        for name, host in one.hosts.items()
    }
    for held in one.held.values():
        one.model.add_cumulative(held.hands, [1] * len(held.hands), limits.per_host)
    one.model.add_cumulative([leg for leg, _ in one.legs], [1] * len(one.legs), limits.pool)
    # Only the first says what must be, on each host. The rest follows from it and is found sooner when said: whole
    # sizes of parts add up to no more than those of the sum, and what is on its way is held twice.
    for unit in (1, *sorted(set(sizes))):
        for name, held in one.held.items():
            _hold(one.model, held.memory, rooms[name], unit)
        free = sum(room // unit for room in rooms.values()) - sum(size // unit for size in sizes)
        _hold(one.model, one.legs, free * unit, unit)
    return one


def _hold(
    model: cp_model.CpModel, what: list[tuple[cp_model.IntervalVar, int]], room: int, unit: int
) -> None:
    """Never more of this at a time than there is room, counted in whole units."""
    if takes := [(interval, size // unit) for interval, size in what if size // unit]:
        intervals, needs = zip(*takes, strict=True)
        model.add_cumulative(intervals, needs, room // unit)


def _solver(work: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = work
    solver.parameters.num_workers = 1
    return solver


def least(
    plant: Plant, moves: Sequence[Move], limits: Limits, made: Schedule, work: float
) -> Proof:
    """What is proven with so much work (CP-SAT's own measure, about a second each).

    `made`: an order that is known; nothing longer is looked at. All machines move by their memory alone, all links
    are alike. Raises AssertionError where the model holds no order, though one is known.
    """
    one = _built(plant, moves, limits, made, int(made.makespan_s * TENTHS) + 1, _Known.HINT)
    one.model.minimize(one.end)
    solver = _solver(work)
    status = solver.solve(one.model)
    assert status != cp_model.INFEASIBLE, "no order at all, and one is known"
    found = (
        solver.objective_value / TENTHS
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        else made.makespan_s
    )
    return Proof(solver.best_objective_bound / TENTHS, status == cp_model.OPTIMAL, found)


def holds(plant: Plant, moves: Sequence[Move], limits: Limits, made: Schedule) -> bool:
    """Whether the model holds this very order: it must, or what it proves is of no worth."""
    one = _built(plant, moves, limits, made, int(made.makespan_s * TENTHS), _Known.PIN)
    return _solver(60.0).solve(one.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)
