"""The one allocator of physical CPUs: pure functions on a topology and the claims there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .topology import Topology, format_cpu_list


@dataclass(frozen=True, slots=True)
class VcpuWant:
    """One vCPU: a control vCPU wants a whole core of its own, a housekeeping one floats."""

    index: int
    control: bool


@dataclass(frozen=True, slots=True)
class CpuAssignment:
    """Which CPUs serve what. `claims` are exclusive: vCPU index → the CPUs of one whole core."""

    vcpu_cpus: Mapping[int, frozenset[int]]
    emulator_cpus: frozenset[int]
    claims: Mapping[int, frozenset[int]] = field(default_factory=dict)
    #: control vCPUs that got no core of their own
    unmet: tuple[int, ...] = ()
    #: NUMA nodes to which its memory is bound, those of its cores; none: it may lie anywhere
    memory_nodes: frozenset[int] = frozenset()

    @property
    def claimed(self) -> frozenset[int]:
        """Every CPU that is claimed exclusively."""
        return frozenset(cpu for core in self.claims.values() for cpu in core)


@dataclass(frozen=True, slots=True)
class NodePages:
    """Hugepages that have to be in the NUMA nodes of a machine's cores: how many, and how many each node has free."""

    wanted: int
    free: Mapping[int, int]

    def suffice(self, nodes: Iterable[int]) -> bool:
        return sum(max(0, self.free.get(node, 0)) for node in nodes) >= self.wanted


def free_cores(topology: Topology, claimed: Iterable[int]) -> list[frozenset[int]]:
    """Whole realtime cores that nobody claims, grouped so that one NUMA node comes after another."""
    taken = set(claimed)
    whole = [core for core in topology.whole_cores.values() if not core & taken]
    nodes = {cpu.id: cpu.node for cpu in topology.cpus}
    return sorted(whole, key=lambda core: (nodes[min(core)], min(core)))


def count_free_cores(topology: Topology, claimed: Iterable[int]) -> int:
    """How many `free_cores` there are, without naming them."""
    taken = set(map(topology.first_of.get, claimed))
    taken.discard(None)
    return len(topology.whole_cores) - len(taken)


def cores_with_pages(
    topology: Topology, claimed: Iterable[int], count: int, pages: NodePages
) -> list[frozenset[int]] | None:
    """So many free cores with these pages in their own NUMA nodes; None: there are none.

    One node where one has enough cores; where none has, several that have the pages together.
    """
    by_node = _by_node(topology, free_cores(topology, claimed))
    large = {node: found for node, found in by_node.items() if len(found) >= count}
    if large:
        fitting = {node: found for node, found in large.items() if pages.suffice((node,))}
        return _from_fewest_nodes(fitting, count) if fitting else None
    chosen = _from_fewest_nodes(by_node, count)
    if len(chosen) < count or not pages.suffice(nodes_of(topology, chosen)):
        return None
    return chosen


def nodes_of(topology: Topology, cores: Iterable[frozenset[int]]) -> frozenset[int]:
    """NUMA nodes in which these cores are."""
    nodes = {cpu.id: cpu.node for cpu in topology.cpus}
    return frozenset(nodes[min(core)] for core in cores)


def allocate(
    topology: Topology,
    wants: Iterable[VcpuWant],
    claimed: Iterable[int],
    *,
    best_effort: bool,
    pages: NodePages | None = None,
) -> CpuAssignment | None:
    """Assign CPUs; None if a control vCPU finds no core and best effort is not accepted.

    Cores of one machine come from one NUMA node where a node has enough; the node with the
    fewest free cores that suffice is taken, so that large holes stay for large machines.

    `pages`: its memory lies in these, in the nodes of its cores, to which it is bound. Where cores and pages are not
    in the same nodes there is no assignment, or, where best effort is accepted, one whose memory may lie anywhere.
    """
    wants = sorted(wants, key=lambda want: want.index)
    control = [want for want in wants if want.control]
    chosen: list[frozenset[int]] = []
    bound: frozenset[int] = frozenset()
    if control:
        found = None
        if pages is not None:
            found = cores_with_pages(topology, claimed, len(control), pages)
            if found is None and not best_effort:
                return None
        if found is None:
            by_node = _by_node(topology, free_cores(topology, claimed))
            chosen = _from_fewest_nodes(by_node, len(control))
        else:
            chosen, bound = found, nodes_of(topology, found)
    if len(chosen) < len(control) and not best_effort:
        return None
    vcpus: dict[int, frozenset[int]] = {}
    claims: dict[int, frozenset[int]] = {}
    unmet: list[int] = []
    supply = iter(chosen)
    for want in wants:
        core = next(supply, None) if want.control else None
        if core is not None:
            # Only the first CPU of the core runs; its siblings are claimed so that they idle.
            vcpus[want.index] = frozenset({min(core)})
            claims[want.index] = core
        else:
            vcpus[want.index] = topology.shared or topology.housekeeping
            if want.control:
                unmet.append(want.index)
    return CpuAssignment(vcpus, topology.housekeeping, claims, tuple(unmet), bound)


def _by_node(
    topology: Topology, cores: Iterable[frozenset[int]]
) -> dict[int, list[frozenset[int]]]:
    by_node: dict[int, list[frozenset[int]]] = {}
    for core in cores:
        by_node.setdefault(topology.cpu(min(core)).node, []).append(core)
    return by_node


def _from_fewest_nodes(
    by_node: Mapping[int, list[frozenset[int]]], count: int
) -> list[frozenset[int]]:
    fitting = sorted((len(found), node) for node, found in by_node.items() if len(found) >= count)
    if fitting:
        return by_node[fitting[0][1]][:count]
    largest_first = sorted(by_node.values(), key=len, reverse=True)
    return [core for found in largest_first for core in found][:count]


def describe(assignment: CpuAssignment) -> dict[str, object]:
    """The assignment as data for the database and for people."""
    bound = {"memory_nodes": sorted(assignment.memory_nodes)} if assignment.memory_nodes else {}
    return {
        "vcpus": {
            str(index): format_cpu_list(cpus) for index, cpus in assignment.vcpu_cpus.items()
        },
        "emulator": format_cpu_list(assignment.emulator_cpus),
        "claims": {str(index): format_cpu_list(cpus) for index, cpus in assignment.claims.items()},
        "unmet": list(assignment.unmet),
        **bound,
    }
