"""Resource pools and placement rules: what the balancer is told by people."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from millwright.core.balancing import Said

from .querysets import RecommendationQuerySet, RuleQuerySet

MODES = (
    ("off", _("off")),
    ("shadow", _("shadow: decide and note, move nothing")),
    ("recommend", _("recommend: a person approves")),
    ("automatic", _("automatic")),
)


class ResourcePool(models.Model):
    """A node of the tree that shares capacity: reservation, limit, shares."""

    name = models.SlugField(max_length=48, unique=True)
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="children"
    )
    project = models.ForeignKey("accounts.Project", models.PROTECT, null=True, blank=True)
    cpu_reservation = models.FloatField(_("reserved CPUs"), default=0)
    cpu_limit = models.FloatField(_("CPU limit"), null=True, blank=True)
    shares = models.PositiveIntegerField(_("shares"), default=1000)
    memory_reservation_bytes = models.PositiveBigIntegerField(
        _("reserved memory"), default=0, db_default=0
    )
    memory_limit_bytes = models.PositiveBigIntegerField(_("memory limit"), null=True, blank=True)
    memory_shares = models.PositiveIntegerField(_("memory shares"), default=1000, db_default=1000)
    #: how boldly rounds balance its machines; empty: as the pool above, at the top as the plant
    balance_mode = models.CharField(
        _("balancing"), max_length=10, blank=True, default="", choices=MODES
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class PlacementRule(models.Model):
    """Keep machines together or apart, over failure domains, near, on or off certain hosts."""

    KINDS = (
        ("apart", _("keep apart: each on a host of its own")),
        ("together", _("keep together: all on one host")),
        ("spread", _("spread over failure domains")),
        ("near", _("keep near: all in one failure domain")),
        ("on_hosts", _("only on these hosts")),
        ("off_hosts", _("never on these hosts")),
    )
    name = models.SlugField(_("name"), max_length=48, unique=True)
    kind = models.CharField(_("kind"), max_length=12, choices=KINDS)
    hard = models.BooleanField(_("must hold"), default=True)
    #: what keeping a soft rule is worth, in cores of contention
    weight = models.FloatField(_("weight"), default=1.0)
    #: domains that a spread must reach; nothing: each machine in its own
    minimum = models.PositiveSmallIntegerField(_("failure domains"), null=True, blank=True)
    machines = models.ManyToManyField(
        "environments.Machine", blank=True, related_name="placement_rules"
    )
    hosts = models.ManyToManyField("inventory.Host", blank=True)
    #: names of the hosts as they were given: one that leaves the pool is still named
    host_names = models.JSONField(default=list)
    enabled = models.BooleanField(_("in force"), default=True)
    purpose = models.CharField(_("what it is for"), max_length=300, blank=True)
    changed_at = models.DateTimeField(auto_now=True)

    objects = RuleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def gone(self) -> list[str]:
        """Hosts that it names and that are no longer in the pool."""
        present = {host.name for host in self.hosts.all()}
        return [name for name in self.host_names if name not in present]


class HostDrain(models.Model):
    """A host that is being emptied, for maintenance or for sleep: who wanted it, and how far it is. Rounds carry it out."""

    STATES = (
        ("active", _("under way")),
        ("done", _("done")),
        ("cancelled", _("cancelled")),
    )
    host = models.ForeignKey("inventory.Host", models.PROTECT, related_name="drains")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    reason = models.CharField(max_length=300, blank=True)
    #: machines that move only by a person's word move: it was given with the drain
    approved = models.BooleanField(default=False)
    state = models.CharField(max_length=10, default="active", choices=STATES)
    #: what stands in the way now: [{"machine", "why", "parts": the why as data}]
    blockers = models.JSONField(default=list)
    #: since when something does
    waiting_since = models.DateTimeField(null=True)
    #: it is emptied so that it can sleep, until then; nothing: for maintenance
    sleep_until = models.DateTimeField(null=True)
    #: that puts it to sleep, once it is empty
    operation = models.ForeignKey(
        "environments.Operation", models.SET_NULL, null=True, related_name="+"
    )
    #: machines that were on it when it began
    machines = models.PositiveIntegerField(null=True)
    #: of one for sleep: the reason as data, and why it ended before its end, as text and as data
    reason_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    note = models.CharField(max_length=1000, blank=True, default="", db_default="")
    note_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("host",), condition=models.Q(state="active"), name="one_drain_at_a_time"
            ),
            models.UniqueConstraint(
                fields=("state",),
                condition=models.Q(state="active", sleep_until__isnull=False),
                name="one_emptied_at_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.host}: {self.state}"

    @property
    def why(self) -> Said:
        """The reason, to be said in each reader's language."""
        return Said(self.reason, self.reason_parts)

    @property
    def remark(self) -> Said:
        return Said(self.note, self.note_parts)


