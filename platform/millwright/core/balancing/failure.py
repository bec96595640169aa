"""Can every protected machine restart if any k hosts die? And who could not, or would wait for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, islice
from math import comb

import numpy as np

from millwright.core.lifecycle import Recovery as Restarts
from millwright.core.placement.solver import UNPLACED, Problem, steps

from .answers import Broken, Code, FailureVerdict, Refusal
from .frame import Bools, Frame, Ints
from .mend import summary
from .model import Plant
from .state import State
from .waits import Waits
from .words import say

#: sets of hosts that are tried; beyond that only those whose loss asks for the most
SETS = 20_000


def failure_capacity(
    plant: Plant, k: int = 1, *, sets: int = SETS, domains: bool = False
) -> FailureVerdict:
    """Try every set of k live hosts (or, with `domains`, of k failure domains) as lost.

    Machines that live stay where they are; the lost ones are placed largest first, then with one
    step of repair. With k or fewer places alive all of them are lost, and whoever is protected. A machine that
    has room and starts after one that does not start with it is told as well (`Refusal.waits_for`).
    Where there are more than `sets` sets, those of the fullest hosts are tried and `complete` is False.
    Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k: {k}: must be at least 1")
    return verdict(State(Frame(plant)), k, sets=sets, domains=domains)


def losses_of(plant: Plant, hosts: Iterable[str]) -> FailureVerdict:
    """As `failure_capacity` with one host lost at a time, of these hosts alone. Raises KeyError."""
    frame = Frame(plant)
    places = [(frame.host_index[name],) for name in hosts]
    trial = Trial(State(frame))
    broken = [
        Broken((frame.host_names[host],), tuple(left))
        for (host,) in places
        if (left := trial.lose([host]))
    ]
    return FailureVerdict(1, not broken, tuple(broken), len(places), complete=False)


def verdict(
    state: State,
    k: int,
    *,
    sets: int = SETS,
    domains: bool = False,
    coming: Collection[int] = (),
) -> FailureVerdict:
    """As `failure_capacity`, from a state that is left as it was. `coming`: units about to be placed; none waits for them."""
    frame = state.frame
    places = _places(frame, domains=domains)
    if not places:
        return _nobody_lives(frame, state, k)
    # As many as live are all that can die: whoever asks for more is not told of room that nobody gives.
    lost = min(k, len(places))
    number = comb(len(places), lost)
    if number > sets:
        places = _fullest(state, places, lost, sets)
    trial = Trial(state, coming)
    broken, checked = [], 0
    for chosen in _sets(places, lost, sets):
        hosts = sorted({host for place in chosen for host in place})
        checked += 1
        left = trial.lose(hosts)
        if left:
            names = tuple(frame.host_names[host] for host in hosts)
            broken.append(Broken(names, tuple(left)))
    return FailureVerdict(k, not broken, tuple(broken), checked, number <= sets)


def _nobody_lives(frame: Frame, state: State, k: int) -> FailureVerdict:
    """No host is left that could take anybody: every protected machine on a host is lost already."""
    left = tuple(
        Refusal(name, (Code.NO_HOST, Code.HOST_STATE), say("no_host.nobody", machine=name))
        for unit in np.flatnonzero(state.at >= 0).tolist()
        if any(frame.vms[member].protected for member in frame.units[unit])
        for name in frame.names_of(unit)
    )
    return FailureVerdict(k, not left, (Broken((), left),) if left else (), 1, complete=True)


