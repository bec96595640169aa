"""What the model knows of hosts and machines decides: each property, on a host that has it and one that has not."""

from dataclasses import replace
from typing import Any

import pytest
from millwright.core.balancing import (
    Code,
    Gpu,
    Host,
    HostState,
    Mode,
    Movability,
    Node,
    Plant,
    Pool,
    Rule,
    RuleKind,
    Settings,
    StoragePool,
    Vm,
    Why,
    admit,
    after,
    balance,
    capacity,
    drain,
    entitlements,
    explain,
    failure_capacity,
    read_plant,
    recover,
    violations,
    write_plant,
)
from millwright.core.lifecycle import ServiceClass

GIB = 2**30


def host(name: str, **more: Any) -> Host:
    return replace(Host(name, cpus=8, memory_bytes=32 * GIB), **more)


def vm(name: str, where: str | None = None, **more: Any) -> Vm:
    return replace(Vm(name, vcpus=4, memory_bytes=2 * GIB, host=where), **more)


CARD = Gpu("a16", {"a16-2q": 4, "a16-4q": 2})


@pytest.mark.parametrize(
    ("has", "lacks", "wants", "code"),
    [
        ({"cores": 4}, {"cores": 3}, {"cores": 4}, Code.CORES),
        # Cores that keep house are nobody's.
        ({"cores": 4}, {"cores": 0, "housekeeping": 8}, {"cores": 4}, Code.CORES),
        ({"cores": 4, "nodes": (Node(4),)}, {"cores": 4, "nodes": (Node(2), Node(2))}, {"cores": 4}, Code.NUMA),
        ({}, {"most_vcpus": 3}, {}, Code.VCPUS),
        ({"most_vcpus": 4}, {"most_vcpus": 3}, {}, Code.VCPUS),
        ({}, {"cpus": 2}, {"cpu_reservation": 4}, Code.CPU_RESERVATION),
        ({}, {"cpus_aside": 6}, {"cpu_reservation": 4}, Code.CPU_RESERVATION),
        ({}, {"memory_bytes": GIB}, {}, Code.MEMORY),
        ({}, {"memory_aside_bytes": 31 * GIB}, {}, Code.MEMORY),
        ({"hugepages": {"1G": 4}}, {"hugepages": {"2M": 2048}}, {"hugepage": "1G"}, Code.HUGEPAGES),
        ({"storage": {"nvme": 9 * GIB}}, {"storage": {"nvme": GIB}}, {"disks": {"nvme": 4 * GIB}}, Code.STORAGE),
        ({"storage": {"nvme": 9 * GIB}}, {"storage": {"sata": 9 * GIB}}, {"disks": {"nvme": 4 * GIB}}, Code.STORAGE),
        ({}, {"nic_bytes_s": 1e6}, {"nic_bytes_s": 5e8}, Code.NIC),
        ({"gpus": (CARD,)}, {}, {"gpus": {"a16": 1}}, Code.GPU),
        ({"gpus": (CARD,)}, {"gpus": (Gpu("a16", {"a16-4q": 2}),)}, {"gpus": {"a16-2q": 1}}, Code.GPU),
        ({"devices": {"profinet": 1}}, {}, {"devices": {"profinet": 1}}, Code.DEVICES),
        ({"cpu_models": frozenset({"EPYC", "Skylake"})}, {"cpu_models": frozenset({"Skylake"})}, {"cpu_model": "EPYC"}, Code.CPU_MODEL),
        ({"cpu_features": frozenset({"avx512f"})}, {}, {"cpu_features": frozenset({"avx512f"})}, Code.CPU_FEATURES),
        ({"labels": frozenset({"cell:line1"})}, {}, {"requires": frozenset({"cell:line1"})}, Code.LABELS),
        ({}, {"classes": frozenset({"shared"})}, {"service_class": ServiceClass.GUARANTEED}, Code.CLASS),
        ({}, {"state": HostState.CORDONED}, {}, Code.HOST_STATE),
        ({}, {"state": HostState.DRAINING}, {}, Code.HOST_STATE),
        ({}, {"state": HostState.SUSPECT}, {}, Code.HOST_STATE),
        ({}, {"state": HostState.DOWN}, {}, Code.HOST_STATE),
        ({}, {"state": HostState.ASLEEP}, {}, Code.HOST_STATE),
    ],
)  # fmt: skip
def test_a_host_that_lacks_it_says_so_and_the_other_one_is_taken(
    has: dict[str, Any], lacks: dict[str, Any], wants: dict[str, Any], code: Code
) -> None:
    start = Plant((host("lacks", **lacks), host("has", **has)), ())
    (placed,) = admit(start, [vm("new", **wants)]).placed
    assert placed.host == "has"
    said = {answer.host: answer for answer in placed.answers}
    assert code in said["lacks"].codes
    assert len(said["lacks"].texts) == len(said["lacks"].codes)
    assert said["has"].codes == ()
    assert said["has"].parts


