"""The challenge's files become a problem of the same engine: prices and rules as its text has them, by hand."""

from pathlib import Path

import numpy as np
import pytest
from millwright.core.placement.solver import Problem, check, solve

from tests.bench.roadef2012.model import FileError, read

#: One transient resource of weight 10; two machines of 10 (safety 5) in two places, 3 apart; service 1 is
#: one of its own, service 2 wants two locations, service 3 needs service 1 near; each process by its service.
MODEL = """
1
1 10
2
0 0 10 5 0 3
1 1 10 5 3 0
{services}
{processes}
0
1 1 1
"""


def instance(folder: Path, services: str, processes: str, home: str) -> Problem:
    model, initial = folder / "model", folder / "initial"
    model.write_text(MODEL.format(services=services, processes=processes))
    initial.write_text(home)
    return read(model, initial).validate()


def test_load_and_move_prices_are_the_challenges(tmp_path: Path) -> None:
    problem = instance(tmp_path, "2\n1 0\n1 0", "2\n0 4 2\n1 4 1", "0 0")
    assert check(problem, problem.home).cost == 30  # 10 for each of the 3 above the safety capacity
    # The second goes: 1 for the process, 1 for its service, 3 for the way.
    assert check(problem, np.array([0, 1])).cost == 5
    found = solve(problem, rounds=2, seed=1, threads=1)
    assert found.assignment.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("services", "processes", "home", "away"),
    [
        # conflict: two processes of one service on one machine
        ("1\n1 0", "2\n0 1 1\n0 1 1", "0 1", [0, 0]),
        # spread: a service that wants two locations
        ("1\n2 0", "2\n0 1 1\n0 1 1", "0 1", [1, 1]),
        # dependency: without the other service in the neighbourhood
        ("2\n1 0\n1 1 0", "2\n0 1 1\n1 1 1", "0 0", [0, 1]),
        # capacity
        ("2\n1 0\n1 0", "2\n0 6 1\n1 6 1", "0 1", [0, 0]),
        # transient use: the exchange would hold both twice
        ("2\n1 0\n1 0", "2\n0 6 1\n1 6 1", "0 1", [1, 0]),
    ],
)
def test_each_hard_rule_is_one_of_the_problem(
    tmp_path: Path, services: str, processes: str, home: str, away: list[int]
) -> None:
    problem = instance(tmp_path, services, processes, home)
    assert check(problem, problem.home).feasible
    assert not check(problem, np.array(away)).feasible


def test_a_file_that_breaks_off_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="processes"):
        instance(tmp_path, "1\n1 0", "9\n0 1 1", "0")
