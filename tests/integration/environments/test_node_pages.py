"""Hugepages per NUMA node on the running plant: read, placed, kept for who was promised them, and told to libvirt."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import override
from millwright.balancing.filling import fits
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Code, admit, drain, violations, write_plant
from millwright.core.balancing import read_plant as read_snapshot
from millwright.core.pinning import describe
from millwright.environments.assignments import read_assignment
from millwright.environments.models import Machine
from millwright.environments.placement import place_machine, preview
from millwright.environments.reasons import said
from millwright.hypervisor.fake import FakePool
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.snapshot import snapshot

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_equipment import pool, told
from tests.support.plant import SPEC, Plant

__all__ = ["machines", "pool"]
GIB = 2**30
PINNED = {
    **SPEC,
    "sizes": [{**SPEC["sizes"][0], "memory_bytes": 2 * GIB}],
    "requires": {"hugepages": "1G"},
}


@pytest.fixture
def nodes(plant: Plant, machines: list[Machine], pool: FakePool) -> FakePool:
    """Both hosts with CPUs 0-2 in node 0 and 3-5 in node 1, a core for machines in each; controllers in pages."""
    for number, host in enumerate(plant.hosts):
        policy = {**host.policy, "housekeeping_cpus": "0", "realtime_cpus": "1,4"}
        policy |= {"shared_cpus": "2,3,5", "best_effort": False, "memory_reserved_bytes": 0}
        Host.objects.filter(pk=host.pk).update(
            policy=policy,
            accel="kvm",
            capabilities={"fifo": {"verdict": "yes"}, "kvm": {"verdict": "yes"}},
        )
        parts = pool.host(host.name).parts
        parts.hugepages, parts.more_nodes = {GIB: 1}, {1: {GIB: 3 if number else 1}}
    TemplateVersion.objects.update(spec=PINNED)
    _told(pool)
    return pool


def _told(pool: FakePool) -> None:
    """As hosts with two nodes tell it: the fakes have their CPUs in one."""
    told(pool)
    cpus = [{"id": cpu, "node": cpu // 3, "siblings": [cpu]} for cpu in range(6)]
    Host.objects.update(topology={"cpus": cpus}, accel="kvm")


def _assigned(machine: Machine, host: Host, cpu: int, node: int) -> None:
    assignment: dict[str, Any] = {
        "vcpus": {"0": "0", "1": str(cpu)},
        "emulator": "0",
        "claims": {"1": str(cpu)},
        "unmet": [],
        "memory_nodes": [node],
    }
    CpuClaim.objects.filter(machine=machine).delete()
    CpuClaim.objects.create(host=host, cpu=cpu, machine=machine, vcpu=1, operation=machine.pk)
    Machine.objects.filter(pk=machine.pk).update(
        host=host,
        cpu_assignment=assignment,
        memory_bytes=2 * GIB,
        service_class="realtime",
        observed="stopped",
    )


def test_a_controller_gets_the_node_that_has_its_pages_and_keeps_them(
    plant: Plant, nodes: FakePool, machines: list[Machine]
) -> None:
    Machine.objects.all().update(host=None, cpu_assignment={})
    CpuClaim.objects.all().delete()
    plan = preview(PINNED, "small", cell="line1", strict=False)
    assert plan.chosen is not None
    assert (plan.chosen.host, plan.chosen.assignment.memory_nodes) == ("mw0-h2", {1})  # type: ignore[union-attr]  # accepted
    refused = {row.host: row.reasons for row in plan.verdicts if row.reasons}
    # One page in each node: two in all, and in no node.
    assert [str(row.code) for row in refused["mw0-h1"]] == ["no_numa_node"]
    with override("de"):
        assert "NUMA-Knoten" in said(refused["mw0-h1"][0].message)
    kept = describe(plan.chosen.assignment)  # type: ignore[arg-type]  # accepted
    assert read_assignment(kept) == plan.chosen.assignment
    # Promised is promised, before it runs: the node has one page left, the host two.
    _assigned(machines[0], plant.hosts[1], 4, 1)
    now = {host.name: host for host in snapshot().hosts}["mw0-h2"]
    assert now.hugepages_free == {GIB: 2}
    assert now.node_pages_free == {0: {GIB: 1}, 1: {GIB: 1}}
    again = preview(PINNED, "small", cell="line1", strict=False)
    assert again.chosen is None


def test_the_model_has_the_nodes_and_drains_go_by_them(
    plant: Plant, nodes: FakePool, machines: list[Machine]
) -> None:
    one, two = machines
    _assigned(one, plant.hosts[1], 4, 1)
    Machine.objects.filter(pk=two.pk).update(host=None)
    read = read_plant()
    there = {host.name: host for host in read.hosts}["mw0-h2"]
    assert [(node.cores, dict(node.hugepages)) for node in there.nodes] == [
        (1, {"1G": 1}),
        (1, {"1G": 3}),
    ]
    vm = next(vm for vm in read.vms if vm.name == str(one))
    assert (vm.host, vm.node, vm.one_node, vm.hugepage) == ("mw0-h2", 1, True, "1G")
    assert violations(read) == ()
    assert read_snapshot(write_plant(read)) == read
    # The other host has as many pages, and no node with both of them.
    answer = admit(read, [vm]).placed[0]
    codes = {row.host: row.codes for row in answer.answers}
    assert codes["mw0-h1"] == (Code.NUMA,)
    planned = drain(read, ["mw0-h2"])
    assert [row.vm for row in planned.blockers] == [str(one)]
    # With both in one node it may go there, as far as its own movability lets it.
    parts = nodes.host("mw0-h1").parts
    parts.hugepages, parts.more_nodes = {GIB: 2}, {1: {}}
    _told(nodes)
    assert {row.host: row.codes for row in admit(read_plant(), [vm]).placed[0].answers}[
        "mw0-h1"
    ] == ()
    moved = place_machine(one, {"mw0-h1"})
    assert moved.chosen is not None


def test_capacity_counts_nodes_and_not_the_host_s_sum(plant: Plant, nodes: FakePool) -> None:
    Machine.objects.all().update(host=None, cpu_assignment={})
    CpuClaim.objects.all().delete()
    found = fits("vplc", "small", spare=0)
    assert dict(found.per_host) == {"mw0-h2": 1}
