"""What a person may see of projects and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.dispatch import Signal
from django.utils import timezone

if TYPE_CHECKING:
    from .models import User

#: What a person may do was changed by a statement of which models' own signals say nothing.
rights_changed = Signal()


class ByProjectQuerySet(models.QuerySet):
    """Rows that belong to a project, by a path of relations."""

    project_path = "project"

    def for_user(self, user: Any) -> Self:
        """Rows of the user's projects; everything for people with a plant-wide reading role."""
        from .permissions import own_projects, sees_everything

        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        return self.filter(**{f"{self.project_path}__in": own_projects(user)})


class ProjectQuerySet(models.QuerySet):
    def for_user(self, user: User) -> ProjectQuerySet:
        """Projects the user is a member of; all for people with a plant-wide role."""
        from .permissions import own_projects, sees_everything

        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        return self.filter(pk__in=own_projects(user))


class _TellingQuerySet(models.QuerySet):
    """Says when rows were changed all at once, unless only columns that are `silent`."""

    silent: frozenset[str] = frozenset()

    def update(self, **values: Any) -> int:
        """As usual, and tells `rights_changed`."""
        count = super().update(**values)
        if values.keys() - self.silent:
            rights_changed.send(self.model)
        return count

    # As Django's own says of itself: no template may call it. To a checker a function has no such attribute.
    update.alters_data = True  # type: ignore[attr-defined]


class ApiTokenQuerySet(_TellingQuerySet):
    #: That a token is in use changes nobody's rights.
    silent = frozenset({"last_used_at"})

    def usable(self) -> ApiTokenQuerySet:
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)


class DelegationQuerySet(_TellingQuerySet):
    def in_force(self) -> DelegationQuerySet:
        """Those that count now: not ended, both people active."""
        return self.filter(
            ended_at=None,
            ends_at__gt=timezone.now(),
            giver__is_active=True,
            taker__is_active=True,
        )
