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
from .place import MOST_TOLD, HostVerdict, Placement, place
from .reasons import IN_BRIEF, Reason, ReasonCode
from .wake import or_woken, woken

__all__ = [
    "IN_BRIEF",
    "MOST_TOLD",
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
