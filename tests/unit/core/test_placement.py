"""Initial placement: a reason for every refusal, the class honoured where it can be, the same plan twice."""

import dataclasses
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millwright.core import pinning
from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower, ServiceClass
from millwright.core.placement import (
    Card,
    HostSnapshot,
    MachineWant,
    ReasonCode,
    Snapshot,
    StartedCpu,
    Wake,
    place,
    woken,
)
from millwright.core.placement.filters import FILTERS
from millwright.core.placement.place import MORE_WEIGHTS, WEIGHTS
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
        ({"power": HostPower.FALLING_ASLEEP}, ReasonCode.HOST_ASLEEP),
        ({"power": HostPower.ASLEEP}, ReasonCode.HOST_ASLEEP),
        ({"power": HostPower.WAKING}, ReasonCode.HOST_ASLEEP),
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


# -- load ------------------------------------------------------------------


def shared(**changes: Any) -> MachineWant:
    want = vplc(service_class=ServiceClass.SHARED, control_vcpus=())
    return dataclasses.replace(want, **changes)


def test_of_hosts_that_have_promised_alike_the_one_that_does_less_is_taken() -> None:
    hosts = (host("h1", used_ratio=1.5), host("h2", used_ratio=0.4), host("h3", used_ratio=0.9))
    plan = place(Snapshot(hosts), shared())
    assert [verdict.host for verdict in plan.verdicts] == ["h2", "h3", "h1"]
    assert [round(verdict.parts["used"], 2) for verdict in plan.verdicts] == [0.6, 0.1, -0.5]