class Spare:
    """Whether any k hosts may die beside so many more copies of one unplaced unit, asked again and again.

    The unit must be protected and plain (`Trial.plain`): copies are amounts then, and need no frame of
    their own. The set that broke the last answer is tried first in the next.
    """

    def __init__(self, trial: Trial, unit: int, k: int, sets: int = SETS) -> None:
        self._trial, self._unit, self._k, self._limit = trial, unit, k, sets
        self._bare = trial.state.free.copy()
        self._witness: tuple[tuple[int, ...], ...] | None = None

    def holds(self, copies: Ints) -> bool:
        """As `verdict(…).room` with these copies on each host."""
        trial, k = self._trial, self._k
        frame, state = trial.frame, trial.state
        state.free = self._bare.copy()
        for row in frame.wanted[self._unit]:
            state.free[row] -= copies * frame.need[row, self._unit]
        trial.copies = (self._unit, copies)
        places = _places(frame, domains=False)
        if not places:
            # Nobody is alive, and nothing is placed: what cannot restart is told by `verdict`.
            return not copies.any()
        k = min(k, len(places))
        if comb(len(places), k) > self._limit:
            places = _fullest(state, places, k, self._limit)
        again = self._witness
        if again is not None and set(again) <= set(places) and self._breaks(again):
            return False
        for chosen in _sets(places, k, self._limit):
            if self._breaks(chosen):
                self._witness = chosen
                return False
        return True

    def _breaks(self, chosen: tuple[tuple[int, ...], ...]) -> bool:
        return bool(self._trial.unplaced(sorted({host for place in chosen for host in place})))


def _places(frame: Frame, *, domains: bool) -> list[tuple[int, ...]]:
    live = [i for i, host in enumerate(frame.hosts) if not host.state.off]
    if not domains:
        return [(host,) for host in live]
    found: dict[int, list[int]] = {}
    for host in live:
        found.setdefault(int(frame.domain[host]), []).append(host)
    return [tuple(hosts) for hosts in found.values()]


def _fullest(
    state: State, places: list[tuple[int, ...]], k: int, sets: int
) -> list[tuple[int, ...]]:
    """So many of the fullest places that their sets are not more than allowed."""
    used = (state.frame.capacity - state.free) / np.maximum(
        state.frame.capacity.sum(axis=1, keepdims=True), 1
    )
    weight = used.max(axis=0)
    places = sorted(places, key=lambda place: (-float(weight[list(place)].sum()), place))
    count = k
    while count < len(places) and comb(count + 1, k) <= sets:
        count += 1
    return places[:count]


def _sets(
    places: Sequence[tuple[int, ...]], k: int, sets: int
) -> Iterator[tuple[tuple[int, ...], ...]]:
    return islice(combinations(places, k), sets)


