"""An independent verifier, written from the model in plain Python; it shares nothing with the planner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .answers import Leg, Limits, Move, Schedule, Violation
from .frame import page_bytes, pages_of
from .model import Host, HostState, Plant, RuleKind, Vm
from .words import overcommitted, say

_EPS = 1e-6


def violations(
    plant: Plant, coming: Mapping[str, str] | None = None, watched: Iterable[str] | None = None
) -> tuple[Violation, ...]:
    """Every hard rule that does not hold.

    `coming`: machines on their way and their targets; they take room on both hosts and may meet
    nobody on either from whom they must be apart. `watched`: look at these hosts' amounts only.
    """
    on_the_way = coming or {}
    here: dict[str, list[Vm]] = {host.name: [] for host in plant.hosts}
    places = {vm.name: vm.host for vm in plant.vms}
    for vm in plant.vms:
        for name in {vm.host, on_the_way.get(vm.name)} - {None}:
            here[str(name)].append(vm)
    shared = {pool.name for pool in plant.storage}
    found: list[Violation] = []
    look = set(here) if watched is None else set(watched)
    for host in plant.hosts:
        if host.name in look:
            found.extend(_amounts(host, here[host.name], shared))
            for vm in here[host.name]:
                found.extend(_suits(host, vm, shared))
    found.extend(_rules(plant, places, on_the_way))
    return tuple(found)


def unkept(plant: Plant) -> set[str]:
    """Names of the rules, soft ones too, that do not hold where the machines are."""
    hard = replace(plant, rules=tuple(replace(rule, hard=True) for rule in plant.rules))
    return {entry.subject for entry in _rules(hard, {vm.name: vm.host for vm in plant.vms}, {})}


def barred(plant: Plant, name: str, coming: Mapping[str, str] | None = None) -> dict[str, str]:
    """Hosts on which the machine would break a hard rule, and which.

    Rules that join machines are left out: those move one after the other. `coming`: other machines on
    their way and their targets, whom it may meet at neither end.
    """
    joining = (RuleKind.TOGETHER, RuleKind.NEAR)
    mine = [rule for rule in plant.rules if name in rule.vms and rule.kind not in joining]
    places = {vm.name: vm.host for vm in plant.vms}
    found: dict[str, str] = {}
    for host in plant.hosts:
        for rule in mine:
            alone = replace(plant, rules=(rule,))
            before = _rules(alone, places, coming or {})
            after_it = _rules(alone, places | {name: host.name}, coming or {})
            # A spread that is too narrow already may stay so.
            if after_it and not (rule.kind is RuleKind.SPREAD and before):
                found.setdefault(host.name, rule.name)
    return found


def _amounts(host: Host, vms: list[Vm], shared: set[str]) -> list[Violation]:
    found = []

    def compare(kind: str, used: float, has: float, **which: str) -> None:
        if used > has + _EPS:
            text = overcommitted(kind, host.name, used, has, **which)
            found.append(Violation(kind, host.name, text))

    paged = sum(count * page_bytes(size) for size, count in host.hugepages.items())
    ordinary = host.memory_bytes - host.memory_aside_bytes - paged
    compare("cpu_reservation", sum(v.cpu_reservation for v in vms), host.cpus - host.cpus_aside)
    compare("memory", sum(v.memory_bytes for v in vms if not v.hugepage), ordinary)
    compare("cores", sum(v.cores for v in vms), host.cores)
    compare("nic", sum(v.nic_bytes_s for v in vms), host.nic_bytes_s)
    if host.most_vcpus is not None:
        compare("vcpus", sum(v.vcpus - v.cores for v in vms), host.most_vcpus)
    for size in {v.hugepage for v in vms if v.hugepage}:
        used = sum(pages_of(v) for v in vms if v.hugepage == size)
        compare("hugepages", used, host.hugepages.get(size, 0), name=size)
    for pool in {name for v in vms for name in v.disks} - shared:
        used = sum(v.disks.get(pool, 0) for v in vms)
        compare("storage", used, host.storage.get(pool, 0), name=pool)
    for kind in {name for v in vms for name in v.devices}:
        used = sum(v.devices.get(kind, 0) for v in vms)
        compare("devices", used, host.devices.get(kind, 0), name=kind)
    if len(host.nodes) > 1 and not _nodes_hold(host, vms):
        found.append(Violation("numa", host.name, say("overcommit.numa", host=host.name)))
    need: dict[str, int] = {}
    for vm in vms:
        for name, count in vm.gpus.items():
            need[name] = need.get(name, 0) + count
    if any(need.values()) and not _cards_hold(host, need):
        names = [f"{count} × {name}" for name, count in sorted(need.items())]
        text = say("overcommit.gpu", host=host.name, names=names)
        found.append(Violation("gpu", host.name, text))
    return found


def _nodes_hold(host: Host, vms: list[Vm]) -> bool:
    """Is there a node for each machine that wants one? Those that are in one stay; the rest depth first, largest first.

    Machines that want none take what is left, of which the host's own sums tell.
    """
    wants = sorted(
        (vm for vm in vms if vm.one_node and (vm.cores or vm.hugepage)),
        key=lambda vm: (not _seated(host, vm), -vm.cores, -vm.memory_bytes, vm.name),
    )
    cores = [node.cores for node in host.nodes]
    pages = [dict(node.hugepages) for node in host.nodes]
    tries = 0

    def seat(index: int) -> bool:
        nonlocal tries
        tries += 1
        if index == len(wants):
            return True
        if tries > 100_000:
            return False
        vm = wants[index]
        count = pages_of(vm) if vm.hugepage else 0
        seen: list[tuple[int, dict[str, int]]] = []
        for node in range(len(cores)):
            if _seated(host, vm) and node != vm.node:
                continue
            if cores[node] < vm.cores or pages[node].get(vm.hugepage, 0) < count:
                continue
            if (cores[node], pages[node]) in seen:
                continue
            seen.append((cores[node], dict(pages[node])))
            cores[node] -= vm.cores
            if count:
                pages[node][vm.hugepage] -= count
            if seat(index + 1):
                return True
            cores[node] += vm.cores
            if count:
                pages[node][vm.hugepage] += count
        return False

    return seat(0)


def _seated(host: Host, vm: Vm) -> bool:
    """Whether it is known in which node of this host it is; one that is on its way here may take any."""
    return vm.host == host.name and vm.node is not None and vm.node < len(host.nodes)


def _cards_hold(host: Host, need: Mapping[str, int]) -> bool:
    def deal(index: int, left: Mapping[str, int]) -> bool:
        if not any(count > 0 for count in left.values()):
            return True
        if index == len(host.gpus):
            return False
        card = host.gpus[index]
        for name, count in left.items():
            holds = 1 if name == card.model else card.profiles.get(name, 0)
            if count > 0 and holds and deal(index + 1, {**left, name: count - holds}):
                return True
        return deal(index + 1, left)

    return deal(0, need)


def _suits(host: Host, vm: Vm, shared: set[str]) -> list[Violation]:
    found: list[tuple[str, dict[str, object]]] = []
    if host.classes and str(vm.service_class) not in {str(name) for name in host.classes}:
        found.append(("service_class", {"wanted": str(vm.service_class)}))
    if vm.cpu_model and host.cpu_models and vm.cpu_model not in host.cpu_models:
        found.append(("cpu_model", {"wanted": vm.cpu_model}))
    if vm.cpu_features - host.cpu_features:
        names = sorted(vm.cpu_features - host.cpu_features)
        found.append(("cpu_features", {"names": names}))
    if vm.requires - host.labels:
        found.append(("labels", {"names": sorted(vm.requires - host.labels)}))
    if away := sorted(pool for pool in vm.disks if pool in shared and pool not in host.storage):
        found.append(("storage", {"names": away}))
    return [
        Violation(kind, vm.name, say(f"suits.{kind}", machine=vm.name, host=host.name, **facts))
        for kind, facts in found
    ]


def _rules(
    plant: Plant, places: Mapping[str, str | None], coming: Mapping[str, str]
) -> list[Violation]:
    found = []
    domain = {
        host.name: (host.domain, "") if host.domain else ("", host.name) for host in plant.hosts
    }
    for rule in plant.rules:
        if not rule.hard:
            continue
        names = list(dict.fromkeys(rule.vms))
        rest = [str(places[name]) for name in names if places[name] is not None]
        all_places = [
            spot for name in names for spot in {places[name], coming.get(name)} if spot is not None
        ]
        facts: dict[str, object] | None = None
        if rule.kind is RuleKind.TOGETHER and len(set(rest)) > 1:
            facts = {"count": len(set(rest))}
        elif rule.kind is RuleKind.APART and len(set(all_places)) < len(all_places):
            facts = {}
        elif rule.kind is RuleKind.SPREAD and rest:
            distinct = len({domain[spot] for spot in rest})
            wanted = min(rule.minimum or len(names), len(rest))
            if distinct < wanted:
                facts = {"count": distinct, "wanted": wanted}
        elif rule.kind is RuleKind.NEAR and len({domain[spot] for spot in rest}) > 1:
            facts = {"count": len({domain[spot] for spot in rest})}
        elif rule.kind is RuleKind.ON_HOSTS and set(all_places) - set(rule.hosts):
            facts = {"names": sorted(set(all_places) - set(rule.hosts))}
        elif rule.kind is RuleKind.OFF_HOSTS and set(all_places) & set(rule.hosts):
            facts = {"names": sorted(set(all_places) & set(rule.hosts))}
        if facts is not None:
            text = say(f"rule.{rule.kind}", rule=rule.name, **facts)
            found.append(Violation(str(rule.kind), rule.name, text))
    return found


def after(plant: Plant, moves: Iterable[Move | Leg]) -> Plant:
    """The plant once the moves are made, in their order."""
    where = {move.vm: (move.target, move.node) for move in moves}
    return replace(
        plant,
        vms=tuple(
            replace(vm, host=where[vm.name][0], node=where[vm.name][1]) if vm.name in where else vm
            for vm in plant.vms
        ),
    )


def verify(plant: Plant, schedule: Schedule, limits: Limits | None = None) -> tuple[Violation, ...]:
    """What a schedule breaks that was not broken before it, at every moment that something changes.

    A machine on its way holds room on both hosts. Also found: a leg from where the machine is not,
    one onto a host that takes nothing, machines moved twice at once, and more moves at once than the limits let.
    """
    known = {(entry.kind, entry.subject) for entry in violations(plant)}
    states = {host.name: host.state for host in plant.hosts}
    found: dict[tuple[str, str], Violation] = {}
    # Ends come before starts of the same moment: room that is freed may be taken at once.
    events = sorted(
        [(leg.start_s, 1, leg.batch, index) for index, leg in enumerate(schedule.legs)]
        + [(leg.end_s, 0, leg.batch, index) for index, leg in enumerate(schedule.legs)]
    )
    now, coming = plant, dict[str, str]()
    position = 0
    while position < len(events):
        moment, kind, batch, _ = events[position]
        touched: set[str] = set()
        while position < len(events) and events[position][:3] == (moment, kind, batch):
            leg = schedule.legs[events[position][3]]
            position += 1
            touched |= {leg.source, leg.target}
            if kind == 0:
                now = after(now, [leg])
                coming.pop(leg.vm, None)
                continue
            place = next(vm.host for vm in now.vms if vm.name == leg.vm)
            if place != leg.source or leg.vm in coming:
                text = f"{leg.vm} is not at rest on {leg.source} when it is to leave"
                found[("leg", leg.vm)] = Violation("leg", leg.vm, text)
            if states[leg.target] is not HostState.UP:
                text = f"{leg.target} takes nothing"
                found[("host_state", leg.target)] = Violation("host_state", leg.target, text)
            coming[leg.vm] = leg.target
        for entry in violations(now, coming, touched):
            if (entry.kind, entry.subject) not in known:
                found.setdefault((entry.kind, entry.subject), entry)
    return (*found.values(), *(_unlimited(plant, schedule, limits) if limits else ()))


def _unlimited(plant: Plant, schedule: Schedule, limits: Limits) -> list[Violation]:
    """Where more moves run at once than the limits let. Machines that are kept together are one move."""
    place = {host.name: host.domain or f"host {host.name}" for host in plant.hosts}
    moves = {leg.batch: leg for leg in schedule.legs}.values()
    found = []
    for moment in sorted({leg.start_s for leg in moves}):
        now = [leg for leg in moves if leg.start_s <= moment < leg.end_s]
        ends = Counter(name for leg in now for name in (leg.source, leg.target))
        links = Counter(
            " and ".join(sorted((place[leg.source], place[leg.target])))
            for leg in now
            if place[leg.source] != place[leg.target]
        )
        for what, counts, most in (
            ("pool", Counter({"the pool": len(now)}), limits.pool),
            ("host", ends, limits.per_host),
            ("link", links, limits.per_link or len(now)),
        ):
            for name, count in counts.items():
                if count > most:
                    text = f"{name}: {count} moves at {moment:.0f} s, at most {most} at once"
                    found.append(Violation(f"limit_{what}", name, text))
    return found
