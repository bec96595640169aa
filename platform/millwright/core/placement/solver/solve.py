"""Search for the cheapest assignment: settle what must move, anneal, descend, take back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import tables as tb
from .check import check, price
from .errors import ProblemError
from .problem import UNPLACED, Checked, Ints, Problem
from .settle import ready, recall, relieve, settle

#: Proposals between two looks at the clock.
CHUNK = 20_000
#: So many times that while something is still being compiled, which holds the interpreter for long.
_BESIDE_COMPILING = 16
#: Share of the time that hosts which overflow have to empty themselves before machines are sent home.
PATIENCE = 0.01
#: Share of the time after which an assignment that still overflows is given up for the best one.
GIVE_UP = 0.93


@dataclass(frozen=True, slots=True)
class Tuning:
    """How one thread anneals. The defaults were chosen on a few public ROADEF instances.

    For most of the time hosts may overflow at a price, which lets big machines pass each other; the
    price rises until nothing overflows any more, and the rest is annealed with capacity as a rule.
    """

    #: first temperature: this quantile of sampled price rises, times `hot`
    quantile: float = 0.5
    hot: float = 20.0
    #: over the first temperature: that at which capacity becomes a hard rule, and the last one
    warm: float = 0.01
    cold: float = 0.00002
    #: overflow prices, in those of `tables.walls`: at first, and how many times that at last
    steep: float = 3.0
    steeper: float = 300.0
    #: shares of the time from which the prices rise, and from which capacity is a hard rule
    rise_from: float = 0.3
    hard_from: float = 0.85
    #: share of proposals that exchange two machines, and those of like size among them
    swaps: float = 0.5
    near: float = 0.4
    #: a machine twice as big is proposed 2**so much as often
    big: float = 0.5
    #: share of proposals that send a machine home
    homing: float = 0.2


#: Capacity is a rule all along: better where machines are small beside what is free on the hosts.
FIRM = Tuning(hot=0.5, warm=1.0, cold=5e-7, hard_from=0.0, near=0.0, big=0.0, homing=0.1)


@dataclass(frozen=True, eq=False)
class Solution:
    """An assignment with its price (recomputed by `check`) and what changes.

    ``unplaced``: machines for which no host was found, or that had to leave and could not.
    """

    assignment: Ints
    cost: float
    parts: Mapping[str, float]
    moves: tuple[tuple[int, int, int], ...]
    unplaced: tuple[int, ...]
    proposals: int = 0

    @classmethod
    def of(cls, known: Checked, at: Ints, proposals: int = 0) -> Solution:
        """The solution that an assignment is, priced by the checker."""
        verdict = check(known, at)
        home = known.home
        moves = tuple(
            (int(p), int(home[p]), int(at[p]))
            for p in np.flatnonzero((at != home) & (at != UNPLACED))
        )
        stuck = at == UNPLACED
        if known.eligible is not None:
            placed = np.flatnonzero(~stuck)
            stuck[placed] = ~known.eligible[placed, at[placed]]
        unplaced = tuple(np.flatnonzero(stuck).tolist())
        return cls(at, verdict.cost, verdict.parts, moves, unplaced, proposals)


def solve(
    problem: Problem | Checked,
    budget_seconds: float | None = None,
    *,
    rounds: int | None = None,
    seed: int = 1,
    threads: int = 1,
    tuning: Tuning | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Solution:
    """The best assignment found within the budget.

    Give either ``budget_seconds`` (wall time, the kernel's compilation on its first use included)
    or ``rounds`` (proposals per thread): only with rounds the same seed gives the same plan.

    Threads take turns at two ways to anneal (`Tuning`, `FIRM`) unless one is given; the best result
    counts. Raises `ProblemError` for a problem that is not well formed.
    """
    started = clock()
    if (budget_seconds is None) == (rounds is None):
        raise ProblemError("budget", (budget_seconds, rounds), "give either seconds or rounds")
    if threads < 1:
        raise ProblemError("threads", threads, "must be at least 1")
    known = problem if isinstance(problem, Checked) else problem.validate()
    search = _Search(known, seed, threads, (tuning,) if tuning else (Tuning(), FIRM))
    if budget_seconds is not None:
        search.until(started + budget_seconds, clock)
    else:
        search.rounds(rounds or 0)
    return search.result()


def _homeless(at: NDArray[np.int32]) -> int:
    return int((at == UNPLACED).sum())


class _Track:
    """One thread's search: its state and the best assignment it has met."""

    def __init__(self, search: _Search, state: tb.State, tuning: Tuning) -> None:
        self.search = search
        self.state = state
        self.tuning = tuning
        self.walls = tb.walls(search.tables, search.start, search.rise, tuning.big)
        self.best = state.at.copy()
        self.best_cost = float(state.cost[0])
        self.left = _homeless(state.at)
        self.hard = False
        self.begun = False
        self.chunks = 0

    def go(self, share: float) -> None:
        """One chunk of proposals, `share` of the time being over."""
        search, tuning = self.search, self.tuning
        chunks = 1 if search.compiled.is_set() else _BESIDE_COMPILING
        if share >= tuning.hard_from and not self.hard:
            self.hard = self._fits(share)
            if not self.hard and share >= GIVE_UP:
                self._return_to_best()
                self.hard = True
        search.kernel.anneal(
            search.tables,
            self.state,
            self.walls,
            self._temperature(share),
            0.0 if self.hard else self._steep(share),
            CHUNK * chunks,
            tuning.near,
            tuning.swaps,
            tuning.homing,
        )
        self.chunks += chunks
        cost, left = float(self.state.cost[0]), _homeless(self.state.at)
        better = (left, cost) < (self.left, self.best_cost)
        if better and not search.kernel.overflows(self.state, self.walls):
            self.left, self.best_cost = left, cost
            self.best[...] = self.state.at

    def _temperature(self, share: float) -> float:
        """Falls steadily while hosts may overflow, and faster after that."""
        tuning = self.tuning
        soft = min(1.0, share / tuning.hard_from) if tuning.hard_from else 1.0
        rest = min(1.0, max(0.0, share - tuning.hard_from) / (1.0 - tuning.hard_from))
        falls = tuning.warm**soft * (tuning.cold / tuning.warm) ** rest
        return float(self.search.rise * tuning.hot * falls)

    def _steep(self, share: float) -> float:
        """How dear an overflow is, `share` of the time being over."""
        tuning = self.tuning
        risen = max(0.0, share - tuning.rise_from) / (tuning.hard_from - tuning.rise_from)
        return float(tuning.steep * tuning.steeper ** min(1.0, risen))

    def _fits(self, share: float) -> bool:
        """Does nothing overflow, if need be after sending the cheapest machines away, at last home?"""
        search = self.search
        if search.compiled.is_set() and search.kernel.overflows(self.state, self.walls):
            relieve(search.tables, self.state)
            if share >= self.tuning.hard_from + PATIENCE:
                recall(search.tables, self.state, self.walls)
        return not search.kernel.overflows(self.state, self.walls)

    def _return_to_best(self) -> None:
        best = tb.state(self.search.tables, self.best.astype(np.int64), 1, self.best_cost)
        tb.copy_into(best, self.state)


class _Search:
    def __init__(self, known: Checked, seed: int, threads: int, tunings: Sequence[Tuning]) -> None:
        from . import kernel  # compiled code is loaded only where it is needed

        self.kernel = kernel
        self.known = known
        #: What ends the search is there.
        self.compiled = threading.Event()
        self.tables = tb.build(known)
        self.start = tb.state(self.tables, known.home, seed, price(known, known.home))
        settle(known, self.tables, self.start)
        self.rise = tb.typical_rise(self.tables, self.start, seed, tunings[0].quantile)
        self.tracks = []
        at, cost = self.start.at.astype(np.int64), float(self.start.cost[0])
        for index in range(threads):
            state = tb.state(self.tables, at, seed + index * 7919, cost)
            self.tracks.append(_Track(self, state, tunings[index % len(tunings)]))

    def _compile(self) -> None:
        """Compile, or load, what ends the search: asked for first at its end, it would come too late."""
        ready(self.tables, self.start, self.tracks[0].walls)
        self.compiled.set()

    def until(self, deadline: float, clock: Callable[[], float]) -> None:
        begun = clock()
        # The last look at the result takes a moment as well.
        span = (deadline - begun) * 0.98

        def run(track: _Track) -> None:
            while (share := (clock() - begun) / span if span > 0 else 1.0) < 1.0:
                track.go(share)
                if track is self.tracks[0] and not track.begun:
                    # One thing is compiled at a time: what begins the search comes first. The search
                    # does not wait for the other (without it a track ends at the best that it had
                    # met); the interpreter does before it leaves, so that it is compiled only once.
                    track.begun = True
                    threading.Thread(target=self._compile, name="compile").start()

        self._spread(run)

    def rounds(self, rounds: int) -> None:
        self._compile()
        chunks = -(-rounds // CHUNK)

        def run(track: _Track) -> None:
            for index in range(chunks):
                track.go((index + 1) / chunks)

        self._spread(run)

    def _spread(self, run: Callable[[_Track], None]) -> None:
        if not len(self.tables.movable):
            return
        if len(self.tracks) == 1:
            run(self.tracks[0])
            return
        with ThreadPoolExecutor(len(self.tracks)) as pool:
            list(pool.map(run, self.tracks))

    def result(self) -> Solution:
        best = min(self.tracks, key=lambda track: (track.left, track.best_cost))
        proposals = sum(track.chunks for track in self.tracks) * CHUNK
        return Solution.of(self.known, best.best.astype(np.int64), proposals)
