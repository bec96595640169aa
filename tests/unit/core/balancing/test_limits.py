"""How many moves at once, each limit alone; and what a place costs, part by part as by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from millwright.core.balancing import Leg, Limits, Rule, RuleKind, admit, order

from tests.unit.core.balancing.test_doors import host, moves_of, plant, vm


def most_at_once(legs: Sequence[Leg], name: str = "") -> int:
    """How many of the legs, or of those that touch a host, run at the busiest moment."""
    mine = [leg for leg in legs if not name or name in (leg.source, leg.target)]
    return max(
        sum(leg.start_s <= at < leg.end_s for leg in mine) for at in (m.start_s for m in mine)
    )


@pytest.mark.parametrize(
    ("limits", "sources", "in_all", "by_host"),
    [
        # Each limit binds alone: one host may send all that the pool may; eight hosts send one each.
        (Limits(per_host=8, pool=3), 1, 3, 3),
        (Limits(per_host=8, pool=3), 4, 3, 3),
        (Limits(per_host=1, pool=8), 4, 4, 1),
        (Limits(per_host=2, pool=8), 1, 2, 2),
        (Limits(per_host=2, pool=8), 4, 8, 2),
    ],
)
def test_limits_hold_at_every_moment(
    limits: Limits, sources: int, in_all: int, by_host: int
) -> None:
    """As many moves as the limits let are under way at once, and never one more."""
    vms = [vm(f"v{i}", f"s{i % sources}", memory=1) for i in range(16)]
    names = [*(f"s{i}" for i in range(sources)), *(f"t{i}" for i in range(8))]
    start = plant([host(name) for name in names], vms)
    ways = [(f"v{i}", f"s{i % sources}", f"t{i % 8}") for i in range(16)]
    schedule = order(start, moves_of(*ways), limits)
    assert not schedule.dropped
    assert len(schedule.legs) == 16
    assert most_at_once(schedule.legs) == in_all
    assert max(most_at_once(schedule.legs, name) for name in names[:sources]) <= by_host
    assert all(most_at_once(schedule.legs, name) <= limits.per_host for name in names)


def test_a_limit_is_at_least_one() -> None:
    for wrong in ({"per_host": 0}, {"pool": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Limits(**wrong)


def test_the_parts_of_a_score_are_as_by_hand() -> None:
    start = plant([host("h1"), host("h2")], [vm("there", "h1", 4)])
    apart = Rule("r", RuleKind.APART, ("there", "new"), hard=False, weight=2.0)
    new = vm("new", None, 5, memory=8, vcpus=6, demand_peak=6.0)
    answers = {entry.host: entry for entry in admit(start, [new], rules=[apart]).placed[0].answers}
    horizon = 1800.0
    # On h1 9 of 8 cores are wanted, 7.04 are not contention; peaks add up to 10; 2 of 32 GiB are taken.
    assert answers["h1"].parts == pytest.approx(
        {
            "contention": (9 - 0.88 * 8) * horizon,
            "risk": 0.5 * ((10 - 8) - (9 - 0.88 * 8)) * horizon,
            "even_cpu": 0.1 * 8 * ((9 / 8) ** 2 - (4 / 8) ** 2) * horizon,
            "even_memory": 0.1 * 8 * ((10 / 32) ** 2 - (2 / 32) ** 2) * horizon,
            "soft_rules": 2.0 * horizon,
        }
    )
    assert answers["h2"].parts == pytest.approx(
        {
            "contention": 0.0,
            "risk": 0.0,
            "even_cpu": 0.1 * 8 * (5 / 8) ** 2 * horizon,
            "even_memory": 0.1 * 8 * (8 / 32) ** 2 * horizon,
            "soft_rules": 0.0,
        }
    )
    for entry in answers.values():
        assert entry.score == pytest.approx(sum(entry.parts.values()))
