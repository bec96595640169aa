"""What sums say of room for hosts to die: never yes where the machines themselves find none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Host,
    HostState,
    Plant,
    Room,
    Rule,
    RuleKind,
    Sort,
    Vm,
    doubtful,
    failure_capacity,
    losses_of,
)

GIB = 2**30
LEVELS = (HostState.UP, HostState.UP, HostState.UP, HostState.CORDONED, HostState.DOWN)


def room_of(plant: Plant) -> Room:
    """The sums of a plant with memory in whole GiB (the unit here), cores and reservations in millicores."""
    index = {host.name: number for number, host in enumerate(plant.hosts)}
    size = len(index)
    free = np.array(
        [
            [host.memory_bytes // GIB for host in plant.hosts],
            [host.cores for host in plant.hosts],
            [int(host.cpus * 1000) for host in plant.hosts],
        ],
        np.int64,
    )
    counts = {kind: np.zeros(size, np.int64) for kind in ("cored", "plain", "apart")}
    most = {kind: np.zeros(3, np.int64) for kind in counts}
    peers, odd = np.zeros(size, np.int64), np.zeros(size, np.bool_)
    for vm in plant.vms:
        here = index[str(vm.host)]
        wants = np.array([vm.memory_bytes // GIB, vm.cores, int(vm.cpu_reservation * 1000)])
        free[:, here] -= wants
        if not vm.protected:
            continue
        kinds = ["cored" if vm.cores else "plain"]
        mine = [rule for rule in plant.rules if vm.name in rule.vms]
        if any(rule.kind is not RuleKind.APART for rule in mine):
            odd[here] = True
        elif mine:
            kinds.append("apart")
            peers[here] += sum(len(rule.vms) - 1 for rule in mine)
        for kind in kinds:
            counts[kind][here] += 1
            most[kind] = np.maximum(most[kind], wants)
    states = [host.state for host in plant.hosts]
    return Room(
        free,
        np.array([state is HostState.UP for state in states], np.bool_),
        np.array([state is not HostState.DOWN for state in states], np.bool_),
        Sort(counts["cored"], most["cored"]),
        Sort(counts["plain"], most["plain"]),
        Sort(counts["apart"], most["apart"]),
        peers,
        odd,
    )


@st.composite
def pools(draw: st.DrawFn) -> Plant:
    hosts = tuple(
        Host(
            f"h{n}",
            draw(st.sampled_from([4.0, 8.0])),
            draw(st.integers(16, 64)) * GIB,
            cores=draw(st.integers(0, 4)),
            state=draw(st.sampled_from(LEVELS)),
        )
        for n in range(draw(st.integers(2, 7)))
    )
    vms = tuple(
        Vm(
            f"v{n}",
            2,
            draw(st.sampled_from([1, 2, 4, 8])) * GIB,
            f"h{draw(st.integers(0, len(hosts) - 1))}",
            cores=draw(st.sampled_from([0, 0, 0, 1, 2])),
            cpu_reservation=draw(st.sampled_from([0.0, 0.0, 0.5])),
            protected=draw(st.sampled_from([True, True, True, False])),
        )
        for n in range(draw(st.integers(0, 14)))
    )
    names = [vm.name for vm in vms]
    rules = []
    if len(names) > 3:
        kind = draw(st.sampled_from([RuleKind.APART, RuleKind.APART, RuleKind.TOGETHER]))
        chosen = draw(st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True))
        rules.append(Rule("r", kind, tuple(chosen)))
    return Plant(hosts, vms, rules=tuple(rules))


@settings(max_examples=400, deadline=None)
@given(pools(), st.integers(1, 3))
def test_what_sums_say_yes_to_is_so(plant: Plant, k: int) -> None:
    found = doubtful(room_of(plant), k)
    exact = failure_capacity(plant, k)
    if found is None:
        return
    if not len(found):
        assert exact.ok
    elif k == 1:
        doubted = {plant.hosts[host].name for host in found}
        assert {broken.hosts[0] for broken in exact.broken} <= doubted
        # Asked of those alone the answer is the whole one.
        asked = losses_of(plant, sorted(doubted))
        assert {row.hosts: len(row.left) for row in asked.broken} == {
            row.hosts: len(row.left) for row in exact.broken
        }


def roomy(hosts: int, per_host: int, used: int = 4) -> Plant:
    """Hosts with eight slots of 8 GiB of which so many are used."""
    return Plant(
        tuple(Host(f"h{n}", 16, 64 * GIB, cores=4) for n in range(hosts)),
        tuple(Vm(f"v{n}-{k}", 2, 8 * GIB, f"h{n}") for n in range(hosts) for k in range(used)),
    )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_pool_with_room_needs_no_look_at_its_machines(k: int) -> None:
    for plant in (roomy(12, 8), roomy(200, 8)):
        found = doubtful(room_of(plant), k)
        assert found is not None
        assert not len(found)
        assert failure_capacity(plant, k).ok


def test_only_hosts_in_doubt_are_named_and_more_than_one_at_once_not_at_all() -> None:
    plant = roomy(4, 8)
    # The one with eight machines finds but twelve slots less its own; without them it is told.
    heavy = (*plant.vms, *(Vm(f"x{n}", 2, GIB, "h0", protected=False) for n in range(4)))
    assert doubtful(room_of(Plant(plant.hosts, heavy)), 1) is not None
    full = Plant(plant.hosts[:2], tuple(vm for vm in plant.vms if vm.host in ("h0", "h1")))
    more = Plant(full.hosts, (*full.vms, Vm("y", 2, 8 * GIB, "h0")))
    found = doubtful(room_of(more), 1)
    assert found is not None
    assert found.tolist() == [0, 1]
    assert not failure_capacity(more, 1).ok
    assert doubtful(room_of(roomy(4, 8, 6)), 2) is None


def test_bounds_and_pools_in_which_everybody_would_be_lost() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        doubtful(room_of(roomy(3, 8)), 0)
    assert doubtful(room_of(roomy(2, 8)), 2) is None
    with pytest.raises(KeyError):
        losses_of(roomy(2, 8), ["nowhere"])


def test_rules_of_another_kind_are_looked_at_by_machine() -> None:
    plant = roomy(12, 8)
    rule = Rule("near", RuleKind.NEAR, ("v3-0", "v5-0"))
    found = doubtful(room_of(Plant(plant.hosts, plant.vms, rules=(rule,))), 1)
    assert found is not None
    assert found.tolist() == [3, 5]
    apart = Rule("apart", RuleKind.APART, ("v3-0", "v5-0"))
    found = doubtful(room_of(Plant(plant.hosts, plant.vms, rules=(apart,))), 1)
    assert found is not None
    assert not len(found)
    # Eleven others are not enough for one that must meet none of eleven peers.
    crowd = Rule("crowd", RuleKind.APART, tuple(f"v{n}-0" for n in range(12)))
    found = doubtful(room_of(Plant(plant.hosts, plant.vms, rules=(crowd,))), 1)
    assert found is not None
    assert len(found) == 12
    assert not failure_capacity(Plant(plant.hosts, plant.vms, rules=(crowd,)), 1).ok
