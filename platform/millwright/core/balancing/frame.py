"""A plant turned into arrays once, so that every question after that is cheap.

Machines that a hard rule keeps together and that are together form one *unit*; everything below
counts units. Amounts are whole numbers (millicores, MiB, bytes/s, pages, pieces): needs are rounded up
and what hosts have is rounded down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from millwright.core.lifecycle import Movability

from .answers import Code
from .conflicts import groups
from .entitlement import demand_of, entitlements
from .model import Host, HostState, Plant, RuleKind, Vm

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Number = TypeVar("Number", np.int64, np.float64)

MIB = 2**20
#: vCPUs that a host takes to which nobody has set a limit
UNLIMITED = 2**31
CODES: tuple[Code, ...] = tuple(Code)
BIT: dict[Code, int] = {code: 1 << index for index, code in enumerate(CODES)}
_RANK = [Movability.NEVER, Movability.WINDOW, Movability.APPROVAL, Movability.FREE]


@dataclass(frozen=True, slots=True)
class Resource:
    """One additive resource: its name, the code of its lack, its unit, and which one of its kind it is."""

    name: str
    code: Code
    unit: str
    #: page size, storage pool or kind of device; nothing where there is one only
    which: str = ""


@dataclass(frozen=True, slots=True)
class Soft:
    """A soft rule over units: priced by who is on the host (or in the domain) already."""

    kind: RuleKind
    weight: float
    members: tuple[int, ...]
    by_domain: bool


class Frame:
    """Constant tables of a plant. Hosts H, units U, resources R; see the module for units."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.hosts = plant.hosts
        self.vms = plant.vms
        self.host_index = {host.name: index for index, host in enumerate(plant.hosts)}
        self.vm_index = {vm.name: index for index, vm in enumerate(plant.vms)}
        self.host_names = tuple(host.name for host in plant.hosts)
        domains: dict[str, int] = {}
        self.domain = np.array(
            [
                domains.setdefault(
                    f"d {host.domain}" if host.domain else f"h {host.name}", len(domains)
                )
                for host in plant.hosts
            ],
            np.int64,
        )
        self.domains = max(len(domains), 1)
        self._units()
        self._amounts()
        self._eligible()
        self._nodes()
        self._cards()
        self._rules()

    # -- units -------------------------------------------------------------

    def _units(self) -> None:
        place = np.array(
            [-1 if vm.host is None else self.host_index[vm.host] for vm in self.vms], np.int64
        )
        units: list[tuple[int, ...]] = []
        tied: list[list[int]] = []
        joined = [names for names in groups(self.plant) if len(names) > 1]
        inside = {name for names in joined for name in names}
        for index, vm in enumerate(self.vms):
            if vm.name not in inside:
                units.append((index,))
        for names in joined:
            members = [self.vm_index[name] for name in names]
            split: dict[int, list[int]] = {}
            for member in members:
                split.setdefault(int(place[member]), []).append(member)
            first = len(units)
            units.extend(tuple(part) for part in split.values())
            if len(split) > 1:
                tied.append(list(range(first, len(units))))
        self.units = tuple(units)
        self.unit_of = np.empty(len(self.vms), np.int64)
        for number, unit in enumerate(units):
            for member in unit:
                self.unit_of[member] = number
        self.home = np.array([place[unit[0]] for unit in units], np.int64)
        #: units that should be one and are not
        self.tied: dict[int, tuple[int, ...]] = {}
        for parts in tied:
            for number in parts:
                self.tied[number] = tuple(other for other in parts if other != number)
        self.moves = [
            min((self.vms[member].moves for member in unit), key=_RANK.index) for unit in units
        ]
        self.priority = np.array(
            [max(self.vms[member].priority for member in unit) for unit in units], np.int64
        )

    def name_of(self, unit: int) -> str:
        """The unit's first machine, for people."""
        return self.vms[self.units[unit][0]].name

    def names_of(self, unit: int) -> tuple[str, ...]:
        return tuple(self.vms[member].name for member in self.units[unit])

    # -- amounts -----------------------------------------------------------

    def _amounts(self) -> None:
        shared = {pool.name for pool in self.plant.storage}
        sizes = sorted(
            {size for host in self.hosts for size in host.hugepages}
            | {vm.hugepage for vm in self.vms if vm.hugepage}
        )
        disks = sorted(
            (
                {key for host in self.hosts for key in host.storage}
                | {k for vm in self.vms for k in vm.disks}
            )
            - shared
        )
        kinds = sorted({key for vm in self.vms for key in vm.devices})
        self.page_sizes = sizes
        self.local_disks = frozenset(disks)
        # Most plants of snapshots have no such limit, and every row is looked at for every move.
        limited = any(host.most_vcpus is not None for host in self.hosts)
        self.resources = (
            Resource("cpu reservation", Code.CPU_RESERVATION, "millicores"),
            Resource("memory", Code.MEMORY, "MiB"),
            Resource("dedicated cores", Code.CORES, "cores"),
            Resource("network", Code.NIC, "bytes/s"),
            *(Resource(f"hugepages of {size}", Code.HUGEPAGES, "pages", size) for size in sizes),
            *(Resource(f"storage pool {name}", Code.STORAGE, "MiB", name) for name in disks),
            *(Resource(f"device {kind}", Code.DEVICES, "pieces", kind) for kind in kinds),
            *([Resource("vCPUs of the shared CPUs", Code.VCPUS, "vCPUs")] if limited else []),
        )
        hosts, vms = self.hosts, self.vms
        rows = [
            [int((h.cpus - h.cpus_aside) * 1000 + 1e-6) for h in hosts],
            [(h.memory_bytes - h.memory_aside_bytes - _paged(h)) // MIB for h in hosts],
            [h.cores for h in hosts],
            [int(h.nic_bytes_s) for h in hosts],
            *([h.hugepages.get(size, 0) for h in hosts] for size in sizes),
            *([h.storage.get(name, 0) // MIB for h in hosts] for name in disks),
            *([h.devices.get(kind, 0) for h in hosts] for kind in kinds),
            *([[UNLIMITED if h.most_vcpus is None else h.most_vcpus for h in hosts]] * limited),
        ]
        self.capacity = np.maximum(np.array(rows, np.int64).reshape(len(rows), len(hosts)), 0)
        wants = [
            [math.ceil(v.cpu_reservation * 1000 - 1e-6) for v in vms],
            [0 if v.hugepage else -(-v.memory_bytes // MIB) for v in vms],
            [v.cores for v in vms],
            [math.ceil(v.nic_bytes_s) for v in vms],
            *([pages_of(v) if v.hugepage == size else 0 for v in vms] for size in sizes),
            *([-(-v.disks.get(name, 0) // MIB) for v in vms] for name in disks),
            *([v.devices.get(kind, 0) for v in vms] for kind in kinds),
            *([[v.vcpus - v.cores for v in vms]] * limited),
        ]
        self.need = self._by_unit(np.array(wants, np.int64).reshape(len(wants), len(vms)))
        most = self.capacity.max(axis=1, keepdims=True, initial=0)
        #: the largest share that a unit wants of the largest host
        self.size = (self.need / np.maximum(most, 1)).max(axis=0)
        #: per unit the resources that it wants, so that a question looks at no others
        self.wanted = [np.flatnonzero(row).tolist() for row in self.need.T]
        self.usable = np.maximum(np.array([h.cpus - h.cpus_aside for h in hosts], np.float64), 1e-9)
        self.memory = self._by_unit(np.array([active_bytes(v) / MIB for v in vms], np.float64))
        self.memory_usable = np.maximum(
            np.array([(h.memory_bytes - h.memory_aside_bytes) / MIB for h in hosts], np.float64),
            1.0,
        )
        #: what is not in hugepages: in use by units, and there on hosts (MiB); alone balanced
        self.ordinary = self._by_unit(
            np.array([0.0 if v.hugepage else active_bytes(v) / MIB for v in vms], np.float64)
        )
        #: of that, what machines have told of, not what is thought of those that tell nothing
        self.told = self._by_unit(
            np.array(
                [
                    0.0 if v.hugepage or v.memory_active_bytes is None else active_bytes(v) / MIB
                    for v in vms
                ],
                np.float64,
            )
        )
        self.ordinary_usable = np.maximum(self.capacity[1].astype(np.float64), 1.0)
        self.link = np.array([h.link_bytes_s for h in hosts], np.float64)
        self.carried = self._by_unit(np.array([self.bytes_of(v) for v in vms], np.float64))
        self.dirty = self._by_unit(np.array([v.dirty_bytes_s for v in vms], np.float64))
        self.disruption = self._by_unit(np.array([v.disruption for v in vms], np.float64))

    # Whoever only asks where there is room (losses, orders) asks for neither, and to divide CPUs among many machines
    # of many priorities takes longer than all the rest.

    @cached_property
    def demand(self) -> Floats:
        """Cores of the shared CPUs that each unit is entitled to, or wants where it has no host."""
        given = entitlements(self.plant)
        return self._by_unit(
            np.array([given.get(v.name, demand_of(v)) for v in self.vms], np.float64)
        )

    @cached_property
    def peak(self) -> Floats:
        """Cores of the shared CPUs that each unit wanted in its worst moment."""
        return self._by_unit(
            np.array(
                [min(float(v.vcpus - v.cores), max(v.demand_peak, demand_of(v))) for v in self.vms],
                np.float64,
            )
        )

    def bytes_of(self, vm: Vm) -> int:
        """What a migration of it carries: its memory, and of its disks what is copied."""
        if vm.off:
            # Next to nothing, and not nothing: a rate is divided by it.
            return MIB
        if vm.copied_bytes is not None:
            return vm.memory_bytes + vm.copied_bytes
        return vm.memory_bytes + sum(
            size for pool, size in vm.disks.items() if pool in self.local_disks
        )

    def _by_unit(self, rows: NDArray[Number]) -> NDArray[Number]:
        total = np.zeros((*rows.shape[:-1], len(self.units)), rows.dtype)
        for row, sums in zip(np.atleast_2d(rows), np.atleast_2d(total), strict=True):
            np.add.at(sums, self.unit_of, row)
        return total

    # -- where a unit may be at all ----------------------------------------

    def _eligible(self) -> None:
        spoken: dict[int, list[int]] = {}
        for number, rule in enumerate(self.plant.rules):
            if rule.hard and rule.kind in (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS):
                for name in rule.vms:
                    spoken.setdefault(self.vm_index[name], []).append(number)
        shared = {pool.name for pool in self.plant.storage}
        rows: dict[object, int] = {}
        tables: list[Ints] = []
        self.signature = np.empty(len(self.units), np.int64)
        for number, unit in enumerate(self.units):
            key = tuple(
                (
                    vm.service_class,
                    vm.cpu_model,
                    vm.cpu_features,
                    vm.requires,
                    tuple(sorted(pool for pool in vm.disks if pool in shared)),
                    tuple(spoken.get(member, ())),
                )
                for member in unit
                for vm in (self.vms[member],)
            )
            if key not in rows:
                rows[key] = len(tables)
                bits = np.zeros(len(self.hosts), np.int64)
                for member in unit:
                    bits |= self._static(self.vms[member], spoken.get(member, ()), shared)
                tables.append(bits)
            self.signature[number] = rows[key]
        #: codes that hold whatever runs where: signatures x H
        self.static = np.array(tables, np.int64).reshape(len(tables), len(self.hosts))
        self.allowed = self.static == 0
        closed = [host.state is not HostState.UP for host in self.hosts]
        #: hosts that take nothing new
        self.closed = np.array(closed, np.bool_)

    def _static(self, vm: Vm, rules: Iterable[int], shared: set[str]) -> Ints:
        bits = np.zeros(len(self.hosts), np.int64)
        for index, host in enumerate(self.hosts):
            found = 0
            if host.classes and vm.service_class not in host.classes:
                found |= BIT[Code.CLASS]
            if vm.cpu_model and host.cpu_models and vm.cpu_model not in host.cpu_models:
                found |= BIT[Code.CPU_MODEL]
            if not vm.cpu_features <= host.cpu_features:
                found |= BIT[Code.CPU_FEATURES]
            if not vm.requires <= host.labels:
                found |= BIT[Code.LABELS]
            if any(pool in shared and pool not in host.storage for pool in vm.disks):
                found |= BIT[Code.STORAGE]
            bits[index] = found
        for number in rules:
            rule = self.plant.rules[number]
            named = np.zeros(len(self.hosts), np.bool_)
            named[[self.host_index[name] for name in rule.hosts]] = True
            bad = ~named if rule.kind is RuleKind.ON_HOSTS else named
            bits |= np.where(bad, BIT[Code.HOST_RULE], 0)
        return bits

    # -- NUMA and cards ----------------------------------------------------

    def _nodes(self) -> None:
        count = max((len(host.nodes) for host in self.hosts), default=0)
        #: needed only where a host has more than one node
        self.numa = count > 1
        keys = 1 + len(self.page_sizes)
        self.node_capacity = np.zeros((len(self.hosts), max(count, 1), keys), np.int64)
        self.node_need: dict[int, list[tuple[int, Ints, bool]]] = {}
        if not self.numa:
            return
        for index, host in enumerate(self.hosts):
            for number, node in enumerate(host.nodes):
                pages = [node.hugepages.get(size, 0) for size in self.page_sizes]
                self.node_capacity[index, number] = [node.cores, *pages]
            if not host.nodes:
                pages = [host.hugepages.get(size, 0) for size in self.page_sizes]
                self.node_capacity[index, 0] = [host.cores, *pages]
        for unit, members in enumerate(self.units):
            wants = []
            for member in members:
                vm = self.vms[member]
                pages = [pages_of(vm) if vm.hugepage == size else 0 for size in self.page_sizes]
                vector = np.array([vm.cores, *pages], np.int64)
                if vector.any():
                    wants.append((member, vector, vm.one_node))
            if wants:
                self.node_need[unit] = wants

    def _cards(self) -> None:
        self.gpu_need: dict[int, dict[str, int]] = {}
        for unit, members in enumerate(self.units):
            total: dict[str, int] = {}
            for member in members:
                for name, count in self.vms[member].gpus.items():
                    total[name] = total.get(name, 0) + count
            if any(total.values()):
                self.gpu_need[unit] = {key: value for key, value in total.items() if value}
        self.profiles = sorted({name for need in self.gpu_need.values() for name in need})
        width = max((len(host.gpus) for host in self.hosts), default=0)
        #: instances of a profile that a card holds (a whole card by its model: 1): H x cards x profiles
        self.instances = np.zeros((len(self.hosts), width, len(self.profiles)), np.int64)
        for index, host in enumerate(self.hosts):
            for number, card in enumerate(host.gpus):
                for column, name in enumerate(self.profiles):
                    self.instances[index, number, column] = (
                        1 if name == card.model else card.profiles.get(name, 0)
                    )

    # -- rules over machines -----------------------------------------------

    def _rules(self) -> None:
        self.apart: list[tuple[int, ...]] = []
        #: names of the rules, in the order of `apart`, `spread` and `near`
        self.rule_names: dict[RuleKind, list[str]] = {
            RuleKind.APART: [],
            RuleKind.SPREAD: [],
            RuleKind.NEAR: [],
        }
        self.spread: list[tuple[int, ...]] = []
        self.spread_minimum: list[int] = []
        self.near: list[tuple[int, ...]] = []
        self.soft: list[Soft] = []
        #: soft host rules: unit -> (hosts priced, price in cores)
        self.drawn: dict[int, list[tuple[Ints, float]]] = {}
        for rule in self.plant.rules:
            members = tuple(dict.fromkeys(int(self.unit_of[self.vm_index[n]]) for n in rule.vms))
            if rule.kind in (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS):
                if not rule.hard:
                    where = np.array([self.host_index[name] for name in rule.hosts], np.int64)
                    price = -rule.weight if rule.kind is RuleKind.ON_HOSTS else rule.weight
                    for unit in members:
                        self.drawn.setdefault(unit, []).append((where, price))
            elif not rule.hard:
                by_domain = rule.kind in (RuleKind.SPREAD, RuleKind.NEAR)
                if len(members) > 1:
                    self.soft.append(Soft(rule.kind, rule.weight, members, by_domain))
            elif rule.kind is RuleKind.APART:
                self.rule_names[rule.kind].append(rule.name)
                self.apart.append(members)
            elif rule.kind is RuleKind.SPREAD:
                self.rule_names[rule.kind].append(rule.name)
                self.spread.append(members)
                self.spread_minimum.append(rule.minimum or len(set(rule.vms)))
            elif rule.kind is RuleKind.NEAR:
                self.rule_names[rule.kind].append(rule.name)
                self.near.append(members)
        self.apart_of = _lists(self.apart)
        self.spread_of = _lists(self.spread)
        self.near_of = _lists(self.near)
        self.soft_of = _lists([entry.members for entry in self.soft])


def _lists(sets: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """For each unit the sets that hold it."""
    found: dict[int, list[int]] = {}
    for number, members in enumerate(sets):
        for unit in members:
            found.setdefault(unit, []).append(number)
    return found


def page_bytes(size: str) -> int:
    """Bytes of a page size as the kernel writes it ("2M", "1G").

    Raises:
        ValueError: anything else.
    """
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(size[-1:], 0)
    # Digits of other scripts, and ² that no number is made of, are none that a kernel writes.
    plain = size[:-1].isascii() and size[:-1].isdigit()
    if not factor or not plain or int(size[:-1]) < 1:
        raise ValueError(f"page size {size!r}: a number and K, M or G is wanted")
    return int(size[:-1]) * factor


def pages_of(vm: Vm) -> int:
    """Pages that back its memory."""
    return -(-vm.memory_bytes // page_bytes(vm.hugepage))


def _paged(host: Host) -> int:
    return sum(count * page_bytes(size) for size, count in host.hugepages.items())


def active_bytes(vm: Vm) -> float:
    """Memory demand: what is touched and a quarter of the rest (the published rule of DRS, 2012)."""
    if vm.memory_active_bytes is None:
        return float(vm.memory_bytes)
    return vm.memory_active_bytes + 0.25 * max(0, vm.memory_bytes - vm.memory_active_bytes)
