"""What each host gives its machines this round: CPU weight, quota, balloon; before anything moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .entitlement import demand_of, entitlements
from .model import Host, Plant, Vm
from .pooled_memory import balloons, pools_by_host

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
    limit. Balloons shrink only where the memory promised exceeds what the host has, or a pool's limit, and
    never below a machine's minimum.
    """
    given = entitlements(plant)
    parents = {pool.name: pool.parent for pool in plant.pools}
    everywhere = _by_pool(plant.vms, parents, given)
    guests: dict[str, list[Vm]] = {}
    for vm in plant.vms:
        if vm.host is not None:
            guests.setdefault(vm.host, []).append(vm)
    pools = pools_by_host(plant)
    result: dict[str, Allotment] = {}
    for host in plant.hosts:
        vms = guests.get(host.name, [])
        if host.state.off or not vms:
            continue
        given_memory = balloons(plant, host, vms, pools[host.name])
        here = _on(plant, host, vms, given, everywhere)
        wants = {vm.name: max(here.get(vm.name, demand_of(vm)), 0.01) for vm in vms}
        mean = sum(wants.values()) / len(wants)
        for vm in vms:
            weight = round(USUAL_WEIGHT * wants[vm.name] / mean)
            weight = min(max(weight, LEAST_WEIGHT), MOST_WEIGHT)
            result[vm.name] = Allotment(weight, vm.cpu_limit, given_memory[vm.name])
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
