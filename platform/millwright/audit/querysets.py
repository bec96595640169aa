"""Which audit entries a person may read."""

from __future__ import annotations

from typing import Any

from django.db import models

from millwright.accounts.permissions import projects_with


class AuditQuerySet(models.QuerySet):
    def for_user(self, user: Any) -> AuditQuerySet:
        """All for auditors and administrators of the plant; else those of audited projects and one's own."""
        projects = projects_with(user, "audit")
        if projects is None:
            return self
        if not user.is_authenticated:
            return self.none()
        return self.filter(models.Q(project__in=projects) | models.Q(actor=user))

    def search(self, text: str) -> AuditQuerySet:
        """Entries that hold every word of the text, in whatever of actor, action, object and reason."""
        found = self
        for word in text.split()[:8]:
            query = models.Q()
            for field in ("actor_name", "action", "object_name", "reason"):
                query |= models.Q(**{f"{field}__icontains": word})
            found = found.filter(query)
        return found
