"""Sending what waits in the outbox, again and later if it fails, until a day has passed."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from django.db.models import Q

from millwright.settings import get_settings

from . import mail, webhooks
from .models import Delivery, Notice

log = logging.getLogger(__name__)

#: Minutes to wait after the first, second … failure; after the last one it is given up.
WAITS_MIN = (1, 2, 5, 10, 30, 60, 180, 360, 720)
#: In one round; a mail tells at most so many notices.
BATCH, MAIL_LINES = 100, 50
#: Notices and deliveries are kept for so long.
KEPT = dt.timedelta(days=90)


def _done(rows: list[Delivery], answer: str, now: dt.datetime) -> None:
    for row in rows:
        row.state, row.answer, row.ended_at, row.next_at = "sent", answer[:300], now, None
        row.attempts += 1
    _save(rows)


def _later(rows: list[Delivery], answer: str, now: dt.datetime, *, final: bool) -> None:
    for row in rows:
        row.attempts += 1
        row.answer = answer[:300]
        if final or row.attempts > len(WAITS_MIN):
            row.state, row.ended_at, row.next_at = "failed", now, None
        else:
            row.next_at = now + dt.timedelta(minutes=WAITS_MIN[row.attempts - 1])
    _save(rows)


def _save(rows: list[Delivery]) -> None:
    Delivery.objects.bulk_update(rows, ("state", "answer", "ended_at", "next_at", "attempts"))


def _mails(due: list[Delivery], now: dt.datetime) -> None:
    """One message for each person, whatever it tells: a lost host with fifty machines is one mail."""
    by_person: dict[Any, list[Delivery]] = {}
    for row in due:
        by_person.setdefault(row.user_id, []).append(row)
    for rows in by_person.values():
        person = rows[0].user
        assert person is not None  # noqa: S101 - grouped by it
        if not (person.is_active and person.email):
            _later(rows, "the account is closed or has no e-mail address", now, final=True)
            continue
        rows = rows[:MAIL_LINES]
        notices: list[Notice] = [row.notice for row in rows if row.notice is not None]
        try:
            _done(rows, mail.send(mail.compose(person, notices)), now)
        except mail.MailError as error:
            log.warning("mail to %s: %s", person.username, error)
            _later(rows, str(error), now, final=error.final)


def deliver(now: dt.datetime) -> int:
    """Send what is due; returns how many deliveries were tried."""
    rows = Delivery.objects.filter(state="waiting", next_at__lte=now)
    if not get_settings().smtp_host:
        # Without a mail server mail waits for one, as long as other deliveries would.
        stale = rows.filter(user__isnull=False, created_at__lt=now - dt.timedelta(days=1))
        stale.update(state="failed", ended_at=now, next_at=None, answer="no mail server is set up")
        rows = rows.exclude(user__isnull=False)
    due = list(
        rows.filter(Q(webhook=None) | Q(webhook__enabled=True))
        .select_related("notice__project", "user", "webhook")
        .order_by("next_at")[:BATCH]
    )
    _mails([row for row in due if row.webhook_id is None], now)
    broken: dict[Any, str] = {}
    for row in due:
        if row.webhook_id is None:
            continue
        if row.webhook_id in broken:
            # One that does not answer is not waited for again in this round.
            _later([row], broken[row.webhook_id], now, final=False)
            continue
        try:
            _done([row], webhooks.send(row, int(now.timestamp())), now)
        except webhooks.WebhookError as error:
            log.warning("webhook %s: %s", row.webhook, error)
            broken[row.webhook_id] = str(error)
            _later([row], str(error), now, final=False)
    return len(due)


def forget(now: dt.datetime) -> None:
    """Old notices go, with everybody's copies and their log."""
    Notice.objects.filter(at__lt=now - KEPT).delete()
    Delivery.objects.filter(notice=None, created_at__lt=now - KEPT).delete()
