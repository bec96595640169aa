"""What was promised, what was kept: contracts, the append-only ledger, maintenance, sums and seals.

The ledger's rows are never changed. A correction is a new row of the same incident, and the row it
replaces gets a row in `Supersession`; what is current is what nothing supersedes.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from millwright.audit.models import AppendOnly

from .choices import CAUSES, EVENTS, KINDS, QUALITIES, SCOPES, WINDOW_STATES, WindowState
from .querysets import (
    ByEnvironmentQuerySet,
    ContractQuerySet,
    IntervalQuerySet,
    WindowQuerySet,
)


class Contract(AppendOnly):
    """What is promised from `valid_from` on, to one environment or to a class. A change is a new row."""

    environment = models.ForeignKey(
        "environments.Environment",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="contracts",
        verbose_name=_("environment"),
    )
    service_class = models.CharField(_("class"), max_length=12, blank=True, choices=SCOPES)
    #: the objectives file it came from; empty: written in the portal
    objective = models.CharField(max_length=60, blank=True)
    availability_ratio = models.FloatField(_("availability"), default=0.99)
    #: share of scans that begin and end in time; None: not promised
    cycle_ratio = models.FloatField(_("scans in time"), null=True, blank=True)
    #: so many late scans one after another are still in order; None: not promised
    cycle_streak = models.PositiveIntegerField(
        _("late scans one after another, at most"), null=True, blank=True
    )
    #: from approval to an environment that answers; None: not promised
    provisioning_s = models.PositiveIntegerField(
        _("provisioned within, in seconds"), null=True, blank=True
    )
    #: from a host's loss to a machine that is up again; None: not promised
    recovery_s = models.PositiveIntegerField(
        _("back after a host's loss within, in seconds"), null=True, blank=True
    )
    #: share of minutes in which the links to all devices are good; None: not promised
    device_link_ratio = models.FloatField(_("links to devices"), null=True, blank=True)
    #: share of minutes in which control vCPUs wait no longer than their objective's limit; None: not promised
    run_queue_ratio = models.FloatField(_("control cores hardly wait"), null=True, blank=True)
    #: `core.sla.ServiceHours` as data; empty: always
    hours = models.JSONField(_("service hours"), default=dict, blank=True)
    missing_grace_s = models.PositiveIntegerField(
        _("missing data counts as down after, in seconds"), default=120
    )
    small_stop_s = models.PositiveIntegerField(
        _("a small stop lasts at most, in seconds"), default=120
    )
    planned_counts = models.BooleanField(_("ordered stops use the budget"), default=False)
    lead_time_hours = models.PositiveIntegerField(
        _("maintenance is asked for ahead, in hours"), default=24
    )
    yearly_cap_hours = models.PositiveIntegerField(
        _("maintenance in a year, at most hours"), default=48
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    valid_from = models.DateTimeField(_("applies from"))
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )

    objects = ContractQuerySet.as_manager()

    class Meta:
        ordering = ("valid_from", "pk")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(environment__isnull=True) ^ models.Q(service_class=""),
                name="contract_has_one_scope",
            ),
            models.CheckConstraint(
                condition=models.Q(availability_ratio__gte=0, availability_ratio__lt=1),
                name="contract_ratio",
            ),
        )
        indexes = (
            models.Index(fields=("environment", "valid_from"), name="contract_environment"),
            models.Index(fields=("service_class", "valid_from"), name="contract_class"),
        )

    def __str__(self) -> str:
        whose = self.environment or self.get_service_class_display()
        return f"{whose}: {self.availability_ratio:.3%}"


class Interval(AppendOnly):
    """Time in which a machine was not up. Half-open; an end of None is "still so"."""

    environment = models.ForeignKey(
        "environments.Environment", models.PROTECT, related_name="ledger"
    )
    machine = models.ForeignKey("environments.Machine", models.PROTECT, null=True, related_name="+")
    #: what stays the same through all corrections
    incident = models.UUIDField(default=uuid.uuid4)
    begin = models.DateTimeField()
    end = models.DateTimeField(null=True)
    kind = models.CharField(max_length=8, choices=KINDS)
    cause = models.CharField(max_length=12, choices=CAUSES)
    #: what was seen, and the event that explains it, in words
    why = models.CharField(max_length=300, blank=True)
    #: the kind of that event (`core.sla.Happened`); empty: none
    explained_by = models.CharField(max_length=12, blank=True, choices=EVENTS)
    host = models.CharField(max_length=48, blank=True)
    #: how the row came to be: seen, closed, classify, split, merge
    verb = models.CharField(max_length=10, default="seen")
    reason = models.CharField(max_length=300, blank=True)
    written_at = models.DateTimeField(default=timezone.now)
    #: None: written by Millwright itself
    written_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    #: open, or longer than a day: these few are looked for apart, so that a month reads only its own rows
    long = models.BooleanField(default=True, editable=False)

    objects = IntervalQuerySet.as_manager()

    #: Longer than this is `long`.
    LONG = dt.timedelta(days=1)

    class Meta:
        ordering = ("begin", "pk")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(end__isnull=True) | models.Q(end__gt=models.F("begin")),
                name="interval_has_length",
            ),
        )
        indexes = (
            models.Index(fields=("environment", "begin"), name="interval_environment"),
            models.Index(fields=("begin",), name="interval_begin"),
            models.Index(fields=("machine", "begin"), name="interval_machine"),
            models.Index(fields=("incident",), name="interval_incident"),
            models.Index(
                fields=("environment", "begin"),
                condition=models.Q(long=True),
                name="interval_long",
            ),
            models.Index(
                fields=("-begin",), condition=models.Q(cause="unknown"), name="interval_unknown"
            ),
        )

    def __str__(self) -> str:
        return f"{self.environment_id}: {self.kind} {self.begin:%F %T}"

    @property
    def length(self) -> dt.timedelta | None:
        """None while it is open."""
        return self.end - self.begin if self.end is not None else None

    @classmethod
    def lasts_long(cls, begin: dt.datetime, end: dt.datetime | None) -> bool:
        return end is None or end - begin > cls.LONG

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.long = self.lasts_long(self.begin, self.end)
        super().save(*args, **kwargs)


class Supersession(AppendOnly):
    """A row of the ledger that a later one replaces; kept, and never counted again."""

    interval = models.OneToOneField(Interval, models.PROTECT, related_name="supersession")
    at = models.DateTimeField(default=timezone.now)
    verb = models.CharField(max_length=10)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    def __str__(self) -> str:
        return f"{self.interval_id}: {self.verb}"


class Note(AppendOnly):
    """What people say of an incident: a comment, or that they have seen it."""

    incident = models.UUIDField(db_index=True)
    environment = models.ForeignKey(
        "environments.Environment", models.PROTECT, related_name="ledger_notes"
    )
    kind = models.CharField(
        max_length=12, choices=(("comment", _("comment")), ("acknowledge", _("acknowledged")))
    )
    text = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")

    class Meta:
        ordering = ("at", "pk")

    def __str__(self) -> str:
        return self.text[:60] or self.kind


class CycleCount(AppendOnly):
    """Scans of a machine in a span of time, and how many of them began or ended late."""

    environment = models.ForeignKey(
        "environments.Environment", models.PROTECT, related_name="cycle_counts"
    )
    machine = models.ForeignKey("environments.Machine", models.PROTECT, related_name="+")
    begin = models.DateTimeField()
    end = models.DateTimeField()
    scans = models.PositiveBigIntegerField()
    missed = models.PositiveBigIntegerField()
    longest_streak = models.PositiveBigIntegerField(default=0)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("begin", "pk")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(missed__lte=models.F("scans")), name="cycle_missed_of_scans"
            ),
            models.UniqueConstraint(fields=("machine", "begin"), name="cycle_count_once"),
        )
        indexes = (models.Index(fields=("environment", "begin"), name="cycle_environment"),)

    def __str__(self) -> str:
        return f"{self.missed} of {self.scans} scans late"


class QualityCount(AppendOnly):
    """Minutes of an hour that were measured, and of them the good ones: links to devices, control cores' waits,
    the portal. `environment` None: the plant's."""

    environment = models.ForeignKey(
        "environments.Environment", models.PROTECT, null=True, related_name="quality_counts"
    )
    indicator = models.CharField(max_length=20, choices=QUALITIES)
    begin = models.DateTimeField()
    end = models.DateTimeField()
    #: a link that is good a part of the minute counts by that part
    minutes = models.FloatField()
    good = models.FloatField()

    class Meta:
        ordering = ("begin", "pk")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(good__gte=0, good__lte=models.F("minutes")),
                name="quality_good_of_minutes",
            ),
            models.UniqueConstraint(
                fields=("environment", "indicator", "begin"), name="quality_count_once"
            ),
            models.UniqueConstraint(
                fields=("indicator", "begin"),
                condition=models.Q(environment__isnull=True),
                name="quality_count_of_the_plant_once",
            ),
        )
        indexes = (models.Index(fields=("environment", "begin"), name="quality_environment"),)

    def __str__(self) -> str:
        return f"{self.good:.1f} of {self.minutes:.0f} minutes good"