class Trial:
    """Loses hosts on paper, one set after another, on tables of its own."""

    def __init__(self, state: State, coming: Collection[int] = ()) -> None:
        self.state = state.copy()
        frame = state.frame
        self.frame = frame
        self._waits = Waits(frame, self.state.at, coming)
        protected = np.array(
            [any(frame.vms[m].protected for m in unit) for unit in frame.units], np.bool_
        )
        order = np.argsort(state.at, kind="stable")
        at = state.at[order]
        self.guests = [
            order[np.searchsorted(at, host) : np.searchsorted(at, host, "right")]
            for host in range(len(frame.hosts))
        ]
        self.protected = protected
        #: unplaced unit and how many copies of it each host holds beside its guests
        self.copies: tuple[int, Ints] | None = None
        #: hosts whose room the last loss took; nothing: nobody asks, or it is not known
        self._touched: set[int] | None = None
        #: where units of the last loss went, in the order in which they did; nothing: nobody asks
        self._where: dict[int, int] | None = None
        total = np.maximum(frame.capacity.max(axis=1, keepdims=True, initial=0), 1)
        self.size = (frame.need / total).max(axis=0)
        #: nothing but amounts and static rules decides where these may be
        self.plain = np.ones(len(frame.units), np.bool_)
        for table in (
            frame.apart_of,
            frame.spread_of,
            frame.near_of,
            frame.node_need,
            frame.gpu_need,
            frame.tied,
        ):
            self.plain[list(table)] = False
        #: units of rules and needs that their own hosts start again when these return
        self.autonomous = ~self.plain & np.array(
            [any(frame.vms[m].restarts is Restarts.AUTONOMOUS for m in u) for u in frame.units],
            np.bool_,
        )
        #: units of a kind ask for the same, of the same hosts: they are placed in one go
        kinds: dict[bytes, int] = {}
        rows = np.ascontiguousarray(np.vstack((frame.need, frame.signature)).T)
        self.kind = np.array(
            [kinds.setdefault(row.tobytes(), len(kinds)) for row in rows], np.int64
        )

    def lose(self, hosts: Sequence[int]) -> list[Refusal]:
        """The protected machines of these hosts that would find no place, or would wait; tables are put back."""
        left, refusals = self._lose(hosts, explained=True)
        return refusals + self._waits.of(hosts, set(left))

    def unplaced(self, hosts: Sequence[int]) -> list[int]:
        """As `lose`: units without words why; one stands there as often as copies of it are left."""
        return self._lose(hosts, explained=False)[0]

    def taken(self, hosts: Sequence[int]) -> set[int] | None:
        """Where the protected machines of these hosts would go; nothing: not all of them find a place.

        Nothing too where it took the solver to find it, which does not say where.
        """
        self._touched = set()
        return None if self._lose(hosts, explained=False)[0] else self._touched

    def places(self, hosts: Sequence[int]) -> dict[int, int] | None:
        """Where each protected unit of these hosts would go, in that order; nothing: not all find a place."""
        lost = np.concatenate([self.guests[host] for host in hosts])
        self._where = {}
        left, _ = self._try(hosts, lost, lost[self.protected[lost]], explained=False)
        where, self._where = self._where, None
        return None if left else where

    def _lose(self, hosts: Sequence[int], *, explained: bool) -> tuple[list[int], list[Refusal]]:
        """All of them are started elsewhere; and where rules speak of autonomous ones, the others without those."""
        lost = np.concatenate([self.guests[host] for host in hosts])
        wanted = lost[self.protected[lost]]
        if self.copies is not None:
            unit, counts = self.copies
            wanted = np.append(wanted, np.full(int(counts[list(hosts)].sum()), unit))
        told = self._try(hosts, lost, wanted, explained=explained)
        waiting = self.autonomous[wanted]
        if told[0] or not waiting.any():
            return told
        touched = self._touched
        told = self._try(hosts, lost, wanted[~waiting], explained=explained)
        self._touched = (
            None if touched is None or self._touched is None else touched | self._touched
        )
        return told

    def _try(
        self, hosts: Sequence[int], lost: Ints, wanted: Ints, *, explained: bool
    ) -> tuple[list[int], list[Refusal]]:
        state, frame = self.state, self.frame
        if not len(wanted):
            return [], []
        order = wanted[np.lexsort((wanted, self.kind[wanted], -self.size[wanted]))]
        closed, free = state.closed.copy(), state.free.copy()
        state.closed[list(hosts)] = True
        complex_ = [int(unit) for unit in lost if not self.plain[unit]]
        homes = {unit: state.drop(unit) for unit in complex_}
        left = self._place(order, homes)
        if left:
            left = self._repair(order, left, hosts, free, homes)
        refusals = [
            Refusal(
                frame.name_of(unit),
                (Code.NO_HOST, *summary(state, unit)),
                say("no_host.would", machine=frame.name_of(unit)),
            )
            for unit in left
            if explained
        ]
        if self._touched is not None:
            changed = (state.free != free).any(axis=0)
            self._touched = set(np.flatnonzero(changed).tolist()) - set(hosts)
        self._undo(homes)
        state.closed, state.free = closed, free
        return left, refusals

    def _place(self, order: Ints, homes: dict[int, int]) -> list[int]:
        """Each unit to the first host that takes it; whatever finds none is returned.

        Plain units of a kind that follow one another fill the hosts in their order: the same as one by one.
        """
        state, frame = self.state, self.frame
        bases: dict[int, Bools] = {}
        free, need = state.free, frame.need
        left: list[int] = []
        if self._where is not None:
            self._where = {}
        kinds = np.where(self.plain[order], self.kind[order], -1 - order)
        ends = np.flatnonzero(np.diff(kinds, append=kinds[-1:] + 1)) + 1
        begin = 0
        for end in ends.tolist():
            run, unit, begin = order[begin:end], int(order[begin]), end
            if unit in homes:
                mask = state.fits(unit)
                host = int(mask.argmax())
                if mask[host]:
                    state.take(unit, host)
                    if self._where is not None:
                        self._where[unit] = host
                else:
                    left.append(unit)
                continue
            signature = int(frame.signature[unit])
            if signature not in bases:
                bases[signature] = frame.allowed[signature] & ~state.closed
            room = bases[signature] * len(run)
            for row in frame.wanted[unit]:
                room = np.minimum(room, free[row] // need[row, unit])
            taken = np.cumsum(np.maximum(room, 0))
            np.minimum(taken, len(run), out=taken)
            found = int(taken[-1]) if len(taken) else 0
            if found:
                given = np.diff(taken, prepend=0)
                if self._where is not None:
                    hosts = np.repeat(np.arange(len(given)), given).tolist()
                    self._where |= dict(zip(run[:found].tolist(), hosts, strict=True))
                for row in frame.wanted[unit]:
                    free[row] -= given * need[row, unit]
            left.extend(run[found:].tolist())
        return left

    def _undo(self, homes: dict[int, int]) -> None:
        """Complex units back to where they were; the plain ones only used amounts."""
        state = self.state
        for unit in homes:
            if state.at[unit] >= 0:
                state.drop(unit)
        for unit, host in homes.items():
            state.take(unit, host)

    def _repair(
        self, order: Ints, left: list[int], hosts: Sequence[int], free: Ints, homes: dict[int, int]
    ) -> list[int]:
        """Another order first (what failed before the rest), then the solver for the plain ones."""
        state, frame = self.state, self.frame
        for unit in homes:
            if state.at[unit] >= 0:
                state.drop(unit)
        closed = state.closed
        state.free = free.copy()
        for unit, host in homes.items():
            for row in frame.wanted[unit]:
                state.free[row, host] += frame.need[row, unit]
        failed = Counter(left)
        others = list((Counter(order.tolist()) - failed).elements())
        again = np.array(left + others, np.int64)
        complex_first = again[np.argsort(self.plain[again], kind="stable")]
        remaining = self._place(complex_first, homes)
        plain = [u for u in again.tolist() if self.plain[u]]
        if not remaining or not any(self.plain[u] for u in remaining):
            return remaining
        # Complex ones stay where they went; the plain ones are dealt anew, with one step of repair.
        room = free.copy()
        for unit, host in homes.items():
            for row in frame.wanted[unit]:
                room[row, host] += frame.need[row, unit]
                if state.at[unit] >= 0:
                    room[row, state.at[unit]] -= frame.need[row, unit]
        problem = Problem(
            capacity=np.maximum(room, 0).T,
            demand=frame.need[:, plain].T,
            home=np.full(len(plain), UNPLACED),
            eligible=frame.allowed[frame.signature[plain]] & ~closed,
        )
        solution, _ = steps(problem, 0)
        self._touched = None
        if self._where is not None:
            self._where |= dict(zip(plain, solution.assignment.tolist(), strict=True))
        stuck = [plain[index] for index in solution.unplaced]
        return stuck + [unit for unit in remaining if not self.plain[unit]]


def spare_refusals(broken: Iterable[Broken]) -> tuple[Refusal, ...]:
    """Who would be left, once each, with the first set of hosts that leaves it."""
    found: dict[str, Refusal] = {}
    for entry in broken:
        for refusal in entry.left:
            text, hosts = refusal.text, list(entry.hosts)
            if hosts and refusal.waits_for:
                text = say("waits.died", hosts=hosts, text=text)
            elif hosts:
                text = say("no_host.died", machine=refusal.vm, hosts=hosts)
            codes = (Code.SPARE, *refusal.codes)
            found.setdefault(refusal.vm, Refusal(refusal.vm, codes, text, refusal.waits_for))
    return tuple(found.values())