@pytest.mark.parametrize(
    ("kind", "hosts", "taken", "code"),
    [
        (RuleKind.APART, (), "h2", Code.APART),
        (RuleKind.TOGETHER, (), "h1", Code.TOGETHER),
        (RuleKind.SPREAD, (), "h3", Code.SPREAD),
        (RuleKind.NEAR, (), "h2", Code.NEAR),
        (RuleKind.ON_HOSTS, ("h2",), "h2", Code.HOST_RULE),
        (RuleKind.OFF_HOSTS, ("h1", "h3"), "h2", Code.HOST_RULE),
    ],
)
def test_each_kind_of_rule_decides_and_names_itself(
    kind: RuleKind, hosts: tuple[str, ...], taken: str, code: Code
) -> None:
    """h1 and h2 stand in one rack, h3 in another; the other machine is on h1."""
    racks = (host("h1", domain="a"), host("h2", domain="a"), host("h3", domain="b"))
    members = ("new",) if hosts else ("there", "new")
    start = Plant(racks, (vm("there", "h1"),), rules=(Rule("r", kind, members, hosts),))
    grown = replace(start, vms=(*start.vms, vm("new")))
    answers = {row.host: row for row in explain(grown, "new").answers}
    # Near: its rack, and both of its hosts do.
    assert answers[taken].accepted
    refused = {name for name, row in answers.items() if code in row.codes}
    wanted = {"apart": {"h1"}, "together": {"h2", "h3"}, "spread": {"h1", "h2"}, "near": {"h3"}}
    assert refused == wanted.get(str(kind), {"h1", "h3"})


def test_a_soft_rule_yields_by_its_weight() -> None:
    """The machine is wanted off h1 (soft); h2 is busy: what waits there is held against the weight."""
    busy = vm("busy", "h2", vcpus=16, demand_short=8.0, demand_long=8.0, demand_peak=8.0)
    new = vm("new", demand_short=3.0, demand_long=3.0, demand_peak=3.0)
    for weight, taken in ((0.1, "h1"), (50.0, "h2")):
        rule = Rule("r", RuleKind.OFF_HOSTS, ("new",), ("h1",), hard=False, weight=weight)
        start = Plant((host("h1"), host("h2")), (busy, new), rules=(rule,))
        answers = {row.host: row.score for row in explain(start, "new").answers}
        assert min(answers, key=lambda name: answers[name]) == taken


def hot(**first: Any) -> Plant:
    """Four machines that want 3 cores each on a host of 8; an idle one beside it."""
    vms = [
        vm(f"v{i}", "h1", demand_short=3.0, demand_long=3.0, demand_peak=3.0, **first if i == 0 else {})
        for i in range(4)
    ]  # fmt: skip
    settings = Settings(mode=Mode.AUTOMATIC, sustain_rounds=1)
    return Plant((host("h1"), host("h2")), tuple(vms), settings=settings)


@pytest.mark.parametrize(
    "price",
    [{"memory_bytes": 24 * GIB}, {"dirty_bytes_s": 1e8}, {"disruption": 1e6}],
    ids=["memory", "dirty rate", "disruption"],
)
def test_what_is_dear_to_move_stays(price: dict[str, Any]) -> None:
    # Without the price it is as good as any: the first one goes.
    assert "v0" in {move.vm for move in balance(hot()).moves}
    made = balance(hot(**price))
    assert made.moves
    assert "v0" not in {move.vm for move in made.moves}


