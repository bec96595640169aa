"""Contracts and maintenance windows: what was promised, and when it was agreed not to count."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class Contract(models.Model):
    """An availability objective for an environment; best-effort machines carry one that says so."""

    environment = models.OneToOneField(
        "environments.Environment", models.CASCADE, related_name="contract"
    )
    availability_ratio = models.FloatField(_("availability"), default=0.99)
    note = models.CharField(max_length=200, blank=True)
    valid_from = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.environment}: {self.availability_ratio:.3%}"


class MaintenanceWindow(models.Model):
    """A span of time that is excluded from a contract when approved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", models.CASCADE, related_name="maintenance_windows"
    )
    begins_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("to"))
    reason = models.TextField(_("reason"))
    state = models.CharField(
        max_length=10,
        default="requested",
        choices=(
            ("requested", _("requested")),
            ("approved", _("approved")),
            ("rejected", _("rejected")),
        ),
    )
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        ordering = ("-begins_at",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("begins_at")), name="window_has_length"
            ),
        )

    def __str__(self) -> str:
        return f"{self.environment}: {self.begins_at:%F %R}"
