"""How a live migration is made to converge: a schedule that is data, one for each class of service.

A migration copies memory while the guest writes it again; it ends when what is left fits in the
allowed pause. Stages allow a longer pause as time goes by; a class with a deadline has a hard
bound on it and is rather given back to its source than slowed down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .lifecycle import ServiceClass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Stage:
    """From `after_s` on: the longest pause, and the bandwidth (None: what the link carries)."""

    after_s: float
    max_downtime_ms: int
    bandwidth_bytes_s: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stages by rising time; `abort_s` ends a migration that does not converge."""

    stages: tuple[Stage, ...]
    abort_s: float
    #: slow the guest down until its memory can be followed; never with a deadline
    auto_converge: bool = False

    def __post_init__(self) -> None:
        times = [stage.after_s for stage in self.stages]
        if not times or times[0] != 0 or times != sorted(set(times)):
            raise ValueError(f"stages at {times}: the first at 0, each later than the one before")
        if self.abort_s <= times[-1]:
            raise ValueError(f"abort_s = {self.abort_s}: after the last stage, {times[-1]}")

    def at(self, elapsed_s: float) -> Stage:
        """The stage that applies."""
        return [stage for stage in self.stages if stage.after_s <= elapsed_s][-1]


#: The pause of a realtime machine stays below a second: its devices' watchdogs see it as a slow answer.
SCHEDULES: Mapping[ServiceClass, Schedule] = MappingProxyType(
    {
        ServiceClass.REALTIME: Schedule(
            (Stage(0, 50), Stage(30, 100), Stage(60, 200)), abort_s=180.0
        ),
        ServiceClass.GUARANTEED: Schedule(
            (Stage(0, 100), Stage(30, 300), Stage(90, 600), Stage(180, 1500)), abort_s=420.0
        ),
        ServiceClass.SHARED: Schedule(
            (
                # Another round costs little, as long as rounds get shorter: a short pause is tried first, and not
                # for long.
                Stage(0, 100),
                Stage(6, 300),
                Stage(60, 800),
                Stage(150, 2000),
                Stage(300, 5000),
            ),
            abort_s=900.0,
            auto_converge=True,
        ),
    }
)


def estimate_s(
    remaining_bytes: int, rate_bytes_s: float, dirty_bytes_s: float | None
) -> float | None:
    """Seconds until memory is copied at this rate; None when it is written faster than copied.

    Each round copies what was written during the last one: a geometric series of ratio
    dirty / rate, whose sum is remaining / (rate - dirty).
    """
    net = rate_bytes_s - (dirty_bytes_s or 0.0)
    if remaining_bytes <= 0:
        return 0.0
    return remaining_bytes / net if net > 0 else None
