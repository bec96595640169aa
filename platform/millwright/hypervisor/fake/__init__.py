"""The shipped fake: hosts in memory, virtual time, faults on demand.

It keeps the port's contract (the same suite runs on it and on real hosts), so that everything
above the port can be tried quickly, broken in every way, and shown at a scale of thousands.
"""

from .clock import VirtualClock
from .faults import Call, Effect, Faults
from .guest import FakeGuest
from .host import FakeHypervisor
from .migration import FakeLoad
from .pool import FakePool

__all__ = [
    "Call",
    "Effect",
    "FakeGuest",
    "FakeHypervisor",
    "FakeLoad",
    "FakePool",
    "Faults",
    "VirtualClock",
]
