"""What the planner answers with: moves with reasons and effects, rejections with codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from .model import Mode


class Code(StrEnum):
    """Why a host cannot take a machine, or a machine cannot leave."""

    HOST_STATE = "host_state"
    CLASS = "service_class"
    CPU_MODEL = "cpu_model"
    CPU_FEATURES = "cpu_features"
    LABELS = "labels"
    HOST_RULE = "host_rule"
    STORAGE = "storage"
    DEVICES = "devices"
    GPU = "gpu"
    CPU_RESERVATION = "cpu_reservation"
    MEMORY = "memory"
    HUGEPAGES = "hugepages"
    CORES = "cores"
    VCPUS = "vcpus"
    NUMA = "numa"
    NIC = "nic"
    POOL_MEMORY = "pool_memory"
    APART = "apart"
    TOGETHER = "together"
    SPREAD = "spread"
    NEAR = "near"
    #: on the machine's side
    NEVER_MOVES = "never_moves"
    WINDOW_CLOSED = "window_closed"
    NEEDS_APPROVAL = "needs_approval"
    MODE_OFF = "mode_off"
    #: a person said no to this very move
    REJECTED = "rejected"
    COOLDOWN = "cooldown"
    NO_HOST = "no_host"
    SOURCE_DOWN = "source_down"
    SOURCE_SUSPECT = "source_suspect"
    SOURCE_ASLEEP = "source_asleep"
    AUTONOMOUS = "autonomous"
    UNPROTECTED = "unprotected"
    DEPENDENCY = "dependency"
    NO_GAIN = "no_gain"
    SPARE = "spare"
    NOT_SUSTAINED = "not_sustained"
    MOVES_RUNNING = "moves_running"
    LIMIT = "limit"
    BLOCKED = "blocked"


class Why(StrEnum):
    """What a move is for."""

    DRAIN = "drain"
    RULE = "rule"
    OVERCOMMIT = "overcommit"
    SPARE = "spare"
    CONTENTION = "contention"
    MEMORY = "memory"
    EVEN = "even"
    DETOUR = "detour"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a move is expected to bring, in core-seconds; loads are ratios of usable CPUs and of memory."""

    benefit: float = 0.0
    cost: float = 0.0
    risk: float = 0.0
    source_before: float = 0.0
    source_after: float = 0.0
    target_before: float = 0.0
    target_after: float = 0.0
    #: memory in use, of what is not in hugepages
    memory_source_before: float = 0.0
    memory_source_after: float = 0.0
    memory_target_before: float = 0.0
    memory_target_after: float = 0.0

    @property
    def net(self) -> float:
        return self.benefit - self.cost - self.risk


@dataclass(frozen=True, slots=True)
class Move:
    """One machine from host to host. `seconds`: how long the migration is expected to take."""

    vm: str
    source: str
    target: str
    why: Why
    text: str
    seconds: float
    effect: Effect = field(default_factory=Effect)
    mode: Mode = Mode.RECOMMEND
    #: a person's word is wanted whatever the mode is
    approval: bool = False
    #: NUMA node of the target that has the room
    node: int | None = None
    #: moves with the same number are carried out all or none, see `Round.circles`; 0: by itself
    circle: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A machine (or the round, with an empty name) of which nothing is done, and why.

    `waits_for`: it lacks no room; this other machine is what does not start with it.
    """

    vm: str
    codes: tuple[Code, ...]
    text: str
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A hard rule that does not hold in the plant as it stands."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """How the pool stands. Ratios of usable shared CPUs; `contended` in cores above threshold.

    The same of memory in use, outside hugepages; `memory_contended` in bytes.
    """

    imbalance: float
    highest: float
    highest_host: str
    contended: float
    memory_imbalance: float = 0.0
    memory_highest: float = 0.0
    memory_highest_host: str = ""
    memory_contended: float = 0.0


@dataclass(frozen=True, slots=True)
class BalanceState:
    """What one round tells the next. Give back what `Round.state` held; start with nothing.

    `hot`: rounds for which a host has been above the threshold, `hot_memory` above that of memory, and
    `hot_promised` by what it has promised of its memory;
    `imbalanced` and `imbalanced_memory`: rounds for which the pool has been uneven or a host above.
    `moved`: the round in which a machine last moved, and `left` the hosts that it left, each with the round.
    """

    number: int = 0
    imbalanced: int = 0
    hot: Mapping[str, int] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    hot_memory: Mapping[str, int] = field(default_factory=dict)
    imbalanced_memory: int = 0
    hot_promised: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> BalanceState:
        """From what was kept; what a later release has kept beside is left out."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in kept.items() if name in known})

    def record(self, moves: tuple[Move, ...]) -> BalanceState:
        """The state once these moves (approved recommendations, a drain) have been made too."""
        moved, left = dict(self.moved), dict(self.left)
        for move in moves:
            moved[move.vm] = self.number
            left[move.vm] = {**left.get(move.vm, {}), move.source: self.number}
        return replace(self, moved=moved, left=left)


