"""A notification, a webhook and a delivery that was given up, for tests of who may do what."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from millwright.notifications.models import Delivery, Notice, Notification, Webhook


def told_world(user: Any) -> dict[str, Any]:
    """Their keys by name; the notification is the person's."""
    now = timezone.now()
    notice = Notice.objects.create(
        source="test:1",
        kind="host.lost",
        at=now,
        subject_type="host",
        subject_id="1",
        facts={"name": "mw0-h1", "why": "no answer"},
    )
    webhook = Webhook.objects.create(name="log", url="https://1.1.1.1/")
    return {
        "notification": Notification.objects.create(notice=notice, user=user, at=now).pk,
        "webhook": webhook.pk,
        "delivery": Delivery.objects.create(
            notice=notice, webhook=webhook, state="failed", created_at=now
        ).pk,
    }
