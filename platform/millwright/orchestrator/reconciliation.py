"""Holds the ledger against Prometheus, per environment and hour, and says so when Prometheus itself is gone.

Each hour's scans are kept too, since Prometheus forgets.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx
from django.db import connections
from django.utils import timezone

from millwright.core.sla import Cause, Comparison, Interval, Kind, Samples, Spans, compare
from millwright.service_levels.models import Interval as LedgerInterval
from millwright.service_levels.models import ServiceSpan
from millwright.settings import Settings
from monitoring.rules.alerts import PROMETHEUS_DOWN

from . import cycles, qualities

log = logging.getLogger(__name__)

HOUR = dt.timedelta(hours=1)
#: The last samples of an hour and the last rows of the ledger come a little after its end.
SETTLE = dt.timedelta(minutes=2)
#: Hours that are made up for after an absence.
MOST_HOURS = 48
#: The watcher and a probe may learn of the same change this far apart: a probe's interval and its limit of time.
LAG_S = 10.0
#: Seconds between looks at Prometheus, and without an answer until it is said.
LOOK_S, SILENT_S = 10.0, 30.0


class PrometheusAway(Exception):
    """It does not answer, or not as it should; the text says how."""


@dataclass
class Reconciliation:
    """State of the job. Read by the metrics."""

    settings: Settings
    stop: threading.Event
    client: httpx.Client | None = None
    latest: dict[str, Comparison] = field(default_factory=dict)
    finished: dt.datetime | None = None
    _next: dt.datetime | None = None
    _next_cycles: dt.datetime | None = None
    _next_qualities: dt.datetime | None = None
    _silent_since: dt.datetime | None = None

    def run(self) -> None:
        """Until `stop`: look whether Prometheus lives, compare each hour once it is over."""
        while not self.stop.wait(LOOK_S):
            try:
                self.look(timezone.now())
                self.round(timezone.now())
                self.count_cycles(timezone.now())
                self.count_qualities(timezone.now())
            except PrometheusAway as error:
                log.warning("the ledgers cannot be compared: %s", error)
            except Exception:
                log.exception("reconciliation")
            finally:
                connections.close_all()

    # --- is it there --------------------------------------------------------------------------------

    def look(self, now: dt.datetime) -> bool:
        """Whether Prometheus answers. If not for a while, Alertmanager is told: nobody else could."""
        try:
            self._get("/-/ready")
        except PrometheusAway as error:
            since = self._silent_since = self._silent_since or now
            if (now - since).total_seconds() >= SILENT_S:
                self._tell(now, since, str(error))
            return False
        self._silent_since = None
        return True

    def _tell(self, now: dt.datetime, since: dt.datetime, why: str) -> None:
        alert = {
            **PROMETHEUS_DOWN,
            "annotations": {**PROMETHEUS_DOWN["annotations"], "description": why[:300]},
            "startsAt": since.isoformat(),
            # Ends by itself when it is not said again.
            "endsAt": (now + dt.timedelta(seconds=6 * LOOK_S)).isoformat(),
        }
        url = f"http://127.0.0.1:{self.settings.alertmanager_port}/api/v2/alerts"
        try:
            self._http().post(url, json=[alert]).raise_for_status()
        except httpx.HTTPError as error:
            log.error("Prometheus is silent, and Alertmanager too: %s", error)

    # --- comparing ----------------------------------------------------------------------------------

    def round(self, now: dt.datetime) -> int:
        """Compare every hour that is over and was not compared; returns how many were.

        Raises:
            PrometheusAway: the hour is tried again later.
        """
        last = (now - SETTLE).replace(minute=0, second=0, microsecond=0)
        begin = self._next or last - HOUR
        begin = max(begin, last - MOST_HOURS * HOUR)
        done = 0
        while begin < last and not self.stop.is_set():
            self.latest = self.hour(Interval(begin, begin + HOUR))
            begin += HOUR
            self._next, self.finished = begin, now
            done += 1
        return done

    def count_cycles(self, now: dt.datetime) -> int:
        """Keep the scans of every hour that is over and is not kept; returns how many hours were.

        Raises:
            PrometheusAway: the hour is tried again later.
        """
        last = (now - SETTLE).replace(minute=0, second=0, microsecond=0)
        begin = self._next_cycles or cycles.next_hour(last)
        done = 0
        while begin < last and not self.stop.is_set():
            cycles.record_hour(Interval(begin, begin + HOUR), self._by_machine)
            begin += HOUR
            self._next_cycles = begin
            done += 1
        return done

    def count_qualities(self, now: dt.datetime) -> int:
        """Keep the good minutes of every hour that is over and is not kept; returns how many hours were.

        Raises:
            PrometheusAway: the hour is tried again later.
        """
        last = (now - SETTLE).replace(minute=0, second=0, microsecond=0)
        begin = self._next_qualities or qualities.next_hour(last)
        done = 0
        while begin < last and not self.stop.is_set():
            qualities.record_hour(Interval(begin, begin + HOUR), self._by_environment)
            begin += HOUR
            self._next_qualities = begin
            done += 1
        return done

    def hour(self, period: Interval) -> dict[str, Comparison]:
        """Compare one hour: environment → result. Three questions to Prometheus, two to the database."""
        interval_s = self._interval_s()
        at = period.end.timestamp()
        # A window of 2.42 holds both its ends: a second less, and no sample belongs to two hours.
        counts = self._vector("count_over_time(slo:environment_up:bool[3599s])", at)
        ups = self._vector("sum_over_time(slo:environment_up:bool[3599s])", at)
        down, unknown, spans = ledger(period)
        found: dict[str, Comparison] = {}
        for environment, span in spans.items():
            # Only while it was in service all the hour long; of a part both sides know different ends.
            if span.begin > period.begin or span.end < period.end:
                continue
            count = round(counts.get(environment, 0.0))
            samples = Samples(count, count - round(ups.get(environment, 0.0)))
            result = compare(
                period,
                down.get(environment, Spans()),
                samples,
                interval_s=interval_s,
                unknown=unknown.get(environment),
                lag_s=LAG_S,
            )
            found[environment] = result
            if result.unexplained_s:
                log.warning(
                    "%s, hour from %s: ledger %.0f s, Prometheus %.0f s, %d edges, %.0f s unexplained",
                    environment,
                    period.begin,
                    result.ledger_s,
                    result.prometheus_s,
                    result.edges,
                    result.unexplained_s,
                )
        return found

    def _interval_s(self) -> float:
        for group in self._get("/api/v1/rules", type="record")["data"]["groups"]:
            if group["name"] == "slo-live":
                return float(group["interval"])
        raise PrometheusAway("it has no rules of the group slo-live")

    def _vector(self, query: str, at: float) -> dict[str, float]:
        data = self._get("/api/v1/query", query=query, time=f"{at:.3f}")["data"]
        return {row["metric"]["environment"]: float(row["value"][1]) for row in data["result"]}

    def _by_environment(self, query: str, at: float) -> dict[str, float]:
        data = self._get("/api/v1/query", query=query, time=f"{at:.3f}")["data"]
        return {
            row["metric"].get("environment", ""): float(row["value"][1]) for row in data["result"]
        }

    def _by_machine(self, query: str, at: float) -> dict[tuple[str, str], float]:
        data = self._get("/api/v1/query", query=query, time=f"{at:.3f}")["data"]
        return {
            (row["metric"].get("environment", ""), row["metric"].get("machine", "")): float(
                row["value"][1]
            )
            for row in data["result"]
        }

    def _get(self, path: str, **params: str) -> Any:
        url = f"http://127.0.0.1:{self.settings.prometheus_port}{path}"
        try:
            reply = self._http().get(url, params=params)
            reply.raise_for_status()
            return reply.json() if path.startswith("/api/") else None
        except (httpx.HTTPError, ValueError) as error:
            raise PrometheusAway(f"{path}: {type(error).__name__}: {error}") from None

    def _http(self) -> httpx.Client:
        if self.client is None:
            self.client = httpx.Client(timeout=20.0, trust_env=False)
        return self.client


def ledger(
    period: Interval,
) -> tuple[dict[str, Spans], dict[str, Spans], dict[str, Interval]]:
    """What the ledger has of a period: down, "nobody could tell", and time in service, by environment."""
    rows: dict[Kind, dict[str, list[Interval]]] = {kind: defaultdict(list) for kind in Kind}
    entries = (
        LedgerInterval.objects.current()
        .touching(period)
        .exclude(cause=Cause.VOID)
        .values_list("environment__name", "kind", "begin", "end")
    )
    for environment, kind, begin, end in entries:
        # Rows of all its machines: the environment is down when one of them is.
        rows[Kind(kind)][environment].append(Interval(begin, max(end or period.end, begin)))
    service = {
        name: Interval(begin, max(end or period.end, begin))
        for name, begin, end in ServiceSpan.objects.filter(begin__lt=period.end).values_list(
            "environment__name", "begin", "end"
        )
        if end is None or end > period.begin
    }
    down = {name: Spans(found) for name, found in rows[Kind.DOWN].items()}
    missing = {name: Spans(found) for name, found in rows[Kind.MISSING].items()}
    return down, missing, service
