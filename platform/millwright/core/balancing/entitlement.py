"""Who is entitled to how much CPU: reservations, limits and shares in a tree, water-filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .model import Plant, Pool, Vm

#: part of its equal share that a machine keeps however much more important others are
KEPT = 0.1
#: so many priorities are told apart from the top; those below count as one
MOST_TIERS = 16


@dataclass(frozen=True, slots=True)
class Claim:
    """One child of a division: it gets at least `floor`, at most `ceiling` (cores).

    `wanted`: what it would take with nobody more important before it; `ceiling` may hold that back.
    `least`: what of the floor it keeps where there is not enough for all floors, as far as there is that much.
    """

    name: str
    floor: float
    ceiling: float
    shares: float
    wanted: float = 0.0
    least: float = 0.0


def demand_of(vm: Vm) -> float:
    """Cores that the machine wants of the shared CPUs; the larger average, so that a lull is not trusted."""
    top = float(vm.vcpus - vm.cores)
    if vm.cpu_limit is not None:
        top = min(top, vm.cpu_limit)
    return min(top, max(vm.cpu_reservation, vm.demand_short, vm.demand_long))


def water_fill(capacity: float, claims: Sequence[Claim]) -> dict[str, float]:
    """Divide `capacity`: floors first, the rest in proportion to shares up to the ceilings.

    Floors beyond the capacity are scaled down alike, what lies above the least of each of them first: there is no
    right answer then, only an equal one.
    """
    floors = sum(claim.floor for claim in claims)
    if floors > capacity:
        least = sum(claim.least for claim in claims)
        if least > capacity:
            return {claim.name: claim.least * (capacity / least) for claim in claims}
        ratio = (capacity - least) / (floors - least)
        return {claim.name: claim.least + (claim.floor - claim.least) * ratio for claim in claims}
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
        if not host.state.off and host.cpus > host.cpus_aside
    }


def entitlements(plant: Plant) -> Mapping[str, float]:
    """Cores of the shared CPUs for each placed machine, over the pool as a whole.

    Where there is not enough for all, the more important come first, tier after tier of `Vm.priority`,
    each up to what it wants and its own and its pools' limits allow. Nobody is starved by that: a
    machine keeps its reservation, a pool its own, and of what would be its part if all were equally
    important everybody keeps `KEPT`.
    """
    tree = CpuTree(plant)
    base, of_pools = tree.divide({})
    tiers = sorted({vm.priority for vm in tree.vms}, reverse=True)
    if len(tiers) < 2 or all(base[name] >= want - 1e-9 for name, want in tree.wants.items()):
        return base
    # What lies below the last tier that is told apart shares it.
    tiers = [*tiers[: MOST_TIERS - 1], tiers[-1]] if len(tiers) > MOST_TIERS else tiers
    kept = {
        vm.name: max(
            min(vm.cpu_reservation, tree.wants[vm.name], base[vm.name]), KEPT * base[vm.name]
        )
        for vm in tree.vms
    }
    held: dict[str, tuple[float, float]] = {}
    done: dict[str, float] = {}
    for tier in tiers:
        for vm in tree.vms:
            name = vm.name
            if name in done:
                held[name] = done[name], done[name]
            elif vm.priority < tier:
                held[name] = kept[name], kept[name]
            else:
                held[name] = kept[name], tree.wants[name]
        given, _ = tree.divide(held, of_pools)
        done |= {vm.name: given[vm.name] for vm in tree.vms if vm.priority >= tier}
    return done


class Tree:
    """Pools and the machines in them, divided from the top; what is divided is for those who inherit.

    `capacity`: what there is. `vms`: machines that have a place.
    """

    def __init__(self, plant: Plant, capacity: float) -> None:
        self.capacity = capacity
        self.vms = [vm for vm in plant.vms if vm.host is not None]
        self.wants = {vm.name: self.want(vm) for vm in self.vms}
        self._pools = {pool.name: pool for pool in plant.pools}
        self._children: dict[str, list[str]] = {}
        for pool in plant.pools:
            self._children.setdefault(pool.parent, []).append(pool.name)
        self._members: dict[str, list[Vm]] = {}
        for vm in self.vms:
            self._members.setdefault(vm.pool, []).append(vm)
        #: every pool after the one above it, the whole ("") first
        self._order = [""]
        for name in self._order:
            self._order += self._children.get(name, ())

    def want(self, vm: Vm) -> float:
        """What the machine would take with nobody beside it."""
        raise NotImplementedError

    def floor(self, vm: Vm) -> float:
        """What it keeps whatever others want."""
        raise NotImplementedError

    def least(self, vm: Vm) -> float:
        """What of its floor cannot be taken from it."""
        return 0.0

    def weight(self, vm: Vm) -> float:
        """Its shares among those beside it."""
        raise NotImplementedError

    def promised(self, pool: Pool) -> tuple[float, float | None]:
        """What the pool has reserved, and its limit."""
        raise NotImplementedError

    def weight_of_pool(self, pool: Pool, inner: list[Claim]) -> float:
        """Its shares among those beside it; `inner`: what is claimed in it."""
        raise NotImplementedError

    def divide(
        self,
        held: Mapping[str, tuple[float, float]] | None = None,
        most: Mapping[str, float] | None = None,
    ) -> tuple[dict[str, float], dict[str, float]]:
        """What there is for each machine and for each pool.

        `held`: what a machine gets at least and at most, where that is not its floor and what it
        wants. `most`: what is kept of each pool's reservation, where there is not enough for all of them.
        """
        claims: dict[str, list[Claim]] = {}
        for name in reversed(self._order):
            found = [self._claim(vm, held or {}) for vm in self._members.get(name, ())]
            found += [
                self._claim_of_pool(child, claims[child], most)
                for child in self._children.get(name, ())
            ]
            claims[name] = found
        result: dict[str, float] = {}
        amounts = {"": self.capacity}
        for name in self._order:
            for key, value in water_fill(amounts[name], claims[name]).items():
                word, inner = key.split(" ", 1)
                (result if word == "vm" else amounts)[inner] = value
        return result, amounts

    def _claim(self, vm: Vm, held: Mapping[str, tuple[float, float]]) -> Claim:
        want = self.wants[vm.name]
        floor, ceiling = held[vm.name] if vm.name in held else (self.floor(vm), want)
        return Claim(f"vm {vm.name}", floor, ceiling, self.weight(vm), want, self.least(vm))

    def _claim_of_pool(
        self, name: str, inner: list[Claim], most: Mapping[str, float] | None
    ) -> Claim:
        pool = self._pools[name]
        reservation, limit = self.promised(pool)
        wanted = sum(claim.wanted for claim in inner)
        ceiling = sum(claim.ceiling for claim in inner)
        if limit is not None:
            wanted, ceiling = min(wanted, limit), min(ceiling, limit)
        # What a pool has reserved and does not want is left to the others; what it wants later, when
        # less important machines come, is kept for it.
        reserved = reservation if most is None else min(reservation, most[name])
        floor = min(max(reserved, sum(claim.floor for claim in inner)), wanted)
        weight = self.weight_of_pool(pool, inner)
        least = min(sum(claim.least for claim in inner), floor)
        return Claim(f"pool {name}", floor, max(floor, ceiling), weight, wanted, least)


class CpuTree(Tree):
    """Of the shared CPUs, in cores."""

    def __init__(self, plant: Plant) -> None:
        hosts = (host for host in plant.hosts if not host.state.off)
        super().__init__(plant, float(sum(host.cpus - host.cpus_aside for host in hosts)))

    def want(self, vm: Vm) -> float:
        return demand_of(vm)

    def floor(self, vm: Vm) -> float:
        return min(vm.cpu_reservation, self.wants[vm.name])

    def weight(self, vm: Vm) -> float:
        return vm.shares

    def promised(self, pool: Pool) -> tuple[float, float | None]:
        return pool.reservation, pool.limit

    def weight_of_pool(self, pool: Pool, inner: list[Claim]) -> float:
        return pool.shares
