"""Probes from outside: tells the gateway whom to ask, and carries its answers to the ledger. Asks the portal itself."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import timezone

from millwright.environments.models import Machine
from millwright.gateway import GatewayClient, GatewayError, Target, write_targets
from millwright.gateway.recorder import write_recorded
from millwright.service_levels.actions import record_probe
from millwright.settings import Settings
from millwright.shopfloor.recording import targets

from .promises import Promise, Promises

log = logging.getLogger(__name__)

#: Seconds between two looks at the gateway's answers, and at the portal.
LOOK_S, PORTAL_S = 1.0, 5.0
#: Seconds between two looks at which tags are recorded.
RECORDED_S = 10.0

#: What a person and a program ask first. Neither needs a sign-in to show that its part works.
ENDPOINTS = {"portal": "/accounts/login/", "api": "/api/v1/status/"}

#: Answers that show that it works: asking without a token is refused in the API's own words.
WORKS = frozenset({200, 301, 302, 401, 403})


def targets_of(promises: tuple[Promise, ...]) -> list[Target]:
    """What the gateway shall ask."""
    return [
        Target(
            machine=check.machine,
            environment=promise.environment,
            name=check.name,
            kind=kind,  # type: ignore[arg-type]  # ASKED names the same protocols
            host=check.address or "",
            port=port,
        )
        for promise in promises
        for check in promise.checks
        for kind, port in check.ports.items()
    ]


@dataclass(frozen=True, slots=True)
class PortalAnswer:
    endpoint: str
    ok: bool
    detail: str
    seconds: float


class Outside:
    """One thread's work; `round` does everything that is due."""

    def __init__(self, settings: Settings, promises: Promises, stop: threading.Event) -> None:
        self._settings, self._promises, self._stop = settings, promises, stop
        self._life, self._number = "", 0
        self._next_portal = self._next_recorded = 0.0
        self._lock = threading.Lock()
        self._portal: dict[str, PortalAnswer] = {}
        self.gateway_error = ""
        self._lost: set[UUID] = set()
        self._wake = threading.Event()

    def lost_sight(self, machines: Sequence[UUID]) -> None:
        """The watcher no longer sees these: only the probes can tell whether they are up. Never blocks."""
        with self._lock:
            self._lost.update(machines)
        self._wake.set()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.is_set():
            try:
                self.round()
            except Exception:
                log.exception("probes from outside")
            finally:
                connections.close_all()
            # A stop is seen after one look at the latest.
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def round(self) -> None:
        """Tell the gateway, fetch what changed, ask the portal if it is time."""
        write_targets(self._settings.run_dir / "probes.json", targets_of(self._promises.get()))
        self._ask_lost()
        if time.monotonic() >= self._next_recorded:
            self._next_recorded = time.monotonic() + RECORDED_S
            write_recorded(self._settings.run_dir / "recorded.json", targets())
        self.fetch()
        if time.monotonic() >= self._next_portal:
            self._next_portal = time.monotonic() + PORTAL_S
            self.ask_portal()

    def _ask_lost(self) -> None:
        """Have the gateway ask at once; without it they are asked in their turn."""
        with self._lock:
            lost, self._lost = self._lost, set()
        if not lost:
            return
        try:
            with GatewayClient(self._settings.gateway_socket) as client:
                client.probe_now([str(key) for key in lost])
        except GatewayError as error:
            log.warning("machines out of sight were not asked at once: %s", error)

    def fetch(self) -> int:
        """Bring the gateway's changes into the ledger; returns how many answers were taken."""
        try:
            with GatewayClient(self._settings.gateway_socket) as client:
                report = client.probes(self._number)
                if report["life"] != self._life:
                    # A gateway that was started again counts from the beginning.
                    report = client.probes(0)
        except GatewayError as error:
            if str(error) != self.gateway_error:
                log.warning("the gateway's probes: %s", error)
            self.gateway_error = str(error)
            return 0
        self.gateway_error = ""
        rows = list(report["changes"])
        if report["life"] != self._life or report["missed"]:
            # What happened while nobody fetched is lost in part; how it stands now is not.
            rows = sorted([*rows, *report["latest"]], key=lambda row: row["at"])
        taken = take(rows)
        self._life, self._number = report["life"], report["number"]
        return taken

    def ask_portal(self) -> None:
        """Ask portal and API over HTTP, as a person's browser or a program would."""
        base = f"http://{self._settings.portal_host}:{self._settings.portal_port}"
        # The portal answers to its public name only; a proxy of this machine has no part in it.
        name = httpx.URL(self._settings.public_url).netloc.decode()
        with httpx.Client(
            base_url=base, timeout=4.0, trust_env=False, headers={"Host": name}
        ) as client:
            for endpoint, path in ENDPOINTS.items():
                begun = timezone.now()
                try:
                    reply = client.get(path)
                    ok, detail = reply.status_code in WORKS, f"HTTP {reply.status_code}"
                except httpx.HTTPError as error:
                    ok, detail = False, f"{type(error).__name__}: {error}"
                seconds = (timezone.now() - begun).total_seconds()
                with self._lock:
                    before = self._portal.get(endpoint)
                    self._portal[endpoint] = PortalAnswer(endpoint, ok, detail, seconds)
                if before is not None and before.ok != ok:
                    log.warning("%s: %s", endpoint, detail)

    def portal(self) -> tuple[PortalAnswer, ...]:
        """The last answers, for the metrics."""
        with self._lock:
            return tuple(self._portal.values())


def take(rows: list[dict[str, Any]]) -> int:
    """Write answers to the ledger; of machines that are no longer known nothing is written."""
    machines = Machine.objects.in_bulk({UUID(row["machine"]) for row in rows})
    taken = 0
    for row in rows:
        machine = machines.get(UUID(row["machine"]))
        if machine is None:
            continue
        at = dt.datetime.fromtimestamp(row["at"], dt.UTC)
        try:
            record_probe(machine, row["kind"], bool(row["ok"]), at, str(row["detail"]))
        except ValidationError as error:
            log.warning("an answer was refused: %s", error)
            continue
        taken += 1
    return taken
