"""Watches a running installation as people would: the wall's tile, Alertmanager's alerts; asks ledger and report."""

from __future__ import annotations

import csv
import datetime as dt
import io
import threading
from dataclasses import dataclass
from typing import Any

import httpx
from millwright.cli.errors import CliError

from tests.support.campaign import Alert, LedgerRow, ReportLine, Tile
from tests.support.running import Running

#: Seconds between looks; who is told of an alert is decided so long after its begin (`group_wait` of a page).
LOOK_S, TOLD_S = 0.5, 4.0


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class _Span:
    name: str
    begin: dt.datetime
    end: dt.datetime
    #: whether it was kept silent when people would have been told
    silent: bool = False
    decided: bool = False

    def look(self, at: dt.datetime, silent: bool) -> None:
        self.end = at
        if not self.decided:
            self.silent = silent
            self.decided = (at - self.begin).total_seconds() >= TOLD_S


class Witness:
    """Two threads that look on until `close`. `environment`: whose tile and alerts are kept."""

    def __init__(self, running: Running, environment: str) -> None:
        self._running, self._environment = running, environment
        self._api = running.api("olga")
        self._stop = threading.Event()
        self.tiles: list[Tile] = []
        self._spans: list[_Span] = []
        self._standing: dict[str, _Span] = {}
        self._threads = [
            threading.Thread(target=self._follow, args=(look,), daemon=True)
            for look in (self._tile, self._alerts)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _follow(self, look: Any) -> None:
        while not self._stop.is_set():
            look()
            self._stop.wait(LOOK_S)

    def state(self) -> str | None:
        """The tile now; None: no answer, or no tile."""
        try:
            lines = self._api.get("service-levels/wall/")["lines"]
        except CliError:
            return None
        return next(
            (str(row["state"]) for row in lines if row["environment"] == self._environment), None
        )

    def _tile(self) -> None:
        state = self.state()
        self.tiles.append(Tile(now(), state))

    def _alerts(self) -> None:
        url = f"http://127.0.0.1:{self._running.settings.alertmanager_port}/api/v2/alerts"
        try:
            rows = httpx.get(url, timeout=10, trust_env=False).raise_for_status().json()
        except httpx.HTTPError:
            return
        at, seen = now(), set()
        for row in rows:
            labels = row["labels"]
            if labels.get("environment", self._environment) != self._environment:
                continue
            key = row["fingerprint"]
            seen.add(key)
            span = self._standing.get(key)
            if span is None:
                span = self._standing[key] = _Span(labels["alertname"], at, at)
                self._spans.append(span)
            span.look(at, row["status"]["state"] == "suppressed")
        for key in [key for key in self._standing if key not in seen]:
            del self._standing[key]

    # --- what was said --------------------------------------------------------------------------

    def alerts(self, since: dt.datetime) -> list[Alert]:
        """All that began since, and those that still stood then."""
        return [
            Alert(span.name, span.begin, span.end, span.silent)
            for span in list(self._spans)
            if span.end >= since
        ]

    def standing(self) -> set[str]:
        return {span.name for span in list(self._standing.values())}

    def rows(self, since: dt.datetime) -> list[LedgerRow]:
        """The ledger's rows that hold and reach past `since`, oldest first."""
        found = [
            LedgerRow(_moment(row["begin"]), _moment_or_none(row["end"]), row["kind"], row["cause"], row["why"])
            for row in self._api.rows("intervals/", environment=self._environment)
        ]  # fmt: skip
        reach = [row for row in found if row.end is None or row.end > since]
        return sorted(reach, key=lambda row: row.begin)

    def report(self) -> list[ReportLine]:
        """Interruptions in the report of the month that runs."""
        text = self._report("csv").decode()
        return [
            ReportLine(
                _moment(row["begin"]),
                _moment(row["end"]) if row["end"] else None,
                row["what"],
                row["value"],
                row["why"],
            )
            for row in csv.DictReader(io.StringIO(text))
            if row["section"] == "interruption"
        ]

    def figures(self) -> dict[str, str]:
        """Figures of the report: name → value, or seconds."""
        rows = csv.DictReader(io.StringIO(self._report("csv").decode()))
        return {row["what"]: row["value"] or row["seconds"] for row in rows if row["section"] == "figure"}  # fmt: skip

    def pdf(self) -> bytes:
        return self._report("pdf")

    def _report(self, form: str) -> bytes:
        return self._api.download(f"service-levels/{self._environment}/report/", **{"as": form})


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _moment_or_none(text: str | None) -> dt.datetime | None:
    return None if text is None else _moment(text)
