"""What a person may see of the balancer's rules."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Prefetch

from millwright.accounts.permissions import own_projects, sees_everything


class RuleQuerySet(models.QuerySet):
    def for_user(self, user: Any) -> Self:
        """Those about a machine of one's projects; all for people with a plant-wide reading role."""
        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        mine = own_projects(user)
        return self.filter(machines__environment__project__in=mine).distinct()

    def with_names(self) -> Self:
        """With machines and hosts: two queries more, whatever the number of rules."""
        from millwright.environments.models import Machine

        machines = Machine.objects.select_related("environment", "host").order_by(
            "environment__name", "name"
        )
        return self.prefetch_related(Prefetch("machines", machines), "hosts")