class RollingDrain(models.Model):
    """Hosts that are drained one after another, worked on and taken back. Rounds carry it out."""

    STATES = (
        ("active", _("under way")),
        ("paused", _("paused")),
        ("stopped", _("stopped")),
        ("done", _("done")),
    )
    LIVE = ("active", "paused")
    #: names, in the order in which they are drained
    hosts = models.JSONField(default=list)
    #: how long each is worked on; nothing: until a person says that it is done
    work_minutes = models.PositiveIntegerField(null=True)
    #: machines that move only by a person's word move: it was given with the drain
    approved = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    state = models.CharField(max_length=10, default="active", choices=STATES)
    #: [{"host", "state": waiting, draining, work, done or skipped, "since"}], in order
    progress = models.JSONField(default=list)
    #: the drain of the host that it is at
    drain = models.ForeignKey(HostDrain, models.SET_NULL, null=True, related_name="+")
    #: why it does not go on now, and that as data, to be said in each reader's language
    note = models.CharField(max_length=1000, blank=True)
    note_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    #: since when it does not
    waiting_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{', '.join(self.hosts)}"[:200]

    @property
    def remark(self) -> Said:
        return Said(self.note, self.note_parts)


class Balancer(models.Model):
    """The one row of what the balancer is told (mode, level) and what one round tells the next."""

    MODES = MODES
    mode = models.CharField(max_length=10, default="off", choices=MODES)
    level = models.PositiveSmallIntegerField(default=3)
    #: hosts that may die at once with every protected machine restarted: kept by rounds and placements
    spare_hosts = models.PositiveSmallIntegerField(default=0)
    #: moves that a round may decide, rounds that an imbalance lasts before it is acted upon, and rounds for which a
    #: machine that moved stays
    max_moves = models.PositiveSmallIntegerField(default=4, db_default=4)
    sustain_rounds = models.PositiveSmallIntegerField(default=2, db_default=2)
    cooldown_rounds = models.PositiveSmallIntegerField(default=6, db_default=6)
    #: moves at once over the link between any two failure domains, of rounds and drains; 0: any number
    link_moves = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: what holds by shift or until a date, as a snapshot's `calendar` (see `hours`)
    calendar = models.JSONField(default=list)
    #: the lines before the last change, for "as it was"; nothing: they were never changed
    calendar_before = models.JSONField(null=True, default=None)
    state = models.JSONField(default=dict)
    #: rounds' figures before and after
    figures = models.JSONField(default=dict)
    last_round = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.mode}, level {self.level}"


class DemandHour(models.Model):
    """What all machines together wanted in one hour at most: CPUs as means of ten minutes, memory promised."""

    at = models.DateTimeField(unique=True)
    cpus = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    #: what the forecast said when the hour began; nothing: no earlier week knew it
    expected_cpus = models.FloatField(null=True)
    expected_memory_bytes = models.PositiveBigIntegerField(null=True)
    #: the least that hosts awake had in it; nothing: it was before this was kept
    awake_cpus = models.FloatField(null=True)
    awake_memory_bytes = models.PositiveBigIntegerField(null=True)
    #: more was wanted than hosts awake had, and others slept
    lacked = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering = ("at",)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {self.cpus:.1f}"


class Consolidating(models.Model):
    """The one row of what rounds are told of hosts that sleep while they are not needed, and what the last decided."""

    mode = models.CharField(max_length=10, default="off", choices=MODES)
    #: kept free on top of what is expected
    headroom_percent = models.PositiveSmallIntegerField(default=20)
    #: hosts that stay awake, and hours for which it is worth to sleep
    keep_awake = models.PositiveSmallIntegerField(default=2)
    least_hours = models.PositiveSmallIntegerField(default=3)
    #: "HH:MM" between which hosts may sleep; both empty: always
    begin = models.CharField(max_length=5, blank=True, default="")
    end = models.CharField(max_length=5, blank=True, default="")
    #: of the last round: [{"host", "what": wake, sleep, empty, kept or more, "text", "parts", "until"}]
    answer = models.JSONField(default=list)
    last_round = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.mode


