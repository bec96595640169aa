"""Requests, environments, machines, operations, and the append-only history of states."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from millwright.audit.models import AppendOnly
from millwright.core.lifecycle import (
    OFFERED_POWER,
    EnvironmentState,
    MachineDesired,
    MachineObserved,
    Movability,
    OperationKind,
    OperationState,
    Recovery,
    RequestState,
    ServiceClass,
    StepState,
)

from .querysets import (
    EnvironmentQuerySet,
    MachineQuerySet,
    OperationQuerySet,
    RequestQuerySet,
    SavedViewQuerySet,
)


def _choices(states: type) -> list[tuple[str, str]]:
    return [(str(state), str(state)) for state in states]


class Request(models.Model):
    """What an engineer asks for. Approved and not yet built, it reserves quota."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name of the environment"), max_length=40)
    project = models.ForeignKey(
        "accounts.Project", models.PROTECT, related_name="requests", verbose_name=_("project")
    )
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="requests")
    template_version = models.ForeignKey(
        "catalog.TemplateVersion", models.PROTECT, verbose_name=_("template")
    )
    size = models.CharField(_("size"), max_length=32)
    cell = models.ForeignKey("inventory.Cell", models.PROTECT, null=True, verbose_name=_("cell"))
    program_version = models.ForeignKey(
        "shopfloor.ProgramVersion",
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("control program"),
    )
    #: a realtime core of its own or nothing; otherwise best effort is accepted where a host allows it
    strict_realtime = models.BooleanField(_("insist on a core of its own"), default=False)
    lease_days = models.PositiveIntegerField(_("lease in days"), default=30)
    justification = models.TextField(_("justification"), blank=True)
    #: names of the project's devices that it is for; their points are mapped once a controller runs
    devices = models.JSONField(_("devices"), default=list, blank=True)
    state = models.CharField(
        max_length=12, default=RequestState.DRAFT, choices=_choices(RequestState)
    )
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    decision_reason = models.TextField(blank=True)
    #: where the project wants two approvers: who agreed first
    first_approval_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    first_approval_at = models.DateTimeField(null=True, blank=True)
    environment = models.OneToOneField(
        "Environment", models.SET_NULL, null=True, blank=True, related_name="request"
    )
    #: the same for all that were asked for in one go, which are decided together
    alike = models.UUIDField(_("asked for together"), null=True, blank=True, editable=False)
    #: the placement preview at submission: {"chosen", "hosts": […], "notes": […]}
    placement = models.JSONField(default=dict)

    objects = RequestQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("state", "-created_at"), name="request_state"),
            models.Index(fields=("-created_at",), name="request_newest"),
            models.Index(fields=("requester", "-created_at"), name="request_own"),
            models.Index(fields=("state", "submitted_at"), name="request_waiting"),
            models.Index(
                fields=("alike",), condition=models.Q(alike__isnull=False), name="request_alike"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Environment(models.Model):
    """What runs for a project: one machine or several, under one lease."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=40)
    project = models.ForeignKey("accounts.Project", models.PROTECT, related_name="environments")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="environments")
    state = models.CharField(
        max_length=16, default=EnvironmentState.RESERVED, choices=_choices(EnvironmentState)
    )
    state_reason = models.TextField(blank=True)
    state_since = models.DateTimeField(auto_now_add=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_ending = models.BooleanField(default=False)
    #: what users of its machines suffer from a move, in core-seconds; nothing: what their templates say
    disruption = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=~models.Q(state="removed"), name="environment_name_once"
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def offered_power(self) -> tuple[str, ...]:
        """Which of start, restart and stop make sense in its state."""
        return OFFERED_POWER.get(EnvironmentState(self.state), ())


class EnvironmentTag(models.Model):
    """A word by which people find environments."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="tags")
    name = models.SlugField(max_length=32)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("environment", "name"), name="environment_tag_once"),
        )

    def __str__(self) -> str:
        return self.name


