"""A host that sleeps counts as one that is not there: nothing it has counts, nothing goes there, nothing is lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Code,
    Host,
    HostState,
    Plant,
    Vm,
    admit,
    allotments,
    balance,
    capacity,
    drain,
    entitlements,
    failure_capacity,
    loads,
    memory_entitlements,
    memory_loads,
    recover,
    rolling_drain,
    violations,
)

from tests.unit.core.balancing.plants import plants

GIB = 2**30
EMPTY = Host("z", cpus=8, memory_bytes=32 * GIB, state=HostState.ASLEEP)


@settings(max_examples=20, deadline=None)
@given(plants(), st.integers(1, 2))
def test_nothing_that_it_has_counts_and_nothing_goes_there(plant: Plant, k: int) -> None:
    sleeper = replace(plant.hosts[0], name="z", state=HostState.ASLEEP)
    more = replace(plant, hosts=(*plant.hosts, sleeper))
    assert entitlements(more) == entitlements(plant)
    assert memory_entitlements(more) == memory_entitlements(plant)
    assert allotments(more) == allotments(plant)
    assert loads(more) == loads(plant)
    assert memory_loads(more) == memory_loads(plant)
    assert violations(more) == violations(plant)
    assert balance(more).before == balance(plant).before
    lost, left = failure_capacity(more, k), failure_capacity(plant, k)
    assert [row.hosts for row in lost.broken] == [row.hosts for row in left.broken]
    first = plant.hosts[0].name
    gone = recover(more, [first])
    moves = (*balance(more).moves, *drain(more, [first]).moves)
    assert "z" not in {move.target for move in moves} | {start.target for start in gone.restarts}


def test_nothing_is_placed_there_and_the_answer_says_why() -> None:
    plant = Plant((EMPTY,), ())
    made = admit(plant, [Vm("a", vcpus=1, memory_bytes=GIB)])
    assert made.placed[0].host is None
    (answer,) = made.placed[0].answers
    assert answer.codes == (Code.HOST_STATE,)
    assert answer.texts == ("z takes nothing new: it is asleep",)


def test_its_room_is_not_counted_until_it_is_awake() -> None:
    one = replace(EMPTY, name="a", state=HostState.UP)
    kind = Vm("kind", vcpus=1, memory_bytes=GIB, cpu_reservation=1.0)
    assert capacity(Plant((one, EMPTY), ()), kind).fits == capacity(Plant((one,), ()), kind).fits
    both = Plant((one, replace(EMPTY, state=HostState.UP)), ())
    assert capacity(both, kind).fits == 2 * capacity(Plant((one,), ()), kind).fits
    # Beside it stands what there would be with it awake; one that is not to be woken counts in neither.
    told = capacity(Plant((one, EMPTY), ()), kind)
    assert (told.asleep, told.with_woken) == (1, capacity(both, kind).fits)
    kept = capacity(Plant((one, EMPTY), ()), kind, woken=())
    assert (kept.fits, kept.asleep, kept.with_woken) == (told.fits, 0, None)


def test_it_is_woken_before_it_is_made_ready_for_work() -> None:
    plant = Plant((EMPTY, replace(EMPTY, name="a", state=HostState.UP)), ())
    made = drain(plant, ["z"])
    assert [row.codes for row in made.blockers] == [(Code.SOURCE_ASLEEP,)]
    assert rolling_drain(plant, 60.0).blocked == ("z",)


@pytest.mark.parametrize("state", list(HostState))
def test_only_lost_and_sleeping_hosts_are_off(state: HostState) -> None:
    assert state.off is (state in (HostState.DOWN, HostState.ASLEEP))
