"""Minutes of each hour that were good, from Prometheus into the database: links to devices, control cores' waits,
the portal. Prometheus forgets after a month; what a month's report and a preview say must not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from millwright.core.sla import Interval
from millwright.environments.models import Environment
from millwright.service_levels.models import QualityCount
from monitoring.objectives import Indicator

from .cycles import HOUR, MOST_HOURS

#: A question by the minute: a second less than an hour, so that no minute belongs to two.
_MINUTES = "[3599s:1m]"
_LIMIT = 'max by (environment) (slo:objective:limit{objective="run-queue-wait"})'
#: Indicator → what is 1 in a good minute, and between for a link that is good a part of the time.
GOOD = {
    Indicator.DEVICE_LINK: "slo:device_link:ratio",
    Indicator.RUN_QUEUE_WAIT: f"(slo:run_queue_wait:ratio <= bool on (environment) {_LIMIT})",
    Indicator.PORTAL_AVAILABILITY: 'label_replace(min(slo:portal_up:bool), "environment", "", "", "")',
}

#: Asks Prometheus: query and moment → environment ("" for the plant) → value.
Ask = Callable[[str, float], dict[str, float]]


def questions(indicator: Indicator) -> tuple[str, str]:
    """How many minutes of the hour before were measured, and how many of them were good."""
    good = GOOD[indicator]
    return f"count_over_time({good}{_MINUTES})", f"sum_over_time({good}{_MINUTES})"


def next_hour(last: dt.datetime) -> dt.datetime:
    """Where to go on: after the newest hour that is kept, a while back at most. `last`: end of the last whole hour."""
    newest = QualityCount.objects.order_by("-begin").values_list("end", flat=True).first()
    return max(newest if newest is not None else last - HOUR, last - MOST_HOURS * HOUR)


def record_hour(period: Interval, ask: Ask) -> int:
    """Write an hour's minutes, a row for each environment and indicator; returns how many. Again changes nothing."""
    at = period.end.timestamp()
    answers = {indicator: [ask(query, at) for query in questions(indicator)] for indicator in GOOD}
    names = {name for minutes, _good in answers.values() for name in minutes if name}
    keys = dict(Environment.objects.present().filter(name__in=names).values_list("name", "pk"))
    rows = []
    for indicator, (minutes, good) in answers.items():
        whole = indicator is Indicator.PORTAL_AVAILABILITY
        for name, counted in minutes.items():
            if counted <= 0 or not (whole or name in keys):
                continue
            rows.append(
                QualityCount(
                    environment_id=None if whole else keys[name],
                    indicator=str(indicator),
                    begin=period.begin,
                    end=period.end,
                    minutes=counted,
                    good=min(max(good.get(name, 0.0), 0.0), counted),
                )
            )
    QualityCount.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)