@dataclass(frozen=True, slots=True)
class Round:
    """A balancing round: `moves` in the order of their worth; each has its own mode.

    The automatic moves hold by themselves; the recommended ones are meant on top of them, those in
    shadow on top of both.
    """

    moves: tuple[Move, ...]
    refused: tuple[Refusal, ...]
    violations: tuple[Violation, ...]
    before: Figures
    after: Figures
    state: BalanceState
    circles: tuple[Circle, ...] = ()


@dataclass(frozen=True, slots=True)
class Drain:
    """How hosts are emptied. Possible only when nothing blocks. `seconds`: expected, with limits."""

    hosts: tuple[str, ...]
    moves: tuple[Move, ...]
    blockers: tuple[Refusal, ...]
    seconds: float

    @property
    def possible(self) -> bool:
        return not self.blockers


@dataclass(frozen=True, slots=True)
class RollingDrain:
    """One host after another: each drained, worked on for a time, and taken back."""

    drains: tuple[Drain, ...]
    seconds: float
    #: hosts that cannot be drained, with what blocks
    blocked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A set of hosts whose death leaves machines without a place."""

    hosts: tuple[str, ...]
    left: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class FailureVerdict:
    """Can every protected machine restart if any `k` hosts die? `complete`: every set was tried."""

    k: int
    ok: bool
    broken: tuple[Broken, ...]
    checked: int
    complete: bool

    @property
    def room(self) -> bool:
        """Nobody lacks room: whoever does not restart waits for another machine."""
        return all(refusal.waits_for for entry in self.broken for refusal in entry.left)

    @property
    def waits(self) -> frozenset[tuple[str, str]]:
        """Machines that have room and would wait all the same, each with the one that it would wait for."""
        return frozenset(
            (refusal.vm, refusal.waits_for)
            for entry in self.broken
            for refusal in entry.left
            if refusal.waits_for
        )


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """One host asked for one machine: the codes that forbid it, or the parts of its score.

    The score is a price in core-seconds: the lowest is taken. Sum of `parts`.
    """

    host: str
    codes: tuple[Code, ...]
    texts: tuple[str, ...]
    parts: Mapping[str, float]

    @property
    def accepted(self) -> bool:
        return not self.codes

    @property
    def score(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one machine goes (nothing: nowhere) and what every host said, best first."""

    vm: str
    host: str | None
    node: int | None
    answers: tuple[HostAnswer, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """All of the machines have a place, and k hosts may still die afterwards."""

    placed: tuple[Placed, ...]
    spare: FailureVerdict | None

    @property
    def ok(self) -> bool:
        return all(entry.host for entry in self.placed) and (self.spare is None or self.spare.ok)


@dataclass(frozen=True, slots=True)
class Restart:
    """One machine started elsewhere. `rebuild`: its disk died with the host. Waves follow each other.

    `note`: a rule toward a machine that waits for its dead host, which it does not keep there.
    """

    vm: str
    lost: str
    target: str
    wave: int
    rebuild: bool
    text: str
    node: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recovery:
    """In order: waves by dependency, within a wave by priority. `waiting`: not started elsewhere."""

    restarts: tuple[Restart, ...]
    waiting: tuple[Refusal, ...]
    left: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many migrations at once. Of a host's own link each takes the part that `per_host` leaves it.

    `per_link`: over the link between any two failure domains (hosts without one are their own), either way;
    nothing: any number.
    """

    per_host: int = 2
    pool: int = 8
    per_link: int | None = None

    def __post_init__(self) -> None:
        if self.per_host < 1 or self.pool < 1 or (self.per_link is not None and self.per_link < 1):
            raise ValueError("limits must be at least 1")


@dataclass(frozen=True, slots=True)
class Leg:
    """One migration in a schedule. Machines of one `batch` start together."""

    vm: str
    source: str
    target: str
    start_s: float
    end_s: float
    detour: bool
    batch: int
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Circle:
    """Moves that only together lead anywhere, as one plan: its legs in order, with those over a third host.

    The legs start from where the moves of the round that stand before it have left the machines.
    """

    number: int
    mode: Mode
    legs: tuple[Leg, ...]
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Legs by start. `dropped`: moves for which no order was found. `bound_s`: no order is faster."""

    legs: tuple[Leg, ...]
    dropped: tuple[Refusal, ...]
    makespan_s: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many more of a template fit, when that is used up, what one more host would bring."""

    fits: int
    per_host: Mapping[str, int]
    #: what runs out first, by host count
    limited_by: Mapping[str, int]
    days_left: float | None
    with_one_more: int
    more_host: str
    #: hosts that sleep and could be woken, and how many would fit with all of them awake
    asleep: int = 0
    with_woken: int | None = None
    #: seconds until the last of them answers; nothing: it is not known
    wake_s: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a machine is here and not there. `better`: what it would gain elsewhere, net."""

    vm: str
    host: str | None
    text: str
    answers: tuple[HostAnswer, ...]
    holds: tuple[Refusal, ...]
