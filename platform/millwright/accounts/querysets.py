"""What a person may see of projects and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from .models import User


class ByProjectQuerySet(models.QuerySet):
    """Rows that belong to a project, by a path of relations."""

    project_path = "project"

    def for_user(self, user: Any) -> Self:
        """Rows of the user's projects; everything for people with a plant-wide reading role."""
        from .permissions import sees_everything

        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        return self.filter(**{f"{self.project_path}__in": user.memberships.values("project_id")})


class ProjectQuerySet(models.QuerySet):
    def for_user(self, user: User) -> ProjectQuerySet:
        """Projects the user is a member of; all for people with a plant-wide role."""
        from .permissions import sees_everything

        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        return self.filter(pk__in=user.memberships.values("project_id"))


class ApiTokenQuerySet(models.QuerySet):
    def usable(self) -> ApiTokenQuerySet:
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)


class DelegationQuerySet(models.QuerySet):
    def in_force(self) -> DelegationQuerySet:
        """Those that count now: not ended, both people active."""
        return self.filter(
            ended_at=None,
            ends_at__gt=timezone.now(),
            giver__is_active=True,
            taker__is_active=True,
        )
