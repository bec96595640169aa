"""Generated instances: well formed, the same for the same seed, and solved within their rules."""

import dataclasses
from pathlib import Path

import pytest
from millwright.core.placement.solver import check, solve

from tests.bench.roadef2012.generate import Shape, main, write
from tests.bench.roadef2012.model import read

SMALL = Shape(machines=30, processes=300, services=120, locations=10, single=0.5)


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        dataclasses.replace(SMALL, transient=4, fill=0.8),
        dataclasses.replace(SMALL, resources=12, balances=6, bad=1.0, fill=0.5),
        dataclasses.replace(SMALL, services=300, dependencies=0.0, balances=0, transient=0),
    ],
)
def test_the_start_keeps_the_rules_and_the_answer_too(tmp_path: Path, shape: Shape) -> None:
    model, initial = tmp_path / "model", tmp_path / "initial"
    write(shape, 3, model, initial)
    problem = read(model, initial).validate()
    before = check(problem, problem.home)
    assert before.feasible, before.violations[:3]
    found = solve(problem, rounds=600_000, seed=1, threads=2)
    after = check(problem, found.assignment)
    assert after.feasible, after.violations[:3]
    assert after.cost < before.cost


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(SMALL, 5, tmp_path / f"model_{name}", tmp_path / f"initial_{name}")
    for what in ("model", "initial"):
        assert (tmp_path / f"{what}_one").read_text() == (tmp_path / f"{what}_two").read_text()


def test_a_shape_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(tmp_path / "model"), str(tmp_path / "initial")]
    sizes = ["--machines", "10", "--processes", "5", "--services", "6", "--locations", "2"]
    monkeypatch.setattr("sys.argv", ["generate", *where, *sizes])
    assert main() == 2
    assert "services 6: at most one a process, 5" in capsys.readouterr().err
