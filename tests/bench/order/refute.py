"""Whether any order of an exchange ends by a given time: a model that says in literals which leg comes before which.

What is proven here is proven of every order that moves only these machines, since the model holds them all. Memory,
hands and the pool's limit are as in `optimum`, and so is the rounding down. Beside them stands what follows: at each
start, what is then on the host, or on its way, and what begins, has room; counted by pairs of legs, for CP-SAT learns
from pairs what it does not see in sums over time. Of legs that start together the one with the smaller number is first.
And all that goes on its way takes room for as long as it takes, which is no more than is free until the end.

First nobody is asked by which third host a machine goes: that holds more than there is, and where even so nothing ends
in time, it is proven soon. Where something does, or nothing is known after a quarter of the work, machines are asked for
their third host; after that, where some go by several, for the first and the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from math import gcd
from typing import NamedTuple

from millwright.core.balancing import Limits, Move, Plant, Schedule
from ortools.sat.python import cp_model

from .optimum import TENTHS, leg_tenths


class Verdict(StrEnum):
    """Whether an order ends by a given time: none does, one in whole tenths does, or neither was found."""

    NONE = "none"
    SOME = "some"
    OPEN = "open"


class Detail(IntEnum):
    """What is asked of a machine that does not go straight: nothing, its only third host, or its first and its last."""

    NOTHING = 0
    ONE = 1
    TWO = 2


#: How much of the work that is left each question may take: what one leaves open the next may close.
PARTS = {Detail.NOTHING: 0.25, Detail.ONE: 0.5, Detail.TWO: 1.0}


class _Leg(NamedTuple):
    """`there`: whether it is made at all."""

    number: int
    vm: str
    start: cp_model.IntVar
    took: int
    size: int
    there: cp_model.LiteralT


class _Stay(NamedTuple):
    """Memory held on a host from the start of one leg to the end of another; None: from the beginning, to the end."""

    vm: str
    size: int
    into: _Leg | None
    out: _Leg | None
    there: cp_model.LiteralT


class _Way(NamedTuple):
    """One machine's legs, and the hosts that it may go by: its only third host, its first of several, its last."""

    legs: dict[str, _Leg]
    flags: dict[str, cp_model.IntVar]
    only: dict[str, cp_model.IntVar]
    first: dict[str, cp_model.IntVar]
    last: dict[str, cp_model.IntVar]


