"""From a snapshot of the pool to a plan with reasons. Pure: the same snapshot gives the same plan."""

from .model import Card, HostSnapshot, MachineWant, Snapshot, StartedCpu
from .place import HostVerdict, Placement, place
from .reasons import Reason, ReasonCode

__all__ = [
    "Card",
    "HostSnapshot",
    "HostVerdict",
    "MachineWant",
    "Placement",
    "Reason",
    "ReasonCode",
    "Snapshot",
    "StartedCpu",
    "place",
]
