"""Orders on two and three hosts, some without a free byte: never a fault, a broken rule or a makespan below the bound."""

import random

import pytest
from millwright.core.balancing import Limits, order, verify
from millwright.core.balancing.answers import Move, Why
from millwright.core.balancing.model import Host, Plant, Vm

GIB = 2**30
Machine = tuple[str, int, str, float]


def _plant(machines: list[Machine], capacities: list[int]) -> Plant:
    hosts = tuple(Host(f"h{number}", 64, size * GIB) for number, size in enumerate(capacities))
    return Plant(
        hosts,
        tuple(
            Vm(name, 1, size * GIB, host=host, dirty_bytes_s=dirty)
            for name, size, host, dirty in machines
        ),
    )


def _moves(plant: Plant, wanted: list[tuple[str, str]]) -> list[Move]:
    at = {vm.name: str(vm.host) for vm in plant.vms}
    return [Move(name, at[name], target, Why.ASKED, "", 0.0) for name, target in wanted]


def test_a_unit_goes_by_no_place_that_is_its_own_target() -> None:
    plant = _plant(
        [("v0", 2, "h0", 1e6), ("v1", 1, "h0", 0), ("v2", 8, "h0", 2e8), ("v3", 8, "h1", 0), ("v4", 4, "h2", 2e7)],
        [12, 8, 16],
    )  # fmt: skip
    moves = _moves(plant, [("v0", "h2"), ("v2", "h2"), ("v3", "h0"), ("v4", "h1")])
    schedule = order(plant, moves, Limits(per_host=2, pool=4))
    assert not verify(plant, schedule)
    assert {leg.vm for leg in schedule.legs} | {row.vm for row in schedule.dropped} >= {"v0", "v2"}


def test_hosts_without_a_free_byte_leave_their_moves() -> None:
    plant = _plant([(f"v{n}", size, host, 0) for n, (size, host) in enumerate([(3, "h0"), (3, "h0"), (2, "h1"), (4, "h1")])], [6, 6])  # fmt: skip
    schedule = order(plant, _moves(plant, [("v0", "h1"), ("v1", "h1"), ("v2", "h0"), ("v3", "h0")]))
    assert schedule.legs == ()
    assert {row.vm for row in schedule.dropped} == {"v0", "v1", "v2", "v3"}


@pytest.mark.parametrize("seed", range(4))
def test_small_plants_of_all_kinds(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # play, not secrets
    moved = 0
    for _ in range(25):
        machines: list[Machine] = []
        capacities = []
        for host in range(rng.choice((2, 3))):
            filled = 0
            for _each in range(rng.randint(1, 4)):
                size = rng.choice((1, 2, 3, 4, 6, 8))
                filled += size
                dirty = rng.choice((0, 1e6, 2e7, 2e8))
                machines.append((f"v{len(machines)}", size, f"h{host}", dirty))
            capacities.append(filled + rng.choice((0, 0, 1, 2, 6)))
        plant = _plant(machines, capacities)
        wanted = []
        for name, _size, host, _dirty in machines:
            others = [f"h{n}" for n in range(len(capacities)) if f"h{n}" != host]
            if rng.random() < 0.6:
                wanted.append((name, rng.choice(others)))
        schedule = order(plant, _moves(plant, wanted), Limits(per_host=rng.choice((1, 2)), pool=4))
        assert not verify(plant, schedule)
        if not schedule.dropped:
            assert schedule.makespan_s >= schedule.bound_s * (1 - 1e-9)
        moved += len(schedule.legs)
    assert moved
