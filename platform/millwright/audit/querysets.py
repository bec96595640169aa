"""Which audit entries a person may read."""

from __future__ import annotations

from typing import Any

from django.db import models

from millwright.accounts.permissions import projects_with

#: The columns that a search looks into, in the order of the index `audit_words`.
SEARCHED = ("actor_name", "action", "object_name", "reason")


class _Joined(models.Func):
    """Texts one after the other with a blank between; none of them may be null."""

    template = "(%(expressions)s)"
    arg_joiner = " || ' ' || "


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
        # One text with blanks between, since no word has a blank: one index, one comparison a word.
        found = self.alias(words=_Joined(*SEARCHED, output_field=models.TextField()))
        for word in text.split()[:8]:
            found = found.filter(words__icontains=word)
        return found
