"""Who is entitled to how much memory: reservations, limits and shares of the pools' tree, water-filled as CPUs are.

What can be given and taken is what balloons can: between a machine's least memory and all of it. A machine that
nobody allows to be taken anything has all of its memory, whatever its pool has; so a limit is kept where machines
are placed, by what they hold that cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .entitlement import Claim, Tree
from .frame import active_bytes, page_bytes
from .model import Host, Plant, Pool, Vm
from .words import say

MIB = 2**20
#: shares of a pool whose machines weigh as they would without it
USUAL_SHARES = 1000


def least_bytes(vm: Vm) -> int:
    """Memory of the machine that cannot be taken back: all of it where it has no balloon or lies in hugepages."""
    if vm.memory_minimum_bytes is None or vm.hugepage:
        return vm.memory_bytes
    return min(vm.memory_minimum_bytes, vm.memory_bytes)


def memory_entitlements(plant: Plant) -> Mapping[str, float]:
    """Bytes for each placed machine, over the pool as a whole.

    Their sum is all the memory of hosts that are not down, or all that is wanted within limits where that is less.
    Least memory and what pools have reserved come first; the rest goes by what is touched, times the pools'
    shares. Where that which comes first is more than there is, reservations yield, alike, and then all of it.
    """
    hosts = [host for host in plant.hosts if not host.state.off]
    vms = [vm for vm in plant.vms if vm.host is not None]
    return MemoryTree(plant, float(sum(_room(host) for host in hosts)) + _paged(vms)).divide()[0]


class MemoryTree(Tree):
    """Of memory, in bytes."""

    def want(self, vm: Vm) -> float:
        return float(vm.memory_bytes)

    def floor(self, vm: Vm) -> float:
        return float(least_bytes(vm))

    def least(self, vm: Vm) -> float:
        return float(least_bytes(vm))

    def weight(self, vm: Vm) -> float:
        # Idle memory is taken first.
        return max(active_bytes(vm), 1.0)

    def promised(self, pool: Pool) -> tuple[float, float | None]:
        limit = pool.memory_limit_bytes
        return float(pool.memory_reservation_bytes), None if limit is None else float(limit)

    def weight_of_pool(self, pool: Pool, inner: list[Claim]) -> float:
        return pool.memory_shares / USUAL_SHARES * sum(claim.shares for claim in inner)


def balloons(
    plant: Plant, host: Host, vms: Sequence[Vm], pools: tuple[Pool, ...]
) -> dict[str, int]:
    """Bytes that each machine of the host is given, never less than its least.

    `pools`: as they count on this host (`pools_by_host`). Nothing is taken from anybody where the host has room
    and no limit is reached: that another host lacks memory is no reason.
    """
    full = {vm.name: vm.memory_bytes for vm in vms}
    if all(least_bytes(vm) == vm.memory_bytes for vm in vms):
        return full
    limited = any(pool.memory_limit_bytes is not None for pool in pools)
    room = _room(host) + _paged(vms)
    if sum(full.values()) <= room and not limited:
        return full
    here = replace(plant, vms=tuple(vms), pools=pools)
    # What cannot be taken back is there, whether there is room for it or not.
    capacity = max(room, sum(least_bytes(vm) for vm in vms))
    dealt, _ = MemoryTree(here, float(capacity)).divide()
    return {vm.name: min(max(int(dealt[vm.name]), least_bytes(vm)), vm.memory_bytes) for vm in vms}


def pools_by_host(plant: Plant) -> Mapping[str, tuple[Pool, ...]]:
    """For each host with machines the pools with that part of their reservations and limits that counts there.

    What machines hold that cannot be taken back counts where they are; the rest is divided by what they are
    entitled to above that. So no pool's machines have more than its limit on all hosts together, or than cannot be
    taken back where that is more.
    """
    hosts = dict.fromkeys(vm.host for vm in plant.vms if vm.host is not None)
    if not any(
        pool.memory_limit_bytes is not None or pool.memory_reservation_bytes for pool in plant.pools
    ):
        return dict.fromkeys(hosts, plant.pools)
    given, parents = memory_entitlements(plant), parents_of(plant)
    least: dict[tuple[str, str], int] = {}
    above: dict[tuple[str, str], float] = {}
    loose: dict[tuple[str, str], float] = {}
    for vm in plant.vms:
        if vm.host is None:
            continue
        for pool in chain(vm.pool, parents):
            for key in ((vm.host, pool), ("", pool)):
                least[key] = least.get(key, 0) + least_bytes(vm)
                above[key] = above.get(key, 0.0) + max(0.0, given[vm.name] - least_bytes(vm))
                loose[key] = loose.get(key, 0.0) + vm.memory_bytes - least_bytes(vm)

    def part(amount: int, host: str, pool: str) -> int:
        there, rest = least.get((host, pool), 0), amount - least.get(("", pool), 0)
        # Where a plant that lacks memory leaves nobody more than the least, by what could be given.
        by = above if above.get(("", pool), 0.0) >= 1.0 else loose
        whole = by.get(("", pool), 0.0)
        if rest <= 0 or whole <= 0:
            return there
        return there + int(rest * by.get((host, pool), 0.0) / whole)

    return {
        host: tuple(
            replace(
                pool,
                memory_reservation_bytes=part(pool.memory_reservation_bytes, host, pool.name)
                if pool.memory_reservation_bytes
                else 0,
                memory_limit_bytes=None
                if pool.memory_limit_bytes is None
                else part(pool.memory_limit_bytes, host, pool.name),
            )
            for pool in plant.pools
        )
        for host in hosts
    }


def _room(host: Host) -> int:
    """Ordinary memory: what is in pages is nobody's but those who lie there."""
    pages = sum(page_bytes(size) * count for size, count in host.hugepages.items())
    return max(0, host.memory_bytes - host.memory_aside_bytes - pages)