class SavedView(models.Model):
    """Filters of the list of environments that a person keeps under a name."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=48)
    query = models.CharField(max_length=500, blank=True)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=("user", "name"), name="saved_view_once"),)

    def __str__(self) -> str:
        return self.name


def domain_name(environment: str, machine: str) -> str:
    """What a machine's libvirt domain is called, by the names of both."""
    return f"mw-{environment}-{machine}"


class StartedCpu(models.Model):
    """A CPU that machines were started with, kept once for all of them: many have the same, and it is long."""

    #: of everything below; by it the same CPU is found again
    digest = models.CharField(max_length=64, unique=True)
    accel = models.CharField(max_length=16)
    model = models.CharField(max_length=64, blank=True)
    passthrough = models.BooleanField(default=False)
    features = models.JSONField(default=list)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.accel} {self.model}".strip()


class Machine(models.Model):
    """A VM; its id is the domain's uuid. Desired and observed state are kept apart."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    environment = models.ForeignKey(Environment, models.PROTECT, related_name="machines")
    name = models.SlugField(max_length=32)
    template_version = models.ForeignKey("catalog.TemplateVersion", models.PROTECT)
    size = models.CharField(max_length=32)
    service_class = models.CharField(max_length=12, choices=_choices(ServiceClass))
    strict_realtime = models.BooleanField(default=False)
    recovery = models.CharField(
        max_length=12, default=Recovery.RECOVERABLE, choices=_choices(Recovery)
    )
    movability = models.CharField(
        _("may be moved"),
        max_length=10,
        default=Movability.FREE,
        choices=[(str(word), str(word)) for word in Movability],
    )
    #: the balancer's mode for this machine; empty: its pool's
    balance_mode = models.CharField(_("balancing"), max_length=10, blank=True, default="")
    pool = models.ForeignKey(
        "balancing.ResourcePool", models.SET_NULL, null=True, blank=True, related_name="machines"
    )
    priority = models.IntegerField(_("priority"), default=0)
    shares = models.PositiveIntegerField(_("shares"), default=1000)
    cpu_reservation = models.FloatField(_("reserved CPUs"), default=0)
    cpu_limit = models.FloatField(_("CPU limit"), null=True, blank=True)
    #: a crowded host's balloon never takes it below this; nothing: its memory is left alone
    memory_minimum_bytes = models.PositiveBigIntegerField(_("least memory"), null=True, blank=True)
    #: machines that must run before it starts again after a host's loss
    after = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="before")
    #: started elsewhere when its host dies, and counted in "can every protected machine restart"
    protected = models.BooleanField(_("protected"), default=True)
    #: the CPU that it runs with; nothing: not known
    started_cpu = models.ForeignKey("StartedCpu", models.PROTECT, null=True, related_name="+")
    #: what was found of it while it ran: {"dirty_bytes_s", "dirty_at", "disk_bytes": allocated of its disk,
    #: "asked_at"}; what is missing is not known
    traits = models.JSONField(default=dict, blank=True)
    vcpus = models.PositiveIntegerField()
    realtime_cores = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    cell = models.ForeignKey("inventory.Cell", models.PROTECT, null=True)
    host = models.ForeignKey(
        "inventory.Host", models.PROTECT, null=True, blank=True, related_name="machines"
    )
    generation = models.PositiveIntegerField(default=0)
    mac = models.CharField(max_length=17, blank=True)
    desired = models.CharField(
        max_length=10, default=MachineDesired.RUNNING, choices=_choices(MachineDesired)
    )
    observed = models.CharField(
        max_length=10, default=MachineObserved.ABSENT, choices=_choices(MachineObserved)
    )
    observed_at = models.DateTimeField(null=True, blank=True)
    #: what the host cannot honour of the class, in words; empty: everything is honoured
    best_effort = models.JSONField(default=list)
    #: why it is where it is: chosen host, scores, rejected hosts with reasons
    placement = models.JSONField(default=dict)
    #: which CPU serves which vCPU, emulator and I/O threads
    cpu_assignment = models.JSONField(default=dict)
    #: the last status that the guest reported (state, program, scans, overruns)
    guest_status = models.JSONField(default=dict)
    guest_status_at = models.DateTimeField(null=True, blank=True)
    #: variables that are held against the program, and since when that is known
    forced = models.PositiveIntegerField(default=0)
    forced_since = models.DateTimeField(null=True, blank=True)
    #: of when the newest copy of what the controller retains is; None: there is none
    retained_as_of = models.DateTimeField(null=True, blank=True)

    objects = MachineQuerySet.as_manager()

    class Meta:
        ordering = ("environment", "name")
        constraints = (
            models.UniqueConstraint(fields=("environment", "name"), name="machine_name_once"),
        )
        indexes = (
            # Few are, and every home page asks.
            models.Index(
                fields=("forced_since",), condition=models.Q(forced__gt=0), name="machine_forced"
            ),
        )

    def __str__(self) -> str:
        return f"{self.environment.name}/{self.name}"

    @property
    def domain_name(self) -> str:
        return domain_name(self.environment.name, self.name)


class Operation(models.Model):
    """A durable change. Written with the intent; run by the orchestrator (docs/adr/0002)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=_choices(OperationKind))
    state = models.CharField(
        max_length=12, default=OperationState.QUEUED, choices=_choices(OperationState)
    )
    project = models.ForeignKey("accounts.Project", models.PROTECT, null=True, related_name="+")
    environment = models.ForeignKey(
        Environment, models.PROTECT, null=True, related_name="operations"
    )
    machine = models.ForeignKey(Machine, models.PROTECT, null=True, related_name="operations")
    payload = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    #: who, why: from the click to the hypervisor call
    reason = models.CharField(max_length=300, blank=True)
    progress = models.CharField(max_length=300, blank=True)
    error = models.TextField(blank=True)
    #: what only a person knows: {"text": …, "answers": {code: words}}; empty while nothing is asked
    question = models.JSONField(default=dict)
    answer = models.CharField(max_length=40, blank=True, default="")
    #: the operation that this one is a part of (a drain's moves)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="parts")
    #: the host that a drain or a recovery is about
    host = models.ForeignKey(
        "inventory.Host", models.PROTECT, null=True, blank=True, related_name="operations"
    )
    #: raised when a person tries again; part of the durable workflow's id
    attempt = models.PositiveIntegerField(default=1)
    cancel_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = OperationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("state", "created_at"), name="operation_state"),
            models.Index(fields=("environment", "-created_at"), name="operation_environment"),
            models.Index(fields=("-created_at",), name="operation_newest"),
            # The last try to have a host sleep or wake: each has hundreds in a season.
            models.Index(
                fields=("host", "-created_at"),
                condition=models.Q(kind__in=("sleep_host", "wake_host")),
                name="operation_power",
            ),
        )

    @property
    def answer_words(self) -> str:
        """The given answer as it was offered."""
        return str(self.question.get("answers", {}).get(self.answer, self.answer))

    def __str__(self) -> str:
        return f"{self.kind} {self.environment or ''}".strip()


