"""Small pools: the solver's price beside the optimum that CP-SAT proves, both by the one checker."""

import numpy as np
import pytest
from millwright.core.placement.solver import check, solve

from tests.bench.gap.model import optimum, pool


@pytest.mark.parametrize("placed", [True, False])
def test_no_price_is_below_the_optimum_and_ours_is_close(placed: bool) -> None:
    problem = pool(3, hosts=6, machines=40, placed=placed)
    ours = solve(problem, rounds=4_000_000, seed=1, threads=2)
    best = optimum(problem, 60.0, hint=ours.assignment.tolist())
    verdict = check(problem, np.array(best.assignment))
    assert best.proven
    assert verdict.feasible, verdict.violations
    assert verdict.cost == pytest.approx(best.price)
    assert check(problem, ours.assignment).feasible
    assert best.price <= ours.cost + 1e-6
    assert ours.cost <= best.price * 1.005 + 1e-6
    if placed:
        assert best.price < check(problem, problem.home).cost
