"""The orchestrator's metrics, on loopback: a few cheap queries at each scrape, and what is promised to whom."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Count
from django.utils import timezone
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from millwright.core.lifecycle import HostHealth, HostPower, OperationState
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import Drift, Host
from millwright.inventory.power import asleep_s
from millwright.inventory.waking import not_waking
from monitoring import METRICS

from .durations import Durations
from .promises import Promise
from .waits import waits

if TYPE_CHECKING:
    from .service import Service


HELP = {metric.name: metric.help for metric in METRICS if metric.shown_by == "orchestrator"}


class PlantCollector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._durations = Durations()

    def collect(self) -> Iterator[Metric]:
        try:
            yield from self._collect()
        finally:
            connections.close_all()

    def describe(self) -> list[Metric]:
        return []

    def _collect(self) -> Iterator[Metric]:
        active = self._service.active.is_set()
        yield GaugeMetricFamily(
            "millwright_orchestrator_active",
            "1 if this orchestrator holds the lock",
            value=float(active),
        )
        counts = (
            (
                "millwright_environments",
                "Environments by state",
                Environment.objects.all(),
                "state",
                (),
            ),
            (
                "millwright_machines",
                "Machines by observed state",
                Machine.objects.all(),
                "observed",
                (),
            ),
            (
                "millwright_operations_live",
                "Operations queued or at work",
                Operation.objects.live(),
                "state",
                (OperationState.QUEUED, OperationState.RUNNING),
            ),
            (
                "millwright_drifts",
                "Differences between intent and hosts",
                Drift.objects.all(),
                "kind",
                (),
            ),
        )
        for name, text, rows, field, always in counts:
            family = GaugeMetricFamily(name, text, labels=[field])
            found = dict(rows.values_list(field).annotate(n=Count("pk")).order_by())
            for value in {*found, *map(str, always)}:
                family.add_metric([value], found.get(value, 0))
            yield family
        yield hosts_by_health()
        yield from powers(timezone.now() if active else None)
        # A standby says nothing of the plant: two would be counted twice.
        yield from promised(self._service.promises.get() if active else ())
        yield from portal(self._service)
        yield from reconciled(self._service)
        yield from not_copied(self._service)
        yield from waits(timezone.now() if active else None)
        if active:
            self._durations.refresh()
        yield from durations(self._durations)


def _plain(name: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"millwright_{name}", HELP[f"millwright_{name}"], labels=labels)


def hosts_by_health() -> Metric:
    """Hosts by health; those that sleep, or are on their way from it or to it, are a word of their own."""
    family = _plain("hosts", ["health"])
    found: Counter[str] = Counter()
    rows = Host.objects.values_list("health", "power").annotate(n=Count("pk")).order_by()
    for health, power, count in rows:
        found[health if power == HostPower.AWAKE else HostPower.ASLEEP] += count
    for value in {*found, *map(str, HostHealth), str(HostPower.ASLEEP)}:
        family.add_metric([value], found[value])
    return family


def powers(now: dt.datetime | None) -> Iterator[Metric]:
    """Whether hosts answer, or sleep; `now` None: a standby, which knows of no tries."""
    up, power = _plain("host_up", ["host"]), _plain("host_power", ["host", "power"])
    asleep = CounterMetricFamily(
        "millwright_host_asleep_seconds",
        HELP["millwright_host_asleep_seconds_total"],
        labels=["host"],
    )
    moment = now or timezone.now()
    for host in Host.objects.only("name", "health", "power", "power_since", "asleep_s"):
        if host.power == HostPower.AWAKE:
            # Of one that sleeps by intent nobody says that it is down.
            up.add_metric([host.name], float(host.health == HostHealth.UP))
        power.add_metric([host.name, host.power], 1.0)
        asleep.add_metric([host.name], asleep_s(host, moment))
    failing = _plain("host_not_waking_seconds", ["host"])
    for row in not_waking() if now is not None else ():
        failing.add_metric([row.host.name], max((now - row.since).total_seconds(), 1.0))
    yield from (up, power, asleep, failing)


def promised(promises: tuple[Promise, ...]) -> Iterator[Metric]:
    """Each environment's objectives, whether this moment counts, and what must answer."""
    who = ["environment", "project", "level", "objective"]
    ratios, limits = _plain("objective_ratio", who), _plain("objective_limit", who)
    eligible = _plain("environment_eligible", ["environment"])
    checks = _plain("environment_checks", ["environment"])
    info = _plain("environment_info", ["environment", "host"])
    machines = _plain("machine_up", ["environment", "machine"])
    pinned = _plain("pinned_vcpu_info", ["domain", "vcpu", "environment"])
    for row in promises:
        names = [row.environment, row.project, str(row.level)]
        for objective, value in row.ratios.items():
            ratios.add_metric([*names, str(objective)], value)
        for objective, value in row.limits.items():
            limits.add_metric([*names, str(objective)], value)
        eligible.add_metric([row.environment], float(row.eligible))
        checks.add_metric([row.environment], row.expected)
        info.add_metric([row.environment, row.host], 1)
        for check in row.checks:
            if not check.ports:
                machines.add_metric([row.environment, check.name], float(check.up))
            for number in check.pinned:
                pinned.add_metric([check.domain, str(number), row.environment], 1)
    yield from (ratios, limits, eligible, checks, info, machines, pinned)


