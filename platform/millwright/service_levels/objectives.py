"""Objectives edited by people: a new contract from a time on, and what it would have meant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.sla import (
    HoursError,
    Measured,
    ServiceHours,
    month_before,
    month_of,
    month_period,
)
from millwright.environments.models import Environment

from .choices import PLANT, SCOPES
from .contracts import as_terms, classes_of, plant_zone
from .measuring import mark_stale, measure_months
from .models import Contract, ServiceSpan
from .quality import Cycles, Quality, cycles, of_the_portal, portal_ratio, qualities
from .times import Times, held_against, provisioned, recovered
from .windows import FURTHEST

#: What a contract says besides its scope and time.
FIELDS = (
    "availability_ratio",
    "cycle_ratio",
    "cycle_streak",
    "provisioning_s",
    "recovery_s",
    "device_link_ratio",
    "run_queue_ratio",
    "hours",
    "missing_grace_s",
    "small_stop_s",
    "planned_counts",
    "lead_time_hours",
    "yearly_cap_hours",
    "note",
)
#: Shares that need not be promised.
SHARES = ("cycle_ratio", "device_link_ratio", "run_queue_ratio")
_LIMITS = {
    "cycle_streak": (0, 1_000_000),
    "provisioning_s": (1, 86400),
    "recovery_s": (1, 86400),
    "missing_grace_s": (0, 3600),
    "small_stop_s": (0, 3600),
    "lead_time_hours": (0, 24 * 90),
    "yearly_cap_hours": (0, 8784),
}


def draft(
    environment: Environment | None, service_class: str, fields: Mapping[str, Any]
) -> Contract:
    """An unsaved contract.

    Raises:
        ValidationError: field by field, with the value and the rule.
    """
    errors: dict[str, Any] = {}
    if unknown := sorted(set(fields) - set(FIELDS)):
        errors[unknown[0]] = _("there is no such field")
    if (environment is None) == (service_class == ""):
        errors["service_class"] = _("name an environment or a class, not both")
    elif service_class and service_class not in dict(SCOPES):
        errors["service_class"] = _("%(value)r is no class") % {"value": service_class}
    ratio = fields.get("availability_ratio")
    if not isinstance(ratio, int | float) or not 0.5 <= ratio < 1:
        errors["availability_ratio"] = _(
            "%(value)s: from 0.5 to less than 1 (0.999 is 99.9 %%)"
        ) % {"value": ratio}
    for name in SHARES:
        share = fields.get(name)
        if share is not None and not 0.5 <= share < 1:
            errors[name] = _("%(value)s: from 0.5 to less than 1 (0.999 is 99.9 %%)") % {
                "value": share
            }
    if service_class == PLANT:
        for name in (*SHARES, "cycle_streak", "provisioning_s", "recovery_s", "hours"):
            if fields.get(name):
                errors[name] = _(
                    "%(value)s: of the portal and the API only availability is promised"
                ) % {"value": fields[name]}
    for name, (least, most) in _LIMITS.items():
        value = fields.get(name)
        if value is not None and not least <= value <= most:
            errors[name] = _("%(value)s: from %(least)s to %(most)s") % {
                "value": value,
                "least": least,
                "most": most,
            }
    try:
        ServiceHours.from_data(fields.get("hours") or {}, plant_zone())
    except HoursError as error:
        errors["hours"] = str(error)
    if errors:
        raise ValidationError(errors)
    given = {name: value for name, value in fields.items() if value is not None}
    return Contract(
        environment=environment, service_class=service_class, valid_from=timezone.now(), **given
    )


def _require(actor: Any, environment: Environment | None) -> None:
    require(actor, "administer", environment.project if environment is not None else None)


@transaction.atomic
def write_contract(
    actor: Any,
    *,
    environment: Environment | None = None,
    service_class: str = "",
    valid_from: dt.datetime | None = None,
    **fields: Any,
) -> Contract:
    """Promise something else from a time on. What was promised before stays for the time before.

    Raises:
        PermissionRefused: neither an administrator of the plant nor, for an environment, of its project.
        ValidationError: field by field; the time must not lie in the past.
    """
    _require(actor, environment)
    now = timezone.now()
    contract = draft(environment, service_class, fields)
    contract.valid_from = valid_from or now
    if contract.valid_from - now > FURTHEST:
        raise ValidationError(
            {
                "valid_from": _("%(at)s: within ten years from now")
                % {"at": f"{contract.valid_from:%F %R}"}
            }
        )
    if contract.valid_from < now - dt.timedelta(minutes=1):
        raise ValidationError(
            {
                "valid_from": _("%(at)s lies in the past: what was promised then stays")
                % {"at": f"{contract.valid_from:%F %R}"}
            }
        )
    contract.created_by = actor
    contract.save()
    record(
        actor,
        "contract.write",
        contract,
        project=environment.project if environment is not None else None,
        reason=contract.note,
        valid_from=contract.valid_from.isoformat(),
        **{name: getattr(contract, name) for name in FIELDS if name != "note"},
    )
    mark_stale((key, contract.valid_from) for key in _environments(environment, service_class))
    return contract


def _environments(environment: Environment | None, service_class: str) -> list[UUID]:
    if environment is not None:
        return [environment.pk]
    keys = list(ServiceSpan.objects.values_list("environment", flat=True))
    classes = classes_of(keys)
    return [key for key in keys if classes.get(key) == service_class]


@dataclass(frozen=True, slots=True)
class Would:
    """A month as it was, and as it would have been."""

    month: dt.date
    environments: int
    #: of all of them together; None: nothing was eligible
    was: float | None
    would: float | None
    #: environments that kept it
    kept: int
    would_keep: int
    #: what would have been left of the budget
    budget_left: dt.timedelta
    #: provisioned in time, and back after a host's loss, as it would have been
    provisioning: Times
    recovery: Times
    #: counted by minutes: links to devices, control cores' waits; of the plant's own scope the portal
    quality: tuple[Quality, ...] = ()
    #: scans in time, and the longest streak of late ones
    cycles: Cycles = field(default_factory=Cycles)


def preview_contract(
    actor: Any,
    *,
    environment: Environment | None = None,
    service_class: str = "",
    months: int = 3,
    now: dt.datetime | None = None,
    **fields: Any,
) -> list[Would]:
    """What the last whole months would have been under other terms, newest first."""
    _require(actor, environment)
    contract = draft(environment, service_class, fields)
    now = now or timezone.now()
    keys = _environments(environment, service_class)
    terms = replace(as_terms(contract), begin=now)
    found = []
    month = month_of(plant_zone(), now)
    for _number in range(months):
        month = month_before(month)
        if service_class == PLANT:
            found.append(_of_the_portal(month, contract))
            continue
        was = measure_months(keys, month, now)
        would = measure_months(keys, month, now, {key: [terms] for key in keys})
        span = month_period(plant_zone(), month)
        found.append(
            _would(
                month,
                list(was.values()),
                list(would.values()),
                held_against(provisioned(keys, span), lambda _key, _at: contract, "provisioning_s"),
                held_against(recovered(keys, span), lambda _key, _at: contract, "recovery_s"),
                qualities(keys, span, {key: [contract] for key in keys}, now),
                cycles(keys, span, contract),
            )
        )
    return found


def _of_the_portal(month: dt.date, contract: Contract) -> Would:
    """A month of the portal: what probes from outside counted, minute by minute."""
    span = month_period(plant_zone(), month)
    counted = of_the_portal(span, contract.availability_ratio)
    minute = dt.timedelta(minutes=1)
    before = of_the_portal(span, portal_ratio(span.begin)).kept
    return Would(
        month=month,
        environments=int(counted.share is not None),
        was=counted.share,
        would=counted.share,
        kept=int(before is True),
        would_keep=int(counted.kept is True),
        budget_left=(counted.good - counted.minutes * contract.availability_ratio) * minute,
        provisioning=Times(),
        recovery=Times(),
        quality=(counted,),
    )


def _would(
    month: dt.date,
    was: Sequence[Measured],
    would: Sequence[Measured],
    provisioning: Times,
    recovery: Times,
    quality: tuple[Quality, ...],
    scans: Cycles,
) -> Would:
    zero = dt.timedelta()

    def ratio(rows: Sequence[Measured]) -> float | None:
        eligible = sum((row.eligible for row in rows), zero)
        return 1 - sum((row.down for row in rows), zero) / eligible if eligible else None

    return Would(
        month=month,
        environments=sum(bool(row.eligible) for row in would),
        was=ratio(was),
        would=ratio(would),
        kept=sum(row.kept is True for row in was),
        would_keep=sum(row.kept is True for row in would),
        budget_left=sum((row.budget_left for row in would), zero),
        provisioning=provisioning,
        recovery=recovery,
        quality=quality,
        cycles=scans,
    )
