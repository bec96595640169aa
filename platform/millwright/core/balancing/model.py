"""The plant as the balancer sees it: immutable, in base units (cores, bytes, bytes per second)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from millwright.core.lifecycle import Movability, Recovery, ServiceClass


class HostState(StrEnum):
    UP = "up"
    CORDONED = "cordoned"
    DRAINING = "draining"
    SUSPECT = "suspect"
    DOWN = "down"
    #: put to sleep while it is not needed, falling asleep or waking: nobody runs there, and nobody is lost
    ASLEEP = "asleep"

    @property
    def off(self) -> bool:
        """Nothing that it has counts: it is lost, or asleep."""
        return self in (HostState.DOWN, HostState.ASLEEP)


class Mode(StrEnum):
    OFF = "off"
    SHADOW = "shadow"
    RECOMMEND = "recommend"
    AUTOMATIC = "automatic"


class RuleKind(StrEnum):
    TOGETHER = "together"
    APART = "apart"
    SPREAD = "spread"
    NEAR = "near"
    ON_HOSTS = "on_hosts"
    OFF_HOSTS = "off_hosts"


@dataclass(frozen=True, slots=True)
class Node:
    """One NUMA node: the dedicated cores and the hugepages (pages per size) that lie in it."""

    cores: int = 0
    hugepages: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card. `profiles`: how many instances of a vGPU profile it holds; one profile at a time."""

    model: str
    profiles: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """`cpus` are shared among machines; `cores` are given whole to one machine each."""

    name: str
    cpus: float
    memory_bytes: int
    cores: int = 0
    #: cores that keep house; no machine gets them
    housekeeping: int = 0
    #: where the cores and hugepages lie; nothing: all in one node
    nodes: tuple[Node, ...] = ()
    #: pages per size ("2M", "1G"); their memory is part of `memory_bytes`
    hugepages: Mapping[str, int] = field(default_factory=dict)
    #: bytes per storage pool; a shared pool is named with 0
    storage: Mapping[str, int] = field(default_factory=dict)
    #: what machines may reserve of the NICs
    nic_bytes_s: float = 1.25e9
    gpus: tuple[Gpu, ...] = ()
    #: other devices that are given whole, by kind
    devices: Mapping[str, int] = field(default_factory=dict)
    #: CPU models that it can show to a guest; nothing: any
    cpu_models: frozenset[str] = frozenset()
    cpu_features: frozenset[str] = frozenset()
    #: classes that it takes; nothing: all
    classes: frozenset[str] = frozenset()
    state: HostState = HostState.UP
    #: rack or room that fails as one
    domain: str = ""
    labels: frozenset[str] = frozenset()
    #: network over which machines migrate
    link_bytes_s: float = 125e6
    #: vCPUs that may be promised on the shared CPUs; nothing: any number
    most_vcpus: int | None = None
    #: set aside for the host itself
    cpus_aside: float = 0.0
    memory_aside_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Vm:
    """One machine. Demand is in cores: used plus waited for, a short and a long average."""

    name: str
    vcpus: int
    memory_bytes: int
    host: str | None = None
    #: NUMA node of the host in which it is pinned
    node: int | None = None
    service_class: ServiceClass = ServiceClass.SHARED
    #: cores of its own, not part of the shared CPUs
    cores: int = 0
    #: its cores and hugepages must come from one NUMA node
    one_node: bool = True
    #: size of the pages behind its memory; nothing: ordinary ones
    hugepage: str = ""
    pool: str = ""
    shares: int = 1000
    cpu_reservation: float = 0.0
    cpu_limit: float | None = None
    demand_short: float = 0.0
    demand_long: float = 0.0
    #: worst of the recent past; what a destination risks
    demand_peak: float = 0.0
    #: memory that the guest touches; nothing: all of it
    memory_active_bytes: int | None = None
    #: the balloon never takes it below this; nothing: no balloon
    memory_minimum_bytes: int | None = None
    dirty_bytes_s: float = 0.0
    #: it is switched off: a move carries its definition alone, neither memory nor disks
    off: bool = False
    #: bytes per storage pool
    disks: Mapping[str, int] = field(default_factory=dict)
    #: what a migration copies of its disks; nothing: all of those that are local
    copied_bytes: int | None = None
    nic_bytes_s: float = 0.0
    #: cards by model or vGPU instances by profile
    gpus: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    cpu_model: str = ""
    cpu_features: frozenset[str] = frozenset()
    #: labels that its host must have
    requires: frozenset[str] = frozenset()
    priority: int = 0
    #: machines that must run before it starts
    after: tuple[str, ...] = ()
    #: nothing: never for realtime and for dedicated cores, free for the others
    movability: Movability | None = None
    #: a planned window is open now (set by `at`)
    window_open: bool = False
    #: what its users suffer from a move, in core-seconds, on top of what is computed
    disruption: float = 0.0
    mode: Mode | None = None
    #: restarted elsewhere when its host dies
    protected: bool = True
    #: nothing: autonomous for realtime, recoverable for the others
    recovery: Recovery | None = None
    labels: frozenset[str] = frozenset()

    @property
    def moves(self) -> Movability:
        """What may move it, the default of its class included."""
        if self.movability is not None:
            return self.movability
        own = self.service_class is ServiceClass.REALTIME or self.cores > 0
        return Movability.NEVER if own else Movability.FREE

    @property
    def restarts(self) -> Recovery:
        """Who may start it again, the default of its class included."""
        if self.recovery is not None:
            return self.recovery
        own = self.service_class is ServiceClass.REALTIME
        return Recovery.AUTONOMOUS if own else Recovery.RECOVERABLE


