"""The plant as the balancer sees it: immutable, in base units (cores, bytes, bytes per second)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from millwright.core.lifecycle import ServiceClass


class HostState(StrEnum):
    UP = "up"
    CORDONED = "cordoned"
    DRAINING = "draining"
    SUSPECT = "suspect"
    DOWN = "down"


class Movability(StrEnum):
    """What may move a machine: nothing, a planned window, a person's word, the balancer."""

    NEVER = "never"
    WINDOW = "window"
    APPROVAL = "approval"
    FREE = "free"


class Mode(StrEnum):
    OFF = "off"
    SHADOW = "shadow"
    RECOMMEND = "recommend"
    AUTOMATIC = "automatic"


class RuleKind(StrEnum):
    TOGETHER = "together"
    APART = "apart"
    SPREAD = "spread"
    ON_HOSTS = "on_hosts"
    OFF_HOSTS = "off_hosts"


@dataclass(frozen=True, slots=True)
class Host:
    """`cpus` are shared among machines; `cores` are given whole to one machine each."""

    name: str
    cpus: float
    memory_bytes: int
    cores: int = 0
    state: HostState = HostState.UP
    #: rack or room that fails as one
    domain: str = ""
    labels: frozenset[str] = frozenset()
    link_bytes_s: float = 125e6


@dataclass(frozen=True, slots=True)
class Vm:
    """One machine. Demand is in cores: used plus waited for, a short and a long average."""

    name: str
    vcpus: int
    memory_bytes: int
    host: str | None = None
    service_class: ServiceClass = ServiceClass.SHARED
    #: cores of its own, not part of the shared CPUs
    cores: int = 0
    pool: str = ""
    shares: int = 1000
    cpu_reservation: float = 0.0
    cpu_limit: float | None = None
    demand_short: float = 0.0
    demand_long: float = 0.0
    dirty_bytes_s: float = 0.0
    priority: int = 0
    movability: Movability = Movability.FREE
    mode: Mode | None = None
    #: restarted elsewhere when its host dies
    protected: bool = True
    labels: frozenset[str] = frozenset()
    #: rounds since it last moved; nothing: never moved
    rounds_since_move: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """A node of the tree that shares capacity (cores)."""

    name: str
    parent: str = ""
    reservation: float = 0.0
    limit: float | None = None
    shares: int = 1000


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep machines together, apart, over failure domains, on or off hosts."""

    name: str
    kind: RuleKind
    vms: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    hard: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """Policy of a round. `level` 1 mends violations only, 5 balances the finest."""

    mode: Mode = Mode.RECOMMEND
    level: int = 3
    max_moves: int = 4
    cooldown_rounds: int = 6
    #: rounds that an imbalance has to last before it is acted upon
    sustain_rounds: int = 3
    #: rounds for which it has lasted
    imbalanced_rounds: int = 3
    moves_running: int = 0
    #: seconds for which the demand is expected to last
    horizon_s: float = 1800.0
    #: hosts that may die at once with every protected machine restarted
    spare_hosts: int = 0


@dataclass(frozen=True, slots=True)
class Plant:
    """The pool at one moment."""

    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...]
    pools: tuple[Pool, ...] = ()
    rules: tuple[Rule, ...] = ()
    settings: Settings = field(default_factory=Settings)