class Move(models.Model):
    """A machine between two hosts: claims held on both; afterwards what it took."""

    STATES = (("prepared", _("under way")), ("done", _("done")), ("undone", _("undone")))
    operation = models.OneToOneField(
        Operation, models.CASCADE, primary_key=True, related_name="move"
    )
    machine = models.ForeignKey(Machine, models.CASCADE, related_name="moves")
    source = models.ForeignKey("inventory.Host", models.PROTECT, related_name="moves_out")
    destination = models.ForeignKey("inventory.Host", models.PROTECT, related_name="moves_in")
    generation = models.PositiveIntegerField()
    cpu_assignment = models.JSONField(default=dict)
    shared_storage = models.BooleanField(default=False)
    #: it was off when the move began: its definition alone goes
    off = models.BooleanField(default=False, db_default=False)
    state = models.CharField(max_length=10, default="prepared", choices=STATES)
    note = models.CharField(max_length=300, blank=True)
    elapsed_ms = models.PositiveBigIntegerField(null=True)
    downtime_ms = models.PositiveBigIntegerField(null=True)
    transferred_bytes = models.PositiveBigIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (models.Index(fields=("state", "-created_at"), name="move_state"),)

    def __str__(self) -> str:
        return f"{self.machine}: {self.source} → {self.destination}"


