"""A domain as the control plane means it; `xml.py` turns it into libvirt's language.

Every field is checked when the object is made, so that a wrong value is refused where it
arises, with field, value and rule, and never half-way through a provisioning.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from uuid import UUID

from millwright.hypervisor.equipment import MOST_VGPUS, VgpuSpec, check_pci_address
from millwright.hypervisor.errors import InvalidSpec
from millwright.hypervisor.types import Accel, Metadata, ServiceClass, VcpuRole, VolumeFormat

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
CPU_FEATURE = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
#: SMBIOS strings end at NUL, XML 1.0 cannot hold control characters, and one line is one line.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
MIB = 2**20
#: Where the sockets of screens are, on every host: QEMU's own folder, closed to everybody else.
#: Written with a dot: where a VNC socket's path begins with its own folder's, libvirt takes it for one that
#: an old version made up, and has the server listen on a TCP port instead (qemuDomainRecheckInternalPaths).
SCREENS = "/var/lib/libvirt/./qemu"


def screen_socket(uuid: UUID) -> str:
    """The socket of a machine's screen on its host."""
    return f"{SCREENS}/mw-{uuid}.screen"


def domain_name(environment: str, machine: str) -> str:
    """The domain's name by contract: `mw-<environment>-<machine>`, at most 63 characters."""
    return _name("domain name", f"mw-{environment}-{machine}")


