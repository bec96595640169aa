"""Where there is not enough for all the more important come first, and nobody is starved by it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Host,
    Mode,
    Plant,
    Pool,
    Settings,
    Vm,
    allotments,
    balance,
    entitlements,
)
from millwright.core.balancing.entitlement import KEPT, MOST_TIERS

GIB = 2**30


def host(name: str, cpus: int = 8) -> Host:
    return Host(name, cpus, 64 * GIB)


def wants(name: str, cores: float = 8.0, priority: int = 0, **more: object) -> Vm:
    """A machine on h1 that wants so many cores."""
    vm = Vm(name, 8, 2 * GIB, host="h1", demand_short=cores, demand_long=cores, priority=priority)
    return replace(vm, **more)  # type: ignore[arg-type]  # fields by name


def test_the_more_important_gets_what_it_wants_and_the_others_keep_a_tenth_of_their_part() -> None:
    plant = Plant((host("h1"),), (wants("rush", 6, 9), wants("one"), wants("two", priority=-1)))
    # All alike each would have 2 2/3.
    least = KEPT * 8 / 3
    assert entitlements(plant) == pytest.approx({"rush": 6, "one": 2 - least, "two": least})
    weights = {name: row.cpu_weight for name, row in allotments(plant).items()}
    assert weights["rush"] > 3 * weights["one"] > 9 * weights["two"] / 2


def test_what_is_enough_for_all_is_not_taken_from_anybody() -> None:
    plant = Plant((host("h1"),), (wants("rush", 3, 9), wants("one", 3), wants("two", 2)))
    assert entitlements(plant) == pytest.approx({"rush": 3, "one": 3, "two": 2})


def test_it_reaches_across_pools_within_their_limits_and_reservations() -> None:
    pools = (Pool("cad", shares=9000), Pool("cae", shares=1000), Pool("control", reservation=2))
    vms = (
        wants("drawing", pool="cad"),
        wants("solver", 6, 9, pool="cae"),
        wants("history", pool="control"),
    )
    plant = Plant((host("h1"),), vms, pools=pools)
    given = entitlements(plant)
    # Two are reserved; the drawing keeps a tenth of what it would have.
    base = entitlements(replace(plant, vms=tuple(replace(vm, priority=0) for vm in vms)))
    assert given["history"] == pytest.approx(2)
    assert given["drawing"] == pytest.approx(KEPT * base["drawing"])
    assert given["solver"] == pytest.approx(6 - KEPT * base["drawing"])
    limited = replace(plant, pools=(pools[0], replace(pools[1], limit=1.5), pools[2]))
    assert entitlements(limited)["solver"] == pytest.approx(1.5)


def test_the_important_is_not_the_one_that_is_disturbed() -> None:
    hosts = (host("h1"), host("h2"))
    for moved in range(3):
        vms = [wants(name, 4, 9) for name in ("a", "b", "c")]
        vms[moved] = replace(vms[moved], priority=0)
        plant = Plant(
            hosts, tuple(vms), settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=1, max_moves=1)
        )
        assert [move.vm for move in balance(plant).moves] == ["abc"[moved]]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(
            st.floats(0, 8),
            st.floats(0, 4),
            st.integers(-30, 30),
            st.integers(1, 4000),
            st.sampled_from(["", "p", "q", "r"]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.floats(0, 10),
    st.one_of(st.none(), st.floats(0, 10)),
)
def test_drawn_trees_give_all_there_is_and_keep_what_is_kept(
    cpus: int,
    rows: list[tuple[float, float, int, int, str]],
    reserved: float,
    limit: float | None,
) -> None:
    vms = tuple(
        wants(str(index), want, priority, cpu_reservation=held, shares=shares, pool=pool)
        for index, (want, held, priority, shares, pool) in enumerate(rows)
    )
    pools = (Pool("p", reservation=reserved), Pool("q", limit=limit), Pool("r", parent="p"))
    plant = Plant((host("h1", cpus),), vms, pools=pools)
    alike = entitlements(replace(plant, vms=tuple(replace(vm, priority=0) for vm in vms)))
    given = entitlements(plant)
    # No more and no less than if all were equally important.
    assert sum(given.values()) == pytest.approx(sum(alike.values()), abs=1e-6)
    assert sum(given.values()) <= cpus + 1e-6
    for vm in vms:
        want = max(vm.demand_short, vm.cpu_reservation)
        assert given[vm.name] <= want + 1e-6
        assert given[vm.name] >= KEPT * alike[vm.name] - 1e-6
        assert given[vm.name] >= min(vm.cpu_reservation, want, alike[vm.name]) - 1e-6
    if limit is not None:
        assert sum(given[vm.name] for vm in vms if vm.pool == "q") <= limit + 1e-6
    # Among machines that stand side by side: who gets more than is kept leaves nobody above hungry.
    distinct = sorted({vm.priority for vm in vms}, reverse=True)
    for vm in vms:
        for other in vms:
            told_apart = vm.priority in distinct[: MOST_TIERS - 1]
            if vm.pool == other.pool == "" and vm.priority > other.priority and told_apart:
                want = max(vm.demand_short, vm.cpu_reservation)
                most = max(KEPT * alike[other.name], other.cpu_reservation)
                assert given[vm.name] >= want - 1e-6 or given[other.name] <= most + 1e-6
