"""What the planner sees: hosts and a want, immutable, in base units (bytes, CPUs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower, ServiceClass
from millwright.core.topology import Topology

#: vCPUs per shared CPU where a host's owner says nothing
OVERCOMMIT_RATIO = 8.0


def most_vcpus(shared_cpus: int, ratio: float) -> int:
    """vCPUs that may be promised on so many shared CPUs. No promise of time: of that there is what the CPUs have."""
    return int(shared_cpus * ratio + 1e-9)


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card that can be given whole: PCI address, vendor and product ("10de:1eb8"), what goes with it."""

    address: str
    model: str
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartedCpu:
    """The CPU with which a running machine was started; where it moves, that has to be there too.

    `accel` "" is not known. `features` are those that the guest sees; none: it asks nothing of the host's CPU.
    """

    accel: str = ""
    model: str = ""
    features: frozenset[str] = frozenset()
    #: the host's own, passed through: another host must be of the same model
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class Wake:
    """A host that is not awake and may be woken for a machine: seconds until it answers, watts that it then takes."""

    seconds: float
    watts: float = 0.0
    #: it is being woken already, or a machine waits for it
    begun: bool = False


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """One host: what it has, what is promised already, what it was found able to do."""

    name: str
    health: HostHealth
    administration: HostAdministration
    topology: Topology
    memory_bytes: int
    memory_promised_bytes: int
    disk_free_bytes: int
    #: CPUs claimed exclusively
    claimed_cpus: frozenset[int] = frozenset()
    #: vCPUs of shared and guaranteed machines promised on the shared CPUs
    shared_vcpus: int = 0
    #: capability → verdict; one that was never probed is absent
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    #: takes classes that it cannot honour fully, and says so
    best_effort: bool = False
    accel: str = "emulation"
    cells: frozenset[str] = frozenset()
    #: vCPUs per shared CPU that the host's owner allows
    overcommit_ratio: float = OVERCOMMIT_RATIO
    labels: Mapping[str, str] = field(default_factory=dict)
    #: The following is None where the host has not told it: not known, and nobody is kept away by that.
    #: pages per size in bytes that neither run nor are promised
    hugepages_free: Mapping[int, int] | None = None
    #: the same by NUMA node, where the host has more than one
    node_pages_free: Mapping[int, Mapping[int, int]] | None = None
    cpu_model: str = ""
    #: what guests can be given, in the way that this host runs them
    cpu_features: frozenset[str] | None = None
    #: free bytes per active storage pool; `disk_free_bytes` is that of the default one
    storage_free: Mapping[str, int] | None = None
    #: cards that nobody has claimed
    cards_free: tuple[Card, ...] | None = None
    #: of each card that is shared, by its address, instances of vGPU profiles that nobody has claimed
    vgpus_free: Mapping[str, Mapping[str, int]] | None = None
    #: what nobody has reserved of the NICs, bytes per second
    nic_free_bytes_s: float | None = None
    #: CPUs used and waited for lately, as a part of the shared ones
    used_ratio: float | None = None
    #: beside it what machines of which nobody has measured anything lately are thought to want
    assumed_ratio: float = 0.0
    #: whether it sleeps by intent
    power: HostPower = HostPower.AWAKE
    #: how it is woken for a machine that has room nowhere else; nothing: it is awake, or not woken for that
    wake: Wake | None = None
    #: why one that sleeps is not woken, where that is not its policy
    left_asleep: str = ""
    #: it is closed only because it is being emptied to sleep, which is called off for what has room nowhere else
    emptied: bool = False

    @property
    def on_call(self) -> bool:
        """Whether a machine that has room nowhere else has it: it is woken for that, or stays awake."""
        return self.emptied if self.power is HostPower.AWAKE else self.wake is not None

    @property
    def most_vcpus(self) -> int:
        """vCPUs that may be promised on its shared CPUs."""
        return most_vcpus(len(self.topology.shared), self.overcommit_ratio)

    @property
    def memory_free_bytes(self) -> int:
        return self.memory_bytes - self.memory_promised_bytes


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """What a machine takes of the tightest memory limit of its resource pools, in bytes; no host has to do with it."""

    name: str
    wanted_bytes: int
    free_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class MachineWant:
    """One machine to place. `control_vcpus` are indexes that want a core of their own."""

    name: str
    service_class: ServiceClass
    vcpus: int
    memory_bytes: int
    disk_bytes: int
    control_vcpus: tuple[int, ...] = ()
    #: a core of its own or no placement at all
    strict: bool = False
    cell: str = ""
    #: memory the hypervisor needs beside the guest's own
    overhead_bytes: int = 192 * 2**20
    #: size of the pages behind its memory; 0: ordinary ones
    hugepage_bytes: int = 0
    cpu_features: frozenset[str] = frozenset()
    #: the pool of its disk; "": the default one
    storage_pool: str = ""
    #: cards that it is given whole, of this model or ("") any; or instances of a vGPU profile
    gpus: int = 0
    gpu_model: str = ""
    gpu_profile: str = ""
    #: what it reserves of the host's NICs, bytes per second
    nic_bytes_s: int = 0
    #: of the resource pool whose memory is limited most tightly; nothing: no limit, or it is counted there already
    pool_room: PoolRoom | None = None
    #: what it runs with now; nothing: it is started where it is placed
    started: StartedCpu | None = None
    #: CPUs that soft rules ask for its being on a host, or in a failure domain (label `domain`); negative attracts
    soft_hosts: Mapping[str, float] = field(default_factory=dict)
    soft_domains: Mapping[str, float] = field(default_factory=dict)

    @property
    def ordinary_bytes(self) -> int:
        """Memory that does not come out of hugepages."""
        return self.overhead_bytes + (0 if self.hugepage_bytes else self.memory_bytes)

    @property
    def pages(self) -> int:
        """Hugepages that back its memory."""
        return -(-self.memory_bytes // self.hugepage_bytes) if self.hugepage_bytes else 0

    @property
    def binds(self) -> bool:
        """Whether its memory is bound to the NUMA nodes of its cores: all of it in pages, and cores of its own."""
        return bool(
            self.hugepage_bytes
            and self.control_vcpus
            and self.service_class is ServiceClass.REALTIME
        )

    def fitting(self, cards: tuple[Card, ...]) -> tuple[Card, ...]:
        """Cards of the model that it wants, in their order."""
        return tuple(card for card in cards if self.gpu_model in ("", card.model))

    def instances(self, shared: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
        """Addresses of the cards of its vGPU instances, one for each; fewer than it wants where there are not enough.

        Cards that hold no other profile any more come first, then those with the least room: empty ones stay whole.
        """
        name = self.gpu_profile
        rows = [(address, free) for address, free in shared.items() if free.get(name, 0) > 0]
        rows.sort(
            key=lambda row: (
                any(count > 0 for kind, count in row[1].items() if kind != name),
                row[1][name],
                row[0],
            )
        )
        found = [address for address, free in rows for _ in range(free[name])]
        return tuple(found[: self.gpus])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pool at one moment.

    `rows`: what its hosts were read from, for whoever asks more of them; no decision looks at it.
    """

    hosts: tuple[HostSnapshot, ...]
    rows: tuple[object, ...] = field(default=(), repr=False, compare=False)
