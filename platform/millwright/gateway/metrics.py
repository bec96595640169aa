"""The gateway's metrics."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from .schedule import Answer, Target


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

        who = ("environment", "machine", "kind")
        self._probe_success = Gauge(
            "millwright_probe_success",
            "1 if the machine's protocol answered the last probe from outside",
            who,
            registry=self.registry,
        )
        self._probe_seconds = Gauge(
            "millwright_probe_seconds",
            "How long the last probe took",
            who,
            registry=self.registry,
        )

        self._tag = Gauge(
            "millwright_tag",
            "A recorded tag's value; switches are 0 and 1",
            ("environment", "machine", "tag"),
            registry=self.registry,
        )

    def recorded(self, environment: str, machine: str, tag: str, value: float | None) -> None:
        """Show a recorded tag; None: it is not known now."""
        if value is None:
            with suppress(KeyError):
                self._tag.remove(environment, machine, tag)
            return
        self._tag.labels(environment, machine, tag).set(value)

    def probed(self, target: Target, answer: Answer | None) -> None:
        """Show an answer; None: the target is no longer asked."""
        if answer is None:
            for gauge in (self._probe_success, self._probe_seconds):
                with suppress(KeyError):
                    gauge.remove(*target.labels)
            return
        self._probe_success.labels(*target.labels).set(float(answer.ok))
        self._probe_seconds.labels(*target.labels).set(answer.seconds)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
