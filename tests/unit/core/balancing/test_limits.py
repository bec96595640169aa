"""How many moves at once, each limit alone; and what a place costs, part by part as by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from millwright.core.balancing import (
    Leg,
    Limits,
    Rule,
    RuleKind,
    admit,
    drain,
    order,
    replan,
    verify,
)

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


def over_link(legs: Sequence[Leg]) -> int:
    """How many legs run between the two racks at the busiest moment."""
    rack = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    return most_at_once([leg for leg in legs if rack[leg.source] != rack[leg.target]])


@pytest.mark.parametrize("per_link", [1, 2, 3])
def test_a_link_between_racks_has_a_limit_of_its_own(per_link: int) -> None:
    hosts = [host(name, domain=name[0]) for name in ("a1", "a2", "b1", "b2")]
    vms = [vm(f"v{i}", f"a{1 + i % 2}", memory=1) for i in range(6)]
    start = plant(hosts, [*vms, vm("stays", "a1", memory=1), vm("back", "b1", memory=1)])
    ways = [(f"v{i}", f"a{1 + i % 2}", f"b{1 + i % 2}") for i in range(6)]
    moves = moves_of(*ways, ("stays", "a1", "a2"), ("back", "b1", "a1"))
    free, bound = Limits(8, 99), Limits(8, 99, per_link)
    wide, narrow = order(start, moves, free), order(start, moves, bound)
    # Without it all seven cross at once; with it as many as it lets, whichever way they go.
    assert over_link(wide.legs) == 7
    assert over_link(narrow.legs) == per_link
    assert not narrow.dropped
    assert not verify(start, narrow, bound)
    assert {entry.kind for entry in verify(start, wide, bound)} == {"limit_link"}
    # What stays in a rack waits for none of them.
    assert next(leg for leg in narrow.legs if leg.vm == "stays").start_s == 0
    assert narrow.makespan_s >= narrow.bound_s


@pytest.mark.parametrize("per_link", [1, 2, 3])
def test_the_plant_s_own_limit_of_a_link_holds_at_every_door(per_link: int) -> None:
    """Orders, plans made anew and drains keep to it where nobody asks for another one."""
    hosts = [host(name, domain=name[0]) for name in ("a1", "b1", "b2")]
    vms = [vm(f"v{i}", "a1", memory=1) for i in range(6)]
    start = plant(hosts, vms)
    told = replace(start, settings=replace(start.settings, link_moves=per_link))
    moves = moves_of(*((f"v{i}", "a1", f"b{1 + i % 2}") for i in range(6)))
    wide, bound = Limits(8, 99), Limits(8, 99, per_link)
    made = order(told, moves, wide)
    assert made == order(start, moves, bound)
    assert not verify(told, made, bound)
    assert over_link(made.legs) == per_link
    assert replan(told, made, limits=wide) == replan(start, made, limits=bound)
    assert drain(told, ["a1"], wide) == drain(start, ["a1"], bound)
    assert drain(told, ["a1"], wide).seconds > drain(start, ["a1"], wide).seconds
    # What is asked for goes before it.
    assert order(told, moves, Limits(8, 99, 6)) == order(start, moves, Limits(8, 99, 6))


def test_a_detour_goes_over_a_link_that_is_free() -> None:
    """Two that change places over a third host, one link of one move at a time."""
    hosts = [host(name, memory=8) for name in ("h1", "h2", "h3")]
    start = plant(hosts, [vm("a", "h1", memory=6), vm("b", "h2", memory=6)])
    limits = Limits(2, 8, 1)
    made = order(start, moves_of(("a", "h1", "h2"), ("b", "h2", "h1")), limits)
    assert not made.dropped
    assert len(made.legs) == 3
    assert not verify(start, made, limits)


def test_the_checker_counts_for_itself() -> None:
    start = plant([host("h1"), host("h2")], [vm(f"v{i}", "h1", memory=1) for i in range(3)])
    made = order(start, moves_of(*((f"v{i}", "h1", "h2") for i in range(3))), Limits(3, 3))
    assert not verify(start, made, Limits(3, 3, 3))
    for limits, kind in ((Limits(2, 3), "limit_host"), (Limits(3, 2), "limit_pool")):
        assert {entry.kind for entry in verify(start, made, limits)} == {kind}


def test_a_limit_is_at_least_one() -> None:
    for wrong in ({"per_host": 0}, {"pool": 0}, {"per_link": 0}):
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
