"""Search for the cheapest assignment: settle what must move, anneal, descend, take back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import tables as tb
from .check import check, price
from .errors import ProblemError
from .problem import UNPLACED, Checked, Ints, Problem
from .settle import ready, recall, relieve, settle
from .tuning import (
    COOL,
    ENTRIES,
    LAST_FROM,
    LAST_FROM_SOFT,
    REHEAT_FROM,
    REHEATS,
    TRIAL,
    TRIED,
    Tuning,
    bound,
    choose,
    soft,
)  # fmt: skip

#: Proposals between two looks at the clock.
CHUNK = 20_000
#: So many times that while something is still being compiled, which holds the interpreter for long.
_BESIDE_COMPILING = 16
#: An overflow that stays gets so many times dearer while this many proposals a machine are made: it goes
#: round from host to host until it fits somewhere.
PRESSED = 1.05
PRESSED_EACH = 20
#: Share of the time after which machines are sent home from hosts that still overflow; where that does not do,
#: the best assignment counts.
GIVE_UP = 0.93
#: So long a track that is in the middle of a chunk is waited for when the time is over.
GRACE_SECONDS = 0.2


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

    Unless one is given, ways to anneal (`tuning`) are tried on the problem itself for a short while; the
    best go on, and at last every thread goes on coolly from the best that was met. Raises `ProblemError` for a problem that is not well formed.
    """
    started = clock()
    if (budget_seconds is None) == (rounds is None):
        raise ProblemError("budget", (budget_seconds, rounds), "give either seconds or rounds")
    if threads < 1:
        raise ProblemError("threads", threads, "must be at least 1")
    known = problem if isinstance(problem, Checked) else problem.validate()
    search = _Search(known, seed, threads, (tuning,) if tuning else ())
    if budget_seconds is not None:
        search.until(started + budget_seconds, clock)
    else:
        search.rounds(rounds or 0)
    return search.result()


def _homeless(at: NDArray[np.integer]) -> int:
    return int((at == UNPLACED).sum())


class _Best(NamedTuple):
    """The best assignment met. Replaced as a whole: whoever asks meanwhile gets a whole one."""

    left: int  # machines without a host
    cost: float
    at: NDArray[np.int32]


class _Track:
    """One thread's search: its state and the best assignment that it has met in this phase."""

    def __init__(self, search: _Search, state: tb.State) -> None:
        self.search = search
        self.state = state
        self.chunks = 0
        self.set_out(TRIED[0], search.best)

    def set_out(self, tuning: Tuning, best: _Best, entry: float = 0.0) -> None:
        """Begin a phase from where the state is; `best` is what counts if nothing better comes of it.

        The way is followed from the share `entry` on: later than 0 is a reheating.
        """
        self.tuning = tuning
        self.entry = entry
        self.state.press[...] = 1.0
        self.walls = self.search.walls(tuning)
        self.best = best
        self.hard = False

    def go(self, share: float) -> None:
        """One chunk of proposals, `share` of the phase's time being over."""
        search, tuning = self.search, self.tuning
        share = self.entry + share * (1.0 - self.entry)
        chunks = 1 if search.compiled.is_set() else _BESIDE_COMPILING
        if share >= tuning.hard_from and not self.hard:
            self.hard = not search.kernel.overflows(self.state, self.walls, search.pressed)
            if not self.hard and share >= GIVE_UP:
                if not self._fits():
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
        better = (left, cost) < self.best[:2]
        if better and not search.kernel.overflows(self.state, self.walls, 1.0):
            self.best = _Best(left, cost, self.state.at.copy())

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

    def _fits(self) -> bool:
        """Does nothing overflow, after sending the cheapest machines away, at last home?"""
        search = self.search
        if search.compiled.is_set():
            relieve(search.tables, self.state)
            recall(search.tables, self.state, self.walls)
        return not search.kernel.overflows(self.state, self.walls, 1.0)

    def _return_to_best(self) -> None:
        best = min(self.best, self.search.best, key=lambda found: found[:2])
        best_state = tb.state(self.search.tables, best.at.astype(np.int64), 1, best.cost)
        tb.copy_into(best_state, self.state)


#: What runs a track through a part of the time; told from which share of the whole to which.
_Run = Callable[[_Track, float, float], None]


