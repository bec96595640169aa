"""Memory in the tree of pools: divided as CPUs are, given by balloons, and limited where machines are placed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Code,
    Host,
    Plant,
    Pool,
    SnapshotError,
    Vm,
    admit,
    allotments,
    least_bytes,
    memory_entitlements,
    read_plant,
    write_plant,
)

GIB = 2**30


def _vm(name: str, gib: int, *, least: int | None = None, pool: str = "", **more: object) -> Vm:
    return Vm(
        name=name,
        vcpus=1,
        memory_bytes=gib * GIB,
        memory_minimum_bytes=None if least is None else least * GIB,
        pool=pool,
        **({"host": "h1"} | more),  # type: ignore[arg-type]  # fields by name
    )


def _plant(gib: int, vms: tuple[Vm, ...], pools: tuple[Pool, ...], hosts: int = 1) -> Plant:
    return Plant(
        hosts=tuple(Host(f"h{n + 1}", 64, gib * GIB) for n in range(hosts)), vms=vms, pools=pools
    )


def _gib(plant: Plant) -> dict[str, float]:
    return {name: round(size / GIB, 3) for name, size in memory_entitlements(plant).items()}


def _balloons(plant: Plant) -> dict[str, float]:
    return {name: round(row.balloon_bytes / GIB, 3) for name, row in allotments(plant).items()}


def test_shares_of_pools_divide_what_lies_above_the_least() -> None:
    vms = (_vm("day", 20, least=1, pool="day"), _vm("night", 20, least=1, pool="night"))
    equal = _plant(20, vms, (Pool("day"), Pool("night")))
    assert _gib(equal) == {"day": 10, "night": 10}
    by_day = replace(equal, pools=(Pool("day", memory_shares=2000), Pool("night")))
    # 18 GiB above the two least ones, two to one.
    assert _gib(by_day) == _balloons(by_day) == {"day": 13, "night": 7}


def test_a_reservation_is_kept_and_what_is_not_wanted_of_it_is_left_to_others() -> None:
    vms = (_vm("a", 8, least=1, pool="kept"), *(_vm(f"b{n}", 8, least=1) for n in range(3)))
    plant = _plant(12, vms, (Pool("kept", memory_reservation_bytes=6 * GIB),))
    given = _balloons(plant)
    assert given["a"] >= 6
    assert sum(given.values()) == pytest.approx(12, abs=0.01)
    greedy = _plant(12, vms, (Pool("kept", memory_reservation_bytes=100 * GIB),))
    assert _balloons(greedy)["a"] == 8


def test_a_limit_holds_where_there_is_room_and_goes_with_its_machines_over_the_hosts() -> None:
    vms = (
        _vm("a", 8, least=1, pool="small"),
        _vm("b", 8, least=1, pool="small", host="h2"),
        _vm("c", 8, least=1),
    )
    plant = _plant(64, vms, (Pool("small", memory_limit_bytes=8 * GIB),), hosts=2)
    assert _balloons(plant) == {"a": 4, "b": 4, "c": 8}


def test_that_another_host_lacks_memory_takes_nothing_here() -> None:
    vms = (_vm("a", 8, least=1, pool="p"), _vm("b", 30, least=1, pool="p", host="h2"))
    pools = (Pool("p", memory_reservation_bytes=GIB),)
    plant = replace(_plant(8, vms, pools), hosts=(Host("h1", 8, 8 * GIB), Host("h2", 8, 10 * GIB)))
    assert _balloons(plant) == {"a": 8, "b": 10}


def test_what_has_no_balloon_or_lies_in_pages_keeps_all_of_it() -> None:
    vms = (
        _vm("fixed", 6, pool="p"),
        _vm("paged", 4, least=1, pool="p", hugepage="1G"),
        _vm("soft", 6, least=1, pool="p"),
    )
    plant = _plant(14, vms, (Pool("p", memory_limit_bytes=12 * GIB),))
    plant = replace(plant, hosts=(replace(plant.hosts[0], hugepages={"1G": 4}),))
    assert _balloons(plant) == {"fixed": 6, "paged": 4, "soft": 2}
    # A limit that was set below what cannot be taken back takes all that can, and no more.
    tight = replace(plant, pools=(Pool("p", memory_limit_bytes=2 * GIB),))
    assert _balloons(tight) == {"fixed": 6, "paged": 4, "soft": 1}


def test_a_new_machine_above_the_limit_is_refused_by_every_host_with_the_numbers() -> None:
    pools = (Pool("works", memory_limit_bytes=10 * GIB), Pool("hall", parent="works"))
    vms = (_vm("a", 8, least=6, pool="hall"),)
    plant = _plant(64, vms, pools, hosts=2)
    answer = admit(plant, [_vm("new", 5, pool="hall", host=None)]).placed[0]
    assert answer.host is None
    assert {row.codes for row in answer.answers} == {(Code.POOL_MEMORY,)}
    assert answer.answers[0].texts == (
        "it asks for 5.0 GiB of memory, of which its resource pool works has 4.0 GiB left within its limit",
    )
    # What can be taken back from it does not count, and the second of two finds no room any more.
    pair = [_vm(name, 5, least=3, pool="works", host=None) for name in ("one", "two")]
    assert [row.host is None for row in admit(plant, pair).placed] == [False, True]


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        (
            [{"name": "p", "memory_reservation_bytes": 2, "memory_limit_bytes": 1}],
            "pool p.memory_reservation_bytes: 2: above its limit of 1",
        ),
        (
            [
                {"name": "p", "memory_limit_bytes": 5},
                {"name": "q", "parent": "p", "memory_limit_bytes": 6},
            ],
            "pool q.memory_limit_bytes: 6: above the limit of p, 5",
        ),
        (
            [
                {"name": "p", "memory_limit_bytes": 5},
                {"name": "q", "parent": "p", "memory_reservation_bytes": 3},
                {"name": "r", "parent": "p", "memory_reservation_bytes": 3},
            ],
            "pool p.memory_limit_bytes: 5: less than the 6 that pools in it have reserved",
        ),
        ([{"name": "p", "memory_shares": 0}], "memory_shares: 0: must be"),
    ],
)
def test_a_snapshot_whose_pools_cannot_be_is_refused(
    pools: list[dict[str, object]], words: str
) -> None:
    with pytest.raises(SnapshotError, match=words):
        read_plant({"hosts": [], "vms": [], "pools": pools})


# -- drawn trees -----------------------------------------------------------------

_SIZE = st.integers(0, 40)
#: A busy machine is no fault of what is drawn.
_CALM = [HealthCheck.too_slow]


@st.composite
def trees(draw: st.DrawFn) -> Plant:
    pools: list[Pool] = []
    for number in range(draw(st.integers(1, 5))):
        limit = draw(st.none() | _SIZE)
        kept = draw(_SIZE)
        pools.append(
            Pool(
                f"p{number}",
                parent=draw(st.sampled_from(["", *(pool.name for pool in pools)])),
                memory_reservation_bytes=(kept if limit is None else min(kept, limit)) * GIB,
                memory_limit_bytes=None if limit is None else limit * GIB,
                memory_shares=draw(st.sampled_from([1, 500, 1000, 4000])),
            )
        )
    vms = []
    for number in range(draw(st.integers(1, 8))):
        size = draw(st.integers(1, 20))
        vms.append(
            replace(
                _vm(
                    f"v{number}",
                    size,
                    least=draw(st.none() | st.integers(0, size)),
                    pool=draw(st.sampled_from(["", *(pool.name for pool in pools)])),
                    host=draw(st.sampled_from(["h1", "h2"])),
                ),
                memory_active_bytes=draw(st.none() | st.integers(0, size).map(lambda n: n * GIB)),
            )
        )
    return _plant(draw(st.integers(1, 60)), tuple(vms), tuple(pools), hosts=2)


def _inside(plant: Plant, pool: str) -> set[str]:
    """Names of the machines in the pool and below it, found by going up from each of them."""
    above = {row.name: row.parent for row in plant.pools}
    found = set()
    for vm in plant.vms:
        at = vm.pool
        while at:
            if at == pool:
                found.add(vm.name)
            at = above[at]
    return found


def _wanted(plant: Plant, pool: str) -> int:
    """All that the machines of the pool may have within every limit, from below."""
    own = sum(vm.memory_bytes for vm in plant.vms if vm.pool == pool)
    total = own + sum(_wanted(plant, row.name) for row in plant.pools if row.parent == pool)
    limit = next((row.memory_limit_bytes for row in plant.pools if row.name == pool), None)
    return total if limit is None else min(total, limit)


def _first(plant: Plant, pool: str) -> int:
    """What comes before shares: least memory, or what the pool has reserved and wants."""
    own = sum(least_bytes(vm) for vm in plant.vms if vm.pool == pool)
    total = own + sum(_first(plant, row.name) for row in plant.pools if row.parent == pool)
    kept = next((row.memory_reservation_bytes for row in plant.pools if row.name == pool), 0)
    return min(max(total, kept), _wanted(plant, pool))


@settings(max_examples=300, deadline=None, suppress_health_check=_CALM)
@given(trees())
def test_all_there_is_is_given_within_limits_and_what_is_reserved_is_kept(plant: Plant) -> None:
    given_to = memory_entitlements(plant)
    capacity = sum(host.memory_bytes for host in plant.hosts)
    assert sum(given_to.values()) == pytest.approx(min(capacity, _wanted(plant, "")), abs=16)
    enough = _first(plant, "") <= capacity
    for pool in plant.pools:
        has = sum(given_to[name] for name in _inside(plant, pool.name))
        if pool.memory_limit_bytes is not None:
            assert has <= pool.memory_limit_bytes + 16
        above = {row.name: row for row in plant.pools}.get(pool.parent)
        whole = above is None or above.memory_limit_bytes is None
        if enough and whole and not pool.parent:
            kept = min(pool.memory_reservation_bytes, _wanted(plant, pool.name))
            assert has >= kept - 16
    for vm in plant.vms:
        assert given_to[vm.name] <= vm.memory_bytes + 16


@settings(max_examples=300, deadline=None, suppress_health_check=_CALM)
@given(trees())
def test_balloons_stay_within_their_bounds_and_their_host(plant: Plant) -> None:
    given_to = allotments(plant)
    for host in plant.hosts:
        here = [vm for vm in plant.vms if vm.host == host.name]
        total = sum(given_to[vm.name].balloon_bytes for vm in here)
        assert total <= max(host.memory_bytes, sum(least_bytes(vm) for vm in here)) + 16
    for vm in plant.vms:
        assert least_bytes(vm) <= given_to[vm.name].balloon_bytes <= vm.memory_bytes
    for pool in plant.pools:
        members = _inside(plant, pool.name)
        held = sum(given_to[name].balloon_bytes for name in members)
        least = sum(least_bytes(vm) for vm in plant.vms if vm.name in members)
        if pool.memory_limit_bytes is not None:
            assert held <= max(pool.memory_limit_bytes, least) + 16


@settings(max_examples=200, deadline=None, suppress_health_check=_CALM)
@given(trees())
def test_pools_that_say_nothing_of_memory_take_nothing_away(plant: Plant) -> None:
    silent = replace(plant, pools=tuple(Pool(row.name, row.parent) for row in plant.pools))
    flat = replace(plant, pools=(), vms=tuple(replace(vm, pool="") for vm in plant.vms))
    assert read_plant(write_plant(silent)) == silent
    assert sum(memory_entitlements(silent).values()) == pytest.approx(
        sum(memory_entitlements(flat).values()), abs=64
    )
