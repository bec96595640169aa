"""The plant as the balancer sees it, and what it decides: rounds, drains, failures, recovery, order. Pure.

See docs/subsystems/balancer.md.
"""

from millwright.core.lifecycle import Movability

from .admit import admit
from .answers import (
    Admission,
    BalanceState,
    Broken,
    Capacity,
    Circle,
    Code,
    Drain,
    Effect,
    Explanation,
    FailureVerdict,
    Figures,
    HostAnswer,
    Leg,
    Limits,
    Move,
    Placed,
    Recovery,
    Refusal,
    Restart,
    RollingDrain,
    Round,
    Schedule,
    Violation,
    Why,
)
from .apply import Allotment, allotments
from .bounds import BOUNDS, MOST_DEPTH, within
from .calendar import at, minutes, next_window
from .capacity import capacity
from .check import after, barred, unkept, verify, violations
from .conflicts import Conflict, conflicts, conflicts_of
from .conflicts import Level as ConflictLevel
from .consolidate import (
    Consolidation,
    Emptying,
    Kept,
    Order,
    Sleeper,
    SleepSettings,
    consolidate,
)
from .drain import drain, rolling_drain
from .entitlement import Claim, demand_of, entitlements, loads, water_fill
from .errors import BalancingError, SnapshotError
from .explain import explain
from .failure import failure_capacity, losses_of
from .forecast import Coming, Demand, Forecast, Hour, begins, forecast, from_calendar, ready_from
from .frame import page_bytes
from .model import (
    Entry,
    Gpu,
    Host,
    HostState,
    Mode,
    Node,
    Plant,
    Pool,
    Rule,
    RuleKind,
    Settings,
    StoragePool,
    Vm,
)
from .order import order, replan
from .policy import MILD, mode_of
from .pooled_memory import least_bytes, memory_entitlements
from .read import read_plant, read_state, write_plant
from .recover import recover
from .related import TRIES as RELATED_TRIES
from .related import least_tries, related_survive
from .rounds import balance
from .score import LEVELS, Level, memory_loads
from .sums import Room, Sort, doubtful
from .waits import waits_with
from .words import Said, parts_of, read, runs_out, say, together

__all__ = [
    "BOUNDS",
    "LEVELS",
    "MILD",
    "MOST_DEPTH",
    "RELATED_TRIES",
    "Admission",
    "Allotment",
    "BalanceState",
    "BalancingError",
    "Broken",
    "Capacity",
    "Circle",
    "Claim",
    "Code",
    "Coming",
    "Conflict",
    "ConflictLevel",
    "Consolidation",
    "Demand",
    "Drain",
    "Effect",
    "Emptying",
    "Entry",
    "Explanation",
    "FailureVerdict",
    "Figures",
    "Forecast",
    "Gpu",
    "Host",
    "HostAnswer",
    "HostState",
    "Hour",
    "Kept",
    "Leg",
    "Level",
    "Limits",
    "Mode",
    "Movability",
    "Move",
    "Node",
    "Order",
    "Placed",
    "Plant",
    "Pool",
    "Recovery",
    "Refusal",
    "Restart",
    "RollingDrain",
    "Room",
    "Round",
    "Rule",
    "RuleKind",
    "Said",
    "Schedule",
    "Settings",
    "SleepSettings",
    "Sleeper",
    "SnapshotError",
    "Sort",
    "StoragePool",
    "Violation",
    "Vm",
    "Why",
    "admit",
    "after",
    "allotments",
    "at",
    "balance",
    "barred",
    "begins",
    "capacity",
    "conflicts",
    "conflicts_of",
    "consolidate",
    "demand_of",
    "doubtful",
    "drain",
    "entitlements",
    "explain",
    "failure_capacity",
    "forecast",
    "from_calendar",
    "least_bytes",
    "least_tries",
    "loads",
    "losses_of",
    "memory_entitlements",
    "memory_loads",
    "minutes",
    "mode_of",
    "next_window",
    "order",
    "page_bytes",
    "parts_of",
    "read",
    "read_plant",
    "read_state",
    "ready_from",
    "recover",
    "related_survive",
    "replan",
    "rolling_drain",
    "runs_out",
    "say",
    "together",
    "unkept",
    "verify",
    "violations",
    "waits_with",
    "water_fill",
    "within",
    "write_plant",
]
