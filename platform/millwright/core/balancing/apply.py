"""What each host gives its machines this round: CPU weight, quota, balloon; before anything moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .entitlement import Claim, demand_of, entitlements, water_fill
from .frame import active_bytes
from .model import Host, HostState, Plant, Vm

#: libvirt's cpu_shares on cgroup v2: 1 to 10000, 100 is usual
LEAST_WEIGHT, MOST_WEIGHT, USUAL_WEIGHT = 1, 10_000, 100


@dataclass(frozen=True, slots=True)
class Allotment:
    """One machine's part of its host. Quota in cores (nothing: unlimited), balloon in bytes."""

    cpu_weight: int
    cpu_quota: float | None
    balloon_bytes: int


def allotments(plant: Plant) -> Mapping[str, Allotment]:
    """For every machine on a host that is not down.

    The weight follows what the machine is entitled to of its host, divided by the tree of pools, so that
    the kernel shares a crowded host as the plant wants, also where another one idles; the quota is its
    limit. Balloons shrink only where the memory
    promised exceeds what the host has, never below a machine's minimum.
    """
    given = entitlements(plant)
    parents = {pool.name: pool.parent for pool in plant.pools}
    everywhere = _by_pool(plant.vms, parents, given)
    guests: dict[str, list[Vm]] = {}
    for vm in plant.vms:
        if vm.host is not None:
            guests.setdefault(vm.host, []).append(vm)
    result: dict[str, Allotment] = {}
    for host in plant.hosts:
        vms = guests.get(host.name, [])
        if host.state is HostState.DOWN or not vms:
            continue
        balloons = _balloons(host, vms)
        here = _on(plant, host, vms, given, everywhere)
        wants = {vm.name: max(here.get(vm.name, demand_of(vm)), 0.01) for vm in vms}
        mean = sum(wants.values()) / len(wants)
        for vm in vms:
            weight = round(USUAL_WEIGHT * wants[vm.name] / mean)
            weight = min(max(weight, LEAST_WEIGHT), MOST_WEIGHT)
            result[vm.name] = Allotment(weight, vm.cpu_limit, balloons[vm.name])
    return result


def _on(
    plant: Plant,
    host: Host,
    vms: list[Vm],
    given: Mapping[str, float],
    everywhere: Mapping[str, float],
) -> Mapping[str, float]:
    """Cores of this host alone for each of its machines.

    What a pool has reserved and is limited to counts here by the part of its entitlement that lies here.
    """
    wanted = sum(demand_of(vm) for vm in vms)
    if wanted <= host.cpus - host.cpus_aside:
        # Everybody gets what is wanted; only a pool's or the plant's own limit takes of it.
        return given
    if not plant.pools:
        return entitlements(replace(plant, hosts=(host,), vms=tuple(vms)))
    parents = {pool.name: pool.parent for pool in plant.pools}
    here = _by_pool(vms, parents, given)
    pools = []
    for pool in plant.pools:
        if pool.name in here:
            part = here[pool.name] / everywhere[pool.name] if everywhere[pool.name] > 0 else 1.0
            limit = None if pool.limit is None else pool.limit * part
            pools.append(replace(pool, reservation=pool.reservation * part, limit=limit))
    return entitlements(replace(plant, hosts=(host,), vms=tuple(vms), pools=tuple(pools)))


def _by_pool(
    vms: Iterable[Vm], parents: Mapping[str, str], given: Mapping[str, float]
) -> dict[str, float]:
    """What the machines of each pool, and of those below it, are entitled to together."""
    found: dict[str, float] = {}
    for vm in vms:
        pool = vm.pool if vm.host is not None else ""
        while pool:
            found[pool] = found.get(pool, 0.0) + given.get(vm.name, demand_of(vm))
            pool = parents[pool]
    return found


def _balloons(host: Host, vms: list[Vm]) -> dict[str, int]:
    full = {vm.name: vm.memory_bytes for vm in vms}
    loose = [vm for vm in vms if vm.memory_minimum_bytes is not None and not vm.hugepage]
    room = host.memory_bytes - host.memory_aside_bytes
    lack = sum(full.values()) - room
    if lack <= 0 or not loose:
        return full
    claims = [
        Claim(
            vm.name,
            float(min(vm.memory_minimum_bytes or 0, vm.memory_bytes)),
            float(vm.memory_bytes),
            # Idle memory is taken first: shares by what is touched.
            max(active_bytes(vm), 1.0),
        )
        for vm in loose
    ]
    fixed = sum(size for name, size in full.items() if name not in {vm.name for vm in loose})
    budget = max(float(room - fixed), sum(claim.floor for claim in claims))
    dealt = water_fill(budget, claims)
    return full | {name: int(size) for name, size in dealt.items()}
