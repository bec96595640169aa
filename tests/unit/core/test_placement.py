"""Initial placement: a reason for every refusal, the class honoured where it can be, the same plan twice."""

import dataclasses
from typing import Any

import pytest
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.placement import HostSnapshot, MachineWant, ReasonCode, Snapshot, place
from millwright.core.topology import Cpu, Topology

GIB = 2**30


def host(name: str, *, realtime: str = "1", **changes: Any) -> HostSnapshot:
    topology = Topology.build(
        [Cpu(0), Cpu(1)], housekeeping="0", realtime=realtime, shared="0" if realtime else "0-1"
    )
    base = HostSnapshot(
        name=name,
        health=HostHealth.UP,
        administration=HostAdministration.SCHEDULABLE,
        topology=topology,
        memory_bytes=8 * GIB,
        memory_promised_bytes=0,
        disk_free_bytes=50 * GIB,
        best_effort=True,
        cells=frozenset({"line1"}),
    )
    return dataclasses.replace(base, **changes)


def vplc(**changes: Any) -> MachineWant:
    base = MachineWant(
        name="plc",
        service_class=ServiceClass.REALTIME,
        vcpus=2,
        control_vcpus=(1,),
        memory_bytes=GIB // 2,
        disk_bytes=2 * GIB,
        cell="line1",
    )
    return dataclasses.replace(base, **changes)


def test_the_host_with_a_free_core_is_chosen_and_what_is_missing_is_said() -> None:
    plan = place(Snapshot((host("h2", realtime=""), host("h1"))), vplc())
    assert plan.chosen is not None
    assert plan.chosen.host == "h1"
    assert plan.chosen.assignment is not None
    assert plan.chosen.assignment.claimed == {1}
    assert "emulated: timing is not promised" in plan.chosen.unmet


def test_the_second_machine_is_taken_best_effort_elsewhere_and_says_so() -> None:
    plan = place(
        Snapshot((host("h1", claimed_cpus=frozenset({1})), host("h2", realtime=""))), vplc()
    )
    assert plan.chosen is not None
    assert any("no core of its own" in word for word in plan.chosen.unmet)


def test_a_strict_want_without_a_core_is_refused_with_a_reason_per_host() -> None:
    pool = Snapshot((host("h1", claimed_cpus=frozenset({1})), host("h2", realtime="")))
    plan = place(pool, vplc(strict=True))
    assert plan.chosen is None
    assert [verdict.reasons[0].code for verdict in plan.verdicts] == [
        ReasonCode.NO_REALTIME_CORE
    ] * 2
    assert "h1: realtime cores: 1 wanted, 0 free of 1" in plan.explain()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"health": HostHealth.DOWN}, ReasonCode.HOST_DOWN),
        ({"health": HostHealth.SUSPECT}, ReasonCode.HOST_SUSPECT),
        ({"administration": HostAdministration.CORDONED}, ReasonCode.HOST_CORDONED),
        ({"administration": HostAdministration.DRAINING}, ReasonCode.HOST_DRAINING),
        ({"administration": HostAdministration.MAINTENANCE}, ReasonCode.HOST_MAINTENANCE),
        ({"memory_promised_bytes": 8 * GIB}, ReasonCode.NO_MEMORY),
        ({"disk_free_bytes": GIB}, ReasonCode.NO_DISK),
        ({"cells": frozenset()}, ReasonCode.NO_CELL),
        ({"shared_vcpus": 8}, ReasonCode.NO_CPU),
        ({"best_effort": False}, ReasonCode.NOT_KVM),
        ({"best_effort": False, "accel": "kvm"}, ReasonCode.NO_FIFO),
    ],
)
def test_each_rule_refuses_with_its_code(changes: dict[str, Any], code: ReasonCode) -> None:
    plan = place(Snapshot((host("h1", **changes),)), vplc())
    assert plan.chosen is None
    assert [reason.code for reason in plan.verdicts[0].reasons] == [code]


def test_the_same_snapshot_gives_the_same_plan_whatever_the_order() -> None:
    hosts = [host(f"h{index}") for index in range(5)]
    assert place(Snapshot(tuple(hosts)), vplc()) == place(Snapshot(tuple(reversed(hosts))), vplc())


def test_a_machine_that_needs_no_core_leaves_realtime_hosts_alone() -> None:
    shared = vplc(service_class=ServiceClass.SHARED, control_vcpus=())
    plan = place(Snapshot((host("h1"), host("h2", realtime=""))), shared)
    assert plan.chosen is not None
    assert plan.chosen.host == "h2"
