"""Room for hosts to die, kept where machines are placed: as many hosts as the balancer is told (`spare_hosts`).

Sums by host tell of most placements that the room is there (`core.balancing.sums`, which errs to the safe side
only): they are read with five queries. Where they do not suffice for some hosts, the machines of those are
read and placed on paper, beside everything else as amounts; and the whole plant where even that does not tell.

Beside room it is asked who would wait: the machine itself for what it starts after, or others for it (`waits_with`).
What waits whatever becomes of it keeps nobody else's machine from being placed; *Capacity* tells it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, takewhile
from operator import attrgetter
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Count, Q
from django.utils.translation import gettext as _

from millwright.core.balancing import (
    RELATED_TRIES,
    Broken,
    FailureVerdict,
    Host,
    HostState,
    Plant,
    Room,
    RuleKind,
    Sort,
    Vm,
    doubtful,
    failure_capacity,
    least_tries,
    losses_of,
    page_bytes,
    related_survive,
    waits_with,
)
from millwright.core.lifecycle import Recovery, ServiceClass
from millwright.core.pinning import count_free_cores
from millwright.core.placement import HostSnapshot, HostVerdict, Placement, Snapshot
from millwright.environments.models import Machine, StartedCpu
from millwright.environments.placement import cpu_of
from millwright.environments.sizes import DEFAULT_POOL, requires_of
from millwright.inventory.models import Host as HostRow
from millwright.inventory.snapshot import OVERHEAD_BYTES

from .models import Balancer, PlacementRule
from .parts import Held, machine, needs_by_version
from .plant import machines_on_hosts, placed, read_plant, read_some, rules_of, state_of

#: Hosts that are tried, the best first.
TRIES = 3
#: With more hosts than this in doubt the whole plant is read: it does not take longer then.
MOST_DOUBTFUL = 200
MIB = 2**20


def spared(
    plan: Placement, standing: Callable[[HostVerdict], Vm], *, only: bool = False
) -> tuple[Placement, str]:
    """The plan with the best host after which any `spare_hosts` may still die, or none and why not.

    `standing`: the machine as it would stand on a host. `only`: the chosen host is the only one that is tried.
    Nothing is read where no host is kept to spare.
    """
    told = Balancer.objects.filter(pk=1).values_list("spare_hosts", "calendar").first()
    k, calendar = told or (0, [])
    if not k or plan.chosen is None:
        return plan, ""
    pool, first = _Pool(plan.pool, calendar), ""
    rest = () if only else plan.verdicts
    # Those that take it come first, and a verdict is made when it is read.
    others = (row for row in takewhile(attrgetter("accepted"), rest) if row != plan.chosen)
    for verdict in (plan.chosen, *islice(others, TRIES - 1)):
        vm = standing(verdict)
        answer = pool.with_it(vm, k)
        if answer is not None and not answer.room:
            first = first or _without_room(verdict.host, answer, k)
        elif (held := pool.waits_with(vm, k)) is not None:
            first = first or _waits(vm, held)
        else:
            return replace(plan, chosen=verdict), ""
    return replace(plan, chosen=None), first


def _without_room(host: str, answer: FailureVerdict, k: int) -> str:
    """Counted, not named: they may be other projects' machines."""
    rows = (
        (broken.hosts, [refusal for refusal in broken.left if not refusal.waits_for])
        for broken in answer.broken
    )
    lost, left = next(row for row in rows if row[1])
    text = _(
        "with it on %(host)s, %(n)s machines would find no room if %(lost)s died; "
        "room is kept for %(number)s hosts to die"
    )
    return text % {"host": host, "n": len(left), "lost": ", ".join(lost), "number": k}


def _waits(vm: Vm, held: Broken) -> str:
    """What it starts after was told by those who keep the pool; what starts after it is counted, not named."""
    own = [row.waits_for for row in held.left if row.vm == vm.name]
    told = {"host": vm.host, "lost": ", ".join(held.hosts), "machine": vm.name}
    if own:
        text = _(
            "with it on %(host)s, %(machine)s would find room and wait for %(other)s if %(lost)s died: "
            "it starts after it, and %(other)s is not started elsewhere"
        )
        return text % {**told, "other": own[0]}
    text = _(
        "with it on %(host)s, %(n)s machines that start after %(machine)s would find room and wait for it "
        "if %(lost)s died: it is not started elsewhere"
    )
    return text % {**told, "n": len(held.left)}


