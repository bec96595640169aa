"""What a fake host has, and what its guests were started with."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.equipment import (
    CpuModelFacts,
    Equipment,
    GpuFacts,
    GuestCpu,
    NicFacts,
    PageFacts,
    StorageFacts,
    vgpu_uuid,
)
from millwright.hypervisor.errors import Conflict, InvalidSpec, NoSpace, Unsupported
from millwright.hypervisor.rules import ACTIVE, check_dirty_rate_seconds
from millwright.hypervisor.types import Accel, ServiceClass

from .faults import Faults, verb
from .state import FakeDomain, FakeStore

#: What a fake's CPU can do where nothing else is said: what x86-64-v2 asks for.
USUAL_FEATURES = frozenset({"cx16", "lahf_lm", "popcnt", "sse4.1", "sse4.2", "ssse3"})
#: What an idle guest writes, bytes per second.
USUAL_DIRTY_RATE = 2**20


@dataclass(slots=True)
class FakeParts:
    """What a fake host has beside CPUs and memory; tests change it.

    `hugepages`: pages in node 0 by size, `more_nodes`: those in other nodes. A part named in `unread` cannot be told, for the reason beside it.
    """

    hugepages: dict[int, int] = field(default_factory=dict)
    more_nodes: dict[int, dict[int, int]] = field(default_factory=dict)
    cpu_model: str = "fake"
    features: frozenset[str] = USUAL_FEATURES
    nics: tuple[NicFacts, ...] = (NicFacts(name="eno1", up=True, speed_bits_s=10**9),)
    gpus: tuple[GpuFacts, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)
    #: domain → bytes per second that it writes
    dirty_rates: dict[UUID, int] = field(default_factory=dict)


class FakeEquipment:
    """`equipment`, `guest_cpu` and `dirty_rate`, and what starting and arriving ask of the parts."""

    name: str
    parts: FakeParts
    faults: Faults
    unreachable: bool
    frozen: bool
    _lock: threading.RLock
    _domains: dict[UUID, FakeDomain]
    _pools: dict[str, FakeStore]

    if TYPE_CHECKING:  # what the host itself has

        def pass_time(self, seconds: float) -> None: ...
        def _owned(self, uuid: UUID) -> FakeDomain: ...

    @verb
    def equipment(
        self, *, parts: Collection[str] | None = None, deadline_s: float | None = None
    ) -> Equipment:
        """See the port."""
        with self._lock:
            used = self._pages_used()
            whole = Equipment(
                pages=tuple(
                    PageFacts(
                        node=node,
                        size_bytes=size,
                        total=total,
                        free=total - used.get((node, size), 0),
                    )
                    for node, sizes in sorted(self._nodes().items())
                    for size, total in sorted(sizes.items())
                ),
                cpu=CpuModelFacts(
                    model=self.parts.cpu_model,
                    vendor="Fake",
                    features=dict.fromkeys(Accel, self.parts.features),
                ),
                pools=tuple(_facts(store) for _, store in sorted(self._pools.items())),
                nics=self.parts.nics,
                gpus=tuple(self._with_instances(card) for card in self.parts.gpus),
                unread=dict(self.parts.unread),
            )
            told = {"pages", "cpu", "pools", "nics", "gpus"} if parts is None else set(parts)
            left_out = {"pages", "cpu", "pools", "nics", "gpus"} - told | set(self.parts.unread)
            unread = {part: why for part, why in self.parts.unread.items() if part in told}
            return replace(whole, **dict.fromkeys(left_out), unread=unread)

    @verb
    def guest_cpu(self, uuid: UUID, *, deadline_s: float | None = None) -> GuestCpu:
        """See the port."""
        with self._lock:
            domain = self._domains.get(uuid) or self._owned(uuid)
            if domain.live is None or domain.cpu is None:
                raise Conflict(f"domain {domain.name!r} is off", host=self.name)
            return domain.cpu

    @verb
    def dirty_rate(
        self, uuid: UUID, *, seconds: int = 1, deadline_s: float | None = None
    ) -> int | None:
        """See the port. Virtual time passes while it is measured."""
        check_dirty_rate_seconds(seconds, self.name)
        domain = self._owned(uuid)
        if domain.state not in ACTIVE:
            raise Conflict(f"domain {domain.name!r} is off", host=self.name)
        self.pass_time(seconds)
        return self.parts.dirty_rates.get(uuid, USUAL_DIRTY_RATE)

    # --- what starting and arriving take ------------------------------------------------------

    def _nodes(self) -> Mapping[int, Mapping[int, int]]:
        return {0: self.parts.hugepages, **self.parts.more_nodes}

    def _pages_used(self) -> Mapping[tuple[int, int], int]:
        """By node and size; who is bound to nodes comes first, the others take what is left from node 0 on."""
        used: dict[tuple[int, int], int] = {}
        live = [domain.live for domain in self._domains.values() if domain.live is not None]
        for spec in sorted(live, key=lambda row: not row.memory_nodes):
            size = spec.tuning.hugepage_bytes
            left = -(-spec.memory_bytes // size) if size else 0
            for node in sorted(spec.memory_nodes) or sorted(self._nodes()):
                if size and left:
                    has = self._nodes().get(node, {}).get(size, 0) - used.get((node, size), 0)
                    part = min(left, max(0, has))
                    used[node, size] = used.get((node, size), 0) + part
                    left -= part
        return used

    def _check_parts(self, spec: DomainSpec) -> None:
        """Pages, features and cards that QEMU would not start without."""
        size = spec.tuning.hugepage_bytes
        if size:
            wanted = -(-spec.memory_bytes // size)
            used, nodes = self._pages_used(), self._nodes()
            free = sum(
                nodes.get(node, {}).get(size, 0) - used.get((node, size), 0)
                for node in (spec.memory_nodes or nodes)
            )
            if wanted > free:
                raise NoSpace(
                    f"{wanted} hugepages of {size} bytes are needed, {free} are free",
                    host=self.name,
                    details={"needed_pages": wanted, "available_pages": free},
                )
        if lacking := sorted(set(spec.cpu_features) - self.parts.features):
            raise Unsupported(
                f"guest CPU doesn't match: missing features {', '.join(lacking)}", host=self.name
            )
        there = {card.address for card in self.parts.gpus}
        taken = {
            address
            for domain in self._domains.values()
            if domain.live is not None and domain.uuid != spec.uuid
            for address in domain.live.pci_devices
        }
        for address in spec.pci_devices:
            if address not in there:
                raise InvalidSpec.of("pci_devices", address, "no such device", host=self.name)
            if address in taken:
                raise Conflict(f"PCI device {address} is in use", host=self.name)

    def _instances(self, card: str) -> dict[str, str]:
        return {
            str(vgpu_uuid(domain.uuid, number)): wanted.profile
            for domain in self._domains.values()
            if domain.spec is not None
            for number, wanted in enumerate(domain.spec.vgpus)
            if wanted.card == card
        }

    def _with_instances(self, card: GpuFacts) -> GpuFacts:
        """As the card tells it: what is left of each type, and of one type only while it has instances."""
        made = self._instances(card.address)
        kinds = set(made.values())
        left = {
            kind: count - len(made) if kinds <= {kind} else 0
            for kind, count in card.profiles.items()
        }
        return replace(card, profiles=left, instances=made)

    def _check_vgpus(self, spec: DomainSpec) -> None:
        """Whether its cards have room for its instances, beside those of other domains."""
        cards = {card.address: card for card in self.parts.gpus}
        for address in {wanted.card for wanted in spec.vgpus}:
            if address not in cards:
                raise InvalidSpec.of("vgpus", address, "no such device", host=self.name)
            mine = [wanted.profile for wanted in spec.vgpus if wanted.card == address]
            others = [
                wanted.profile
                for domain in self._domains.values()
                if domain.uuid != spec.uuid and domain.spec is not None
                for wanted in domain.spec.vgpus
                if wanted.card == address
            ]
            kinds = {*mine, *others}
            if len(kinds) > 1 or len(mine) + len(others) > cards[address].profiles.get(mine[0], 0):
                raise NoSpace(
                    f"card {address} holds no more instances of {mine[0]}", host=self.name
                )

    def _check_arriving(self, cpu: GuestCpu | None) -> None:
        """Whether a running guest finds the CPU that it was started with."""
        if cpu is None:
            return
        lacking = sorted(cpu.features - self.parts.features)
        if lacking or (cpu.passthrough and cpu.model != self.parts.cpu_model):
            what = f"missing features {', '.join(lacking)}" if lacking else f"not a {cpu.model}"
            raise Unsupported(f"guest CPU doesn't match: {what}", host=self.name)

    def _cpu_of(self, spec: DomainSpec) -> GuestCpu:
        """The CPU that a guest is started with here."""
        if spec.accel is Accel.EMULATION:
            return GuestCpu(accel=Accel.EMULATION)
        return GuestCpu(
            accel=Accel.KVM,
            model=self.parts.cpu_model,
            features=self.parts.features,
            passthrough=spec.service_class is ServiceClass.REALTIME,
        )


def _facts(store: FakeStore) -> StorageFacts:
    return StorageFacts(
        name=store.name,
        kind="dir",
        active=True,
        capacity_bytes=store.capacity_bytes,
        allocation_bytes=store.allocated_bytes,
        available_bytes=store.capacity_bytes - store.allocated_bytes,
    )
