"""Tight exchanges: circles are opened over a third host, nothing is left, the checker finds nothing."""

import random

import pytest
from millwright.core.balancing import Limits, after, order, verify
from millwright.core.balancing.order import WORTH_DETOURS, _better, _Run

from tests.bench.order.__main__ import GIB, exchange
from tests.bench.order.optimum import least


def test_tight_exchanges_are_ordered_without_a_broken_moment() -> None:
    detours = 0
    for number in range(25):
        plant, moves = exchange(random.Random(number))  # noqa: S311  # play, not secrets
        schedule = order(plant, moves)
        assert not schedule.dropped
        assert not verify(plant, schedule)
        end = {vm.name: vm.host for vm in after(plant, schedule.legs).vms}
        assert all(end[move.vm] == move.target for move in moves)
        assert schedule.makespan_s >= schedule.bound_s * (1 - 1e-9)
        detours += sum(leg.detour for leg in schedule.legs)
    assert detours > 10


@pytest.mark.parametrize(
    ("number", "room"), [(3, 0), (10, 0), (12, 0), (16, 0), (3, 4), (10, 4), (12, 4)]
)
def test_small_orders_are_as_short_as_is_proven_and_no_bound_is_above(
    number: int, room: int
) -> None:
    plant, moves = exchange(random.Random(1_000_003 + number), room * GIB)  # noqa: S311
    made = order(plant, moves, Limits(2, 8))
    proof = least(plant, moves, Limits(2, 8), made, 20.0)
    assert proof.optimal
    # The proof counts in tenths of a second, rounded down for each leg.
    slack = 0.1 * 3 * len(moves)
    assert made.bound_s <= proof.least_s + slack
    assert made.makespan_s <= 1.02 * proof.least_s + slack


def test_machines_step_aside_for_speed_only_where_that_pays() -> None:
    def run(now: float, *, eager: bool) -> _Run:
        return _Run(None, None, {}, {}, now=now, eager=eager)  # type: ignore[arg-type]

    lazy = run(100.0, eager=False)
    assert not _better(run(96.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(94.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(99.0, eager=False), lazy, 0.0)
