"""The search for a shorter order of moves: what it says is what its order gives, and never longer than what it got."""

from itertools import pairwise

import numpy as np
import pytest
from millwright.core.balancing.sequence import MOST_LEGS, Problem, Sequence, shorter

GIB = 2**30


def _problem(seed: int) -> tuple[Problem, Sequence]:
    """Twelve units hand each other on among five hosts; a sixth is empty."""
    dice = np.random.default_rng(seed)
    count, hosts = 12, 6
    source = dice.integers(0, hosts - 1, count)
    target = (source + dice.integers(1, hosts - 1, count)) % (hosts - 1)
    need = dice.choice([4, 8, 16], count)
    free = np.zeros(hosts, np.int64)
    for unit in range(count):
        free[target[unit]] += need[unit]
        free[source[unit]] -= need[unit]
    # Room for all at the end and often none to spare; all at once on the sixth.
    free = np.maximum(free, 0)
    free[-1] = need.sum()
    allowed = np.ones((count, hosts), np.bool_)
    allowed[np.arange(count), target] = False
    problem = Problem(
        need[None, :] * GIB,
        free[None, :] * GIB,
        source,
        target,
        allowed,
        (need * GIB).astype(np.float64),
        dice.uniform(0, 2e7, count),
        np.full(hosts, 62.5e6),
        2,
        8,
    )
    # Everybody goes aside first: long, but there is always room.
    vias = np.zeros((count, MOST_LEGS - 1), np.int64)
    vias[:, 0] = hosts - 1
    return problem, Sequence(np.tile(np.arange(count), 2), vias, np.ones(count, np.int64))


@pytest.mark.parametrize("walled", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_an_order_ends_when_the_search_says(seed: int, walled: bool) -> None:
    problem, start = _problem(seed)
    before = shorter(problem, start, 12, 0, 0.0, 0.1, 1)[1]
    found, end = shorter(problem, start, 12, 4000, 0.0, 0.1, 1, walled=walled)
    again = shorter(problem, start, 12, 4000, 0.0, 0.1, 1, walled=walled)
    # Each leg as early as it can, but not before the one that stands before it.
    assert shorter(problem, found, 12, 0, 0.0, 0.1, 1)[1] == pytest.approx(end)
    assert end == again[1]
    assert (found.units == again[0].units).all()
    assert end < before if walled else end < np.inf
    assert len(found.units) == len(problem.source) + found.hops.sum()


def test_no_more_legs_are_made_than_may_be() -> None:
    problem, start = _problem(0)
    for most in (12, 14):
        found, _ = shorter(problem, start, most, 4000, 0.0, 0.1, 1)
        assert found.hops.sum() <= most


def test_no_leg_of_a_unit_goes_where_it_is() -> None:
    problem, start = _problem(1)
    found, end = shorter(problem, start, 12, 4000, 0.0, 0.3, 2, walled=False)
    assert end < np.inf
    for unit, hops in enumerate(found.hops.tolist()):
        way = [problem.source[unit], *found.vias[unit, :hops], problem.target[unit]]
        assert all(here != there for here, there in pairwise(way))
