"""What machines need and hosts have beside CPUs and memory, as the balancer's model has it.

Amounts are given so that what the balancer finds free is what a placement would: what the host says is free now,
plus what the machines there hold of it by our own account. Of a host that has not told a part, enough is assumed
for everybody who wants it; the placement itself, which comes later, asks again.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q

from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Gpu, Node, Plant, within
from millwright.core.lifecycle import ServiceClass
from millwright.core.placement import StartedCpu
from millwright.environments.sizes import DEFAULT_POOL, Requires, disruption_of, requires_of
from millwright.inventory import equipment
from millwright.inventory.models import Host as HostRow
from millwright.inventory.snapshot import OVERHEAD_BYTES

#: Older measurements say nothing of how much a machine writes now.
DIRTY_LIFE = dt.timedelta(days=1)
#: Of a machine that does not run, or of which nobody has asked yet.
NO_CPU = StartedCpu()
#: What of a host's row says what it has told.
_TOLD = ("name", "equipment", "disk_bytes", "disk_free_bytes", "accel", "capabilities", "policy")
_OTHERS = frozenset(str(kind) for kind in ServiceClass if kind is not ServiceClass.REALTIME)
#: How a card of any model is asked for.
ANY_CARD = "any"


@dataclass(frozen=True, slots=True)
class Held:
    """What a machine takes of its host: by our own account, wherever it stands."""

    host: str | None
    memory_bytes: int
    disk_bytes: int
    needs: Requires
    #: the CPU that it was started with, as far as it runs and that is known
    cpu: StartedCpu = NO_CPU
    #: NUMA nodes of its host to which its memory is bound
    nodes: tuple[int, ...] = ()
    #: its pages must be in the NUMA node of its cores, wherever it is placed
    binds: bool = False


def needs_by_version() -> dict[int, Requires]:
    """What machines of each template version need that not every host has. One query."""
    return told_by_version()[0]


def told_by_version() -> tuple[dict[int, Requires], dict[int, float]]:
    """As `needs_by_version`, and what users of such machines suffer from a move, in core-seconds. One query."""
    asked = Q(spec__has_key="requires") | Q(spec__has_key="disruption")
    rows = list(TemplateVersion.objects.filter(asked).values_list("pk", "spec"))
    needs = {pk: requires_of(spec) for pk, spec in rows}
    suffered = {pk: disruption_of(spec) for pk, spec in rows}
    return (
        {pk: wants for pk, wants in needs.items() if wants},
        {pk: weight for pk, weight in suffered.items() if weight},
    )


class Parts:
    """Everybody's needs, summed up once, and from them the hosts and machines of a plant."""

    def __init__(self, machines: Iterable[Held]) -> None:
        self._pages: dict[str | None, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._disks: dict[str | None, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._paged: dict[str | None, int] = defaultdict(int)
        #: of each host whose nodes are told their numbers, in the model's order
        self._numbers: dict[str, list[int]] = {}
        self._bound: dict[tuple[str | None, int, int], int] = defaultdict(int)
        self._all_pages: dict[int, int] = defaultdict(int)
        self._all_disks: dict[str, int] = defaultdict(int)
        self._all_bandwidth = 0
        wanted: set[str] = set()
        seen: set[StartedCpu] = set()
        for held in machines:
            needs = held.needs
            if size := needs.hugepage_bytes:
                count = -(-held.memory_bytes // size)
                self._pages[held.host][size] += count
                self._all_pages[size] += count
                self._paged[held.host] += 1
                for node in held.nodes:
                    self._bound[held.host, node, size] += -(-count // len(held.nodes))
            self._disks[held.host][needs.storage_pool] += held.disk_bytes
            self._all_disks[needs.storage_pool] += held.disk_bytes
            self._all_bandwidth += needs.nic_bytes_s
            wanted |= needs.cpu_features
            if held.cpu not in seen:
                seen.add(held.cpu)
                wanted |= held.cpu.features
        self._wanted = frozenset(wanted)

    def host(self, row: HostRow) -> dict[str, Any]:
        """Fields of the model's host; memory that lies in pages is taken out by the model itself."""
        has, model = equipment.cpu_features(row), equipment.cpu_model(row)
        pages, beside = self._hugepages(row)
        fields: dict[str, Any] = {
            "hugepages": pages,
            "memory_bytes": row.memory_bytes + beside,
            "memory_aside": self._paged[row.name] * OVERHEAD_BYTES,
            "storage": self._storage(row),
            "gpus": (
                *(Gpu(card.model, {ANY_CARD: 1}) for card in equipment.cards(row) or ()),
                *_shared(row),
            ),
            "cpu_models": frozenset((model,) if model else ()),
            "cpu_features": self._wanted if has is None else has,
        }
        if (nics := equipment.nic_bytes_s(row)) is not None:
            fields["nic_bytes_s"] = within("nic_bytes_s", nics)
        elif self._all_bandwidth:
            # Not known: enough for everybody who reserves any.
            fields["nic_bytes_s"] = within("nic_bytes_s", float(self._all_bandwidth))
        if (link := equipment.link_bytes_s(row)) is not None:
            fields["link_bytes_s"] = within("link_bytes_s", link)
        return fields

    def _hugepages(self, row: HostRow) -> tuple[dict[str, int], int]:
        """Pages by the name of their size; and memory to add: what the model takes out for them is what the host lacks."""
        total, free = equipment.pages(row), equipment.pages(row, "free")
        held = self._pages[row.name]
        if total is None or free is None:
            assumed = {size: count for size, count in self._all_pages.items() if count}
            return (
                {page_name(size): count for size, count in assumed.items()},
                sum(size * count for size, count in assumed.items()),
            )
        # What is free for the planner is what neither runs nor is promised.
        kept = {
            size: min(free[size] + held.get(size, 0), count)
            for size, count in total.items()
            if count
        }
        # The model takes out what it is told of; pages that strangers use are nobody's memory either.
        told = sum(size * count for size, count in kept.items())
        return (
            {page_name(size): count for size, count in kept.items()},
            told - equipment.pages_aside(row),
        )

    def nodes(
        self, row: HostRow, cores: Mapping[int, int], pages: Mapping[str, int]
    ) -> tuple[Node, ...]:
        """NUMA nodes of the host in the order of their numbers, with what of `pages` (all there are) lies in each.

        Nothing where it has told of pages in one node only: then it is as if all were in one. `cores`: those that
        are given whole, by node.
        """
        told = equipment.node_pages(row)
        if told is None:
            return ()
        numbers = self._numbers[row.name] = sorted({*cores, *told})
        found: dict[int, dict[str, int]] = {node: {} for node in numbers}
        for size in sorted({size for sizes in told.values() for size in sizes}):
            name = page_name(size)
            left = pages.get(name, 0)
            rows = {node: told.get(node, {}).get(size, (0, 0)) for node in numbers}
            for node, (total, free) in rows.items():
                sure = min(total, free + self._bound.get((row.name, node, size), 0), left)
                found[node][name] = sure
                left -= sure
            # What machines hold that are bound to no node lies somewhere: it is there for them wherever it is.
            for node, (total, _free) in rows.items():
                more = min(left, total - found[node][name])
                found[node][name] += more
                left -= more
        return tuple(
            Node(cores.get(node, 0), {name: count for name, count in found[node].items() if count})
            for node in numbers
        )

    def seat(self, held: Held) -> int | None:
        """The node of its host to which the machine is bound, as the model counts them; after `nodes` of that host."""
        numbers = self._numbers.get(held.host or "", [])
        if not held.binds or len(held.nodes) != 1 or held.nodes[0] not in numbers:
            return None
        return numbers.index(held.nodes[0])

    def _storage(self, row: HostRow) -> dict[str, int]:
        told = equipment.storage_free(row)
        found = dict(self._all_disks) if told is None else dict(told)
        found[DEFAULT_POOL] = (
            row.disk_free_bytes if row.disk_bytes else self._all_disks[DEFAULT_POOL]
        )
        held = self._disks[row.name]
        return {pool: free + held.get(pool, 0) for pool, free in found.items()}


def machine(held: Held) -> dict[str, Any]:
    """Fields of the model's machine."""
    needs, cpu = held.needs, held.cpu
    fields: dict[str, Any] = {
        # Machines of a kind share one set.
        "cpu_features": needs.cpu_features | cpu.features if needs.cpu_features else cpu.features
    }
    if needs.hugepage_bytes:
        fields["hugepage"] = page_name(needs.hugepage_bytes)
        # One that is bound to no node takes pages from any; what QEMU takes beside is set aside at its host.
        fields |= {"memory_bytes": held.memory_bytes, "one_node": held.binds}
    else:
        # Its cores come from one node where one has enough, and from several where none has.
        fields["one_node"] = False
    if held.disk_bytes:
        fields["disks"] = {needs.storage_pool: held.disk_bytes}
    if needs.gpus:
        fields["gpus"] = {needs.gpu_profile or needs.gpu_model or ANY_CARD: needs.gpus}
    if needs.nic_bytes_s:
        fields["nic_bytes_s"] = float(needs.nic_bytes_s)
    if cpu.passthrough and cpu.model:
        fields["cpu_model"] = cpu.model
    return fields


def with_room(plant: Plant, held: Held, copies: int, *, realtime: bool = False) -> Plant:
    """The plant for a question about so many more of a machine: what hosts have not told suffices for all of them.

    `realtime`: hosts that cannot keep time, and do not say that they try, take none of these. One query.
    """
    rows = {row.name: row for row in HostRow.objects.only(*_TOLD)}
    needs = held.needs
    inside: dict[str | None, int] = defaultdict(int)
    for vm in plant.vms:
        inside[vm.host] += vm.disks.get(DEFAULT_POOL, 0)
    hosts = []
    for host in plant.hosts:
        row = rows.get(host.name)
        if row is None:
            hosts.append(host)
            continue
        changes: dict[str, Any] = {}
        pool = needs.storage_pool
        if pool != DEFAULT_POOL and equipment.storage_free(row) is None:
            whole = host.storage.get(pool, 0) + held.disk_bytes * copies
            changes["storage"] = {**host.storage, pool: whole}
        elif pool == DEFAULT_POOL and not row.disk_bytes:
            # A placement takes a disk of unknown size for what it says is free.
            whole = inside[host.name] + row.disk_free_bytes
            changes["storage"] = {**host.storage, pool: whole}
        if (size := needs.hugepage_bytes) and equipment.pages(row) is None:
            count, name = -(-held.memory_bytes // size) * copies, page_name(size)
            changes["hugepages"] = {**host.hugepages, name: host.hugepages.get(name, 0) + count}
            changes["memory_bytes"] = host.memory_bytes + count * size
        if needs.nic_bytes_s and equipment.nic_bytes_s(row) is None:
            changes["nic_bytes_s"] = host.nic_bytes_s + float(needs.nic_bytes_s) * copies
        if equipment.cpu_features(row) is None:
            changes["cpu_features"] = host.cpu_features | needs.cpu_features
        if realtime and not _keeps_time(row):
            changes["classes"] = _OTHERS
        hosts.append(replace(host, **changes) if changes else host)
    return replace(plant, hosts=tuple(hosts))


def _keeps_time(row: HostRow) -> bool:
    """As a placement asks of those that want a core of their own (`core.placement.filters.keeps_time`)."""
    fifo = row.capabilities.get("fifo", {}).get("verdict") == "yes"
    return bool(row.policy.get("best_effort", False)) or (row.accel == "kvm" and fifo)


def _shared(row: HostRow) -> Iterator[Gpu]:
    """Cards that are given in parts: all instances that they hold of a profile, made or not, one profile at a time."""
    for address, (free, made) in sorted((equipment.shared_cards(row) or {}).items()):
        kinds = set(made.values())
        yield Gpu(
            f"{address} shared",
            {
                kind: count + len(made)
                for kind, count in free.items()
                if kinds <= {kind} and count + len(made) > 0
            },
        )


def dirty_bytes_s(traits: Mapping[str, Any], now: dt.datetime) -> float:
    """Bytes per second that the machine was measured to write lately; 0 where that is not known."""
    try:
        fresh = now - dt.datetime.fromisoformat(traits["dirty_at"]) < DIRTY_LIFE
    except (KeyError, ValueError, TypeError):
        return 0.0
    return float(traits.get("dirty_bytes_s", 0)) if fresh else 0.0


def page_name(size_bytes: int) -> str:
    """A page size as the model and templates name it: 2M, 1G."""
    mib = size_bytes // 2**20
    return f"{mib // 1024}G" if mib and mib % 1024 == 0 else f"{mib}M"