def _name(field_name: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise InvalidSpec.of(
            field_name, value, "letters, digits, dot, dash, underscore; 1 to 63 characters"
        )
    return value


def _path(field_name: str, value: str) -> None:
    if not value.startswith("/") or CONTROL_CHARACTERS.search(value) or "/../" in value:
        raise InvalidSpec.of(field_name, value, "must be an absolute path on the host")


@dataclass(frozen=True, slots=True, kw_only=True)
class VcpuSpec:
    """One vCPU: its role and the host CPUs it may run on (none named: wherever allowed)."""

    role: VcpuRole = VcpuRole.HOUSEKEEPING
    cpus: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectBoot:
    """Kernel and initrd as files on the host (volumes of a pool, the same path everywhere)."""

    kernel: str
    initrd: str
    cmdline: str = ""

    def __post_init__(self) -> None:
        _path("boot.kernel", self.kernel)
        _path("boot.initrd", self.initrd)
        # The kernel's own limit on x86 is 2048 bytes, its end included.
        if len(self.cmdline.encode()) > 2047 or CONTROL_CHARACTERS.search(self.cmdline):
            raise InvalidSpec.of(
                "boot.cmdline", self.cmdline, "at most 2047 bytes, no control characters"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpec:
    """One virtio disk on a file of the host."""

    path: str
    target: str = "vda"
    format: VolumeFormat = VolumeFormat.QCOW2
    read_only: bool = False
    serial: str = ""

    def __post_init__(self) -> None:
        _path("disk.path", self.path)
        if not re.fullmatch(r"vd[a-z]", self.target):
            raise InvalidSpec.of("disk.target", self.target, "vda to vdz")
        if self.serial and not re.fullmatch(r"[A-Za-z0-9._-]{1,20}", self.serial):
            raise InvalidSpec.of("disk.serial", self.serial, "at most 20 letters, digits, ._-")


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSpec:
    """One virtio nic in a libvirt network, behind a filter that knows its address."""

    network: str
    mac: str
    address: str | None = None
    filter: str | None = None

    def __post_init__(self) -> None:
        _name("nic.network", self.network)
        if not MAC.fullmatch(self.mac) or int(self.mac[:2], 16) & 1:
            raise InvalidSpec.of("nic.mac", self.mac, "a unicast address like 52:54:00:0a:0b:0c")
        if self.filter is not None:
            _name("nic.filter", self.filter)
            if self.address is None:
                raise InvalidSpec.of("nic.address", None, "a filtered nic needs its IPv4 address")
        if self.address is not None:
            try:
                ipaddress.IPv4Address(self.address)
            except ValueError:
                raise InvalidSpec.of("nic.address", self.address, "an IPv4 address") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What the host was found able to give (see `tuning.tune`), nothing more.

    `fifo_priority` goes to control vCPUs only: with all vCPUs on FIFO, housekeeping in the
    guest would starve the host's own work on that core.
    """

    fifo_priority: int | None = None
    locked_memory: bool = False
    hugepage_bytes: int | None = None
    no_shared_pages: bool = False
    balloon: bool = True
    cpu_shares: int | None = None

    def __post_init__(self) -> None:
        if self.fifo_priority is not None and not 1 <= self.fifo_priority <= 98:
            raise InvalidSpec.of("tuning.fifo_priority", self.fifo_priority, "1 to 98")
        if self.cpu_shares is not None and not 2 <= self.cpu_shares <= 262_144:
            raise InvalidSpec.of("tuning.cpu_shares", self.cpu_shares, "2 to 262144")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSpec:
    """Everything libvirt has to know of one machine.

    Attributes:
        uuid: the machine's id; also the domain's.
        name: by contract `mw-<environment>-<machine>`, see `domain_name`.
        emulator_cpus: where QEMU's own threads run: housekeeping CPUs, never a control core.
        memory_nodes: NUMA nodes of the host to which its memory is bound; without enough there it does not start.
        iothreads: number of I/O threads; they share `emulator_cpus`.
        oem_strings: SMBIOS type 11 strings; systemd in the guest takes those that begin with
            `io.systemd.credential:` as credentials.
        console_log: file on the host that receives the serial console.
        screen: socket on the host of the graphics card's screen; None: no graphics card. A realtime
            machine has none: drawing would take time of the emulator that its core does not give.
        cpu_features: features that its CPU must have; without one the domain does not start.
        pci_devices: addresses of host devices that it is given whole; libvirt takes them from the host's
            drivers when it starts, and back when it ends. It cannot be migrated.
        vgpus: vGPU instances that it is given; `define` makes them on their cards, `undefine` removes them.
        tb_cache_bytes: bound of the emulator's translation cache (emulation only).
        autostart: whether the host starts it by itself ("autonomous" machines).
    """

    uuid: UUID
    name: str
    metadata: Metadata
    service_class: ServiceClass
    accel: Accel
    memory_bytes: int
    vcpus: tuple[VcpuSpec, ...]
    boot: DirectBoot
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    emulator_cpus: frozenset[int] = frozenset()
    memory_nodes: frozenset[int] = frozenset()
    iothreads: int = 0
    tuning: Tuning = field(default_factory=Tuning)
    oem_strings: tuple[str, ...] = ()
    agent: bool = True
    console_log: str | None = None
    screen: str | None = None
    cpu_features: tuple[str, ...] = ()
    pci_devices: tuple[str, ...] = ()
    vgpus: tuple[VgpuSpec, ...] = ()
    tb_cache_bytes: int = 128 * MIB
    machine_type: str = "q35"
    title: str = ""
    autostart: bool = False

    def __post_init__(self) -> None:
        _name("name", self.name)
        for field_name in ("site", "environment", "machine", "operation"):
            _name(f"metadata.{field_name}", getattr(self.metadata, field_name))
        if self.metadata.generation < 1:
            raise InvalidSpec.of("metadata.generation", self.metadata.generation, "at least 1")
        if self.memory_bytes < 16 * MIB or self.memory_bytes % MIB:
            raise InvalidSpec.of("memory_bytes", self.memory_bytes, "whole MiB, at least 16")
        if not 1 <= len(self.vcpus) <= 512:
            raise InvalidSpec.of("vcpus", len(self.vcpus), "1 to 512")
        if not 0 <= self.iothreads <= 16:
            raise InvalidSpec.of("iothreads", self.iothreads, "0 to 16")
        if CONTROL_CHARACTERS.search(self.title) or len(self.title) > 100:
            raise InvalidSpec.of("title", self.title, "one line of at most 100 characters")
        self._check_oem_strings()
        self._check_devices()
        self._check_cpus()

    def _check_oem_strings(self) -> None:
        for index, text in enumerate(self.oem_strings):
            # The value may be a secret: the message names the place, not the content.
            if not text or CONTROL_CHARACTERS.search(text):
                raise InvalidSpec.of(
                    f"oem_strings[{index}]", f"{len(text)} characters", "one line, not empty"
                )
            if len(text.encode()) > 32 * 1024:
                raise InvalidSpec.of(
                    f"oem_strings[{index}]", f"{len(text.encode())} bytes", "at most 32768 bytes"
                )

    def _check_devices(self) -> None:
        targets = [disk.target for disk in self.disks]
        if len(set(targets)) != len(targets):
            raise InvalidSpec.of("disks", targets, "each target once")
        macs = [nic.mac for nic in self.nics]
        if len(set(macs)) != len(macs):
            raise InvalidSpec.of("nics", macs, "each MAC address once")
        for name in self.cpu_features:
            if not CPU_FEATURE.fullmatch(name):
                raise InvalidSpec.of("cpu_features", name, "a name of libvirt's like avx2")
        for address in self.pci_devices:
            check_pci_address(address)
        if len(set(self.pci_devices)) != len(self.pci_devices):
            raise InvalidSpec.of("pci_devices", list(self.pci_devices), "each device once")
        if len(self.vgpus) > MOST_VGPUS:
            raise InvalidSpec.of("vgpus", len(self.vgpus), f"at most {MOST_VGPUS}")
        if any(not 0 <= node <= 1023 for node in self.memory_nodes):
            raise InvalidSpec.of("memory_nodes", sorted(self.memory_nodes), "NUMA nodes, 0 to 1023")
        size = self.tuning.hugepage_bytes
        if size is not None and self.memory_bytes % size:
            raise InvalidSpec.of("memory_bytes", self.memory_bytes, f"whole pages of {size} bytes")
        if self.console_log is not None:
            _path("console_log", self.console_log)
        if self.screen is not None:
            _path("screen", self.screen)
            # What a UNIX socket's address holds, its end included, is 108 bytes.
            if len(self.screen.encode()) > 107:
                raise InvalidSpec.of("screen", self.screen, "at most 107 bytes")
            if self.service_class is ServiceClass.REALTIME:
                raise InvalidSpec.of("screen", self.screen, "a realtime machine has no screen")

    def _check_cpus(self) -> None:
        control: set[int] = set()
        for number, vcpu in enumerate(self.vcpus):
            if vcpu.role is VcpuRole.CONTROL:
                if self.service_class is not ServiceClass.REALTIME:
                    raise InvalidSpec.of(
                        f"vcpus[{number}].role", vcpu.role.value, "only realtime has control vCPUs"
                    )
                if control & vcpu.cpus:
                    raise InvalidSpec.of(
                        f"vcpus[{number}].cpus", sorted(vcpu.cpus), "control vCPUs share no CPU"
                    )
                control |= vcpu.cpus
        if self.tuning.fifo_priority is not None and not control:
            raise InvalidSpec.of(
                "tuning.fifo_priority", self.tuning.fifo_priority, "needs a pinned control vCPU"
            )