def test_a_hot_host_is_left_even_where_it_has_promised_nothing() -> None:
    hot = host("h1", used_ratio=1.2)
    loaded = host("h2", used_ratio=0.3, memory_promised_bytes=7 * GIB, shared_vcpus=5)
    plan = place(Snapshot((hot, loaded)), shared(memory_bytes=GIB // 4))
    assert plan.chosen is not None
    assert plan.chosen.host == "h2"
    # Nothing was measured of either: as before, by what is promised.
    quiet = [replace(each, used_ratio=None) for each in (hot, loaded)]
    plan = place(Snapshot(tuple(quiet)), shared(memory_bytes=GIB // 4))
    assert plan.chosen is not None
    assert plan.chosen.host == "h1"


def test_a_class_that_is_honoured_goes_before_any_load() -> None:
    able = {"accel": "kvm", "capabilities": {"fifo": True, "memory_lock": True}}
    hot = host("h1", used_ratio=9.0, memory_promised_bytes=7 * GIB, shared_vcpus=6, **able)
    idle = host("h2", used_ratio=0.0, claimed_cpus=frozenset({1}), **able)
    for soft in ({}, {"h1": 1000.0, "h2": -1000.0}):
        plan = place(Snapshot((hot, idle)), dataclasses.replace(vplc(), soft_hosts=soft))
        assert plan.chosen is not None
        assert plan.chosen.host == "h1"


def test_what_nobody_has_measured_is_no_idleness() -> None:
    """It counts as what was measured and stands apart in the score; a host that holds nobody is idle."""
    silent = host("h1", used_ratio=0.25, assumed_ratio=0.5)
    hosts = (
        silent,
        host("h2", used_ratio=0.6),
        host("h3", used_ratio=0.8),
        host("h4", used_ratio=0.0),
    )
    plan = place(Snapshot(hosts), shared())
    assert [verdict.host for verdict in plan.verdicts] == ["h4", "h2", "h1", "h3"]
    parts = {verdict.host: verdict.parts for verdict in plan.verdicts}
    assert (parts["h1"]["used"], parts["h1"]["assumed"]) == (0.75, -0.5)
    assert all("assumed" not in parts[name] for name in ("h2", "h3", "h4"))
    # Together they are no worse than the worst that is measured.
    most = replace(silent, used_ratio=1.5, assumed_ratio=9.0)
    (only,) = place(Snapshot((most,)), shared()).verdicts
    assert only.parts["used"] + only.parts["assumed"] == -1.0
    assert only.score == pytest.approx(_by_hand(only.parts))


def _by_hand(parts: Any) -> float:
    return float(sum((WEIGHTS | MORE_WEIGHTS)[name] * value for name, value in parts.items()))


def test_soft_rules_weigh_by_the_cpus_that_they_are_worth() -> None:
    """Alike hosts: the wanted host or domain is taken, the unwanted left; a busy one is not for a small wish."""
    rack = {"labels": {"domain": "a"}}
    hosts = (host("h1"), host("h2"), host("h3", **rack), host("h4", **rack))
    cpus = len(hosts[0].topology.shared)
    for soft, chosen, part in (
        ({}, "h1", None),
        ({"soft_hosts": {"h2": -1.0}}, "h2", 1 / cpus),
        ({"soft_hosts": {"h1": 1.0}}, "h2", 0.0),
        ({"soft_domains": {"a": -1.0}}, "h3", 1 / cpus),
        ({"soft_domains": {"a": -1.0}, "soft_hosts": {"h3": 0.5}}, "h4", 1 / cpus),
        ({"soft_hosts": {"h4": -500.0}}, "h4", 1.0),
    ):
        plan = place(Snapshot(hosts), dataclasses.replace(shared(), **soft))
        assert plan.chosen is not None
        assert plan.chosen.host == chosen
        assert plan.chosen.parts.get("soft_rules") == part
        assert all(v.score == pytest.approx(_by_hand(v.parts)) for v in plan.verdicts)
    busy = (host("h1", used_ratio=0.0), host("h2", used_ratio=0.9))
    for weight, chosen in ((0.1, "h1"), (10.0, "h2")):
        plan = place(Snapshot(busy), dataclasses.replace(shared(), soft_hosts={"h2": -weight}))
        assert plan.chosen is not None
        assert plan.chosen.host == chosen


@st.composite
def _hosts(draw: st.DrawFn, name: str) -> HostSnapshot:
    # Two sockets of two cores with two threads each; roles at will, so that cores may be half realtime.
    cpus = [
        Cpu(number, node=number // 4, siblings=frozenset({number, number ^ 1}))
        for number in range(8)
    ]
    realtime = draw(st.sets(st.integers(2, 7)))
    common = set(range(1, 8)) - realtime if draw(st.booleans()) else set()
    topology = Topology.build(
        cpus,
        housekeeping="0",
        realtime=",".join(map(str, realtime)),
        shared=",".join(map(str, common)),
    )
    return HostSnapshot(
        name=name,
        health=draw(st.sampled_from([HostHealth.UP] * 5 + [HostHealth.DOWN])),
        administration=draw(
            st.sampled_from([HostAdministration.SCHEDULABLE] * 5 + [HostAdministration.DRAINING])
        ),
        topology=topology,
        memory_bytes=8 * GIB,
        memory_promised_bytes=draw(st.sampled_from([0, 4 * GIB, 8 * GIB])),
        disk_free_bytes=draw(st.sampled_from([0, 50 * GIB])),
        claimed_cpus=frozenset(draw(st.sets(st.integers(1, 7)))),
        shared_vcpus=draw(st.integers(0, 20)),
        capabilities=draw(
            st.sampled_from([{}, {"fifo": True}, {"fifo": True, "memory_lock": True}])
        ),
        best_effort=draw(st.booleans()),
        accel=draw(st.sampled_from(["kvm", "emulation"])),
        cells=frozenset(draw(st.sampled_from([(), ("line1",)]))),
        hugepages_free=draw(st.sampled_from([None, {}, {2**21: 999}])),
        cpu_features=draw(st.sampled_from([None, frozenset(), frozenset({"avx2"})])),
        storage_free=draw(st.sampled_from([None, {}, {"fast": 9 * GIB}])),
        cards_free=draw(st.sampled_from([None, CARDS])),
        nic_free_bytes_s=draw(st.sampled_from([None, 0.0, 1e9])),
        used_ratio=draw(st.sampled_from([None, 0.0, 0.5, 3.0])),
    )


@st.composite
def _wants(draw: st.DrawFn) -> MachineWant:
    kind = draw(st.sampled_from(list(ServiceClass)))
    return vplc(
        service_class=kind,
        control_vcpus=draw(st.sampled_from([(), (1,), (0, 1)])),
        strict=draw(st.booleans()),
        cell=draw(st.sampled_from(["", "line1"])),
        hugepage_bytes=draw(st.sampled_from([0, 0, 2**21])),
        cpu_features=draw(st.sampled_from([frozenset(), frozenset(), frozenset({"avx2"})])),
        storage_pool=draw(st.sampled_from(["", "", "fast"])),
        gpus=draw(st.sampled_from([0, 0, 1])),
        nic_bytes_s=draw(st.sampled_from([0, 0, 10**8])),
        started=draw(st.sampled_from([None, None, STARTED, KVM])),
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_every_host_is_judged_by_every_rule_and_gives_the_cpus_that_it_was_judged_by(
    data: st.DataObject,
) -> None:
    """Counts decide, rules that cannot refuse are left out, verdicts are made later: to the same answers."""
    hosts = [data.draw(_hosts(f"h{number}")) for number in range(data.draw(st.integers(1, 5)))]
    want = data.draw(_wants())
    plan = place(Snapshot(tuple(hosts)), want)
    by_name = {each.name: each for each in hosts}
    assert {verdict.host for verdict in plan.verdicts} == by_name.keys()
    for verdict in plan.verdicts:
        here = by_name[verdict.host]
        reasons = [check(here, want) for check in FILTERS]
        assert list(verdict.reasons) == [reason for reason in reasons if reason is not None]
    first = Counter(row.reasons[0].code if row.reasons else None for row in plan.verdicts)
    report: Any = place(Snapshot(tuple(hosts)), want).as_dict(0)
    assert {row["code"]: row["count"] for row in report["counts"]} == first
    assert all(len(row["hosts"]) == row["count"] for row in report["counts"])
    for verdict in plan.verdicts:
        here = by_name[verdict.host]
        free = pinning.free_cores(here.topology, here.claimed_cpus)
        assert pinning.count_free_cores(here.topology, here.claimed_cpus) == len(free)
        if not verdict.accepted:
            assert verdict.assignment is None
            continue
        assert verdict.assignment is not None
        said = [word for word in verdict.unmet if "no core of its own" in word]
        lacking = len(verdict.assignment.unmet)
        assert said == ([f"no core of its own for {lacking} control vCPU"] if lacking else [])
        assert verdict.score == pytest.approx(
            sum(WEIGHTS[name] * value for name, value in verdict.parts.items())
        )
    order = [(not row.accepted, -(row.score or 0.0), row.host) for row in plan.verdicts]
    assert order == sorted(order)
    taken = [row for row in plan.verdicts if row.accepted]
    assert plan.chosen == (taken[0] if taken else None)
    assert plan == place(Snapshot(tuple(reversed(hosts))), want)


def emptied(name: str, **changes: Any) -> HostSnapshot:
    """Closed, so that it can sleep."""
    return host(name, administration=HostAdministration.DRAINING, emptied=True, **changes)


def test_what_is_woken_comes_after_what_wakes_anyway_and_what_need_not_fall_asleep() -> None:
    asleep, wake = HostPower.ASLEEP, Wake(60.0)
    pool = Snapshot(
        (
            host("asleep", power=asleep, wake=wake),
            emptied("emptied"),
            host("waking", power=HostPower.WAKING, wake=replace(wake, begun=True)),
            emptied("falling", power=HostPower.FALLING_ASLEEP, wake=Wake(60.0, watts=9.0)),
            # Nobody is woken or kept awake against somebody's word.
            host("drained", administration=HostAdministration.DRAINING),
            emptied("left", power=HostPower.FALLING_ASLEEP),
            host(
                "asleep-drained",
                power=asleep,
                wake=wake,
                administration=HostAdministration.DRAINING,
            ),
            emptied("silent", health=HostHealth.SUSPECT),
            emptied("full", memory_bytes=GIB // 8),
        )
    )
    plan = place(pool, shared())
    assert plan.chosen is None
    found = list(woken(plan))
    assert [each.chosen.host for each in found if each.chosen] == [
        "waking",
        "emptied",
        "falling",
        "asleep",
    ]
    told = {each.chosen.host: each.chosen for each in found if each.chosen}
    assert {name: row.emptied for name, row in told.items()} == {
        "waking": False,
        "emptied": True,
        "falling": True,
        "asleep": False,
    }
    assert told["emptied"].wake is None and told["falling"].wake == Wake(60.0, watts=9.0)
    # What room for lost hosts is counted with is the pool as it will be.
    (then,) = (row for row in found[1].pool.hosts if row.name == "emptied") if found[1].pool else ()
    assert (then.administration, then.emptied) == (HostAdministration.SCHEDULABLE, False)
    said = {verdict.host: verdict for verdict in plan.verdicts}
    assert [name for name, row in said.items() if row.emptied] == ["emptied", "falling"]
    assert said["emptied"].reasons[0].message == "the host is being emptied so that it can sleep"
    assert said["drained"].reasons[0].message == "the host is being drained"
