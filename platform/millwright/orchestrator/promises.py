"""What is promised now to each environment in service, as Prometheus needs it: a snapshot that is read at most every
few seconds, with a constant number of queries, however often it is scraped."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.utils import timezone

from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import EnvironmentState, MachineDesired, MachineObserved
from millwright.core.sla import Interval, ServiceHours, occurrences
from millwright.environments.models import Machine
from millwright.service_levels.choices import EXCLUDING
from millwright.service_levels.models import Contract, MaintenanceWindow
from millwright.service_levels.quality import portal_ratio
from millwright.settings import get_settings
from monitoring.objectives import (
    Indicator,
    Level,
    Objectives,
    ShiftCalendar,
    least,
    level_of,
    shipped,
)

#: An environment in one of these is in service: it is promised something, and asked from outside.
IN_SERVICE = (EnvironmentState.RUNNING, EnvironmentState.DEGRADED, EnvironmentState.FAILED)

#: Protocols that are asked from outside → the output of the template that names the port.
ASKED = {"modbus": "modbus", "opcua": "opcua", "http": "health"}

#: Machine states that are up, for machines without a protocol.
UP = (MachineObserved.RUNNING, MachineObserved.MIGRATING)


@dataclass(frozen=True, slots=True)
class Check:
    """A machine, and what of it must answer."""

    machine: Any
    name: str
    address: str | None
    #: protocol → port; empty: only its observed state is known
    ports: dict[str, int]
    up: bool
    host: str
    domain: str
    #: vCPUs that have a core of their own
    pinned: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Promise:
    """One environment: its level, objectives, and whether this moment counts."""

    environment: str
    project: str
    level: Level
    eligible: bool
    #: indicator → share that must be good
    ratios: dict[str, float]
    #: indicator → limit in its unit; for cycles the longest streak missed
    limits: dict[str, float]
    checks: tuple[Check, ...]

    @property
    def expected(self) -> int:
        """How many checks must succeed for it to be up."""
        return sum(len(check.ports) or 1 for check in self.checks)

    @property
    def host(self) -> str:
        """The one host of all its machines; empty if there are several."""
        hosts = {check.host for check in self.checks}
        return hosts.pop() if len(hosts) == 1 else ""


def read(now: dt.datetime, objectives: Objectives | None = None) -> tuple[Promise, ...]:
    """Ask the database: a fixed number of queries for any number of environments."""
    objectives = objectives or shipped()
    zone = get_settings().plant_zone
    outputs = {
        pk: spec.get("outputs") or {}
        for pk, spec in TemplateVersion.objects.values_list("pk", "spec")
    }
    grouped: dict[int | Any, list[Machine]] = defaultdict(list)
    machines = (
        Machine.objects.present()
        .filter(environment__state__in=IN_SERVICE)
        .select_related("environment__project", "host", "address_claim")
    )
    for machine in machines:
        grouped[machine.environment_id].append(machine)
    excluded = _excluded(now, zone)
    contracts, by_class = _contracts(now)
    hours = _Hours(now, zone)
    promises = []
    for key, members in grouped.items():
        environment = members[0].environment
        level = (
            least(level_of(row.service_class, row.best_effort) for row in members) or Level.SHARED
        )
        contract = contracts.get(key) or by_class.get(str(level))
        ratios, limits = _objectives(objectives, members, level)
        if contract is not None:
            ratios[Indicator.AVAILABILITY] = contract.availability_ratio
            for indicator, share in (
                (Indicator.CYCLE_DEADLINE, contract.cycle_ratio),
                (Indicator.DEVICE_LINK, contract.device_link_ratio),
                (Indicator.RUN_QUEUE_WAIT, contract.run_queue_ratio),
            ):
                if share is not None and indicator in ratios:
                    ratios[indicator] = share
            if contract.cycle_streak is not None and Indicator.CYCLE_DEADLINE in limits:
                limits[Indicator.CYCLE_DEADLINE] = contract.cycle_streak
            served = hours.by_data(contract.hours)
        else:
            goal = objectives.get(level, Indicator.AVAILABILITY)
            served = hours.by_calendar(objectives.calendar(goal.service_hours)) if goal else True
        wanted = [row for row in members if row.desired == MachineDesired.RUNNING]
        promises.append(
            Promise(
                environment=environment.name,
                project=environment.project.slug,
                level=level,
                eligible=served and key not in excluded and bool(wanted),
                ratios=ratios,
                limits=limits,
                checks=tuple(
                    _check(row, outputs.get(row.template_version_id, {})) for row in wanted
                ),
            )
        )
    return tuple(promises)


def _contracts(now: dt.datetime) -> tuple[dict[Any, Contract], dict[str, Contract]]:
    """Those in force: by environment, and by class."""
    mine: dict[Any, Contract] = {}
    classes: dict[str, Contract] = {}
    for contract in Contract.objects.filter(valid_from__lte=now).order_by("valid_from", "pk"):
        if contract.environment_id is not None:
            mine[contract.environment_id] = contract
        else:
            classes[contract.service_class] = contract
    return mine, classes


def _excluded(now: dt.datetime, zone: ZoneInfo) -> set[Any]:
    """Environments in an approved maintenance window."""
    open_now = Q(ends_at__gt=now) | Q(
        every_days__gt=0, until__gte=(now - dt.timedelta(days=2)).date()
    )
    found = set()
    for window in MaintenanceWindow.objects.filter(
        open_now, state__in=EXCLUDING, begins_at__lte=now
    ):
        spans = occurrences(
            window.begins_at,
            window.ends_at,
            zone=zone,
            every_days=window.every_days,
            until=window.until,
            closed_at=window.closed_at,
        )
        if now in spans:
            found.add(window.environment_id)
    return found


class _Hours:
    """Whether now is promised, worked out once for each different set of hours."""

    def __init__(self, now: dt.datetime, zone: ZoneInfo) -> None:
        self._now, self._zone = now, zone
        self._known: dict[str, bool] = {}

    def by_data(self, data: dict[str, Any]) -> bool:
        key = repr(data)
        if key not in self._known:
            hours = ServiceHours.from_data(data, self._zone)
            moment = Interval(self._now, self._now + dt.timedelta(seconds=1))
            self._known[key] = self._now in hours.spans(moment)
        return self._known[key]

    def by_calendar(self, calendar: ShiftCalendar) -> bool:
        return self.by_data(hours_data(calendar))


def hours_data(calendar: ShiftCalendar) -> dict[str, Any]:
    """A calendar of the objectives as contracts keep service hours. Without shifts: always, holidays too."""
    if not calendar.shifts:
        return {}
    data: dict[str, Any] = {
        "shifts": [
            {"days": list(shift.days), "from": f"{shift.begin:%H:%M}", "to": f"{shift.end:%H:%M}"}
            for shift in calendar.shifts
        ],
        "holidays": [holiday.day for holiday in calendar.holidays],
    }
    if calendar.time_zone != "plant":
        data["time_zone"] = calendar.time_zone
    return data


def _objectives(
    objectives: Objectives, machines: Iterable[Machine], level: Level
) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios and limits. Cycles and cores are promised as to the least of the environment's controllers."""
    control = least(
        level_of(row.service_class, row.best_effort)
        for row in machines
        if row.service_class == Level.REALTIME
    )
    ratios: dict[str, float] = {}
    limits: dict[str, float] = {}
    for indicator in Indicator:
        timing = indicator in (
            Indicator.CYCLE_DEADLINE,
            Indicator.RUN_QUEUE_WAIT,
            Indicator.DEVICE_LINK,
        )
        whose = control if timing else level
        row = objectives.get(whose, indicator) if whose is not None else None
        if row is None:
            continue
        ratios[indicator] = row.target
        if row.longest_streak is not None:
            limits[indicator] = row.longest_streak
        elif row.at_most is not None:
            limits[indicator] = row.at_most
    return ratios, limits


