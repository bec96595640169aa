"""What goes through the port: plain frozen values, no libvirt object among them.

Units are in the names (`_bytes`, `_ns`, `_us`, `_s`). CPU sets are `frozenset[int]` of the
host's logical CPU numbers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import UUID

#: XML namespace of our domain metadata. An object without it is not ours.
METADATA_NAMESPACE = "urn:millwright:1"


class Capability(StrEnum):
    """What a driver or connection can do at all; the contract suite is tagged by these."""

    UPLOAD = "upload"
    OVERLAY = "overlay"
    NWFILTER = "nwfilter"
    STATISTICS = "statistics"
    AGENT = "agent"
    CONSOLE = "console"
    SCREEN = "screen"
    MIGRATION = "migration"
    KEEPALIVE = "keepalive"
    BOOT = "boot"
    PROBES = "probes"
    PINNING = "pinning"
    SHARES = "shares"
    EQUIPMENT = "equipment"
    DIRTY_RATE = "dirty_rate"


class DomainState(StrEnum):
    """What libvirt says of a domain. `UNKNOWN` is never reported by a host that answers."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CRASHED = "crashed"
    MIGRATING = "migrating"
    UNKNOWN = "unknown"


class ServiceClass(StrEnum):
    """What a machine is promised: cores of its own, a guaranteed share, or a share."""

    REALTIME = "realtime"
    GUARANTEED = "guaranteed"
    SHARED = "shared"


class VcpuRole(StrEnum):
    """What a vCPU of a realtime machine is for."""

    CONTROL = "control"
    HOUSEKEEPING = "housekeeping"


class Accel(StrEnum):
    """How guest code is executed; a probed fact, not a wish."""

    KVM = "kvm"
    EMULATION = "emulation"


