"""Tight exchanges: circles are opened over a third host, nothing is left, the checker finds nothing."""

import random

from millwright.core.balancing import after, order, verify

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
