"""The orchestrator's metrics, on loopback. Counted in the database at each scrape: a few cheap queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Count
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from millwright.core.lifecycle import HostHealth, OperationState
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import Drift, Host

if TYPE_CHECKING:
    from .service import Service


class PlantCollector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        try:
            yield from self._collect()
        finally:
            connections.close_all()

    def describe(self) -> list[Metric]:
        return []

    def _collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "millwright_orchestrator_active",
            "1 if this orchestrator holds the lock",
            value=float(self._service.active.is_set()),
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
                "millwright_hosts",
                "Hosts by health",
                Host.objects.all(),
                "health",
                tuple(HostHealth),
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


def serve(service: Service, port: int) -> None:
    """Answer scrapes on loopback in a thread."""
    registry = CollectorRegistry()
    registry.register(PlantCollector(service))
    start_http_server(port, addr="127.0.0.1", registry=registry)