class Absence(AppendOnly):
    """The control plane looked at nothing: missing data for everything. A correction is not needed, it is a fact."""

    begin = models.DateTimeField()
    end = models.DateTimeField()
    why = models.CharField(max_length=300, blank=True)
    #: the control plane was stopped by people, in order: agreed not to count
    ordered = models.BooleanField(default=False)

    class Meta:
        ordering = ("begin",)
        indexes = (models.Index(fields=("end",), name="absence_end"),)

    def __str__(self) -> str:
        return f"{self.begin:%F %T} to {self.end:%F %T}"


class MaintenanceWindow(models.Model):
    """A span of time, once or every so many days, that is excluded from a contract when approved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    environment = models.ForeignKey(
        "environments.Environment",
        models.CASCADE,
        related_name="maintenance_windows",
        verbose_name=_("environment"),
    )
    begins_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("to"))
    every_days = models.PositiveIntegerField(_("again every so many days"), default=0)
    until = models.DateField(_("last on"), null=True, blank=True)
    reason = models.TextField(_("reason"))
    state = models.CharField(
        max_length=10, default=WindowState.REQUESTED.value, choices=WINDOW_STATES, db_index=True
    )
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now)
    #: asked for later than the contract's lead time; afterwards: it had already begun
    late = models.BooleanField(default=False)
    retroactive = models.BooleanField(default=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)
    #: when people said that they were done; nothing after it is excluded
    closed_at = models.DateTimeField(null=True)

    objects = WindowQuerySet.as_manager()

    class Meta:
        ordering = ("-begins_at",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("begins_at")), name="window_has_length"
            ),
        )
        indexes = (models.Index(fields=("environment", "begins_at"), name="window_environment"),)

    def __str__(self) -> str:
        return f"{self.environment}: {self.begins_at:%F %R}"


class ProbeState(models.Model):
    """The last answer of a probe; its changes are in the history of states."""

    machine = models.ForeignKey("environments.Machine", models.CASCADE, related_name="probe_states")
    kind = models.CharField(max_length=10)
    ok = models.BooleanField()
    since = models.DateTimeField()
    last_at = models.DateTimeField()
    #: when this was last written to the history
    said_at = models.DateTimeField(null=True)
    #: it no longer asks
    stale = models.BooleanField(default=False)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("machine", "kind"), name="probe_once"),)

    def __str__(self) -> str:
        return f"{self.kind} {'ok' if self.ok else 'failing'}"


class ServiceSpan(models.Model):
    """From its first running to its removal an environment is in service. Derived from the history."""

    environment = models.OneToOneField(
        "environments.Environment", models.CASCADE, primary_key=True, related_name="service_span"
    )
    begin = models.DateTimeField()
    end = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.environment_id} from {self.begin:%F %T}"


class LedgerCursor(models.Model):
    """How far the history has been read into the ledger; one row."""

    transition = models.BigIntegerField(default=0)
    #: keys at or below `transition` that were read: transactions may commit in another order
    seen = models.JSONField(default=list)
    round_at = models.DateTimeField(null=True)
    #: when the orchestrator was stopped in order; None while it works or when it died
    stopped_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"up to {self.transition}"


class MonthSum(models.Model):
    """A month's figures of an environment, kept so that lists need not measure. Seconds."""

    environment = models.ForeignKey(
        "environments.Environment", models.CASCADE, related_name="month_sums"
    )
    month = models.DateField()
    eligible_s = models.FloatField()
    down_s = models.FloatField()
    missing_s = models.FloatField()
    excluded_s = models.FloatField()
    ordered_s = models.FloatField(default=0)
    budget_s = models.FloatField()
    outages = models.PositiveIntegerField()
    causes = models.JSONField(default=dict)
    #: up to when it was measured
    measured_at = models.DateTimeField()
    stale = models.BooleanField(default=False)

    objects = ByEnvironmentQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("environment", "month"), name="month_once"),)
        indexes = (
            models.Index(fields=("month", "stale"), name="month_stale"),
            models.Index(fields=("stale",), condition=models.Q(stale=True), name="month_to_do"),
        )

    def __str__(self) -> str:
        return f"{self.environment_id} {self.month:%Y-%m}"

    @property
    def availability(self) -> float | None:
        return 1.0 - self.down_s / self.eligible_s if self.eligible_s else None

    @property
    def budget_left_s(self) -> float:
        return self.budget_s - self.down_s


class Seal(AppendOnly):
    """A month's report as it was signed off: a hash chain over its inputs, so that a later edit shows."""

    environment = models.ForeignKey(
        "environments.Environment", models.PROTECT, related_name="seals"
    )
    month = models.DateField()
    number = models.PositiveIntegerField()
    made_at = models.DateTimeField(default=timezone.now)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    #: keys of the inputs and the figures that came of them
    inputs = models.JSONField()
    #: the digest of the environment's seal before; empty for the first
    previous = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)

    objects = ByEnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ("environment", "number")
        constraints = (models.UniqueConstraint(fields=("environment", "number"), name="seal_once"),)

    def __str__(self) -> str:
        return f"{self.environment} {self.month:%Y-%m}: {self.digest[:12]}"