class _Search:
    def __init__(self, known: Checked, seed: int, threads: int, tunings: Sequence[Tuning]) -> None:
        from . import kernel  # compiled code is loaded only where it is needed

        self.kernel = kernel
        self.known = known
        #: What ends the search is there.
        self.compiled = threading.Event()
        self.tunings = tuple(tunings)
        self.tables = tb.build(known)
        self.start = tb.state(self.tables, known.home, seed, price(known, known.home))
        settle(known, self.tables, self.start)
        self.rise = tb.typical_rise(self.tables, self.start, seed, TRIED[0].quantile)
        self._walls: dict[float, tb.Walls] = {}
        machines = max(1, len(self.tables.movable))
        self.pressed = PRESSED ** min(1.0, CHUNK / (PRESSED_EACH * machines))
        at, cost = self.start.at.astype(np.int64), float(self.start.cost[0])
        self.best = _Best(_homeless(at), cost, self.start.at.copy())
        self.tracks = [
            _Track(self, tb.state(self.tables, at, seed + index * 7919, cost))
            for index in range(threads)
        ]

    def walls(self, tuning: Tuning) -> tb.Walls:
        if tuning.big not in self._walls:
            self._walls[tuning.big] = tb.walls(self.tables, self.start, self.rise, tuning.big)
        return self._walls[tuning.big]

    def _compile(self) -> None:
        """Compile, or load, what ends the search: asked for first at its end, it would come too late."""
        ready(self.tables, self.start, self.walls(TRIED[0]))
        self.compiled.set()

    def until(self, deadline: float, clock: Callable[[], float]) -> None:
        # One thing is compiled at a time: what begins the search comes first. The search does not wait
        # for the other (without it a track ends at the best that it had met); the interpreter does
        # before it leaves, so that it is compiled only once.
        walls = self.walls(TRIED[0])
        self.kernel.anneal(self.tables, self.start, walls, 0.0, 0.0, 0, 0.0, 0.0, 0.0)
        self.kernel.overflows(self.start, walls, 1.0)
        threading.Thread(target=self._compile, name="compile").start()
        begun = clock()
        # The last look at the result takes a moment as well.
        span = (deadline - begun) * 0.98

        def run(track: _Track, since: float, to: float) -> None:
            while (share := (clock() - begun) / span if span > 0 else 1.0) < to:
                track.go(max(0.0, share - since) / (to - since))

        self._run(run, lambda: deadline - clock())

    def rounds(self, rounds: int) -> None:
        self._compile()
        chunks = -(-rounds // CHUNK)

        def run(track: _Track, since: float, to: float) -> None:
            first, end = round(since * chunks), round(to * chunks)
            for index in range(first, end):
                track.go((index + 1 - first) / (end - first))

        self._run(run, None, brief=chunks * TRIAL < 1.0)

    def _run(self, run: _Run, left: Callable[[], float] | None, *, brief: bool = False) -> None:
        """All phases. `brief`: too short for a trial."""
        if not len(self.tables.movable):
            return
        number = len(self.tracks)
        if self.tunings or brief:
            usual = self.tunings or TRIED[:2]
            self._phase(run, left, [usual[i % len(usual)] for i in range(number)], 0.0, 1.0)
            return
        trials: list[tuple[Tuning, _Best]] = []
        since = 0.0
        ways = list(TRIED)
        # Whoever would be idle tries the first way once more.
        ways += [TRIED[0]] * (-len(ways) % number)
        for first in range(0, len(ways), number):
            now = ways[first : first + number]
            if not self._phase(run, left, now, since, since + TRIAL, fresh=self._start()):
                return
            trials += zip(now, [track.best for track in self.tracks], strict=True)
            since += TRIAL
        usual = TRIED[:2]
        if not self.best.left:
            costs = [(tuning, found.cost) for tuning, found in trials]
            usual = choose(costs, bound(self.tables))
        now = [usual[i % 2] for i in range(number)]
        if not any(map(soft, now)):
            if self._phase(run, left, now, since, LAST_FROM, fresh=self._start()):
                self._phase(run, left, [COOL] * number, LAST_FROM, 1.0, fresh=self.best)
            return
        going = self._phase(run, left, now, since, REHEAT_FROM, fresh=self._start())
        ways = [tuning for tuning in usual if soft(tuning)]
        each = (LAST_FROM_SOFT - REHEAT_FROM) / REHEATS
        for index in range(REHEATS):
            if not going:
                return
            now = [ways[(i + index // 2) % len(ways)] for i in range(number)]
            entries = [ENTRIES[(i + index) % len(ENTRIES)] for i in range(number)]
            since = REHEAT_FROM + index * each
            going = self._phase(
                run, left, now, since, since + each, fresh=self.best, entries=entries
            )
        if going:
            self._phase(run, left, [COOL] * number, LAST_FROM_SOFT, 1.0, fresh=self.best)

    def _start(self) -> _Best:
        return _Best(_homeless(self.start.at), float(self.start.cost[0]), self.start.at)

    def _phase(
        self, run: _Run, left: Callable[[], float] | None, tunings: Sequence[Tuning],
        since: float, to: float, *, fresh: _Best | None = None, entries: Sequence[float] = (),
    ) -> bool:  # fmt: skip
        """One part of the time, every track from `fresh` if given. Did every track end it?

        `entries`: where each track enters its way (`_Track.set_out`); at its beginning if not given.
        """
        if fresh is not None:
            whence = tb.state(self.tables, fresh.at.astype(np.int64), 1, fresh.cost)
            for track in self.tracks:
                tb.copy_into(whence, track.state)
        begun = entries or [0.0] * len(self.tracks)
        for track, tuning, entry in zip(self.tracks, tunings, begun, strict=True):
            track.set_out(tuning, fresh or self.best, entry)
        ended = self._spread(lambda track: run(track, since, to), left)
        self.best = min([self.best, *(track.best for track in self.tracks)], key=lambda b: b[:2])
        return ended

    def _spread(self, run: Callable[[_Track], None], left: Callable[[], float] | None) -> bool:
        """Run every track in a thread of its own; not longer than `left` seconds, if that is given.

        Did all of them end?

        What ends a search can take long on a large pool. A track that is still at it when the time is
        over leaves by itself soon after, and the best that it had met counts. The first chunk is waited for.
        """
        if left is None and len(self.tracks) == 1:
            run(self.tracks[0])
            return True
        failed: list[BaseException] = []

        def guarded(track: _Track) -> None:
            try:
                run(track)
            except BaseException as error:
                failed.append(error)

        threads = [
            threading.Thread(target=guarded, args=(track,), name="anneal") for track in self.tracks
        ]
        for thread in threads:
            thread.start()
        for thread, track in zip(threads, self.tracks, strict=True):
            if left is None:
                thread.join()
                continue
            while thread.is_alive() and (not track.chunks or left() > -GRACE_SECONDS):
                thread.join(0.05)
        if failed:
            raise failed[0]
        return not any(thread.is_alive() for thread in threads)

    def result(self) -> Solution:
        best = self.best
        proposals = sum(track.chunks for track in self.tracks) * CHUNK
        return Solution.of(self.known, best.at.astype(np.int64), proposals)
