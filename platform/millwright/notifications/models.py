"""Notices, who was told, what people choose, webhooks, and the outbox of what is still to be delivered."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.utils import formats, timezone, translation
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from millwright.accounts.permissions import may
from millwright.core.balancing import Said
from millwright.environments.reasons import said

from .kinds import KINDS, Kind

#: What a kind's sentence may name; what a notice has not told is empty.
HOLES = (
    *("who", "name", "project", "why", "version", "when"),
    *("host", "count", "waiting", "wanted", "kept"),
)


class Cursor(models.Model):
    """How far a source of news was read."""

    source = models.CharField(max_length=16, primary_key=True)
    #: Nothing up to here is news: it was there when Millwright began to look.
    first = models.BigIntegerField()
    last = models.BigIntegerField()


class Notice(models.Model):
    """Something that happened and concerns people; the facts, not the words."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: Where it comes from, such as "transition:17": looked at twice it is still one notice.
    source = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=32)
    at = models.DateTimeField(db_index=True)
    subject_type = models.CharField(max_length=32)
    subject_id = models.CharField(max_length=64)
    project = models.ForeignKey("accounts.Project", models.CASCADE, null=True, related_name="+")
    facts = models.JSONField(default=dict)
    #: The page, as a path of the portal.
    link = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.kind} {self.facts.get('name', '')}"

    @property
    def words(self) -> Kind:
        return KINDS[self.kind]

    @property
    def text(self) -> str:
        """One sentence in the language that is active."""
        facts = dict.fromkeys(HOLES, "")
        facts |= {key: str(value) for key, value in self.facts.items()}
        facts["why"] = said(Said(facts["why"], self.facts.get("why_parts", ())))
        if moment := parse_datetime(facts["when"]) if facts["when"] else None:
            facts["when"] = formats.date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")
        return (str(self.words.text) % facts).strip()

    def text_in(self, language: str) -> str:
        """The sentence in a language."""
        with translation.override(language):
            return self.text


class Standing(models.Model):
    """Something that lasts, as a drain that waits: told once, until it has been gone for some time."""

    #: what it is, such as "drain:17"
    key = models.CharField(max_length=120, unique=True)
    #: when it was seen first
    since = models.DateTimeField()
    #: when it was told; nothing: it has not lasted long enough yet
    told_at = models.DateTimeField(null=True)
    #: since when it is not there any more; nothing: it is
    gone_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("since", "pk")

    def __str__(self) -> str:
        return self.key


class Notification(models.Model):
    """One person's copy of a notice, in the inbox."""

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="notifications")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="notifications")
    at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-at", "-pk")
        constraints = (
            models.UniqueConstraint(fields=("notice", "user"), name="notification_once"),
        )
        indexes = (
            models.Index(fields=("user", "-at", "-id"), name="notification_inbox"),
            models.Index(
                fields=("user",), condition=models.Q(read_at=None), name="notification_unread"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user}: {self.notice}"


class Choice(models.Model):
    """What a person wants of a kind; without a row the kind's own default."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=32)
    inbox = models.BooleanField(default=True)
    mail = models.BooleanField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "kind"), name="choice_once"),)


class Webhook(models.Model):
    """An address that is told. Its secret is derived from the instance's key and never stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    url = models.CharField(_("address"), max_length=500)
    #: Kinds that are sent; empty: all.
    kinds = models.JSONField(default=list)
    #: None: the whole plant's.
    project = models.ForeignKey("accounts.Project", models.CASCADE, null=True, related_name="+")
    enabled = models.BooleanField(default=True)
    #: Each rotation makes another secret.
    generation = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class DeliveryQuerySet(models.QuerySet):
    def for_user(self, user: Any) -> Self:
        """One's own mail; everything for the plant's administrators."""
        if not user.is_authenticated:
            return self.none()
        return self if may(user, "administer") else self.filter(user=user)


class Delivery(models.Model):
    """One message to one address: the outbox while it waits, the log afterwards."""

    STATES = (("waiting", _("waiting")), ("sent", _("sent")), ("failed", _("given up")))

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    notice = models.ForeignKey(Notice, models.CASCADE, null=True, related_name="deliveries")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    webhook = models.ForeignKey(Webhook, models.CASCADE, null=True, related_name="deliveries")
    state = models.CharField(max_length=8, choices=STATES, default="waiting")
    created_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    #: What the other side said last, without secrets.
    answer = models.CharField(max_length=300, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("notice", "user"),
                condition=models.Q(webhook=None),
                name="delivery_mail_once",
            ),
            models.UniqueConstraint(
                fields=("notice", "webhook"),
                condition=models.Q(user=None),
                name="delivery_hook_once",
            ),
        )
        indexes = (
            models.Index(
                fields=("next_at",), condition=models.Q(state="waiting"), name="delivery_waiting"
            ),
            models.Index(fields=("-created_at", "-id"), name="delivery_log"),
        )

    def __str__(self) -> str:
        return f"{self.webhook or self.user}"
