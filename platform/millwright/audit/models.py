"""Audit entries: written, never changed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .querysets import AuditQuerySet


class AppendOnlyError(TypeError):
    """Somebody tried to change or delete a row of an append-only table."""


class AppendOnly(models.Model):
    """A row that is written once. The database enforces it too (triggers in the migration)."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(f"{self._meta.label} is append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError(f"{self._meta.label} is append-only")


class AuditEntry(AppendOnly):
    """Who did what to which object, from where and why."""

    at = models.DateTimeField(_("when"), auto_now_add=True, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("who")
    )
    #: The name as it was, readable after the account is gone or renamed.
    actor_name = models.CharField(max_length=150)
    action = models.CharField(_("what"), max_length=64, db_index=True)
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(_("on"), max_length=200)
    project = models.ForeignKey("accounts.Project", models.PROTECT, null=True, related_name="+")
    reason = models.TextField(_("reason"), blank=True)
    details = models.JSONField(default=dict)
    address = models.GenericIPAddressField(_("from"), null=True)
    request_id = models.CharField(max_length=64, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ("-at", "-pk")
        indexes = (
            models.Index(fields=("object_type", "object_id", "-at"), name="audit_object"),
            models.Index(fields=("project", "-at"), name="audit_project"),
        )

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.object_name}"
