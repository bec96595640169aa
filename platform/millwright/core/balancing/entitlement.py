"""Who is entitled to how much CPU: reservations, limits and shares in a tree, water-filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .model import HostState, Plant, Vm


@dataclass(frozen=True, slots=True)
class Claim:
    """One child of a division: it gets at least `floor`, at most `ceiling` (cores)."""

    name: str
    floor: float
    ceiling: float
    shares: float


def demand_of(vm: Vm) -> float:
    """Cores that the machine wants of the shared CPUs; the larger average, so that a lull is not trusted."""
    top = float(vm.vcpus - vm.cores)
    if vm.cpu_limit is not None:
        top = min(top, vm.cpu_limit)
    return min(top, max(vm.cpu_reservation, vm.demand_short, vm.demand_long))


def water_fill(capacity: float, claims: Sequence[Claim]) -> dict[str, float]:
    """Divide `capacity`: floors first, the rest in proportion to shares up to the ceilings.

    Floors beyond the capacity are scaled down alike: there is no right answer then, only an equal one.
    """
    floors = sum(claim.floor for claim in claims)
    if floors > capacity:
        ratio = capacity / floors
        return {claim.name: claim.floor * ratio for claim in claims}
    given = {claim.name: claim.floor for claim in claims}
    left = capacity - floors
    hungry = [claim for claim in claims if claim.ceiling > claim.floor and claim.shares > 0]
    while hungry and left > 1e-12:
        total = sum(claim.shares for claim in hungry)
        level = left / total
        full = [
            claim for claim in hungry if claim.ceiling - given[claim.name] <= level * claim.shares
        ]
        if not full:
            for claim in hungry:
                given[claim.name] += level * claim.shares
            break
        for claim in full:
            left -= claim.ceiling - given[claim.name]
            given[claim.name] = claim.ceiling
        done = {claim.name for claim in full}
        hungry = [claim for claim in hungry if claim.name not in done]
    return given


def loads(plant: Plant) -> dict[str, float]:
    """Of each host that is not down what its machines are entitled to, as a ratio of its usable shared CPUs.

    The measure of rounds: an average of hours counts where it is the larger one.
    """
    given = entitlements(plant)
    total: dict[str, float] = {}
    for vm in plant.vms:
        if vm.host is not None:
            total[vm.host] = total.get(vm.host, 0.0) + given.get(vm.name, demand_of(vm))
    return {
        host.name: total.get(host.name, 0.0) / (host.cpus - host.cpus_aside)
        for host in plant.hosts
        if host.state is not HostState.DOWN and host.cpus > host.cpus_aside
    }


def entitlements(plant: Plant) -> Mapping[str, float]:
    """Cores of the shared CPUs for each placed machine, over the pool as a whole."""
    capacity = sum(
        host.cpus - host.cpus_aside for host in plant.hosts if host.state is not HostState.DOWN
    )
    result: dict[str, float] = {}
    pools = {pool.name: pool for pool in plant.pools}
    children: dict[str, list[str]] = {}
    for pool in plant.pools:
        children.setdefault(pool.parent, []).append(pool.name)
    members: dict[str, list[Claim]] = {}
    for vm in plant.vms:
        if vm.host is not None:
            want = demand_of(vm)
            claim = Claim(f"vm {vm.name}", min(vm.cpu_reservation, want), want, vm.shares)
            members.setdefault(vm.pool, []).append(claim)
    known: dict[str, tuple[float, float]] = {}

    def bounds(name: str) -> tuple[float, float]:
        if name in known:
            return known[name]
        pool = pools[name]
        inner = [bounds(child) for child in children.get(name, ())]
        inner += [(claim.floor, claim.ceiling) for claim in members.get(name, ())]
        floor = max(pool.reservation, sum(low for low, _ in inner))
        ceiling = sum(high for _, high in inner)
        if pool.limit is not None:
            ceiling = min(ceiling, pool.limit)
        # What a pool has reserved and does not want is left to the others.
        known[name] = min(floor, ceiling), ceiling
        return known[name]

    def divide(name: str, amount: float) -> None:
        claims = [
            Claim(f"pool {child}", *bounds(child), pools[child].shares)
            for child in children.get(name, ())
        ]
        claims += members.get(name, [])
        for key, value in water_fill(amount, claims).items():
            word, inner = key.split(" ", 1)
            if word == "vm":
                result[inner] = value
            else:
                divide(inner, value)

    divide("", capacity)
    return result