class BalanceRound(models.Model):
    """What a round did and why it did nothing more. The newest is kept in full, of older ones the numbers."""

    at = models.DateTimeField(unique=True)
    mode = models.CharField(max_length=10, choices=MODES)
    level = models.PositiveSmallIntegerField()
    #: moves that it decided
    moves = models.PositiveIntegerField(default=0)
    #: how the pool stood, and how after the moves: {"before", "after"}
    figures = models.JSONField(default=dict)
    #: of the newest: [{"machine": "" for the round, "code", "text", "parts": the text as data}], the first of them
    refused = models.JSONField(default=list)
    #: how many there were of each code
    counts = models.JSONField(default=dict)
    #: hard rules and amounts that did not hold: [{"kind", "subject", "text", "parts", "why", "why_parts", "mending",
    #: "since": the first of the rounds in a row that found it so}]; of the newest
    violations = models.JSONField(default=list)
    broken = models.PositiveIntegerField(default=0)
    #: where something is in shadow: {pool, "" for all: {"above": hosts, "foreseen": hosts above with the moves}}
    shadow = models.JSONField(default=dict)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {self.moves}"


class MovePlan(models.Model):
    """Moves that a round decided as one, since one by one they lead nowhere. Rounds carry it out."""

    STATES = (
        ("open", _("waits for a person")),
        ("shadow", _("noted only")),
        ("active", _("under way")),
        ("done", _("done")),
        ("given_up", _("given up")),
        ("rejected", _("rejected")),
        ("superseded", _("no longer wanted")),
    )
    text = models.TextField()
    #: the text and the note as data, to be said in each reader's language; empty: a row of before
    text_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    note_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    seconds = models.FloatField()
    #: in order: [{"machine", "source", "target": names, "aside": it goes on from there, "operation": nothing before
    #: it begins, "state": waiting, running, done or failed, "error"}]; what has not begun is planned anew before
    #: each step
    steps = models.JSONField(default=list)
    state = models.CharField(max_length=10, default="open", choices=STATES, db_index=True)
    #: machines that move only by a person's word move: it was given for the whole
    approved = models.BooleanField(default=False)
    #: why it does not go on now, or ended before its end
    note = models.CharField(max_length=1000, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    #: when a step began or ended last
    progress_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(str(step["machine"]) for step in self.steps))[:200]

    @property
    def reason(self) -> Said:
        return Said(self.text, self.text_parts)

    @property
    def remark(self) -> Said:
        return Said(self.note, self.note_parts)


class Recommendation(models.Model):
    """A move that a round decided: its reason and numbers, and what became of it."""

    STATES = (
        ("open", _("waits for a person")),
        ("shadow", _("noted only")),
        ("moving", _("given to a move")),
        ("moved", _("moved")),
        ("failed", _("the move failed")),
        ("rejected", _("rejected")),
        ("superseded", _("no longer wanted")),
    )
    machine = models.ForeignKey(
        "environments.Machine", models.CASCADE, related_name="recommendations"
    )
    source = models.ForeignKey("inventory.Host", models.PROTECT, related_name="+")
    destination = models.ForeignKey("inventory.Host", models.PROTECT, related_name="+")
    why = models.CharField(max_length=20)
    text = models.TextField()
    seconds = models.FloatField()
    effect = models.JSONField(default=dict)
    #: what came of it, measured: {"source", "target": loads as rounds count them, "used_source", "used_target":
    #: loads that were used and waited for lately, "waited_before", "waited_after": CPUs that the machines of both
    #: hosts waited for, "elapsed_s", "downtime_ms", and of a move for memory "memory_source", "memory_target": memory
    #: in use as rounds count it}; empty until enough was measured; of one that was not made "error", and "parts" of it
    actual = models.JSONField(default=dict)
    mode = models.CharField(max_length=10)
    state = models.CharField(max_length=10, default="open", choices=STATES, db_index=True)
    operation = models.ForeignKey(
        "environments.Operation", models.SET_NULL, null=True, related_name="+"
    )
    #: what it is a part of: decided and carried out with the others of it, or not at all
    plan = models.ForeignKey(MovePlan, models.CASCADE, null=True, related_name="moves")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    #: of the round that wanted it first; later ones that want the same keep the row
    created_at = models.DateTimeField(default=timezone.now)
    #: of the last round that wanted it
    wanted_at = models.DateTimeField(null=True, db_index=True)
    #: when it failed, was rejected or no longer wanted, and why (of a move that failed: `actual`)
    ended_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=300, blank=True, db_default="")
    #: text and note as data, to be said in each reader's language; empty: a row of before, or a person's words
    text_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    note_parts = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    #: counts how often its numbers changed so much that who had seen them has to look again; `seen`: the effect then
    revision = models.PositiveIntegerField(default=1, db_default=1)
    seen = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))

    objects = RecommendationQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        # The history is read newest first, whole or of one mode, outcome or machine.
        indexes = (
            models.Index(fields=("-created_at", "-id"), name="move_when"),
            models.Index(fields=("mode", "-created_at", "-id"), name="move_mode_when"),
            models.Index(fields=("state", "-created_at", "-id"), name="move_state_when"),
            models.Index(fields=("machine", "-created_at", "-id"), name="move_machine_when"),
        )

    def __str__(self) -> str:
        return f"{self.machine}: {self.source} → {self.destination}"

    @property
    def reason(self) -> Said:
        return Said(self.text, self.text_parts)

    @property
    def failure(self) -> Said:
        """Why it was not made."""
        return Said(self.actual.get("error", ""), self.actual.get("parts", ()))

    @property
    def remark(self) -> Said:
        return Said(self.note, self.note_parts)


