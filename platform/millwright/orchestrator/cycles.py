"""Scans of each hour, and how many of them were late, from Prometheus into the database: the report's cycle statistics.

Prometheus forgets after a month; what a month's report says must not.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from millwright.core.sla import Interval
from millwright.environments.models import Machine
from millwright.service_levels.actions import record_cycle_fault
from millwright.service_levels.models import CycleCount

log = logging.getLogger(__name__)

HOUR = dt.timedelta(hours=1)
#: Hours that are made up for after an absence.
MOST_HOURS = 48

_BY = "sum by (environment, machine)"
_LONGEST = (
    "(max_over_time(vplc_scan_longest_seconds[1h])"
    " + max_over_time(vplc_start_lateness_longest_seconds[1h])) / vplc_task_interval_seconds"
)
_GREW = (
    "changes(vplc_scan_longest_seconds[1h]) + changes(vplc_start_lateness_longest_seconds[1h]) > 0"
)
#: What is asked at the end of an hour. The streak is that of the hour only if a longest time grew in it.
SCANS = f"{_BY} (increase(vplc_scans_total[1h]))"
LATE = f"{_BY} (increase(vplc_overruns_total[1h]))"
STREAK = f"max by (environment, machine) (floor({_LONGEST}) and on (environment, machine, task) ({_GREW}))"

#: Asks Prometheus: query and moment → (environment, machine) → value.
Ask = Callable[[str, float], dict[tuple[str, str], float]]


def next_hour(last: dt.datetime) -> dt.datetime:
    """Where to go on: after the newest hour that is kept, a while back at most. `last`: end of the last whole hour."""
    newest = CycleCount.objects.order_by("-begin").values_list("end", flat=True).first()
    begin = newest if newest is not None else last - HOUR
    return max(begin, last - MOST_HOURS * HOUR)


def record_hour(period: Interval, ask: Ask) -> int:
    """Write an hour's counts, a row for each machine that scanned; returns how many were. Again changes nothing."""
    at = period.end.timestamp()
    scans, late, streaks = ask(SCANS, at), ask(LATE, at), ask(STREAK, at)
    machines = {
        (machine.environment.name, machine.name): machine
        for machine in Machine.objects.present()
        .filter(environment__name__in={environment for environment, _machine in scans})
        .select_related("environment")
    }
    written = 0
    for key, done in scans.items():
        machine = machines.get(key)
        # Prometheus interpolates at the ends of the hour: counts are to the nearest scan.
        missed = round(late.get(key, 0.0))
        due = round(done) + missed
        if machine is None or not due:
            continue
        record_cycle_fault(
            machine,
            period.begin,
            period.end,
            scans=due,
            missed=missed,
            longest_streak=min(missed, int(streaks.get(key, 0.0))),
            detail="counted by Prometheus",
        )
        written += 1
    return written
