"""CPUs are divided only for whom it matters, and loads that are counted late are those that are kept up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Plant,
    balance,
    failure_capacity,
    frame,
    losses_of,
    order,
    page_bytes,
    read_plant,
    related_survive,
)
from millwright.core.balancing.errors import SnapshotError
from millwright.core.balancing.frame import Frame
from millwright.core.balancing.state import State

from .plants import plants
from .test_doors import host, hot_plant, moves_of, plant, vm


def test_who_asks_for_room_does_not_divide_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> object:
        raise AssertionError("CPUs were divided")

    start = hot_plant()
    monkeypatch.setattr(frame, "entitlements", never)
    assert failure_capacity(start).ok
    assert losses_of(start, ["h1"]).ok
    assert related_survive(start, 1, ["h1"])
    assert order(start, moves_of(("v0", "h1", "h2"))).legs
    with pytest.raises(AssertionError, match="CPUs were divided"):
        balance(start)


@settings(max_examples=60, deadline=None)
@given(plants(), st.data())
def test_loads_asked_for_late_are_those_kept_up(start: Plant, data: st.DataObject) -> None:
    """Whatever moves meanwhile, and in copies."""
    made = Frame(start)
    early, late = State(made), State(made)
    assert early.load.shape == early.peak.shape == (len(start.hosts),)
    for _ in range(data.draw(st.integers(0, 6))):
        unit = data.draw(st.integers(0, len(made.units) - 1))
        target = data.draw(st.integers(0, len(start.hosts) - 1))
        for state in (early, late):
            state.move(unit, target)
    for state in (late, early.copy(), late.copy()):
        np.testing.assert_allclose(state.load, early.load, atol=1e-9)
        np.testing.assert_allclose(state.peak, early.peak, atol=1e-9)


@pytest.mark.parametrize("size", ["²M", "٣G", "1", "M", "0M", "-1M", "1.5G", "1T", ""])
def test_a_page_size_that_no_kernel_writes_is_named(size: str) -> None:
    with pytest.raises(ValueError, match="a number and K, M or G is wanted"):
        page_bytes(size)
    if size:
        machine = {"name": "a", "vcpus": 1, "memory_bytes": 2**30, "hugepage": size}
        with pytest.raises(SnapshotError) as told:
            read_plant(
                {"hosts": [{"name": "h", "cpus": 1, "memory_bytes": 2**34}], "vms": [machine]}
            )
        assert repr(size) in str(told.value)
        assert "hugepage" in str(told.value)
    assert (page_bytes("2M"), page_bytes("1G"), page_bytes("64K")) == (2**21, 2**30, 2**16)


def test_plain_plants_are_as_before() -> None:
    start = plant([host("h1"), host("h2")], [vm("a", "h1", 2.0), vm("b", "h1", 1.0)])
    state = State(Frame(start))
    assert state.load.tolist() == [3.0, 0.0]
    state.move(0, 1)
    assert state.load.tolist() == [1.0, 2.0]