class _Model:
    """`horizon`: tenths in which all is done. `details`: what is asked of each machine."""

    def __init__(
        self,
        plant: Plant,
        moves: Sequence[Move],
        limits: Limits,
        horizon: int,
        details: Mapping[str, Detail],
    ) -> None:
        self.model = cp_model.CpModel()
        self.horizon = horizon
        vms = {vm.name: vm for vm in plant.vms}
        moving = {move.vm for move in moves}
        part = gcd(*(vms[name].memory_bytes for name in moving))
        self.rooms = {
            host.name: (
                host.memory_bytes
                - sum(
                    v.memory_bytes
                    for v in plant.vms
                    if v.host == host.name and v.name not in moving
                )
            )
            // part
            for host in plant.hosts
        }
        self.hands: dict[str, list[cp_model.IntervalVar]] = {name: [] for name in self.rooms}
        self.stays: dict[str, list[_Stay]] = {name: [] for name in self.rooms}
        self.legs: list[_Leg] = []
        self.count = 0
        self.earlier: dict[tuple[int, int], cp_model.IntVar] = {}
        self.done: dict[tuple[int, int], cp_model.IntVar] = {}
        self.present: dict[tuple[int, int, int], cp_model.IntVar] = {}
        self.held: dict[tuple[int, int, int, int], cp_model.IntVar] = {}
        sizes = [vms[move.vm].memory_bytes // part for move in moves]
        self.ways = {
            move.vm: self._way(move, size, leg_tenths(plant, vms[move.vm], limits), details)
            for move, size in zip(moves, sizes, strict=True)
        }
        for hands in self.hands.values():
            self.model.add_cumulative(hands, [1] * len(hands), limits.per_host)
        made = [self._interval(leg) for leg in self.legs]
        self.model.add_cumulative(made, [1] * len(made), limits.pool)
        # Whole sizes of parts add up to no more than those of the sum; what is on its way is held twice.
        for unit in sorted({1, *sizes}):
            for name, room in self.rooms.items():
                self._room(name, room // unit, unit)
            self._free(
                sum(room // unit for room in self.rooms.values())
                - sum(size // unit for size in sizes),
                unit,
            )

    def _time(self) -> cp_model.IntVar:
        return self.model.new_int_var(0, self.horizon, "")

    def _leg(self, vm: str, took: int, size: int, there: cp_model.LiteralT) -> _Leg:
        self.count += 1
        start = self.model.new_int_var(0, self.horizon - took, "")
        return _Leg(self.count, vm, start, took, size, there)

    def _interval(self, leg: _Leg, there: cp_model.LiteralT | None = None) -> cp_model.IntervalVar:
        chosen = leg.there if there is None else there
        return self.model.new_optional_fixed_size_interval_var(leg.start, leg.took, chosen, "")

    def _way(self, move: Move, size: int, took: int, details: Mapping[str, Detail]) -> _Way:
        model, detail = self.model, details[move.vm]
        aside, more = model.new_bool_var(""), model.new_bool_var("")
        begin = self._leg(move.vm, took, size, aside)
        end = self._leg(move.vm, took, size, True)
        way = _Way({"begin": begin, "end": end}, {"aside": aside}, {}, {}, {})
        model.add(end.start == begin.start).only_enforce_if(~aside)
        model.add(end.start >= begin.start + took).only_enforce_if(aside)
        self.legs += [begin, end]
        self._stay(move.source, _Stay(move.vm, size, None, begin, True))
        self._stay(move.target, _Stay(move.vm, size, end, None, True))
        self.hands[move.source].append(self._interval(begin, True))
        self.hands[move.target].append(self._interval(end, True))
        if detail is Detail.NOTHING:
            return way
        onward = self._leg(move.vm, took, size, more)
        way.legs["onward"], way.flags["more"] = onward, more
        self.legs.append(onward)
        model.add(onward.start >= begin.start + took).only_enforce_if(more)
        model.add(end.start >= onward.start + took).only_enforce_if(more)
        model.add(onward.start == begin.start).only_enforce_if(~more)
        third = [name for name in self.rooms if name not in (move.source, move.target)]
        self._by(third, way.only, begin, end)
        model.add(sum(way.only.values()) + more == aside)
        if detail is Detail.TWO:
            # By two hosts, one leg goes from the first to the last; by more, another one comes later.
            longer = way.flags["longer"] = model.new_bool_var("")
            toward = way.legs["toward"] = self._leg(move.vm, took, size, longer)
            self.legs.append(toward)
            model.add_implication(longer, more)
            model.add(toward.start == onward.start).only_enforce_if(~longer)
            model.add(toward.start >= onward.start + took).only_enforce_if(longer)
            model.add(end.start >= toward.start + took).only_enforce_if(more)
            others = [name for name in self.rooms if name != move.source]
            self._by(others, way.first, begin, onward)
            others = [name for name in self.rooms if name != move.target]
            self._by(others, way.last, toward, end)
            model.add(sum(way.first.values()) == more)
            model.add(sum(way.last.values()) == more)
        return way

    def _by(
        self, names: Sequence[str], chosen: dict[str, cp_model.IntVar], into: _Leg, out: _Leg
    ) -> None:
        for name in names:
            if self.rooms[name] < into.size:
                continue
            here = chosen[name] = self.model.new_bool_var("")
            self._stay(name, _Stay(into.vm, into.size, into, out, here))
            self.hands[name] += [self._interval(into, here), self._interval(out, here)]

    def _stay(self, host: str, stay: _Stay) -> None:
        self.stays[host].append(stay)

    def _before(self, one: _Leg, other: _Leg) -> cp_model.LiteralT:
        """Whether one starts before the other, or at the same time with the smaller number."""
        key = (min(one.number, other.number), max(one.number, other.number))
        if key not in self.earlier:
            first, second = (one, other) if one.number < other.number else (other, one)
            literal = self.earlier[key] = self.model.new_bool_var("")
            self.model.add(first.start <= second.start).only_enforce_if(literal)
            self.model.add(first.start > second.start).only_enforce_if(~literal)
        return self.earlier[key] if one.number < other.number else ~self.earlier[key]

    def _over(self, one: _Leg, other: _Leg) -> cp_model.IntVar:
        """Whether one has ended when the other starts."""
        key = (one.number, other.number)
        if key not in self.done:
            literal = self.done[key] = self.model.new_bool_var("")
            self.model.add(one.start + one.took <= other.start).only_enforce_if(literal)
            self.model.add(one.start + one.took > other.start).only_enforce_if(~literal)
        return self.done[key]

    def _while(self, into: _Leg, out: _Leg, start: _Leg) -> cp_model.IntVar:
        """True at least where one leg has begun and another not ended at this start."""
        key = (into.number, out.number, start.number)
        if key not in self.present:
            literal = self.present[key] = self.model.new_bool_var("")
            self.model.add_bool_or(literal, ~self._before(into, start), self._over(out, start))
        return self.present[key]

    def _held(self, stay: _Stay, start: _Leg) -> cp_model.LiteralT:
        """True at least where the stay lasts at this start."""
        if stay.into is None:
            assert stay.out is not None
            return ~self._over(stay.out, start)
        if stay.out is None:
            return self._before(stay.into, start)
        lasts = self._while(stay.into, stay.out, start)
        if isinstance(stay.there, bool):
            return lasts
        key = (stay.there.index, stay.into.number, stay.out.number, start.number)
        if key not in self.held:
            literal = self.held[key] = self.model.new_bool_var("")
            self.model.add_bool_or(literal, ~stay.there, ~lasts)
        return self.held[key]

    def _room(self, host: str, room: int, unit: int) -> None:
        """What is on the host fits in at any time, counted in whole units."""
        stays = [stay for stay in self.stays[host] if stay.size // unit]
        if not stays:
            return
        intervals = []
        for stay in stays:
            begin = 0 if stay.into is None else stay.into.start
            end = self.horizon if stay.out is None else stay.out.start + stay.out.took
            lasts = self._time()
            self.model.add(lasts == end - begin).only_enforce_if(stay.there)
            intervals.append(
                self.model.new_optional_interval_var(begin, lasts, end, stay.there, "")
            )
        self.model.add_cumulative(intervals, [stay.size // unit for stay in stays], room)
        for stay in stays:
            if stay.into is None:
                continue
            others = [
                (other.size // unit) * self._held(other, stay.into)
                for other in stays
                if other.vm != stay.vm
            ]
            self.model.add(sum(others) + stay.size // unit <= room).only_enforce_if(stay.there)

    def _free(self, free: int, unit: int) -> None:
        """What is on its way fits into what is free in the whole pool, counted in whole units."""
        legs = [leg for leg in self.legs if leg.size // unit]
        self.model.add_cumulative(
            [self._interval(leg) for leg in legs], [leg.size // unit for leg in legs], free
        )
        self.model.add(
            sum(leg.size // unit * leg.took * leg.there for leg in legs) <= free * self.horizon
        )
        for leg in legs:
            others = []
            for other in legs:
                if other.vm != leg.vm:
                    stay = _Stay(other.vm, other.size, other, other, other.there)
                    others.append((other.size // unit) * self._held(stay, leg))
            self.model.add(sum(others) + leg.size // unit <= free).only_enforce_if(leg.there)

    def pin(self, made: Schedule) -> None:
        """Looks at nothing but this order."""
        for vm, way in self.ways.items():
            hops = [leg for leg in made.legs if leg.vm == vm]
            more = len(hops) > 2
            starts = {
                "begin": 0,
                "end": -1,
                "onward": 1 if more else 0,
                "toward": -2 if more else 0,
            }
            for name, leg in way.legs.items():
                self.model.add(leg.start == int(hops[starts[name]].start_s * TENTHS))
            for name, flag in way.flags.items():
                least = {"aside": 2, "more": 3, "longer": 4}[name]
                self.model.add(flag == (len(hops) >= least))
            for chosen, by in (
                (way.only, hops[0].target if len(hops) == 2 else None),
                (way.first, hops[0].target if more else None),
                (way.last, hops[-2].target if more else None),
            ):
                for name, flag in chosen.items():
                    self.model.add(flag == (name == by))

    def vague(self, solver: cp_model.CpSolver) -> bool:
        """Whether it matters in what was found by what hosts machines go that were not asked."""
        for way in self.ways.values():
            if "more" not in way.flags:
                if solver.value(way.flags["aside"]):
                    return True
            elif "toward" not in way.legs and solver.value(way.flags["more"]):
                return True
        return False


def within(
    plant: Plant, moves: Sequence[Move], limits: Limits, made: Schedule, end_s: float, work: float
) -> tuple[Verdict, float]:
    """Whether an order ends by then, and the work that it took to say so (CP-SAT's own measure).

    `work`: how much it may take. `made`: an order that is known. All machines move by their memory alone, all links
    are alike. NONE is proven of every order that moves only these machines. SOME is of legs rounded down to tenths of
    a second; an order in which a machine goes by more than two hosts does not count as one. Raises AssertionError
    where the model that proves does not hold the known order: it would prove nothing.
    """
    spent = 0.0
    for detail, share in PARTS.items():
        details = dict.fromkeys((move.vm for move in moves), detail)
        one = _Model(plant, moves, limits, int(end_s * TENTHS), details)
        solver = _solver((work - spent) * share)
        if detail is not Detail.NOTHING:
            # Looking ahead at each literal by itself proves much where there are few, and takes minutes of many.
            solver.parameters.cp_model_probing_level = 0
            # And where a machine goes is a sum of literals, which linear bounds see as a whole.
            solver.parameters.linearization_level = 2
        status = solver.solve(one.model)
        spent += solver.response_proto.deterministic_time
        if status == cp_model.INFEASIBLE:
            assert holds(plant, moves, limits, made, details), "an order that is, is not held"
            return Verdict.NONE, spent
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) and not one.vague(solver):
            longer = [way.flags["longer"] for way in one.ways.values() if "longer" in way.flags]
            if any(solver.value(flag) for flag in longer):
                # Of hosts between the first and the last nothing is known: is there one that needs none?
                one.model.add(sum(longer) == 0)
                solver.parameters.max_deterministic_time = max(work - spent, 0.0)
                status = solver.solve(one.model)
                spent += solver.response_proto.deterministic_time
                if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
                    break
            return Verdict.SOME, spent
    return Verdict.OPEN, spent


def holds(
    plant: Plant,
    moves: Sequence[Move],
    limits: Limits,
    made: Schedule,
    details: Mapping[str, Detail],
) -> bool:
    """Whether the model holds this very order, if so much is asked: it must, or what it proves is of no worth."""
    one = _Model(plant, moves, limits, int(made.makespan_s * TENTHS), details)
    one.pin(made)
    return _solver(60.0).solve(one.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)


def _solver(work: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = work
    solver.parameters.num_workers = 1
    # What must be held within a span of time: with little slack most is refuted by that alone.
    solver.parameters.use_timetable_edge_finding_in_cumulative = True
    return solver