#: What a machine wants, as sums have it: MiB of memory, cores, millicores reserved, MiB of disk, shared vCPUs.
Wants = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Guests:
    """So many machines of a host that are alike, and what each of them wants. `cpu`: that it was started with."""

    host: int
    count: int
    wants: Wants
    cell: str
    protected: bool
    cpu: int | None = None
    #: it needs what not every host has
    needy: bool = False


@dataclass(frozen=True, slots=True)
class _Ruled:
    """Machines of hard rules: all by name; the protected ones that are kept apart and nothing else, for each
    host from how many others; the hosts of protected ones of which another rule speaks."""

    keys: dict[str, UUID]
    apart: list[_Guests]
    peers: Counter[int]
    odd: set[int]


class _Pool:
    """What placements ask of the pool; each part of it is read when it is first wanted."""

    def __init__(self, snapshot: Snapshot | None, calendar: Iterable[dict[str, Any]]) -> None:
        self._hosts: tuple[HostSnapshot, ...] = snapshot.hosts if snapshot else ()
        #: as the placement read them: they need not be read again
        self._rows: list[HostRow] = [
            row for row in (snapshot.rows if snapshot else ()) if isinstance(row, HostRow)
        ]
        #: sums know the reservations that machines have, not those that the calendar gives them
        self._told = snapshot is not None and all("reservation" not in line for line in calendar)
        self._bare: tuple[tuple[Host, ...], list[tuple[UUID, Vm]]] | None = None

    def with_it(self, vm: Vm, k: int) -> FailureVerdict | None:
        """May any k hosts die with the machine standing there? Nothing: sums say so already."""
        if self._told and vm.host in self._index:
            room = self._room(vm)
            known = doubtful(replace(room, odd=np.zeros_like(room.odd)), k)
            if known is not None and not len(known) and self._related(vm, k, room):
                return None
            found = doubtful(room, k)
            if found is not None and not len(found):
                return None
            if found is not None and len(found) <= MOST_DOUBTFUL:
                names = [self._hosts[host].name for host in found.tolist()]
                return losses_of(self._around(vm, names), names)
        plant = self._plant
        kept = tuple(row for row in plant.vms if row.name != vm.name)
        return failure_capacity(replace(plant, vms=(*kept, vm)), k)

    def waits_with(self, vm: Vm, k: int) -> Broken | None:
        """Who would wait because the machine stands there, if its host died with k - 1 others; nothing: nobody."""
        chain, todo = dict[str, Vm](), [vm.name]
        starts, known = self._after
        while todo:
            name = todo.pop()
            if name in known and name not in chain:
                chain[name] = vm if name == vm.name else known[name]
                todo += (other for pair in starts if name in pair for other in pair)
        if not chain:
            return None
        after = {name: tuple(other for one, other in starts if one == name) for name in chain}
        rows = [replace(row, after=after[name]) for name, row in chain.items() if row.host]
        names = sorted({str(row.host) for row in rows})
        hosts = tuple(Host(name, cpus=1.0, memory_bytes=0) for name in names)
        return waits_with(Plant(hosts, tuple(rows)), vm.name, k)

    @cached_property
    def _after(self) -> tuple[list[tuple[str, str]], dict[str, Vm]]:
        """Machines with what they start after, and of each of them where it is and who starts it. One query."""
        fields = ("environment__name", "name", "host__name", "protected", "recovery")
        rows = Machine.after.through.objects.values_list(
            *(f"{end}_machine__{field}" for end in ("from", "to") for field in fields)
        )
        starts, known = [], {}
        for row in rows:
            pair = []
            for environment, name, host, protected, recovery in (row[:5], row[5:]):
                pair.append(f"{environment}/{name}")
                known[pair[-1]] = Vm(
                    pair[-1],
                    vcpus=1,
                    memory_bytes=0,
                    host=host,
                    protected=protected,
                    recovery=Recovery(recovery),
                )
            starts.append((pair[0], pair[1]))
        return starts, known

    @cached_property
    def _plant(self) -> Plant:
        return self._as_seen(read_plant())

    def _as_seen(self, plant: Plant) -> Plant:
        """With that host awake and open that is woken, or emptied no more, for this placement."""
        seen = {
            host.name: state_of(host.health, host.administration, host.power)
            for host in self._hosts
        }
        return replace(
            plant,
            hosts=tuple(
                replace(host, state=seen.get(host.name, host.state))
                if host.state in (HostState.ASLEEP, HostState.DRAINING)
                else host
                for host in plant.hosts
            ),
        )

    @cached_property
    def _index(self) -> dict[str, int]:
        return {host.name: number for number, host in enumerate(self._hosts)}

    @cached_property
    def _told_of(self) -> dict[str, tuple[dict[str, Any], int]]:
        """Of each host its policy, and its disk if that is known. No query where a placement has read them."""
        if self._rows:
            return {row.name: (row.policy, row.disk_bytes) for row in self._rows}
        rows = HostRow.objects.values_list("name", "policy", "disk_bytes")
        return {name: (policy, disk) for name, policy, disk in rows}

    @cached_property
    def _cpus(self) -> list[int]:
        """Millicores that each host shares, as rounds count them."""
        return [len(host.topology.shared) * 1000 for host in self._hosts]

    @cached_property
    def _needs(self) -> Collection[int]:
        """Template versions whose machines need what not every host has. One query."""
        return needs_by_version().keys()

    @cached_property
    def _guests(self) -> list[_Guests]:
        """Machines on hosts, those that are alike counted. One query."""
        rows = (
            machines_on_hosts()
            .select_related(None)
            .order_by()
            .values_list(
                "host__name",
                "memory_bytes",
                "realtime_cores",
                "cpu_reservation",
                "disk_bytes",
                "vcpus",
                "cell__slug",
                "protected",
                "started_cpu",
                "template_version",
            )
            .annotate(number=Count("pk"))
        )
        index = self._index
        return [
            _Guests(
                index[host],
                number,
                _wants(memory, cores, share, disk, vcpus),
                cell or "",
                protected,
                cpu,
                version in self._needs,
            )
            for host, memory, cores, share, disk, vcpus, cell, protected, cpu, version, number in rows
            if host in index
        ]

    @cached_property
    def _ruled(self) -> _Ruled:
        """What hard rules say of machines. One query."""
        members: dict[str, set[UUID]] = defaultdict(set)
        kinds: dict[str, str] = {}
        keys: dict[str, UUID] = {}
        about: dict[UUID, tuple[int, Wants]] = {}
        rows = PlacementRule.objects.filter(
            enabled=True, hard=True, machines__isnull=False
        ).values_list(
            "name",
            "kind",
            "machines",
            "machines__environment__name",
            "machines__name",
            "machines__host__name",
            "machines__protected",
            "machines__memory_bytes",
            "machines__realtime_cores",
            "machines__cpu_reservation",
            "machines__disk_bytes",
            "machines__vcpus",
        )
        for rule, kind, key, env, name, host, protected, memory, cores, share, disk, vcpus in rows:
            kinds[rule] = kind
            members[rule].add(key)
            keys[f"{env}/{name}"] = key
            if host in self._index and protected:
                about[key] = (self._index[host], _wants(memory, cores, share, disk, vcpus))
        strange = {key for rule, kind in kinds.items() if kind != "apart" for key in members[rule]}
        peers: Counter[int] = Counter()
        for inside in members.values():
            for key in inside & (about.keys() - strange):
                peers[about[key][0]] += len(inside) - 1
        apart = [
            _Guests(host, 1, wants, "", protected=True)
            for key, (host, wants) in about.items()
            if key not in strange
        ]
        return _Ruled(keys, apart, peers, {about[key][0] for key in strange & about.keys()})

    def _room(self, vm: Vm) -> Room:
        """The pool with the machine there, as sums."""
        here, size = self._index[str(vm.host)], len(self._hosts)
        free = self._free.copy()
        own = (
            -(-vm.memory_bytes // MIB),
            vm.cores,
            _millicores(vm.cpu_reservation),
            -(-vm.disks.get(DEFAULT_POOL, 0) // MIB),
            vm.vcpus - vm.cores,
        )
        free[:, here] -= own
        cell = next((label[5:] for label in vm.requires if label.startswith("cell:")), "")
        ruled = self._ruled
        mine = [_Guests(here, 1, own, cell, vm.protected)]
        lost = [guests for guests in (*self._guests, *mine) if guests.protected]
        peers, odd = np.zeros(size, np.int64), np.zeros(size, np.bool_)
        for host, number in ruled.peers.items():
            peers[host] = number
        odd[[*sorted(ruled.odd), *(guests.host for guests in lost if guests.needy)]] = True
        # Rules may speak already of a machine that is about to be placed; and it may need what few hosts have.
        needy = vm.hugepage or vm.gpus or vm.cpu_features or vm.nic_bytes_s
        needy = needy or vm.disks.keys() - {DEFAULT_POOL}
        if vm.name in ruled.keys or needy:
            odd[here] = True
        return Room(
            free,
            self._takes(lost),
            np.array(
                [
                    not state_of(host.health, host.administration, host.power).off
                    for host in self._hosts
                ],
                np.bool_,
            ),
            # Those of rules are among these too: counted twice, which errs to the safe side.
            _sort([guests for guests in lost if guests.wants[1]], size),
            _sort([guests for guests in lost if not guests.wants[1]], size),
            _sort(ruled.apart, size),
            peers,
            odd,
        )

    def _takes(self, lost: Collection[_Guests]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Hosts that may take each of these: they reach every cell and have what every CPU had. One query at most."""
        cells = {guests.cell for guests in lost} - {""}
        asked = {guests.cpu for guests in lost} - {None}
        cpus = [cpu_of(row) for row in self._started if row.pk in asked] if asked else []
        features = frozenset[str]().union(*(cpu.features for cpu in cpus))
        models = {cpu.model for cpu in cpus if cpu.passthrough and cpu.model}
        kvm = any(cpu.accel == "kvm" for cpu in cpus)
        return np.array(
            [
                state_of(host.health, host.administration, host.power) is HostState.UP
                and cells <= host.cells
                and (host.cpu_features is None or features <= host.cpu_features)
                and (not host.cpu_model or models <= {host.cpu_model})
                and (not kvm or host.accel == "kvm")
                for host in self._hosts
            ],
            np.bool_,
        )

    @cached_property
    def _started(self) -> list[StartedCpu]:
        return list(StartedCpu.objects.all())

    @cached_property
    def _free(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """What each host has left, as `Wants`; of a disk that is not known enough is assumed."""
        reserved = np.zeros(len(self._hosts), np.int64)
        for guests in self._guests:
            reserved[guests.host] += guests.count * guests.wants[2]
        known = [self._told_of.get(host.name, ({}, 0))[1] for host in self._hosts]
        return np.array(
            [
                [host.memory_free_bytes // MIB for host in self._hosts],
                [count_free_cores(host.topology, host.claimed_cpus) for host in self._hosts],
                np.array(self._cpus, np.int64) - reserved,
                [
                    host.disk_free_bytes // MIB if disk else 2**40
                    for host, disk in zip(self._hosts, known, strict=True)
                ],
                [host.most_vcpus - host.shared_vcpus for host in self._hosts],
            ],
            np.int64,
        )

    def _related(self, vm: Vm, k: int, room: Room) -> bool:
        """Whether machines of which sums tell nothing surely find a place, whichever k hosts die."""
        number = int((room.odd & room.live).sum())
        if not number:
            return True
        if number > MOST_DOUBTFUL or least_tries(number, k) > RELATED_TRIES:
            return False
        plant = self._around(vm, ())
        meant = {
            name for rule in plant.rules if rule.kind is not RuleKind.APART for name in rule.vms
        } | self._needy
        # As sums have it: a machine that is about to be placed is one of them if rules or needs make it one.
        if bool(room.odd[self._index[str(vm.host)]]):
            meant.add(vm.name)
        on = {str(row.host) for row in plant.vms if row.name in meant}
        return related_survive(plant, k, on)

    @cached_property
    def _needy(self) -> set[str]:
        """Machines whose templates want what not every host has, by name. One query at most."""
        if not self._needs:
            return set()
        rows = machines_on_hosts().filter(template_version__in=list(self._needs))
        return {f"{env}/{name}" for env, name in rows.values_list("environment__name", "name")}

    def _read(self, names: Collection[str]) -> tuple[tuple[Host, ...], list[tuple[UUID, Vm]]]:
        """All hosts; the machines of these, of hard rules and with needs. Kept where no hosts are named."""
        if not names and self._bare is not None:
            return self._bare
        rules = PlacementRule.objects.filter(enabled=True, hard=True).values_list("pk", flat=True)
        asked = Q(placement_rules__in=list(rules)) | Q(template_version__in=list(self._needs))
        if names:
            asked |= Q(host__name__in=names)
        found = read_some(machines_on_hosts().filter(asked).distinct(), self._rows)
        if not names:
            self._bare = found
        return found

    def _around(self, vm: Vm, names: Collection[str]) -> Plant:
        """These hosts with their machines, those of hard rules and with needs, and the rest of the pool as amounts."""
        hosts, rows = self._read(names)
        vms = [row for _key, row in rows if row.name != vm.name]
        listed: dict[str, list[Vm]] = defaultdict(list)
        for row in vms:
            listed[str(row.host)].append(row)
        present = {key for key, _row in rows}
        if vm.name in self._ruled.keys:
            present.add(self._ruled.keys[vm.name])
        return self._as_seen(
            Plant(
                tuple(
                    self._less(host, listed[host.name])
                    for host in hosts
                    if host.name in self._index
                ),
                (*vms, vm),
                rules=tuple(rules_of(present)),
            )
        )

    def _less(self, host: Host, inside: Collection[Vm]) -> Host:
        """A host so that, beside these machines, it has left what it really has left."""
        number = self._index[host.name]
        seen = self._hosts[number]
        pages = sum(count * page_bytes(size) for size, count in host.hugepages.items())
        memory = host.memory_bytes - pages - seen.memory_free_bytes
        memory -= sum(row.memory_bytes for row in inside if not row.hugepage)
        spent = int(host.cpus * 1000 + 1e-6) - int(self._free[2, number])
        spent -= sum(_millicores(row.cpu_reservation) for row in inside)
        return replace(
            host,
            cores=int(self._free[1, number]) + sum(row.cores for row in inside),
            most_vcpus=int(self._free[4, number]) + sum(row.vcpus - row.cores for row in inside),
            cpus_aside=max(spent, 0) / 1000,
            memory_aside_bytes=max(memory, 0),
        )


def _sort(rows: Iterable[_Guests], size: int) -> Sort:
    count, most = np.zeros(size, np.int64), np.zeros(5, np.int64)
    for guests in rows:
        count[guests.host] += guests.count
        most = np.maximum(most, guests.wants)
    return Sort(count, most)


def _wants(memory: int, cores: int, reservation: float, disk: int, vcpus: int) -> Wants:
    return (
        -(-(memory + OVERHEAD_BYTES) // MIB),
        cores,
        _millicores(reservation),
        -(-disk // MIB),
        # Those with a core of their own count as well: whether each has got one is not read here.
        vcpus,
    )


def _millicores(cpus: float) -> int:
    return int(np.ceil(cpus * 1000 - 1e-6))


def standing_machine(machine: Any) -> Callable[[HostVerdict], Vm]:
    """A machine that has no host yet, as it would stand on one."""
    return lambda verdict: placed(machine, verdict.host, _cores(verdict), binds=_binds(verdict))


def standing_request(request: Any, size: Any) -> Callable[[HostVerdict], Vm]:
    """What a request asks for, as it would stand on a host."""
    spec = request.template_version.spec
    kind = ServiceClass(spec["class"])

    def standing(verdict: HostVerdict) -> Vm:
        takes = Held(
            verdict.host,
            size.memory_bytes,
            size.disk_bytes,
            requires_of(spec),
            binds=_binds(verdict),
        )
        vm = Vm(
            name="asked for",
            vcpus=size.vcpus,
            memory_bytes=size.memory_bytes + OVERHEAD_BYTES,
            host=verdict.host,
            service_class=kind,
            cores=_cores(verdict),
            requires=frozenset((f"cell:{request.cell.slug}",) if request.cell else ()),
        )
        return replace(vm, **machine(takes))

    return standing


def _binds(verdict: HostVerdict) -> bool:
    return verdict.assignment is not None and len(verdict.assignment.memory_nodes) == 1


def _cores(verdict: HostVerdict) -> int:
    return 0 if verdict.assignment is None else len(verdict.assignment.claims)
