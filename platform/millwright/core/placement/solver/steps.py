"""Few and good moves: the best single ones in their order, and one machine's price everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import tables as tb
from .check import price
from .errors import ProblemError
from .problem import Checked, Floats, Problem
from .settle import settle
from .solve import Solution


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a plan that may stop after any step."""

    machine: int
    source: int
    target: int


def steps(
    problem: Problem | Checked, limit: int, *, least_gain: float = 0.0
) -> tuple[Solution, tuple[Step, ...]]:
    """Steepest descent: at most `limit` single moves, each the best one left.

    What must move (no host, host not allowed, host overfull) is settled first and does not count
    in `limit`. A move is made when it lowers the price by more than `least_gain`. The same problem
    gives the same steps.

    Raises `ProblemError`.
    """
    if limit < 0:
        raise ProblemError("limit", limit, "must not be negative")
    known = problem if isinstance(problem, Checked) else problem.validate()
    from . import kernel  # compiled code is loaded only where it is needed

    tables = tb.build(known)
    state = tb.state(tables, known.home, 1, price(known, known.home))
    settle(known, tables, state)
    made = np.empty((limit, 3), np.int64)
    count = len(tables.movable)
    target, gain = np.empty(count, np.int32), np.empty(count)
    number = kernel.descend(tables, state, limit, float(least_gain), made, target, gain)
    rows = made[:number].tolist()
    return (
        Solution.of(known, state.at.astype(np.int64)),
        tuple(Step(machine, source, target) for machine, source, target in rows),
    )


class Prices:
    """Asks one problem about many machines: what would each host cost?"""

    def __init__(self, problem: Problem | Checked) -> None:
        self._known = problem if isinstance(problem, Checked) else problem.validate()
        self._tables = tb.build(self._known)
        self._state = tb.state(self._tables, self._known.home, 1, 0.0)

    def of(self, machine: int) -> Floats:
        """Price change of the machine's going to each host; inf where a hard rule forbids it.

        Raises `ProblemError` for a machine that is not there.
        """
        machines, hosts = len(self._known.home), len(self._known.capacity)
        if not 0 <= machine < machines:
            raise ProblemError("machine", machine, f"machines are 0 to {machines - 1}")
        from . import kernel  # compiled code is loaded only where it is needed

        prices = np.empty(hosts)
        kernel.price_hosts(self._tables, self._state, machine, prices)
        return prices