class HostRecovery(models.Model):
    """A lost host whose machines start elsewhere: who made sure that it is off, and how far it is."""

    STATES = (
        ("active", _("under way")),
        ("done", _("done")),
        ("cancelled", _("ended before its end")),
    )
    CONFIRMED = (("person", _("by a person")), ("fence", _("by its fence agent")))
    host = models.ForeignKey("inventory.Host", models.PROTECT, related_name="recoveries")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    reason = models.CharField(max_length=300, blank=True)
    #: who says that the host is off; empty: its fence agent is still at it
    confirmed_by = models.CharField(max_length=10, blank=True, choices=CONFIRMED)
    #: a person has stated that the host cannot return with its machines: autonomous ones start too
    gone = models.BooleanField(default=False)
    #: controllers that begin with initial values though there is a copy of what they retained: a person's word, for `reason`
    initial_values = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    fencing = models.ForeignKey(
        "environments.Operation", models.SET_NULL, null=True, related_name="+"
    )
    state = models.CharField(max_length=10, default="active", choices=STATES)
    #: what waits, and what stands in the way: [{"machine", "why", "parts": the why as data}]
    blockers = models.JSONField(default=list)
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("host",), condition=models.Q(state="active"), name="one_recovery_at_a_time"
            ),
        )

    def __str__(self) -> str:
        return f"{self.host}: {self.state}"


class MachineShare(models.Model):
    """What a machine is given of its host now, or would be: the last round's word and the host's answer."""

    machine = models.OneToOneField(
        "environments.Machine", models.CASCADE, primary_key=True, related_name="share"
    )
    host = models.ForeignKey("inventory.Host", models.CASCADE, related_name="+")
    cpu_weight = models.PositiveIntegerField()
    cpu_quota = models.FloatField(null=True)
    memory_bytes = models.PositiveBigIntegerField(null=True)
    #: the host has it so; otherwise it was noted only, or refused
    applied = models.BooleanField(default=False)
    error = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("machine",)

    def __str__(self) -> str:
        return f"{self.machine}: weight {self.cpu_weight}"


class Picture(models.Model):
    """An answer about a large pool, kept so that requests only read it."""

    #: "heat", "losses", "together", "wanted", "spare", or "room TEMPLATE/SIZE SPARE"
    name = models.CharField(max_length=100, unique=True)
    body = models.JSONField(null=True)
    #: when the plant was read that it tells of; nothing: not computed yet
    as_of = models.DateTimeField(null=True)
    #: when it was computed last, in vain or not; nothing: not tried yet
    tried_at = models.DateTimeField(null=True)
    #: why the last try was in vain; `body` and `as_of` are then those of an earlier one
    error = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField()
    #: what had changed last in the plant by then
    mark = models.CharField(max_length=100, blank=True)
    #: how long it took to compute
    seconds = models.FloatField(default=0.0)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