@pytest.mark.parametrize(
    ("movability", "window", "moves"),
    [
        (Movability.NEVER, True, set()),
        (Movability.WINDOW, False, set()),
        (Movability.WINDOW, True, {Mode.AUTOMATIC}),
        (Movability.APPROVAL, False, {Mode.RECOMMEND}),
        (Movability.FREE, False, {Mode.AUTOMATIC}),
    ],
)
def test_movability_decides_who_may_move(
    movability: Movability, window: bool, moves: set[Mode]
) -> None:
    plant = hot()
    vms = tuple(replace(row, movability=movability, window_open=window) for row in plant.vms)
    assert {move.mode for move in balance(replace(plant, vms=vms)).moves} == moves


@pytest.mark.parametrize(
    "own", [{"service_class": ServiceClass.REALTIME}, {"cores": 1}], ids=["vPLC", "pinned"]
)
def test_what_has_cpus_of_its_own_stays_unless_its_policy_says_so(own: dict[str, Any]) -> None:
    plant = hot()
    hosts = tuple(replace(row, cores=8) for row in plant.hosts)
    vms = tuple(replace(row, demand_short=4.0, demand_long=4.0, **own) for row in plant.vms)
    pinned = replace(plant, hosts=hosts, vms=vms)
    assert not balance(pinned).moves
    free = tuple(replace(row, movability=Movability.FREE) for row in vms)
    # A broken rule is mended only by what may move.
    apart = (Rule("r", RuleKind.APART, ("v0", "v1")),)
    assert not balance(replace(pinned, rules=apart)).moves
    assert balance(replace(pinned, rules=apart, vms=free)).moves


def test_reservation_limit_and_shares_hold_in_a_tree_of_pools() -> None:
    """Two cores are reserved for one pool, two limit the other, whose two parts go 3 to 1."""
    pools = (
        Pool("control", reservation=2),
        Pool("office", limit=2),
        Pool("cad", parent="office", shares=3000),
        Pool("cae", parent="office", shares=1000),
    )
    vms = tuple(
        vm(name, "h1", vcpus=8, demand_short=8.0, demand_long=8.0, pool=pool, shares=shares)
        for name, pool, shares in (
            ("plc-data", "control", 1),
            ("drawing", "cad", 1000),
            ("solver", "cae", 1000),
        )
    )
    start = Plant((host("h1"),), vms, pools=pools)
    given = entitlements(start)
    assert given == pytest.approx({"plc-data": 6, "drawing": 1.5, "solver": 0.5})
    idle = replace(start, vms=(replace(vms[0], demand_short=0.0, demand_long=0.0), *vms[1:]))
    # What is reserved and not wanted is the others', within their limit.
    assert entitlements(idle)["drawing"] + entitlements(idle)["solver"] == pytest.approx(2)


def test_a_short_burst_and_a_long_average_both_count_as_demand() -> None:
    plant = Plant(
        (host("h1", cpus=32),),
        (
            vm("burst", "h1", demand_short=3.0, demand_long=1.0),
            vm("lull", "h1", demand_short=1.0, demand_long=3.0),
            vm("reserved", "h1", cpu_reservation=2.0),
            vm("limited", "h1", demand_short=4.0, cpu_limit=1.5),
        ),
    )
    found = entitlements(plant)
    assert found["burst"] >= 3
    assert found["lull"] >= 3
    assert found["reserved"] >= 2
    assert found["limited"] == pytest.approx(1.5)


def test_a_machine_that_is_off_leaves_with_its_definition_alone() -> None:
    hosts = (host("h1"), host("h2"))
    running = vm("t", "h1", memory_bytes=4 * GIB)
    seconds = {
        off: drain(Plant(hosts, (replace(running, off=off),)), ["h1"]).seconds
        for off in (False, True)
    }
    assert seconds[False] > 30
    assert 0 < seconds[True] < 1
    given = Plant(hosts, (replace(running, off=True),))
    assert read_plant(write_plant(given)) == given