def portal(service: Service) -> Iterator[Metric]:
    """What portal and API answered last."""
    objective = _plain("portal_objective_ratio", [])
    if service.promises.portal is not None:
        objective.add_metric([], service.promises.portal)
    success = _plain("portal_probe_success", ["endpoint"])
    seconds = _plain("portal_probe_seconds", ["endpoint"])
    for answer in service.outside.portal() if service.outside else ():
        success.add_metric([answer.endpoint], float(answer.ok))
        seconds.add_metric([answer.endpoint], answer.seconds)
    yield from (objective, success, seconds)


def reconciled(service: Service) -> Iterator[Metric]:
    """How the two ledgers compare, last hour that was compared."""
    job = service.reconciliation
    unexplained = _plain("reconciliation_unexplained_seconds", ["environment"])
    uncompared = _plain("reconciliation_uncompared_seconds", ["environment"])
    finished = _plain("reconciliation_timestamp_seconds", [])
    for environment, result in (job.latest if job else {}).items():
        unexplained.add_metric([environment], result.unexplained_s)
        uncompared.add_metric([environment], result.uncompared_s)
    if job and job.finished is not None:
        finished.add_metric([], job.finished.timestamp())
    yield from (unexplained, uncompared, finished)


def not_copied(service: Service) -> Iterator[Metric]:
    """Controllers that would be rebuilt with older retained values than they should be."""
    family = _plain("retained_copy_failing", ["environment", "machine"])
    failing = service.retaining.failing() if service.retaining else ()
    rows = Machine.objects.filter(pk__in=failing).values_list("environment__name", "name")
    for names in rows if failing else ():
        family.add_metric(list(names), 1)
    yield family


def durations(kept: Durations) -> Iterator[Metric]:
    """How long provisioning and recovery took, by level."""
    for name, rows in (
        ("provisioning_seconds", kept.provisioning),
        ("recovery_seconds", kept.recovery),
    ):
        family = HistogramMetricFamily(
            f"millwright_{name}", HELP[f"millwright_{name}"], labels=["level"]
        )
        for level, histogram in sorted(rows.items()):
            family.add_metric([level], histogram.buckets(), histogram.total_s)
        yield family


def serve(service: Service, port: int) -> None:
    """Answer scrapes on loopback in a thread."""
    registry = CollectorRegistry()
    registry.register(PlantCollector(service))
    start_http_server(port, addr="127.0.0.1", registry=registry)