@dataclass(frozen=True, slots=True)
class Pool:
    """A node of the tree that shares capacity: CPUs (cores), and memory."""

    name: str
    parent: str = ""
    reservation: float = 0.0
    limit: float | None = None
    shares: int = 1000
    mode: Mode | None = None
    memory_reservation_bytes: int = 0
    #: what its machines and those of pools below it have together at most; nothing: no limit
    memory_limit_bytes: int | None = None
    #: weight of a byte that its machines touch; 1000: as one of a machine beside it
    memory_shares: int = 1000


@dataclass(frozen=True, slots=True)
class StoragePool:
    """A storage that several hosts reach; what is not listed is local to its host."""

    name: str
    capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep machines together, apart, over failure domains, near, on or off hosts."""

    name: str
    kind: RuleKind
    vms: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    hard: bool = True
    #: what keeping a soft rule is worth, in cores of contention
    weight: float = 1.0
    #: domains that a spread must reach; nothing: each machine in its own
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the calendar: for whom, when, what then holds. Later lines lie on top.

    Times are the plant's own: `days` 0 is Monday, `start` and `end` are "HH:MM" (an end at or before
    the start is on the next day), `since` and `until` ISO times of a one-off; both may be given.
    """

    name: str
    pools: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    days: tuple[int, ...] = ()
    start: str = ""
    end: str = ""
    since: str = ""
    until: str = ""
    shares: int | None = None
    reservation: float | None = None
    limit: float | None = None
    priority: int | None = None
    movability: Movability | None = None
    mode: Mode | None = None
    #: machines that move only in a planned window may move now
    window: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Policy of a round. `level` 1 mends violations only, 5 balances the finest."""

    mode: Mode = Mode.RECOMMEND
    level: int = 3
    max_moves: int = 4
    cooldown_rounds: int = 6
    #: rounds that an imbalance has to last before it is acted upon
    sustain_rounds: int = 2
    moves_running: int = 0
    #: seconds for which the demand is expected to last
    horizon_s: float = 1800.0
    #: hosts that may die at once with every protected machine restarted
    spare_hosts: int = 0
    #: migrations at once over the link between any two failure domains; 0: any number
    link_moves: int = 0


@dataclass(frozen=True, slots=True)
class Plant:
    """The pool at one moment."""

    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...]
    pools: tuple[Pool, ...] = ()
    rules: tuple[Rule, ...] = ()
    storage: tuple[StoragePool, ...] = ()
    calendar: tuple[Entry, ...] = ()
    settings: Settings = field(default_factory=Settings)
