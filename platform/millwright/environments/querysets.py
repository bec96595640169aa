"""What a person may see, and pages with a constant number of queries."""

from __future__ import annotations

from typing import Any, Self

from django.db import models

from millwright.accounts.permissions import givers, own_projects, projects_with
from millwright.accounts.querysets import ByProjectQuerySet
from millwright.core.lifecycle import (
    LIVE_OPERATION_STATES,
    OCCUPYING_ENVIRONMENT_STATES,
    OperationKind,
    OperationState,
    RequestState,
)
from millwright.shopfloor.querysets import LONG

#: Of a host, lists show the name: what it consists of is long.
_LONG_OF_HOST = tuple(
    f"host__{column}" for column in ("topology", "capabilities", "policy", "equipment")
)


class RequestQuerySet(ByProjectQuerySet):
    def for_user(self, user: Any) -> Self:
        """Those of the user's projects, and those that were handed to him to decide."""
        rows = super().for_user(user)
        if not user.is_authenticated or rows is self or not givers(user):
            return rows
        handed = projects_with(user, "decide")
        if handed is None:
            return self
        return self.filter(models.Q(project__in=own_projects(user)) | models.Q(project__in=handed))

    def with_names(self) -> Self:
        """Everything that one request names; of the program only what names it."""
        return self.select_related(
            "project",
            "requester",
            "template_version__template",
            "cell",
            "decided_by",
            "first_approval_by",
            "environment",
            "program_version__program",
        ).defer(*(f"program_version__{column}" for column in LONG))

    def listed(self) -> Self:
        """What a line of a list names: each table more costs the database longer than its rows."""
        return self.select_related("project", "requester", "template_version__template").defer(
            "placement", "template_version__spec", "template_version__image"
        )

    def to_decide_by(self, user: Any) -> Self:
        """Submitted requests that the user may decide, oldest first; never one's own."""
        submitted = (
            self.filter(state=RequestState.SUBMITTED)
            .exclude(requester=user)
            .exclude(first_approval_by=user)
            .order_by("submitted_at")
        )
        projects = projects_with(user, "decide")
        return submitted if projects is None else submitted.filter(project__in=projects)


class EnvironmentQuerySet(ByProjectQuerySet):
    def present(self) -> Self:
        return self.filter(state__in=OCCUPYING_ENVIRONMENT_STATES)

    def with_machines(self) -> Self:
        from .models import Machine

        machines = Machine.objects.select_related(
            "host", "cell", "address_claim", "template_version__template"
        ).defer(*_LONG_OF_HOST)
        return self.select_related("project", "owner").prefetch_related(
            models.Prefetch("machines", machines), "tags"
        )


class SavedViewQuerySet(models.QuerySet):
    def for_user(self, user: Any) -> Self:
        """One's own."""
        return self.filter(user=user)


class MachineQuerySet(ByProjectQuerySet):
    project_path = "environment__project"

    def present(self) -> Self:
        return self.exclude(desired="absent", observed="absent").filter(
            environment__state__in=OCCUPYING_ENVIRONMENT_STATES
        )

    def with_names(self) -> Self:
        return self.select_related(
            "environment__project", "host", "cell", "address_claim", "template_version__template"
        ).defer(*_LONG_OF_HOST)


class OperationQuerySet(ByProjectQuerySet):
    def live(self) -> Self:
        return self.filter(state__in=LIVE_OPERATION_STATES)

    def provisioned(self) -> Self:
        """Builds of approved environments that ended well."""
        return self.filter(
            kind=OperationKind.PROVISION,
            state=OperationState.SUCCEEDED,
            ended_at__isnull=False,
            environment__request__decided_at__isnull=False,
        )

    def with_names(self) -> Self:
        return self.select_related("project", "environment", "machine__environment", "requested_by")
