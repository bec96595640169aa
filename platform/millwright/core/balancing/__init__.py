"""The plant as the balancer sees it: read from JSON, its rules checked, its CPU divided. Pure."""

from .conflicts import Conflict, conflicts
from .entitlement import Claim, demand_of, entitlements, water_fill
from .errors import BalancingError, SnapshotError
from .model import (
    Host,
    HostState,
    Mode,
    Movability,
    Plant,
    Pool,
    Rule,
    RuleKind,
    Settings,
    Vm,
)
from .read import read_plant, write_plant

__all__ = [
    "BalancingError",
    "Claim",
    "Conflict",
    "Host",
    "HostState",
    "Mode",
    "Movability",
    "Plant",
    "Pool",
    "Rule",
    "RuleKind",
    "Settings",
    "SnapshotError",
    "Vm",
    "conflicts",
    "demand_of",
    "entitlements",
    "read_plant",
    "water_fill",
    "write_plant",
]
