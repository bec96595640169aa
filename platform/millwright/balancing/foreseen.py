"""What was expected of each hour before it began, and what it came to: so that a forecast can be judged by it.

The expectation is written once, in the hour's first round, and from earlier hours alone; it is never computed with
hindsight.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import F
from django.db.models.functions import Least
from django.utils import timezone

from millwright.core.balancing import (
    Demand,
    HostState,
    Hour,
    Plant,
    begins,
    forecast,
    from_calendar,
    ready_from,
)

from . import hours
from .models import DemandHour

#: Hosts that answer and run what is on them, whether they take more or not.
AWAKE = frozenset({HostState.UP, HostState.CORDONED, HostState.DRAINING})


@dataclass(frozen=True, slots=True)
class Compared:
    """One hour. `expected`: nothing where no earlier week knew it; `awake`: the least that hosts awake had in it."""

    at: dt.datetime
    measured: Demand
    expected: Demand | None = None
    awake: Demand | None = None
    #: more was wanted than hosts awake had, and others slept
    lacked: bool = False

    @property
    def short(self) -> bool:
        """More was wanted than expected; CPUs by a tenth at least, as they are shown."""
        return self.short_cpus > 0 or self.short_bytes > 0

    @property
    def short_cpus(self) -> float:
        """CPUs wanted above what was expected."""
        if self.expected is None:
            return 0.0
        return max(0.0, round(round(self.measured.cpus, 1) - round(self.expected.cpus, 1), 1))

    @property
    def short_bytes(self) -> float:
        """Memory wanted above what was expected."""
        if self.expected is None:
            return 0.0
        return max(0.0, self.measured.memory_bytes - self.expected.memory_bytes)


@dataclass(frozen=True, slots=True)
class Sums:
    """Hours for which something was expected, those in which more was wanted, and those in which hosts lacked."""

    compared: int
    short: int
    lacked: int
    worst: Compared | None


def known() -> list[Hour]:
    """The hours that are remembered, in the plant's own time. One query."""
    rows = DemandHour.objects.values_list("at", "cpus", "memory_bytes")
    return [Hour(timezone.localtime(at), Demand(cpus, float(memory))) for at, cpus, memory in rows]


def wanted(now: dt.datetime) -> bool:
    """Whether this hour's expectation is still to be written. One query."""
    return DemandHour.objects.filter(at=begins(now), awake_cpus=None).exists()


def note(now: dt.datetime, measured: Demand, plant: Plant) -> None:
    """Write once what this hour was expected to want, and each time what hosts awake have."""
    rows = DemandHour.objects.filter(at=begins(now))
    room = room_awake(plant)
    changed: dict[str, object] = {
        "awake_cpus": Least(F("awake_cpus"), room.cpus),
        "awake_memory_bytes": Least(F("awake_memory_bytes"), int(room.memory_bytes)),
    }
    if rows.filter(awake_cpus=None).exists():
        here = timezone.localtime(now)
        calendar = from_calendar(hours.known(hours.kept()), here)
        # Without what is measured now: that is what it is to be compared with.
        expected = forecast(known(), here, Demand(), calendar, hours=1).of(0)
        changed = {"awake_cpus": room.cpus, "awake_memory_bytes": int(room.memory_bytes)}
        if expected is not None:
            changed |= {
                "expected_cpus": expected.cpus,
                "expected_memory_bytes": int(expected.memory_bytes),
            }
    if any(host.state is HostState.ASLEEP for host in plant.hosts) and not _enough(room, measured):
        changed["lacked"] = True
    rows.update(**changed)


def room_awake(plant: Plant) -> Demand:
    """CPUs and memory of hosts that are awake and answer, less what is set aside."""
    rows = [host for host in plant.hosts if host.state in AWAKE]
    return Demand(
        sum(host.cpus - host.cpus_aside for host in rows),
        float(sum(host.memory_bytes - host.memory_aside_bytes for host in rows)),
    )


def _enough(room: Demand, wanted: Demand) -> bool:
    return wanted.cpus <= room.cpus and wanted.memory_bytes <= room.memory_bytes


def compared(since: dt.datetime, until: dt.datetime) -> list[Compared]:
    """The remembered hours that lie in the period or begin before its end, oldest first. One query."""
    rows = DemandHour.objects.filter(at__gte=begins(since), at__lt=until).order_by("at")
    return [
        Compared(
            row.at,
            Demand(row.cpus, float(row.memory_bytes)),
            _pair(row.expected_cpus, row.expected_memory_bytes),
            _pair(row.awake_cpus, row.awake_memory_bytes),
            row.lacked,
        )
        for row in rows
    ]


def sums(rows: Iterable[Compared]) -> Sums:
    """How often the forecast fell short, and in which hour by the most CPUs."""
    rows = list(rows)
    short = [row for row in rows if row.short]
    return Sums(
        sum(row.expected is not None for row in rows),
        len(short),
        sum(row.lacked for row in rows),
        max(short, key=lambda row: (row.short_cpus, row.short_bytes), default=None),
    )


def ready(now: dt.datetime) -> dt.datetime | None:
    """From when on enough is known for a forecast; nothing: it is. One query."""
    here = timezone.localtime(now)
    found = ready_from(known(), here)
    return found if found > here else None


def _pair(cpus: float | None, memory: int | None) -> Demand | None:
    return None if cpus is None or memory is None else Demand(cpus, float(memory))
