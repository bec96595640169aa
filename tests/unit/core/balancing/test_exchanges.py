"""Tight exchanges: circles are opened over a third host, nothing is left, the checker finds nothing."""

import random

from millwright.core.balancing import after, order, verify
from millwright.core.balancing.order import WORTH_DETOURS, _better, _Run

from tests.bench.order.__main__ import exchange


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


def test_machines_step_aside_for_speed_only_where_that_pays() -> None:
    def run(now: float, *, eager: bool) -> _Run:
        return _Run(None, None, {}, {}, now=now, eager=eager)  # type: ignore[arg-type]

    lazy = run(100.0, eager=False)
    assert not _better(run(96.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(94.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(99.0, eager=False), lazy, 0.0)