def seconds_between(begin: dt.datetime | None, end: dt.datetime | None) -> float | None:
    """None before the end."""
    return None if begin is None or end is None else (end - begin).total_seconds()


class OperationStep(models.Model):
    """One step, for people: when it began and ended, and what it said."""

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=40)
    title = models.CharField(max_length=120)
    state = models.CharField(max_length=10, default=StepState.PENDING, choices=_choices(StepState))
    attempt = models.PositiveIntegerField(default=0)
    detail = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("operation", "position")
        constraints = (models.UniqueConstraint(fields=("operation", "name"), name="step_once"),)

    def __str__(self) -> str:
        return self.name

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from begin to end; None before the end."""
        return seconds_between(self.started_at, self.ended_at)


class StateTransition(AppendOnly):
    """Every change of state of everything, from the first day: the raw material of the SLA ledger."""

    at = models.DateTimeField()
    subject_type = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=64)
    subject_name = models.CharField(max_length=120)
    aspect = models.CharField(max_length=16, default="state")
    before = models.CharField(max_length=16, blank=True)
    after = models.CharField(max_length=16)
    cause = models.CharField(max_length=300, blank=True)
    operation = models.UUIDField(null=True)

    class Meta:
        ordering = ("-at", "-pk")
        indexes = (
            models.Index(fields=("subject_type", "subject_id", "-at"), name="transition_subject"),
            models.Index(fields=("-at",), name="transition_at"),
            # A month of all hosts' sleep is a small part of all that changed in it.
            models.Index(
                fields=("at",),
                condition=models.Q(subject_type="host", aspect="power"),
                name="transition_power",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject_name}: {self.before} → {self.after}"


#: The serial console, or the graphics card's screen.
CONSOLE_KINDS = (("serial", _("serial console")), ("screen", _("screen")))


class ConsoleVisit(models.Model):
    """A person at a machine's console: the ticket that opens it once, and from when to when he was there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    machine = models.ForeignKey(Machine, models.CASCADE, related_name="console_visits")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=8, default="serial", choices=CONSOLE_KINDS)
    #: SHA-256 of the ticket; the ticket itself is told once and kept nowhere
    ticket_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    #: by what the person was known when he asked: that browser's session, or that token
    session_key = models.CharField(max_length=40, blank=True, editable=False)
    token = models.ForeignKey(
        "accounts.ApiToken", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    asked_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    #: why it ended, as in `consoles.ENDS`
    end = models.CharField(max_length=12, blank=True)

    class Meta:
        ordering = ("-asked_at",)
        indexes = (models.Index(fields=("closed_at", "opened_at"), name="console_open"),)

    def __str__(self) -> str:
        return f"{self.user} · {self.machine_id}"


class DemandSample(models.Model):
    """What a machine used between two looks at its host."""

    machine = models.ForeignKey(Machine, models.CASCADE, related_name="demand")
    at = models.DateTimeField()
    cpu_ratio = models.FloatField(help_text=_("CPU seconds per second"))
    wait_ratio = models.FloatField(default=0, help_text=_("run-queue wait, seconds per second"))
    memory_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-at",)
        indexes = (
            models.Index(fields=("machine", "-at"), name="demand_machine"),
            models.Index(fields=("at",), name="demand_at"),
        )

    def __str__(self) -> str:
        return f"{self.machine_id} {self.at}"
