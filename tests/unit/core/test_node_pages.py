"""Hugepages per NUMA node: cores and pages of one machine from the same node, by allocation, filter and plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millwright.core import pinning
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.pinning import NodePages, VcpuWant
from millwright.core.placement import HostSnapshot, MachineWant, ReasonCode, Snapshot, place
from millwright.core.topology import Cpu, Topology

GIB = 2**30


def _topology(*cores: int) -> Topology:
    """One realtime core per CPU, so many in each node; CPU 0 keeps house and is shared."""
    cpus, realtime = [Cpu(0, node=0)], []
    for node, count in enumerate(cores):
        for _ in range(count):
            realtime.append(len(cpus))
            cpus.append(Cpu(len(cpus), node=node))
    lists = ",".join(map(str, realtime))
    return Topology.build(cpus, housekeeping="0", realtime=lists, shared="0")


def _wants(count: int) -> list[VcpuWant]:
    return [VcpuWant(index, control=True) for index in range(count)]


def test_the_node_that_has_the_pages_is_taken_and_memory_is_bound_to_it() -> None:
    topology = _topology(2, 4)
    found = pinning.allocate(
        topology, _wants(2), (), best_effort=False, pages=NodePages(3, {0: 2, 1: 3})
    )
    assert found is not None
    assert found.memory_nodes == {1}
    assert {topology.cpu(cpu).node for cpu in found.claimed} == {1}
    # Without pages to find the node with the fewest cores would be taken.
    free = pinning.allocate(topology, _wants(2), (), best_effort=False)
    assert free is not None
    assert (free.claimed, free.memory_nodes) == ({1, 2}, frozenset())


def test_cores_here_and_pages_there_are_no_assignment_but_on_best_effort() -> None:
    pages = NodePages(3, {0: 9, 1: 2})
    topology = _topology(1, 4)
    assert pinning.allocate(topology, _wants(2), (), best_effort=False, pages=pages) is None
    soft = pinning.allocate(topology, _wants(2), (), best_effort=True, pages=pages)
    assert soft is not None
    assert (len(soft.claims), soft.memory_nodes) == (2, frozenset())


def test_where_no_node_has_the_cores_several_have_the_pages_together() -> None:
    topology = _topology(2, 2)
    found = pinning.allocate(
        topology, _wants(3), (), best_effort=False, pages=NodePages(4, {0: 2, 1: 2})
    )
    assert found is not None
    assert found.memory_nodes == {0, 1}
    lacking = NodePages(5, {0: 2, 1: 2})
    assert pinning.allocate(topology, _wants(3), (), best_effort=False, pages=lacking) is None


#: A busy machine is no fault of what is drawn.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(0, 6),
    st.lists(st.integers(0, 6), min_size=4, max_size=4),
    st.sets(st.integers(1, 16)),
)
def test_what_is_assigned_has_its_pages_where_its_cores_are(
    cores: list[int], count: int, wanted: int, free: list[int], claimed: set[int]
) -> None:
    topology = _topology(*cores)
    pages = NodePages(wanted, dict(enumerate(free)))
    found = pinning.allocate(topology, _wants(count), claimed, best_effort=False, pages=pages)
    at = {cpu.id: cpu.node for cpu in topology.cpus}
    there: dict[int, int] = {}
    for cpu in set(at) - {0} - claimed:
        there[at[cpu]] = there.get(at[cpu], 0) + 1
    if found is None:
        # No node has both, and where a node has the cores no other way is looked for.
        assert not any(n >= count and free[node] >= wanted for node, n in there.items())
        return
    assert len(found.claimed) == count
    assert not found.claimed & claimed
    assert found.memory_nodes == {at[cpu] for cpu in found.claimed}
    assert sum(free[node] for node in found.memory_nodes) >= wanted


HOST = HostSnapshot(
    name="h1",
    health=HostHealth.UP,
    administration=HostAdministration.SCHEDULABLE,
    topology=_topology(2, 2),
    memory_bytes=64 * GIB,
    memory_promised_bytes=0,
    disk_free_bytes=64 * GIB,
    accel="kvm",
    capabilities={"fifo": True, "memory_lock": True},
    hugepages_free={GIB: 4},
    node_pages_free={0: {GIB: 1}, 1: {GIB: 3}},
)
WANT = MachineWant(
    name="plc",
    service_class=ServiceClass.REALTIME,
    vcpus=2,
    memory_bytes=2 * GIB,
    disk_bytes=0,
    control_vcpus=(0,),
    hugepage_bytes=GIB,
)


def test_a_plan_gives_the_node_and_the_next_one_that_finds_none_is_told() -> None:
    plan = place(Snapshot((HOST,)), WANT)
    assert plan.chosen is not None
    assert plan.chosen.assignment is not None
    assert plan.chosen.assignment.memory_nodes == {1}
    # The pages of node 1 are left, its cores are not.
    taken = replace(HOST, claimed_cpus=frozenset({3, 4}))
    refused = place(Snapshot((taken,)), WANT)
    assert [row.code for row in refused.verdicts[0].reasons] == [ReasonCode.NO_NUMA_NODE]
    assert refused.explain() == (
        "h1: NUMA nodes: none has 1 free cores and 2 free hugepages of 1024 MiB"
    )
    # A machine without cores of its own takes its pages from anywhere.
    shared = replace(
        WANT, service_class=ServiceClass.SHARED, control_vcpus=(), memory_bytes=4 * GIB
    )
    assert place(Snapshot((taken,)), shared).chosen is not None


@pytest.mark.parametrize(("strict", "placed"), [(True, False), (False, True)])
def test_best_effort_takes_it_with_a_word_unless_it_is_strict(strict: bool, placed: bool) -> None:
    host = replace(HOST, claimed_cpus=frozenset({3, 4}), best_effort=True)
    plan = place(Snapshot((host,)), replace(WANT, strict=strict))
    assert (plan.chosen is not None) == placed
    if plan.chosen is not None:
        assert "its memory may lie in another NUMA node than its cores" in plan.chosen.unmet
        assert plan.chosen.assignment is not None
        assert plan.chosen.assignment.memory_nodes == frozenset()


def test_a_host_whose_nodes_have_fewer_pages_than_it_has_in_all_is_refused() -> None:
    """As for the moments in which a machine's start is known and the pages that it took are not told yet."""
    plan = place(Snapshot((replace(HOST, node_pages_free={0: {GIB: 0}, 1: {GIB: 1}}),)), WANT)
    assert [row.code for row in plan.verdicts[0].reasons] == [ReasonCode.NO_NUMA_NODE]
    # Where the host itself has too few it is said once.
    few = replace(HOST, hugepages_free={GIB: 1}, node_pages_free={0: {GIB: 0}, 1: {GIB: 1}})
    plan = place(Snapshot((few,)), WANT)
    assert [row.code for row in plan.verdicts[0].reasons] == [ReasonCode.NO_HUGEPAGES]


def test_where_nodes_are_not_told_nothing_is_bound() -> None:
    plan = place(Snapshot((replace(HOST, node_pages_free=None),)), WANT)
    assert plan.chosen is not None
    assert plan.chosen.assignment is not None
    assert pinning.describe(plan.chosen.assignment).keys() == {
        "vcpus", "emulator", "claims", "unmet",
    }  # fmt: skip
