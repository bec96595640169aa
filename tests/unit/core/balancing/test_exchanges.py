"""Tight exchanges: circles are opened over a third host, nothing is left, the checker finds nothing."""

import random
import sys
from dataclasses import replace
from typing import Any

import pytest
from millwright.core.balancing import Limits, after, order, verify
from millwright.core.balancing.order import WORTH_DETOURS, _better, _Run
from millwright.core.balancing.shorten import FAR, MANY_MOVES, MANY_TIMES, Script

from tests.bench.order import refute
from tests.bench.order.exchanges import GIB, exchange
from tests.bench.order.optimum import holds, least
from tests.bench.order.refute import Detail, Verdict, within


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


@pytest.mark.parametrize("room", [0, 4])
def test_what_proves_holds_every_order_there_is(room: int) -> None:
    over = 0
    for number in range(40):
        plant, moves = exchange(random.Random(number), room * GIB)  # noqa: S311
        made = order(plant, moves, Limits(2, 8), eager=False)
        assert holds(plant, moves, Limits(2, 8), made)
        details = dict.fromkeys((move.vm for move in moves), Detail(number % len(Detail)))
        small = len(moves) <= 12
        assert not small or refute.holds(plant, moves, Limits(2, 8), made, details)
        over += sum(leg.detour for leg in made.legs)
        # And one that breaks a limit is not held: all legs at once.
        if len(moves) > 8:
            legs = tuple(
                replace(leg, start_s=0.0, end_s=leg.end_s - leg.start_s) for leg in made.legs
            )
            once = replace(made, legs=legs)
            assert not holds(plant, moves, Limits(2, 8), once)
            assert not small or not refute.holds(plant, moves, Limits(2, 8), once, details)
    assert over > 10


@pytest.mark.parametrize(("number", "room"), [(3, 0), (10, 0), (16, 0), (3, 4), (12, 4)])
def test_no_order_ends_before_the_least_and_one_ends_then(number: int, room: int) -> None:
    plant, moves = exchange(random.Random(1_000_003 + number), room * GIB)  # noqa: S311
    made = order(plant, moves, Limits(2, 8))
    proof = least(plant, moves, Limits(2, 8), made, 20.0)

    def ends_by(seconds: float) -> Verdict:
        return within(plant, moves, Limits(2, 8), made, seconds, 20.0)[0]

    assert ends_by(proof.least_s + 0.01) is Verdict.SOME
    assert ends_by(proof.least_s - 0.11) is Verdict.NONE
    assert ends_by(made.makespan_s) is Verdict.SOME


@pytest.mark.parametrize(
    ("number", "room"), [(33, 0), (60, 0), (126, 0), (139, 0), (20, 4), (75, 4), (95, 4)]
)
def test_orders_above_their_bound_are_near_what_is_proven(number: int, room: int) -> None:
    plant, moves = exchange(random.Random(1_000_003 + number), room * GIB)  # noqa: S311
    made = order(plant, moves, Limits(2, 8))
    assert made.makespan_s > 1.25 * made.bound_s
    end = made.makespan_s / 1.25
    verdict, work = within(plant, moves, Limits(2, 8), made, end, 20.0)
    assert verdict is Verdict.NONE
    assert work < 20.0


def test_what_is_far_from_its_bound_is_looked_for_further() -> None:
    # The searches that begin near the lists' order end at 1.43 of the bound here.
    plant, moves = exchange(random.Random(1_000_003 + 99), 4 * GIB)  # noqa: S311
    made = order(plant, moves, Limits(2, 8))
    assert not verify(plant, made)
    assert made.makespan_s <= 1.25 * made.bound_s


@pytest.mark.parametrize(("number", "many"), [(384, True), (421, False)])
def test_many_moves_that_stay_far_are_looked_for_with_more_work(
    number: int, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def finds_nothing(*given: Any) -> Script:
        asked.append(given[-1])
        script: Script = given[3]
        return script

    monkeypatch.setattr(sys.modules[order.__module__], "shorten", finds_nothing)
    plant, moves = exchange(random.Random(1_000_003 + number))  # noqa: S311
    made = order(plant, moves, Limits(2, 8))
    assert made.makespan_s > FAR * made.bound_s
    assert (len(moves) > MANY_MOVES) is many
    assert asked == [1, 1, 1, *[MANY_TIMES] * many]


def test_machines_step_aside_for_speed_only_where_that_pays() -> None:
    def run(now: float, *, eager: bool) -> _Run:
        return _Run(None, None, {}, {}, now=now, eager=eager)  # type: ignore[arg-type]

    lazy = run(100.0, eager=False)
    assert not _better(run(96.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(94.0, eager=True), lazy, WORTH_DETOURS * lazy.now)
    assert _better(run(99.0, eager=False), lazy, 0.0)
