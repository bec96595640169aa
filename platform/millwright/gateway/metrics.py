"""The gateway's metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Metrics:
    """In a registry of its own, so that several gateways live in one test process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "millwright_gateway_requests_total",
            "Requests answered",
            ("endpoint", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "millwright_gateway_request_seconds",
            "Time to answer",
            ("endpoint",),
            buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 3, 10),
            registry=self.registry,
        )
        self.watched = Gauge(
            "millwright_gateway_watched_machines",
            "Machines whose tags are being polled",
            registry=self.registry,
        )

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
