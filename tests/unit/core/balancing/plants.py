"""Plants drawn by hypothesis: small, crowded, with rules, NUMA nodes, cards, states and local disks."""

from dataclasses import replace

from hypothesis import strategies as st
from millwright.core.balancing import (
    Gpu,
    Host,
    HostState,
    Mode,
    Movability,
    Node,
    Plant,
    Rule,
    RuleKind,
    Settings,
    StoragePool,
    Vm,
    conflicts,
    violations,
)
from millwright.core.lifecycle import ServiceClass

GIB = 2**30
_MOSTLY_UP = [HostState.UP] * 6 + [HostState.CORDONED, HostState.DRAINING, HostState.SUSPECT]


@st.composite
def hosts(draw: st.DrawFn, name: str) -> Host:
    numa = draw(st.booleans())
    cores = draw(st.sampled_from([0, 2, 4]))
    nodes: tuple[Node, ...] = ()
    pages = draw(st.sampled_from([0, 4]))
    if numa:
        nodes = (
            Node(cores - cores // 2, {"1G": pages - pages // 2}),
            Node(cores // 2, {"1G": pages // 2}),
        )
    card = Gpu("a16", {"a16-2q": 4, "a16-4q": 2})
    return Host(
        name,
        cpus=draw(st.sampled_from([2, 4, 8])),
        memory_bytes=draw(st.integers(6, 16)) * GIB,
        cores=cores,
        nodes=nodes,
        hugepages={"1G": pages} if pages else {},
        storage={"local": draw(st.integers(0, 20)) * GIB}
        | ({"san": 0} if draw(st.booleans()) else {}),
        gpus=(card,) * draw(st.integers(0, 2)),
        domain=draw(st.sampled_from(["", "a", "b"])),
        labels=frozenset(draw(st.sets(st.sampled_from(["x"])))),
        cpu_models=frozenset(draw(st.sampled_from([(), ("old",), ("old", "new")]))),
        state=draw(st.sampled_from(_MOSTLY_UP)),
    )


@st.composite
def machines(draw: st.DrawFn, name: str, names: list[str]) -> Vm:
    demand = draw(st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0]))
    return Vm(
        name,
        vcpus=4,
        memory_bytes=draw(st.integers(1, 5)) * GIB,
        host=draw(st.sampled_from([*names, None])),
        service_class=draw(st.sampled_from([ServiceClass.SHARED] * 5 + [ServiceClass.REALTIME])),
        cores=draw(st.sampled_from([0, 0, 0, 1, 2])),
        hugepage=draw(st.sampled_from(["", "", "", "1G"])),
        cpu_reservation=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        demand_short=demand,
        demand_long=demand,
        demand_peak=demand * draw(st.sampled_from([1, 2])),
        dirty_bytes_s=draw(st.sampled_from([0.0, 1e6, 5e7, 5e8])),
        disks=draw(st.sampled_from([{}, {}, {"local": 4 * GIB}, {"san": GIB}])),
        gpus=draw(st.sampled_from([{}, {}, {}, {"a16": 1}, {"a16-2q": 1}, {"a16-4q": 1}])),
        cpu_model=draw(st.sampled_from(["", "", "old", "new"])),
        requires=frozenset(draw(st.sampled_from([(), (), (), ("x",)]))),
        priority=draw(st.integers(0, 2)),
        movability=draw(
            st.sampled_from([None, None, Movability.FREE, Movability.APPROVAL, Movability.NEVER])
        ),
        mode=draw(st.sampled_from([None, None, None, Mode.OFF, Mode.SHADOW, Mode.RECOMMEND])),
    )


@st.composite
def plants(draw: st.DrawFn) -> Plant:
    """Machines may stand where they must not; two thirds of the plants begin with every rule kept."""
    names = [f"h{index}" for index in range(draw(st.integers(2, 5)))]
    vms = [draw(machines(f"v{index}", names)) for index in range(draw(st.integers(3, 10)))]
    known = [vm.name for vm in vms]
    rules: list[Rule] = []
    for index in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(list(RuleKind)))
        members = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        where = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        named = tuple(where) if kind in (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS) else ()
        rules.append(
            Rule(
                f"r{index}", kind, tuple(members), named, hard=draw(st.sampled_from([1, 1, 0])) > 0
            )
        )
    plant = Plant(
        tuple(draw(hosts(name)) for name in names),
        tuple(vms),
        rules=tuple(rules),
        storage=(StoragePool("san", 100_000 * GIB),),
        settings=Settings(
            mode=draw(st.sampled_from([Mode.AUTOMATIC, Mode.RECOMMEND])),
            level=draw(st.integers(1, 5)),
            max_moves=draw(st.integers(1, 6)),
            sustain_rounds=1,
        ),
    )
    while conflicts(plant):
        plant = replace(plant, rules=plant.rules[:-1])
    return settled(plant) if draw(st.integers(0, 2)) else plant


def settled(plant: Plant) -> Plant:
    """One machine after another goes to the first host, its own before the others, that breaks nothing."""
    kept: list[Vm] = []
    for index, vm in enumerate(plant.vms):
        rest = tuple(replace(other, host=None) for other in plant.vms[index + 1 :])
        for name in (vm.host, *(host.name for host in plant.hosts), None):
            trial = replace(vm, host=name)
            if name is None or not violations(replace(plant, vms=(*kept, trial, *rest))):
                kept.append(trial)
                break
    return replace(plant, vms=tuple(kept))
