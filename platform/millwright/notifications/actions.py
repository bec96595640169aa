"""What people change: read marks, their choices, webhooks, another try."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.language import choose_language
from millwright.accounts.models import Project, User
from millwright.accounts.permissions import require
from millwright.audit.actions import record

from . import webhooks
from .kinds import KINDS
from .models import Choice, Delivery, Notification, Webhook


def unread(user: Any) -> int:
    """How many the person has not read; counted up to 100."""
    rows = Notification.objects.filter(user=user, read_at=None)
    return rows.order_by()[:100].count()


def mark_read(actor: Any, notification: Notification) -> None:
    """One's own, once. A mark is no change of the plant: no line in the audit trail."""
    Notification.objects.filter(pk=notification.pk, user=actor, read_at=None).update(
        read_at=timezone.now()
    )


def mark_all_read(actor: Any) -> int:
    """All of one's own; returns how many."""
    return Notification.objects.filter(user=actor, read_at=None).update(read_at=timezone.now())


def choices_of(user: Any) -> dict[str, tuple[bool, bool]]:
    """Kind → (inbox, mail), as it counts for the person."""
    chosen = {row.kind: row for row in Choice.objects.filter(user=user)}
    return {
        code: (chosen[code].inbox, chosen[code].mail) if code in chosen else (True, kind.mailed)
        for code, kind in KINDS.items()
    }


@transaction.atomic
def choose(
    actor: Any,
    wanted: dict[str, tuple[bool, bool]],
    email: str | None = None,
    language: str | None = None,
) -> None:
    """Set kinds' (inbox, mail), and one's own address for mail and language when given.

    Raises:
        ValidationError: a kind that does not exist, no address, or a language that is not spoken.
    """
    if language is not None:
        choose_language(actor, language)
    for code in wanted:
        _known(code)
    if email is not None and email != actor.email:
        if email:
            try:
                validate_email(email)
            except ValidationError:
                raise ValidationError(
                    {"email": _("%(value)r is no e-mail address") % {"value": email}}
                ) from None
        User.objects.filter(pk=actor.pk).update(email=email)
        actor.email = email
    for code, (inbox, mail) in wanted.items():
        Choice.objects.update_or_create(
            user=actor, kind=code, defaults={"inbox": inbox, "mail": mail}
        )
    record(actor, "notification.choose", actor, kinds=sorted(wanted))


def _known(code: str) -> str:
    if code not in KINDS:
        raise ValidationError(
            {
                "kinds": _("%(value)r: the kinds are %(all)s")
                % {"value": code, "all": ", ".join(KINDS)}
            }
        )
    return code


def _checked(name: str, url: str, kinds: Iterable[str]) -> tuple[str, str, list[str]]:
    name, url = name.strip(), url.strip()
    if not 1 <= len(name) <= 80:
        raise ValidationError({"name": _("1 to 80 characters")})
    if len(url) > 500:
        raise ValidationError({"url": _("at most 500 characters")})
    try:
        scheme, host, port, _path = webhooks.split(url)
    except ValueError as error:
        raise ValidationError({"url": str(error)}) from None
    try:
        webhooks.resolve(scheme, host, port)
    except webhooks.WebhookError as error:
        # A name that is not known now may be later; an address that is forbidden stays so.
        if str(error).startswith("refused"):
            raise ValidationError({"url": str(error)}) from None
    return name, url, sorted({_known(code) for code in kinds})


@transaction.atomic
def add_webhook(
    actor: Any, *, name: str, url: str, kinds: Iterable[str] = (), project: Project | None = None
) -> tuple[Webhook, str]:
    """Make one; the secret is returned, and shown at its rotation again.

    Raises:
        ValidationError: field by field.
    """
    require(actor, "administer")
    name, url, kinds = _checked(name, url, kinds)
    if Webhook.objects.filter(name=name).exists():
        raise ValidationError({"name": _("a webhook of this name exists already")})
    made = Webhook.objects.create(name=name, url=url, kinds=kinds, project=project)
    record(actor, "webhook.add", made, project=project, host=webhooks.split(url)[1], kinds=kinds)
    return made, webhooks.secret_of(made)


@transaction.atomic
def enable_webhook(actor: Any, webhook: Webhook, enabled: bool) -> None:
    """Switch it; while it is off its deliveries wait."""
    require(actor, "administer")
    if webhook.enabled != enabled:
        webhook.enabled = enabled
        webhook.save(update_fields=("enabled",))
        record(actor, "webhook.enable" if enabled else "webhook.disable", webhook)


@transaction.atomic
def rotate_webhook(actor: Any, webhook: Webhook) -> str:
    """Another secret at once; the old one signs nothing any more."""
    require(actor, "administer")
    row = Webhook.objects.select_for_update().get(pk=webhook.pk)
    row.generation += 1
    row.save(update_fields=("generation",))
    record(actor, "webhook.rotate", row)
    return webhooks.secret_of(row)


@transaction.atomic
def remove_webhook(actor: Any, webhook: Webhook) -> None:
    """Remove it, with its log."""
    require(actor, "administer")
    record(actor, "webhook.remove", webhook)
    webhook.delete()


@transaction.atomic
def test_webhook(actor: Any, webhook: Webhook) -> Delivery:
    """Put a test message in the outbox; its fate is in the log."""
    require(actor, "administer")
    now = timezone.now()
    made = Delivery.objects.create(webhook=webhook, created_at=now, next_at=now)
    record(actor, "webhook.test", webhook)
    return made


@transaction.atomic
def retry(actor: Any, delivery: Delivery) -> None:
    """Try one again that was given up, from the beginning of its waits."""
    require(actor, "administer")
    row = Delivery.objects.select_for_update().get(pk=delivery.pk)
    if row.state != "failed":
        raise ValidationError(_("only what was given up can be tried again"))
    row.state, row.attempts, row.next_at, row.ended_at = "waiting", 0, timezone.now(), None
    row.save(update_fields=("state", "attempts", "next_at", "ended_at"))
    record(actor, "delivery.retry", row)