class ProbeKind(StrEnum):
    """What a host is asked to show by doing it."""

    KVM = "kvm"
    FIFO = "fifo"
    MEMORY_LOCK = "memory_lock"
    HUGEPAGES = "hugepages"
    ISOLATION = "isolation"
    NWFILTER = "nwfilter"
    CGROUP_CPU = "cgroup_cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Our mark on a domain: who it belongs to and which placement of it this is.

    `generation` rises at every placement; a copy with an older one is never started again.
    """

    site: str
    environment: str
    machine: str
    operation: str
    generation: int


# --- hosts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFacts:
    """One logical CPU. `siblings` are the threads of its core, itself included."""

    id: int
    socket: int
    core: int
    numa_node: int
    siblings: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaFacts:
    """One NUMA node; `hugepages` maps a page size in bytes to the number of pages."""

    id: int
    memory_bytes: int
    cpus: frozenset[int]
    hugepages: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """A libvirt network as the host has it; `bridge` is empty where it leads elsewhere."""

    name: str
    bridge: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """An interface of the host itself. `kind`: ethernet, bridge, vlan or bond.

    `ports` are what a bridge or bond is made of, or what a VLAN lies on; `vlan` is its tag.
    """

    name: str
    kind: str
    ports: tuple[str, ...] = ()
    vlan: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a host says of itself. Declared, not proven: see `Hypervisor.probe`."""

    name: str
    hostname: str
    host_uuid: UUID | None
    architecture: str
    cpu_model: str
    cpus: tuple[CpuFacts, ...]
    numa: tuple[NumaFacts, ...]
    memory_bytes: int
    libvirt_version: str
    hypervisor_version: str
    machine_types: tuple[str, ...]
    kvm_declared: bool
    networks: tuple[NetworkFacts, ...] = ()
    #: Empty where the host's libvirt has no driver of interfaces.
    links: tuple[LinkFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeGuest:
    """The tiny guest that probes boot: paths on the host (volumes of its pool).

    `boot_marker` is the text the guest writes to its serial console once it runs; `cpu` is the
    CPU that FIFO and isolation are tried on (default: the highest one).
    """

    kernel: str
    initrd: str
    boot_marker: str
    cmdline: str = "console=ttyS0 quiet"
    memory_bytes: int = 192 * 2**20
    boot_timeout_s: float = 60.0
    cpu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The verdict of a probe. `detail` says what was done and what came of it."""

    kind: ProbeKind
    ok: bool
    detail: str
    elapsed_s: float


# --- domains ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VcpuStats:
    """`time_ns` spent executing, `delay_ns` spent waiting for a physical CPU (steal)."""

    number: int
    running: bool
    time_ns: int
    delay_ns: int


@dataclass(frozen=True, slots=True)
class Share:
    """A running domain's part of its host.

    `cpu_weight` counts against the other domains' (2 to 10000); `cpu_quota` is the most in cores
    (None: as much as there is); `memory_bytes` is what the balloon leaves it (None: not told).
    """

    cpu_weight: int
    cpu_quota: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainStats:
    """One domain in the bulk state. Counters are since the domain's start.

    A value the host did not give without waiting (a migration holds the domain) is None.
    `metadata` is None for a foreign domain; `operating` says that a job holds it.
    """

    uuid: UUID
    name: str
    state: DomainState
    metadata: Metadata | None
    persistent: bool = True
    autostart: bool | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    rss_bytes: int | None = None
    cpu_time_ns: int | None = None
    vcpus: tuple[VcpuStats, ...] = ()
    disk_read_bytes: int | None = None
    disk_written_bytes: int | None = None
    net_received_bytes: int | None = None
    net_sent_bytes: int | None = None
    reason: str = ""

    def owned_by(self, site: str) -> bool:
        """Whether the domain carries the mark of this site."""
        return self.metadata is not None and self.metadata.site == site


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainInfo:
    """One domain asked by itself. `xml` is its live description, or the stored one when off."""

    uuid: UUID
    name: str
    state: DomainState
    metadata: Metadata | None
    autostart: bool
    persistent: bool
    xml: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Where the threads of a domain may run: the live affinity, as libvirt reports it."""

    vcpus: Mapping[int, frozenset[int]]
    emulator: frozenset[int]
    iothreads: Mapping[int, frozenset[int]] = field(default_factory=dict)


class EventKind(StrEnum):
    """Events are hints: after any of them, ask. That a machine stopped, and when, they tell by themselves."""

    DOMAIN = "domain"
    AGENT = "agent"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened on a host. `CONNECTED` always means: resynchronise everything."""

    kind: EventKind
    host: str
    uuid: UUID | None = None
    name: str = ""
    detail: str = ""
    #: when it came; of a connection given up for want of answers: when the first of these was missing
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC), compare=False)


# --- networks and filters --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A libvirt network on an existing bridge of the host (a cell's part on this host)."""

    name: str
    bridge: str


class Direction(StrEnum):
    """Seen from the machine: who opens the connection."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Protocol(StrEnum):
    """Transport of a registered flow."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Flow:
    """One registered pair: `peer` may open (or be opened from) this machine on `port`.

    `peer` is an IPv4 address or network ("10.90.1.2", "10.90.1.0/24"). `port` is the port of
    the side that is opened to; it is None for ICMP (echo), and only there.
    """

    direction: Direction
    peer: str
    protocol: Protocol = Protocol.TCP
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSpec:
    """All that one machine's nic may exchange; everything else is dropped both ways."""

    name: str
    flows: tuple[Flow, ...] = ()


# --- storage ---------------------------------------------------------------------------------


class VolumeFormat(StrEnum):
    """Formats we make."""

    RAW = "raw"
    QCOW2 = "qcow2"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOwner:
    """Who an overlay belongs to; kept in the name of its marker volume (see volumes.py)."""

    site: str
    machine: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """One volume of a pool, with what its markers say.

    `sha256` is set for an image whose upload was verified; `owner` for a machine's overlay; `aside` for one of an
    earlier placement that a later one found here: it is kept for a person to look at, and no machine uses it again.
    `present` is False when only the markers are left (a killed creation or removal).
    """

    pool: str
    name: str
    path: str
    capacity_bytes: int
    allocation_bytes: int
    format: str
    backing_path: str | None = None
    sha256: str | None = None
    uploading: bool = False
    owner: VolumeOwner | None = None
    aside: bool = False
    present: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolInfo:
    """A storage pool; `path` is its folder on the host."""

    name: str
    path: str
    capacity_bytes: int
    allocation_bytes: int
    available_bytes: int


# --- guest agent -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """Result of a command in the guest; `exit_code` is None when a signal ended it."""

    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool = False


# --- migration -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSpec:
    """How to move a running domain.

    `copy_storage` copies what the overlays hold (base images and empty overlays must be at the
    destination already); without it the pools have to be one shared file system.
    `auto_converge` slows the guest's vCPUs down until its memory can be followed: never for a
    class with a deadline. Post-copy is not offered: a guest split over two hosts dies with
    the link between them. Without `live` the guest stands still while it is copied.
    """

    live: bool = True
    copy_storage: bool = True
    tls: bool = True
    auto_converge: bool = False
    bandwidth_bytes_s: int | None = None
    max_downtime_ms: int | None = None
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """Progress of the job that holds a domain (migration)."""

    operation: str
    elapsed_ms: int
    remaining_bytes: int
    processed_bytes: int
    total_bytes: int
    dirty_rate_bytes_s: int | None = None
    downtime_ms: int | None = None


class Way(StrEnum):
    """Who encrypted a migration on its way."""

    #: the relays of both hosts
    RELAYS = "relays"
    #: QEMU by its own TLS
    QEMU = "qemu"
    #: nobody: it was asked for in the open
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationResult:
    """What a finished migration took. `downtime_ms` is None when the source did not tell.

    `way`: None where another process began it.
    """

    elapsed_ms: int
    downtime_ms: int | None
    transferred_bytes: int | None
    way: Way | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSource:
    """A local file to upload: its content hash is the contract."""

    path: Path
    sha256: str
    size_bytes: int
