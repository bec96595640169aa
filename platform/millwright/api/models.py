"""Answers kept for replays of POST requests."""

from django.conf import settings
from django.db import models


class IdempotentRequest(models.Model):
    """The first answer to a key of a user; `status` is empty while it is being made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("user", "key"), name="idempotency_key_once"),
        )

    def __str__(self) -> str:
        return self.key
