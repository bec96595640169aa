"""What a person may see of the ledger, and what of it counts."""

from __future__ import annotations

import datetime as dt
from typing import Any, Self

from django.db import models

from millwright.accounts.permissions import own_projects, sees_everything
from millwright.accounts.querysets import ByProjectQuerySet
from millwright.core.sla import Cause, Happened, Kind
from millwright.core.sla import Interval as Span


class IntervalQuerySet(ByProjectQuerySet):
    project_path = "environment__project"

    def current(self) -> Self:
        """Rows that no correction has replaced."""
        return self.filter(supersession__isnull=True)

    def touching(self, span: Span) -> Self:
        """Rows that lie in the span at least in part.

        A short row that touches it begins at most a day before it; long ones have an index of their own.
        """
        return self.filter(
            models.Q(begin__gte=span.begin - dt.timedelta(days=1), begin__lt=span.end, long=False)
            & models.Q(end__gt=span.begin)
            | models.Q(long=True, begin__lt=span.end)
            & (models.Q(end__isnull=True) | models.Q(end__gt=span.begin))
        )

    def after_host_loss(self) -> Self:
        """Rows of machines whose host was lost, and that ended.

        Nobody can tell about a machine while its host does not answer: that is what "missing" is, unless a probe
        from outside finds it down; then it is the host's failure that explains the row.
        """
        return self.filter(
            models.Q(kind=Kind.MISSING)
            | models.Q(kind=Kind.DOWN, cause=Cause.UNPLANNED, explained_by=Happened.HOST),
            end__isnull=False,
        ).exclude(host="")

    def unclassified(self) -> Self:
        """The queue: what nothing explains and nobody has explained, newest first."""
        return self.current().filter(cause="unknown").order_by("-begin", "-pk")

    def with_names(self) -> Self:
        return self.select_related("environment__project", "machine", "written_by")


class WindowQuerySet(ByProjectQuerySet):
    project_path = "environment__project"

    def with_names(self) -> Self:
        return self.select_related("environment__project", "requested_by", "approved_by")


class ByEnvironmentQuerySet(ByProjectQuerySet):
    """Rows of an environment, for those who see its project."""

    project_path = "environment__project"


class ContractQuerySet(models.QuerySet):
    """What is promised to classes is for everyone to read; to an environment, for those who see it."""

    def for_user(self, user: Any) -> Self:
        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        mine = own_projects(user)
        return self.filter(models.Q(environment=None) | models.Q(environment__project__in=mine))

    def with_names(self) -> Self:
        return self.select_related("environment__project", "created_by")
