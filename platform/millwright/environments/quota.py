"""Quota: what a project uses, reserves, and would use after one more request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Sum
from django.utils.translation import gettext as _

from millwright.core.lifecycle import OCCUPYING_ENVIRONMENT_STATES

from .models import Environment, Machine
from .sizes import Size


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """One resource: used now, after the request, and the limit, in the resource's unit."""

    resource: str
    label: str
    used: int
    after: int
    limit: int

    @property
    def exceeded(self) -> bool:
        return self.after > self.limit


def quota_after(project: Any, size: Size | None, *, environments: int = 1) -> list[QuotaRow]:
    """Usage of a project (environments hold quota from approval to removal) and with one more."""
    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    used = Machine.objects.filter(
        environment__project=project, environment__state__in=states
    ).aggregate(
        vcpus=Sum("vcpus", default=0),
        realtime_cores=Sum("realtime_cores", default=0),
        memory_bytes=Sum("memory_bytes", default=0),
        disk_bytes=Sum("disk_bytes", default=0),
    )
    used["environments"] = Environment.objects.filter(project=project, state__in=states).count()
    labels = {
        "vcpus": _("vCPUs"),
        "realtime_cores": _("realtime cores"),
        "memory_bytes": _("memory"),
        "disk_bytes": _("disk"),
        "environments": _("environments"),
    }
    rows = []
    for resource, label in labels.items():
        more = (
            environments
            if resource == "environments"
            else (getattr(size, resource) * environments if size else 0)
        )
        rows.append(
            QuotaRow(
                resource,
                label,
                used[resource],
                used[resource] + more,
                getattr(project, f"quota_{resource}"),
            )
        )
    return rows


def require_quota(project: Any, size: Size, *, environments: int = 1) -> None:
    """Raise `ValidationError` naming each exceeded resource with the numbers."""
    exceeded = [
        row for row in quota_after(project, size, environments=environments) if row.exceeded
    ]
    if exceeded:
        raise ValidationError(
            {
                "quota": [
                    _("%(project)s: %(label)s would be %(after)s of %(limit)s (%(used)s in use)")
                    % {
                        "project": project.slug,
                        "label": row.label,
                        "after": row.after,
                        "limit": row.limit,
                        "used": row.used,
                    }
                    for row in exceeded
                ]
            }
        )
