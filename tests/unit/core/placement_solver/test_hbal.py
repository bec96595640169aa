"""Ganeti's text data: read, scored as hbal does, evened out without a move that its rules forbid."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bench.hbal import __main__ as program
from tests.bench.hbal.data import Cluster, FileError, read
from tests.bench.hbal.generate import text
from tests.bench.hbal.plan import balance, placement
from tests.bench.hbal.score import memory_left, reserved, score


def cluster(tmp_path: Path, content: str) -> Cluster:
    file = tmp_path / "cluster.data"
    file.write_text(content)
    return read(file)


def test_a_cluster_by_hand_has_the_score_that_the_manual_gives(tmp_path: Path) -> None:
    found = cluster(
        tmp_path,
        "g|u|preferred|\n\n"
        "a|1000|0|600|1000|900|4|N|u\nb|1000|0|1000|1000|900|4|N|u\n\n"
        "one|400|100|2|running|Y|a|b|drbd||1\n\n\n",
    )
    # Free memory 0.6 and 1, twice; CPUs 0.5 and 0; primaries 1 and 0, three times; kept 0 and 0.4.
    wanted = 2 * 0.5 * 0.2 + 1.0 * 0.25 + 3 * 0.5 + 0.2 + 0.25 * 0.4
    assert score(found, found.primary, found.secondary) == pytest.approx(wanted, rel=1e-12)
    assert not balance(found).steps


@pytest.mark.parametrize("template", ["drbd", "ext"])
@pytest.mark.parametrize("drained", [False, True])
def test_a_plan_lowers_the_score_and_each_step_keeps_the_rules(
    tmp_path: Path, template: str, drained: bool
) -> None:
    for seed in range(3):
        found = cluster(tmp_path, text(seed, template=template, drained=drained))
        plan = balance(found)
        assert plan.steps
        assert plan.after < plan.before * 0.5
        tagged = _together(found, found.primary)
        previous, failing = plan.before, _failing(found, found.primary, found.secondary)
        for number, step in enumerate(plan.steps, 1):
            primary, secondary = placement(found, plan.steps[:number])
            assert step.score == pytest.approx(score(found, primary, secondary), rel=1e-9)
            assert step.score < previous
            assert (memory_left(found, primary) > 0).all()
            assert (primary != secondary).all()
            now = _failing(found, primary, secondary)
            assert drained or not now - failing
            # Machines with one tag lie apart, but for what a drained node leaves no choice.
            assert drained or _together(found, primary) <= tagged
            previous, failing, tagged = step.score, now, _together(found, primary)
        assert plan.after == pytest.approx(previous, rel=1e-9)
        if drained:
            assert 0 not in placement(found, plan.steps)[0].tolist()


def _together(found: Cluster, primary: np.ndarray) -> int:
    """Pairs of machines of one exclusion tag on one node; the files have one tag."""
    nodes = [
        int(node) for node, count in zip(primary, np.diff(found.tag_start), strict=True) if count
    ]
    return sum(nodes[:index].count(node) for index, node in enumerate(nodes))


def _failing(found: Cluster, primary: np.ndarray, secondary: np.ndarray) -> set[int]:
    """Nodes that could not take over what stands behind them."""
    left, kept = memory_left(found, primary), reserved(found, primary, secondary)
    return set(np.flatnonzero(~found.offline & (left <= kept)).tolist())


@pytest.mark.skipif(not shutil.which("hbal"), reason="ganeti-htools is not installed")
@pytest.mark.parametrize("template", ["drbd", "ext"])
def test_not_worse_than_hbal_with_not_more_moves(tmp_path: Path, template: str) -> None:
    for seed in range(3):
        file = tmp_path / "cluster.data"
        file.write_text(text(seed, template=template))
        plan, peer = balance(read(file)), program.hbal(file)
        assert plan.after <= peer["hbal_score"] + 1e-8
        assert len(plan.steps) <= peer["hbal_moves"]


def test_the_last_line_is_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cluster.data"
    file.write_text(text(1))
    monkeypatch.setattr(sys, "argv", ["hbal", str(file), "--moves"])
    assert program.main() == 0
    lines = capsys.readouterr().out.splitlines()
    verdict = json.loads(lines[-1])
    assert verdict["moves"] == len(lines) - 1 > 0
    assert verdict["score"] < verdict["initial"]
    assert verdict["seconds"] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("node1|131072", "node1|much"), "node1: memory is 'much', a number is wanted"),
        (("|node1|", "|node77|"), "node 'node77' is unknown"),
        (("htools:iextags:service", "htools:nlocation:rack"), "locations are not modelled"),
        (("running", "asleep"), "status 'asleep' is none of"),
        (("|Y|node", "|maybe|node"), "auto_balance is 'maybe', Y or N is wanted"),
        (("\n\n", "\n"), "at least 4 wanted"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(FileError, match=said):
        cluster(tmp_path, text(1).replace(*change))
