"""From a snapshot of the pool to a plan with reasons. Pure: the same snapshot gives the same plan."""

from .model import (
    OVERCOMMIT_RATIO,
    Card,
    HostSnapshot,
    MachineWant,
    PoolRoom,
    Snapshot,
    StartedCpu,
    Wake,
    most_vcpus,
)
from .place import HostVerdict, Placement, place
from .reasons import Reason, ReasonCode
from .wake import or_woken, woken

__all__ = [
    "OVERCOMMIT_RATIO",
    "Card",
    "HostSnapshot",
    "HostVerdict",
    "MachineWant",
    "Placement",
    "PoolRoom",
    "Reason",
    "ReasonCode",
    "Snapshot",
    "StartedCpu",
    "Wake",
    "most_vcpus",
    "or_woken",
    "place",
    "woken",
]
