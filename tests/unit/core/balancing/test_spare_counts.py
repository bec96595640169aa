"""Copies counted as amounts are what a search over plants that hold each of them finds."""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millwright.core.balancing import Plant
from millwright.core.balancing.capacity import _by_frames, _fill, capacity, deal
from millwright.core.balancing.failure import Spare, Trial, verdict
from millwright.core.balancing.frame import Frame, Ints
from millwright.core.balancing.state import State

from .plants import machines, plants

relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


class OneByOne(Trial):
    """Places every unit by itself, whatever follows it."""

    def _place(self, order: Ints, homes: dict[int, int]) -> list[int]:
        state, left = self.state, []
        for unit in order.tolist():
            if unit in homes:
                mask = state.fits(unit)
            else:
                mask = self.frame.allowed[int(self.frame.signature[unit])] & ~state.closed
                for row in self.frame.wanted[unit]:
                    mask = mask & (state.free[row] >= self.frame.need[row, unit])
            host = int(mask.argmax())
            if not mask[host]:
                left.append(unit)
            elif unit in homes:
                state.take(unit, host)
            else:
                for row in self.frame.wanted[unit]:
                    state.free[row, host] -= self.frame.need[row, unit]
        return left


@relaxed
@given(plants(), st.integers(1, 2))
def test_runs_of_a_kind_are_placed_as_one_by_one(plant: Plant, k: int) -> None:
    state = State(Frame(plant))
    fast, slow = Trial(state), OneByOne(state)
    for first in range(len(plant.hosts)):
        lost = [first] if k == 1 else sorted({first, (first + 1) % len(plant.hosts)})
        assert fast.lose(lost) == slow.lose(lost)
        assert (fast.state.free == state.free).all() and (fast.state.at == state.at).all()


@relaxed
@given(plants(), st.data(), st.integers(1, 2))
def test_how_many_more_is_what_the_search_finds(plant: Plant, data: st.DataObject, k: int) -> None:
    drawn = data.draw(machines("more", [plant.hosts[0].name]))
    drawn = replace(drawn, host=None, node=None, pool="", after=())
    small = data.draw(st.sampled_from([2**30, 2**28]))
    probe = replace(drawn, name="\x00probe", vcpus=1, cores=0, memory_bytes=small, gpus={})
    found = capacity(plant, probe, k=k)
    frame = Frame(replace(plant, vms=(*plant.vms, probe)))
    state = State(frame)
    unit = int(frame.unit_of[frame.vm_index[probe.name]])
    counts, _limits = _fill(state, unit)
    if not probe.protected:
        assert found.fits == sum(counts)
        return
    search = _by_frames(state, unit, k)
    low, high = 0, sum(counts)
    if not search(deal(counts, 0)):
        assert found.fits == 0
        return
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if search(deal(counts, middle)) else (low, middle - 1)
    assert found.fits == low
    trial = Trial(state)
    if trial.plain[unit]:
        # Asked in any order: what broke one answer decides no other.
        spare = Spare(trial, unit, k)
        for number in (sum(counts), 0, low, min(low + 1, sum(counts)), low):
            assert spare.holds(deal(counts, number)) is search(deal(counts, number))
        assert spare.holds(deal(counts, 0)) is verdict(state, k).ok


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 60))
def test_copies_are_dealt_evenly_from_the_first_host_on(counts: list[int], number: int) -> None:
    number = min(number, sum(counts))
    given_, level = [0] * len(counts), 0
    left = number
    while left:
        for host, most in enumerate(counts):
            if left and given_[host] == level < most:
                given_[host] += 1
                left -= 1
        level += 1
    assert np.array_equal(deal(counts, number), given_)
