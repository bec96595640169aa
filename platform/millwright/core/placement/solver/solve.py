"""Search for the cheapest assignment: settle what must move, anneal, descend, take back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from . import tables as tb
from .check import check, price
from .errors import ProblemError
from .problem import UNPLACED, Checked, Ints, Problem
from .settle import settle

#: Proposals between two looks at the clock.
CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the annealing runs. The defaults were chosen on a few public ROADEF instances."""

    #: first temperature: this quantile of sampled price rises, times `hot`
    quantile: float = 0.5
    hot: float = 5.0
    #: last temperature over the first
    cold: float = 0.002
    #: share of proposals that exchange two machines
    swaps: float = 0.5
    #: share of proposals that send a machine home
    homing: float = 0.02


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

    Raises `ProblemError` for a problem that is not well formed.
    """
    started = clock()
    if (budget_seconds is None) == (rounds is None):
        raise ProblemError("budget", (budget_seconds, rounds), "give either seconds or rounds")
    if threads < 1:
        raise ProblemError("threads", threads, "must be at least 1")
    known = problem if isinstance(problem, Checked) else problem.validate()
    search = _Search(known, seed, threads, tuning or Tuning())
    if budget_seconds is not None:
        search.until(started + budget_seconds, clock)
    else:
        search.rounds(rounds or 0)
    return search.result()


class _Search:
    def __init__(self, known: Checked, seed: int, threads: int, tuning: Tuning) -> None:
        from . import kernel  # compiled code is loaded only where it is needed

        self.kernel = kernel
        self.known = known
        self.tuning = tuning
        self.tables = tb.build(known)
        start = known.home
        first = tb.state(self.tables, start, seed, price(known, start))
        settle(known, self.tables, first)
        self.states = [first]
        for index in range(1, threads):
            at = first.at.astype(np.int64)
            self.states.append(tb.state(self.tables, at, seed + index * 7919, float(first.cost[0])))
        self.best = first.at.copy()
        self.best_cost = float(first.cost[0])
        self.proposals = 0
        rise = tb.typical_rise(self.tables, first, seed, tuning.quantile)
        self.hot = rise * tuning.hot

    def temperature(self, share: float) -> float:
        return self.hot * math.exp(min(1.0, share) * math.log(self.tuning.cold))

    def _pass(self, state: tb.State, temperature: float) -> None:
        tuning = self.tuning
        self.kernel.anneal(self.tables, state, temperature, CHUNK, tuning.swaps, tuning.homing)

    def until(self, deadline: float, clock: Callable[[], float]) -> None:
        begun = clock()
        # The last look at the result takes a moment as well.
        span = (deadline - begun) * 0.98

        def run(state: tb.State) -> int:
            chunks = 0
            if not len(self.tables.movable):
                return 0
            while (share := (clock() - begun) / span if span > 0 else 1.0) < 1.0:
                self._pass(state, self.temperature(share))
                chunks += 1
            return chunks

        self._spread(run)

    def rounds(self, rounds: int) -> None:
        chunks = -(-rounds // CHUNK)

        def run(state: tb.State) -> int:
            if not len(self.tables.movable):
                return 0
            for index in range(chunks):
                self._pass(state, self.temperature((index + 1) / chunks))
            return chunks

        self._spread(run)

    def _spread(self, run: Callable[[tb.State], int]) -> None:
        if len(self.states) == 1:
            chunks = [run(self.states[0])]
        else:
            with ThreadPoolExecutor(len(self.states)) as pool:
                chunks = list(pool.map(run, self.states))
        self.proposals += sum(chunks) * CHUNK
        for state in self.states:
            if state.cost[0] < self.best_cost:
                self.best_cost = float(state.cost[0])
                self.best = state.at.copy()

    def result(self) -> Solution:
        return Solution.of(self.known, self.best.astype(np.int64), self.proposals)
