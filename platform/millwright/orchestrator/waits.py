"""Metrics of what the balancer waits for and could not do: a fixed number of queries at each scrape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from millwright.balancing import emptying, waiting
from monitoring import METRICS

HELP = {metric.name: metric.help for metric in METRICS if metric.shown_by == "orchestrator"}


def _gauge(name: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"millwright_{name}", HELP[f"millwright_{name}"], labels=labels)


def waits(now: dt.datetime | None) -> Iterator[Metric]:
    """Every metric of it; without samples for None, which a standby says: two would be counted twice."""
    count, oldest = _gauge("recommendations_waiting"), _gauge("recommendation_oldest_seconds")
    failed = _gauge("moves_failed")
    drains = _gauge("drain_waiting_seconds", ("host",))
    emptied = _gauge("host_emptying_machines", ("host",))
    rules = _gauge("rule_broken_seconds", ("rule",))
    wanted, kept = _gauge("spare_hosts_wanted"), _gauge("spare_hosts_kept")
    if now is not None:
        rows = list(waiting.wishes())
        count.add_metric([], len({row.plan_id or f"alone {row.pk}" for row in rows}))
        oldest.add_metric([], _age(now, rows[0].created_at) if rows else 0.0)
        failed.add_metric([], waiting.failures(now).count())
        for drain in waiting.drains():
            drains.add_metric([drain.host], _age(now, drain.since))
        if (going := emptying.current()) is not None:
            far = emptying.progress(going)
            emptied.add_metric([going.host.name], (far.machines or 0) - (far.moved or 0))
        for rule in waiting.unmended(now) or ():
            rules.add_metric([rule.rule], _age(now, rule.since))
        # Nobody knows: neither is shown, since one without the other would be an alarm or none.
        room = waiting.spare(now)
        if room is not None:
            wanted.add_metric([], room.wanted)
            kept.add_metric([], room.kept)
    yield from (count, oldest, failed, drains, emptied, rules, wanted, kept)


def _age(now: dt.datetime, since: dt.datetime) -> float:
    return max((now - since).total_seconds(), 0.0)
