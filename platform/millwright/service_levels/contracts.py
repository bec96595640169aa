"""Which contract holds for an environment and when; the shipped objectives as contracts of classes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import models, transaction
from django.utils import timezone

from millwright.audit.actions import record
from millwright.core.sla import ServiceHours, Terms
from millwright.environments.models import Environment, Machine
from millwright.settings import get_settings
from monitoring.objectives import Indicator, Level, Objectives, least, level_of, shipped

from .models import Contract

#: What applies before anything was agreed.
ALWAYS = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def plant_zone() -> ZoneInfo:
    """The zone of months and service hours."""
    return get_settings().plant_zone


def classes_of(environments: Iterable[UUID]) -> dict[UUID, str]:
    """Each environment's class: the least that any of its machines is given. One query."""
    levels: dict[UUID, list[Level]] = defaultdict(list)
    rows = Machine.objects.filter(environment__in=list(environments)).values_list(
        "environment", "service_class", "best_effort"
    )
    for environment, service_class, shortfalls in rows:
        levels[environment].append(level_of(service_class, shortfalls))
    return {key: str(least(found) or Level.SHARED) for key, found in levels.items()}


def hours_of(contract: Contract) -> ServiceHours | None:
    """None: always."""
    return ServiceHours.from_data(contract.hours, plant_zone()) if contract.hours else None


def as_terms(contract: Contract) -> Terms:
    """A contract as the arithmetic takes it."""
    return Terms(
        begin=contract.valid_from,
        availability=contract.availability_ratio,
        hours=hours_of(contract),
        grace=dt.timedelta(seconds=contract.missing_grace_s),
        planned_counts=contract.planned_counts,
    )


def contracts_of(environments: Sequence[UUID]) -> dict[UUID, list[Contract]]:
    """Each environment's contracts in order of time: its class's until it has one of its own. Three queries."""
    classes = classes_of(environments)
    by_class: dict[str, list[Contract]] = defaultdict(list)
    for row in Contract.objects.filter(environment=None):
        by_class[row.service_class].append(row)
    own: dict[UUID, list[Contract]] = defaultdict(list)
    # The environment's own, or none: never all of a large plant's by their keys.
    rows = Contract.objects.exclude(environment=None)
    if len(environments) <= 100:
        rows = rows.filter(environment__in=environments)
    for row in rows:
        own[row.environment_id].append(row)
    found = {}
    for key in environments:
        mine = own.get(key, [])
        common = by_class.get(classes.get(key, str(Level.SHARED)), [])
        first = mine[0].valid_from if mine else None
        chosen = [row for row in common if first is None or row.valid_from < first] + mine
        if not common:
            # What is promised from a time on is not promised before it.
            chosen = [_nothing(), *chosen]
        # Of several from one moment on the last written holds.
        found[key] = list({row.valid_from: row for row in chosen}.values())
    return found


def _nothing() -> Contract:
    return Contract(service_class=str(Level.SHARED), valid_from=ALWAYS, note="nothing was agreed")


def contract_at(contracts: Sequence[Contract], at: dt.datetime) -> Contract:
    """The one that holds at a moment; the first holds before its begin too."""
    return next((row for row in reversed(contracts) if row.valid_from <= at), contracts[0])


def contract_of(environment: Environment, at: dt.datetime | None = None) -> Contract:
    """What an environment is promised now, or at a moment."""
    return contract_at(contracts_of([environment.pk])[environment.pk], at or timezone.now())


def from_objectives(objectives: Objectives, level: Level) -> dict[str, Any] | None:
    """A class's objectives as the fields of a contract; None: nothing is promised of its availability."""
    if level is Level.PLANT:
        portal = objectives.get(level, Indicator.PORTAL_AVAILABILITY)
        return portal and {
            "objective": portal.name,
            "availability_ratio": portal.target,
            "note": portal.note,
        }
    goal = objectives.get(level, Indicator.AVAILABILITY)
    if goal is None:
        return None

    cycle = objectives.get(level, Indicator.CYCLE_DEADLINE)

    def seconds(indicator: Indicator) -> int | None:
        row = objectives.get(level, indicator)
        return int(row.at_most) if row is not None and row.promised and row.at_most else None

    def share(indicator: Indicator) -> float | None:
        row = objectives.get(level, indicator)
        return row.target if row is not None and row.promised else None

    calendar = objectives.calendar(goal.service_hours)
    hours: dict[str, Any] = {}
    if calendar.shifts:
        hours = {
            "shifts": [
                {"days": list(row.days), "from": f"{row.begin:%H:%M}", "to": f"{row.end:%H:%M}"}
                for row in calendar.shifts
            ],
            "holidays": [row.day for row in calendar.holidays],
        }
        if calendar.zone(plant_zone()) != plant_zone():
            hours["time_zone"] = calendar.zone(plant_zone()).key
    return {
        "objective": goal.name,
        "availability_ratio": goal.target,
        "cycle_ratio": share(Indicator.CYCLE_DEADLINE),
        "cycle_streak": cycle.longest_streak if cycle is not None and cycle.promised else None,
        "provisioning_s": seconds(Indicator.PROVISIONING_TIME),
        "recovery_s": seconds(Indicator.RECOVERY_TIME),
        "device_link_ratio": share(Indicator.DEVICE_LINK),
        "run_queue_ratio": share(Indicator.RUN_QUEUE_WAIT),
        "hours": hours,
        "missing_grace_s": goal.grace_s,
        "note": goal.note,
    }


@transaction.atomic
def sync_objectives(objectives: Objectives | None = None) -> int:
    """Write the shipped objectives as contracts of classes, where they changed; returns how many were written.

    What a person has decided for a class stays.
    """
    objectives = objectives or shipped()
    written = 0
    newest = {row.service_class: row for row in Contract.objects.filter(environment=None)}
    for level in Level:
        fields = from_objectives(objectives, level)
        if fields is None:
            continue
        before = newest.get(str(level))
        if before is not None and (
            before.created_by_id is not None
            or all(getattr(before, name) == value for name, value in fields.items())
        ):
            continue
        row = Contract.objects.create(
            service_class=str(level),
            valid_from=ALWAYS if before is None else timezone.now(),
            **fields,
        )
        record(None, "contract.write", row, objective=row.objective)
        written += 1
    return written


def scope(contract: Contract) -> models.Q:
    """Which environments' sums a contract may change."""
    if contract.environment_id is not None:
        return models.Q(environment=contract.environment_id)
    return models.Q()
