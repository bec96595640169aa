"""Can every protected machine restart if any k hosts die? And who could not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice
from math import comb

import numpy as np

from millwright.core.placement.solver import UNPLACED, Problem, steps

from .answers import Broken, Code, FailureVerdict, Refusal
from .frame import Bools, Frame, Ints
from .mend import summary
from .model import HostState, Plant
from .state import State

#: sets of hosts that are tried; beyond that only those whose loss asks for the most
SETS = 20_000


def failure_capacity(
    plant: Plant, k: int = 1, *, sets: int = SETS, domains: bool = False
) -> FailureVerdict:
    """Try every set of k live hosts (or, with `domains`, of k failure domains) as lost.

    Machines that live stay where they are; the lost ones are placed largest first, then with one
    step of repair. Where there are more than `sets` sets, those of the fullest hosts are tried and
    `complete` is False. Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k: {k}: must be at least 1")
    return verdict(State(Frame(plant)), k, sets=sets, domains=domains)


def verdict(state: State, k: int, *, sets: int = SETS, domains: bool = False) -> FailureVerdict:
    """As `failure_capacity`, from a state that is left as it was."""
    frame = state.frame
    places = _places(frame, domains=domains)
    number = comb(len(places), k) if k <= len(places) else 0
    if number > sets:
        places = _fullest(state, places, k, sets)
    trial = Trial(state)
    broken, checked = [], 0
    for chosen in _sets(places, k, sets):
        hosts = sorted({host for place in chosen for host in place})
        checked += 1
        left = trial.lose(hosts)
        if left:
            names = tuple(frame.host_names[host] for host in hosts)
            broken.append(Broken(names, tuple(left)))
    return FailureVerdict(k, not broken, tuple(broken), checked, number <= sets)


def _places(frame: Frame, *, domains: bool) -> list[tuple[int, ...]]:
    live = [i for i, host in enumerate(frame.hosts) if host.state is not HostState.DOWN]
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

    def __init__(self, state: State) -> None:
        self.state = state.copy()
        frame = state.frame
        self.frame = frame
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

    def lose(self, hosts: Sequence[int]) -> list[Refusal]:
        """The protected machines of these hosts that would find no place; tables are put back."""
        state, frame = self.state, self.frame
        lost = np.concatenate([self.guests[host] for host in hosts])
        wanted = lost[self.protected[lost]]
        if not len(wanted):
            return []
        order = wanted[np.lexsort((wanted, -self.size[wanted]))]
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
                f"{frame.name_of(unit)} would find no host",
            )
            for unit in left
        ]
        self._undo(homes)
        state.closed, state.free = closed, free
        return refusals

    def _place(self, order: Ints, homes: dict[int, int]) -> list[int]:
        """Each unit to the fullest host that takes it; whatever finds none is returned."""
        state, frame = self.state, self.frame
        bases: dict[int, Bools] = {}
        free, need = state.free, frame.need
        left = []
        for unit in order.tolist():
            if unit in homes:
                mask = state.fits(unit)
            else:
                signature = int(frame.signature[unit])
                if signature not in bases:
                    bases[signature] = frame.allowed[signature] & ~state.closed
                mask = bases[signature].copy()
                for row in frame.wanted[unit]:
                    mask &= free[row] >= need[row, unit]
            host = int(mask.argmax())
            if not mask[host]:
                left.append(unit)
            elif unit in homes:
                state.take(unit, host)
            else:
                for row in frame.wanted[unit]:
                    free[row, host] -= need[row, unit]
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
        failed = set(left)
        again = np.array(left + [u for u in order.tolist() if u not in failed], np.int64)
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
        stuck = [plain[index] for index in solution.unplaced]
        others = [unit for unit in remaining if not self.plain[unit]]
        return stuck + others


def spare_refusals(broken: Iterable[Broken]) -> tuple[Refusal, ...]:
    """Who would be left, once each, with the first set of hosts that leaves it."""
    found: dict[str, Refusal] = {}
    for entry in broken:
        for refusal in entry.left:
            text = f"{refusal.text} if {', '.join(entry.hosts)} died"
            found.setdefault(refusal.vm, Refusal(refusal.vm, (Code.SPARE, *refusal.codes), text))
    return tuple(found.values())