def test_shared_storage_is_counted_once_and_local_per_host() -> None:
    hosts = tuple(host(name, storage={"san": 0, "local": 8 * GIB}) for name in ("h1", "h2"))
    plant = Plant(hosts, (), storage=(StoragePool("san", 12 * GIB),))
    wanted = vm("t", disks={"san": 4 * GIB})
    told = capacity(plant, wanted)
    assert (told.fits, told.with_one_more) == (3, 3)
    assert told.limited_by == {"storage pool san": 2}
    # The fourth finds no room anywhere, and every host says so.
    made = admit(plant, [replace(wanted, name=f"t{n}") for n in range(4)])
    assert [entry.host is None for entry in made.placed] == [False, False, False, True]
    for answer in made.placed[-1].answers:
        assert answer.codes == (Code.STORAGE,)
        assert answer.texts == (
            "it asks for 4.0 GiB of storage pool san, in which 0.0 GiB are free",
        )
    assert capacity(plant, vm("t", disks={"local": 4 * GIB})).fits == 4


def test_imbalance_is_measured_for_each_resource() -> None:
    vms = tuple(vm(f"v{n}", "h1", memory_bytes=8 * GIB) for n in range(4))
    uneven = Plant((host("h1"), host("h2")), vms)
    found = balance(uneven).before
    assert (found.imbalance, found.memory_imbalance) == (0, pytest.approx(0.5))
    busy = tuple(replace(row, demand_short=2.0, demand_long=2.0, memory_bytes=1) for row in vms)
    found = balance(replace(uneven, vms=busy)).before
    assert (found.imbalance, found.highest, found.highest_host) == (0.5, 1.0, "h1")
    assert found.memory_imbalance == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("level", "moves"), [(1, 0), (2, 0), (3, 0), (4, 2), (5, 2)])
def test_only_the_bolder_levels_even_out_what_is_not_crowded(level: int, moves: int) -> None:
    vms = tuple(
        vm(f"v{n}", "h1", demand_short=1.5, demand_long=1.5, demand_peak=1.5) for n in range(4)
    )
    settings = Settings(mode=Mode.AUTOMATIC, level=level, sustain_rounds=1)
    made = balance(Plant((host("h1"), host("h2")), vms, settings=settings))
    assert len(made.moves) == moves
    assert all("carries more than its share" in move.text for move in made.moves)


def test_vcpus_that_may_be_promised_hold_for_every_door_and_are_no_time() -> None:
    """Two vCPUs for each of two CPUs: a limit on who comes, while what they share is the time of two CPUs."""
    hosts = tuple(host(name, cpus=2, most_vcpus=4) for name in ("h1", "h2"))
    busy = [
        vm(f"v{n}", "h1", vcpus=2, demand_short=1.0, demand_long=1.0, demand_peak=1.0)
        for n in (1, 2)
    ]
    start = Plant(hosts, tuple(busy), settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=1))
    assert sum(entitlements(start).values()) == pytest.approx(2.0)
    made = balance(start)
    assert made.before.highest == pytest.approx(1.0)
    assert [move.target for move in made.moves] == ["h2"]
    beside = replace(start, vms=(*busy, vm("w", "h2", vcpus=3)))
    assert not balance(beside).moves
    assert capacity(start, vm("copy", vcpus=2)).fits == 2
    assert capacity(start, vm("copy", vcpus=2)).limited_by == {"vCPUs of the shared CPUs": 2}
    assert failure_capacity(start, 1).ok
    assert not failure_capacity(beside, 1).ok
    assert not drain(beside, ["h1"]).possible
    assert recover(beside, ["h1"]).left
    # A core of its own is none of the shared ones.
    own = vm("own", vcpus=3, cores=1, service_class=ServiceClass.REALTIME)
    cored = tuple(replace(each, cores=1) for each in hosts)
    (placed,) = admit(replace(start, hosts=cored), [own]).placed
    assert placed.host == "h2"


def test_a_host_whose_owner_lets_fewer_come_is_relieved() -> None:
    hosts = (host("h1", most_vcpus=7), host("h2"))
    start = Plant(
        hosts,
        (vm("a", "h1"), vm("b", "h1")),
        settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=1),
    )
    assert [entry.kind for entry in violations(start)] == ["vcpus"]
    made = balance(start)
    assert [(move.target, move.why) for move in made.moves] == [("h2", Why.OVERCOMMIT)]
    assert not violations(after(start, made.moves))