def _check(machine: Machine, outputs: dict[str, Any]) -> Check:
    claim = getattr(machine, "address_claim", None)
    address = str(claim.address) if claim is not None else None
    ports = {
        kind: int(outputs[output])
        for kind, output in ASKED.items()
        if address and outputs.get(output)
    }
    # Only a vCPU with a core of its own is promised not to wait; who has none is told so on its page.
    claims = machine.cpu_assignment.get("claims") or {}
    return Check(
        machine=machine.pk,
        name=machine.name,
        address=address,
        ports=ports,
        up=machine.observed in UP,
        host=machine.host.name if machine.host else "",
        domain=machine.domain_name,
        pinned=tuple(sorted(int(number) for number in claims)),
    )


class Promises:
    """The snapshot, kept for a moment. Safe to ask from several threads."""

    #: the share of time in which portal and API are promised to answer, as of the snapshot
    portal: float | None = None

    def __init__(
        self, *, keep_s: float = 4.0, reader: Callable[[dt.datetime], tuple[Promise, ...]] = read
    ) -> None:
        self._keep_s, self._reader = keep_s, reader
        self._lock = threading.Lock()
        self._at = -keep_s
        self._rows: tuple[Promise, ...] = ()

    def get(self) -> tuple[Promise, ...]:
        """The newest snapshot; at most `keep_s` seconds old."""
        with self._lock:
            clock = time.monotonic()
            if clock - self._at >= self._keep_s:
                now = timezone.now()
                self._rows = self._reader(now)
                self.portal = portal_ratio(now)
                self._at = clock
            return self._rows
