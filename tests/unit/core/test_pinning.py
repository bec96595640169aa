"""The allocator: whole cores, no double claim, NUMA fit, housekeeping kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millwright.core.pinning import VcpuWant, allocate, free_cores
from millwright.core.topology import Cpu, CpuListError, Topology, format_cpu_list, parse_cpu_list


def host(cores: int, *, smt: int = 1, nodes: int = 1, keep: int = 1) -> Topology:
    """`cores` cores with `smt` threads; the first `keep` cores keep house."""
    cpus = []
    for core in range(cores):
        ids = frozenset(core + cores * thread for thread in range(smt))
        cpus += [Cpu(cpu, node=core * nodes // cores, siblings=ids) for cpu in ids]
    house = [cpu.id for cpu in cpus if cpu.id % cores < keep]
    fast = [cpu.id for cpu in cpus if cpu.id % cores >= keep]
    return Topology.build(cpus, housekeeping=format_cpu_list(house), realtime=format_cpu_list(fast))


@given(st.sets(st.integers(0, 300)))
def test_cpu_lists_read_back(cpus: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(cpus)) == cpus


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-b"])
def test_a_wrong_cpu_list_is_named(text: str) -> None:
    with pytest.raises(CpuListError, match=text):
        parse_cpu_list(text)


def test_a_realtime_cpu_that_is_shared_too_is_refused() -> None:
    with pytest.raises(CpuListError, match="another role"):
        Topology.build([Cpu(0), Cpu(1)], housekeeping="0", realtime="1", shared="0-1")


@given(
    cores=st.integers(2, 24),
    smt=st.sampled_from([1, 2]),
    nodes=st.sampled_from([1, 2]),
    controls=st.lists(st.integers(1, 3), max_size=12),
)
def test_no_cpu_is_claimed_twice_and_cores_are_whole(
    cores: int, smt: int, nodes: int, controls: list[int]
) -> None:
    topology = host(cores, smt=smt, nodes=nodes)
    claimed: set[int] = set()
    for count in controls:
        wants = [VcpuWant(index, control=index < count) for index in range(count + 1)]
        free_before = len(free_cores(topology, claimed))
        found = allocate(topology, wants, claimed, best_effort=False)
        if found is None:
            assert free_before < count
            continue
        assert not found.claimed & claimed
        assert found.claimed <= topology.realtime
        assert all(topology.core_of(min(core)) == core for core in found.claims.values())
        assert found.emulator_cpus == topology.housekeeping
        assert not found.vcpu_cpus[count] & topology.realtime
        claimed |= found.claimed


def test_cores_of_one_machine_come_from_one_node_when_a_node_has_them() -> None:
    topology = host(8, nodes=2, keep=1)
    found = allocate(topology, [VcpuWant(i, control=True) for i in range(4)], (), best_effort=False)
    assert found is not None
    assert {topology.cpu(cpu).node for cpu in found.claimed} == {1}


def test_a_sibling_in_use_spoils_the_core() -> None:
    cpus = [Cpu(0, siblings=frozenset({0, 2})), Cpu(2, siblings=frozenset({0, 2})), Cpu(1), Cpu(3)]
    topology = Topology.build(cpus, housekeeping="1,3", realtime="0", shared="2")
    assert free_cores(topology, ()) == []


def test_best_effort_says_which_vcpu_got_no_core() -> None:
    topology = Topology.build([Cpu(0)], housekeeping="0")
    wants = [VcpuWant(0, control=False), VcpuWant(1, control=True)]
    assert allocate(topology, wants, (), best_effort=False) is None
    found = allocate(topology, wants, (), best_effort=True)
    assert found is not None
    assert found.unmet == (1,)
    assert found.claims == {}