def _paged(vms: Iterable[Vm]) -> int:
    return sum(vm.memory_bytes for vm in vms if vm.hugepage)


# -- limits at a placement -----------------------------------------------------


def parents_of(plant: Plant) -> dict[str, str]:
    """For each pool the one above it."""
    return {pool.name: pool.parent for pool in plant.pools}


def chain(pool: str, parents: Mapping[str, str]) -> Iterable[str]:
    """The pool and those above it, from below."""
    while pool:
        yield pool
        pool = parents[pool]


def pool_room(plant: Plant) -> dict[str, int]:
    """Bytes left of each memory limit; below 0 where machines hold more. Moves change nothing of it."""
    room = {
        pool.name: pool.memory_limit_bytes
        for pool in plant.pools
        if pool.memory_limit_bytes is not None
    }
    if room:
        take(room, (vm for vm in plant.vms if vm.host is not None), parents_of(plant))
    return room


def take(room: dict[str, int], vms: Iterable[Vm], parents: Mapping[str, str]) -> None:
    """Count what of the machines cannot be taken back as placed."""
    for vm in vms:
        for pool in chain(vm.pool, parents):
            if pool in room:
                room[pool] -= least_bytes(vm)


def lacking(
    room: Mapping[str, int], vms: Iterable[Vm], parents: Mapping[str, str]
) -> tuple[str, ...]:
    """A sentence for each pool whose limit the machines together would break."""
    wanted: dict[str, int] = {}
    for vm in vms:
        for pool in chain(vm.pool, parents):
            if pool in room:
                wanted[pool] = wanted.get(pool, 0) + least_bytes(vm)
    return tuple(
        say(
            "at.pool_memory",
            name=name,
            wanted_bytes=float(size),
            free_bytes=float(max(room[name], 0)),
        )
        for name, size in sorted(wanted.items())
        if size > room[name]
    )
