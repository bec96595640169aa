"""How long provisioning and recovery took, as histograms by level. Read once at the start, then only what is new."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

from millwright.environments.models import Machine, Operation
from millwright.service_levels.models import Interval
from monitoring.objectives import Indicator, Level, least, level_of, shipped

#: Upper bounds in seconds; every limit of an objective is among them, or its share could not be told.
BOUNDS = tuple(
    sorted(
        {15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0}
        | {
            row.at_most
            for row in shipped().objectives
            if row.at_most is not None
            and row.indicator in (Indicator.PROVISIONING_TIME, Indicator.RECOVERY_TIME)
        }
    )
)


class Histogram:
    """Counts by bound."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        rows, total = [], 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Durations:
    """Every provisioning that succeeded, and every machine that came back after its host fell silent."""

    def __init__(self) -> None:
        self.provisioning: dict[str, Histogram] = defaultdict(Histogram)
        self.recovery: dict[str, Histogram] = defaultdict(Histogram)
        self._operations_until: dt.datetime | None = None
        self._interval = 0
        self._incidents: set[UUID] = set()

    def refresh(self) -> None:
        """Take what is new: two queries, and two more when something is."""
        operations = Operation.objects.provisioned()
        if self._operations_until is not None:
            operations = operations.filter(ended_at__gt=self._operations_until)
        done = list(
            operations.order_by("ended_at").values_list(
                "environment_id", "environment__request__decided_at", "ended_at"
            )
        )
        levels = _levels(environment for environment, _begin, _end in done)
        for environment, begin, end in done:
            self.provisioning[levels.get(environment, Level.SHARED)].observe(
                (end - begin).total_seconds()
            )
            self._operations_until = end
        back = list(
            # The rows that the report counts.
            Interval.objects.after_host_loss()
            .filter(pk__gt=self._interval)
            .current()
            .order_by("pk")
            .values_list("pk", "incident", "environment_id", "begin", "end")
        )
        levels = _levels(row[2] for row in back)
        for key, incident, environment, begin, end in back:
            self._interval = key
            # What people say of a row later is a row more, and no second recovery.
            if incident in self._incidents:
                continue
            self._incidents.add(incident)
            self.recovery[levels.get(environment, Level.SHARED)].observe(
                (end - begin).total_seconds()
            )


def _levels(environments: Iterable[object]) -> dict[object, Level]:
    wanted = set(environments)
    if not wanted:
        return {}
    found: dict[object, list[Level]] = defaultdict(list)
    rows = Machine.objects.filter(environment__in=wanted).values_list(
        "environment_id", "service_class", "best_effort"
    )
    for environment, service_class, shortfalls in rows:
        found[environment].append(level_of(service_class, shortfalls))
    return {key: least(levels) or Level.SHARED for key, levels in found.items()}
