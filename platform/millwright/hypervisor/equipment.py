"""What a host has beside CPUs and memory: pages, a CPU with features, pools, NICs, cards. Plain frozen values.

A part that a host cannot tell is None, which is "not known" and never "nothing"; `Equipment.unread` says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from .errors import InvalidSpec
from .types import Accel

#: Where a PCI device is, as the kernel writes it.
PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
#: A mediated-device type, as the kernel's drivers name them.
VGPU_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: vGPU instances of one machine at most.
MOST_VGPUS = 16
#: Page sizes beside the ordinary one that x86 has, by the names that templates use.
PAGE_BYTES = {"2M": 2 * 2**20, "1G": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """Hugepages of one size in one NUMA node: how many there are, and how many nobody uses now."""

    node: int
    size_bytes: int
    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModelFacts:
    """The host's CPU as libvirt names it, and what guests can be given of it, by how they are run.

    `features` are those of libvirt's best CPU for guests (host-model) with its model's own written out;
    a way of running guests that the host has not, or cannot describe, is missing.
    """

    model: str
    vendor: str
    features: Mapping[Accel, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFacts:
    """One storage pool. Of one that is not active no amounts are known: they are 0."""

    name: str
    kind: str
    active: bool
    capacity_bytes: int
    allocation_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFacts:
    """One NIC of the host itself, no bridge and no cable of a guest. None: its driver does not tell its speed."""

    name: str
    up: bool
    speed_bits_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One graphics card (PCI class 03).

    `model` is vendor and product as hexadecimal numbers, "10de:1eb8". Without an `iommu_group` it cannot be
    given to a guest; `companions` are the other functions of the same card in that group (its sound), which
    go with it, since the kernel gives a group away as one. `profiles`: by mediated-device type how many more instances the card holds now.
    """

    address: str
    model: str
    name: str
    driver: str
    iommu_group: int | None
    companions: tuple[str, ...] = ()
    profiles: Mapping[str, int] = field(default_factory=dict)
    #: instances there are, by their UUID: of which type
    instances: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What one host has, as it says itself."""

    pages: tuple[PageFacts, ...] | None = None
    cpu: CpuModelFacts | None = None
    pools: tuple[StorageFacts, ...] | None = None
    nics: tuple[NicFacts, ...] | None = None
    gpus: tuple[GpuFacts, ...] | None = None
    #: part → why it could not be read
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCpu:
    """The CPU that a running guest was started with, its features written out.

    An emulated one comes from the emulator and asks nothing of the host's CPU: no features. One that was
    passed through is the host's own, whose model another host must have too.
    """

    accel: Accel
    model: str = ""
    features: frozenset[str] = frozenset()
    passthrough: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VgpuSpec:
    """One vGPU instance: on which card (its PCI address), of which mediated-device type.

    Raises:
        InvalidSpec: the address or the type is none.
    """

    card: str
    profile: str

    def __post_init__(self) -> None:
        check_pci_address(self.card)
        if not VGPU_PROFILE.fullmatch(self.profile):
            raise InvalidSpec.of("vgpus.profile", self.profile, "a type like nvidia-35")


def vgpu_uuid(machine: UUID, number: int) -> UUID:
    """The id of a machine's vGPU instance; always the same, so that none is made twice and none is left behind."""
    return uuid5(machine, f"vgpu {number}")


def check_pci_address(value: str) -> str:
    """A PCI address like 0000:65:00.0.

    Raises:
        InvalidSpec: it is none.
    """
    if not PCI_ADDRESS.fullmatch(value):
        raise InvalidSpec.of("pci_devices", value, "a PCI address like 0000:65:00.0")
    return value
