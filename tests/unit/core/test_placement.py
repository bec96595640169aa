"""Initial placement: a reason for every refusal, the class honoured where it can be, the same plan twice."""

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.placement import (
    Card,
    HostSnapshot,
    MachineWant,
    ReasonCode,
    Snapshot,
    StartedCpu,
    place,
)
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


CARDS = (Card("0000:65:00.0", "10de:1eb8"), Card("0000:66:00.0", "1002:73bf"))
STARTED = StartedCpu("emulation", "EPYC", frozenset({"avx2"}))
KVM = replace(STARTED, accel="kvm")


@pytest.mark.parametrize(
    ("wanted", "lacks", "has", "code"),
    [
        (
            {"hugepage_bytes": 2**21},
            {"hugepages_free": {2**21: 255, 2**30: 9}},
            {"hugepages_free": {2**21: 256}},
            ReasonCode.NO_HUGEPAGES,
        ),
        (
            {"cpu_features": frozenset({"avx2"})},
            {"cpu_features": frozenset({"sse2"})},
            {"cpu_features": frozenset({"avx2", "sse2"})},
            ReasonCode.NO_CPU_FEATURE,
        ),
        (
            {"storage_pool": "fast"},
            {"storage_free": {"default": 9 * GIB}},
            {"storage_free": {"fast": 9 * GIB}},
            ReasonCode.NO_STORAGE_POOL,
        ),
        (
            {"storage_pool": "fast"},
            {"storage_free": {"fast": GIB}},
            {"storage_free": {"fast": 9 * GIB}},
            ReasonCode.NO_DISK,
        ),
        ({"gpus": 2}, {"cards_free": CARDS[:1]}, {"cards_free": CARDS}, ReasonCode.NO_GPU),
        (
            {"gpus": 1, "gpu_model": "10de:1eb8"},
            {"cards_free": CARDS[1:]},
            {"cards_free": CARDS},
            ReasonCode.NO_GPU,
        ),
        ({"gpus": 1}, {}, {"cards_free": CARDS}, ReasonCode.NO_GPU),
        (
            {"started": STARTED},
            {"cpu_features": frozenset()},
            {"cpu_features": frozenset({"avx2"})},
            ReasonCode.OTHER_CPU,
        ),
        ({"started": KVM}, {"accel": "emulation"}, {"accel": "kvm"}, ReasonCode.OTHER_CPU),
        (
            {"started": replace(STARTED, passthrough=True)},
            {"cpu_model": "EPYC-Rome"},
            {"cpu_model": "EPYC"},
            ReasonCode.OTHER_CPU,
        ),
    ],
)
def test_what_a_host_lacks_beside_keeps_a_machine_away_and_what_is_not_known_does_not(
    wanted: dict[str, Any], lacks: dict[str, Any], has: dict[str, Any], code: ReasonCode
) -> None:
    want = vplc(**wanted)
    plan = place(Snapshot((host("h1", **lacks), host("h2", **has))), want)
    assert plan.chosen is not None
    assert plan.chosen.host == "h2"
    refused = next(row for row in plan.verdicts if row.host == "h1")
    assert [reason.code for reason in refused.reasons] == [code]
    alone = place(Snapshot((host("h1"),)), want)
    # Only a card has to be named before it is given; and how a host runs guests is always known.
    assert (alone.chosen is None) == bool(want.gpus or want.started == KVM)


def test_cards_are_named_and_memory_in_pages_takes_no_other() -> None:
    plan = place(Snapshot((host("h1", cards_free=CARDS),)), vplc(gpus=1, gpu_model="1002:73bf"))
    assert plan.chosen is not None
    assert plan.chosen.cards == ("0000:66:00.0",)
    full = host("h1", memory_promised_bytes=8 * GIB - 200 * 2**20, hugepages_free={2**30: 1})
    assert place(Snapshot((full,)), vplc(hugepage_bytes=2**30)).chosen is not None
    assert place(Snapshot((full,)), vplc()).chosen is None


def test_the_same_snapshot_gives_the_same_plan_whatever_the_order() -> None:
    hosts = [host(f"h{index}") for index in range(5)]
    assert place(Snapshot(tuple(hosts)), vplc()) == place(Snapshot(tuple(reversed(hosts))), vplc())


def test_a_machine_that_needs_no_core_leaves_realtime_hosts_alone() -> None:
    shared = vplc(service_class=ServiceClass.SHARED, control_vcpus=())
    plan = place(Snapshot((host("h1"), host("h2", realtime=""))), shared)
    assert plan.chosen is not None
    assert plan.chosen.host == "h2"
