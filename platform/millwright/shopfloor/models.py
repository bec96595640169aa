"""Control programs and their versions, devices, mappings, deployments, stations."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models.fields.json import KT
from django.utils.translation import gettext_lazy as _

from .certificates import fingerprint_of
from .querysets import (
    DeploymentQuerySet,
    DeviceQuerySet,
    MappingQuerySet,
    ModbusSecurityQuerySet,
    ProgramQuerySet,
    ProgramVersionQuerySet,
    SetPointQuerySet,
    StationQuerySet,
)


class Program(models.Model):
    """A control program of a project."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=48)
    project = models.ForeignKey(
        "accounts.Project", models.PROTECT, related_name="programs", verbose_name=_("project")
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProgramQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("project", "name"), name="program_name_once"),
        )

    def __str__(self) -> str:
        return self.name


class ProgramVersion(models.Model):
    """Sources as uploaded, and what became of them: messages, or a signed bundle."""

    STATES = (
        ("queued", _("queued")),
        ("building", _("compiling")),
        ("ready", _("ready")),
        ("failed", _("failed")),
    )
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    program = models.ForeignKey(Program, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    #: path in the project folder → text
    files = models.JSONField()
    state = models.CharField(max_length=10, default="queued", choices=STATES)
    #: [{"file","line","column","code","severity","message"}]
    diagnostics = models.JSONField(default=list)
    error = models.TextField(blank=True)
    bundle_sha256 = models.CharField(max_length=64, blank=True)
    bundle_size = models.PositiveIntegerField(default=0)
    symbols = models.JSONField(default=dict)
    #: of what its controller retains, from the symbols: kept by the database, so that nobody reads those to find it
    layout_hash = models.GeneratedField(
        expression=KT("symbols__layout_hash"),
        output_field=models.CharField(max_length=64, null=True),
        db_persist=True,
    )
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProgramVersionQuerySet.as_manager()

    class Meta:
        ordering = ("program", "-number")
        constraints = (
            models.UniqueConstraint(fields=("program", "number"), name="program_version_once"),
        )

    def __str__(self) -> str:
        return f"{self.program.name} v{self.number}"


class Deployment(models.Model):
    """A program version sent to a machine. The newest active one is what should run there."""

    STATES = (
        ("asked", _("waiting for approval")),
        ("refused", _("refused")),
        ("pending", _("pending")),
        ("active", _("active")),
        ("failed", _("failed")),
        ("replaced", _("replaced")),
    )
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    machine = models.ForeignKey("environments.Machine", models.CASCADE, related_name="deployments")
    program_version = models.ForeignKey(ProgramVersion, models.PROTECT, related_name="deployments")
    state = models.CharField(max_length=10, default="pending", choices=STATES)
    message = models.TextField(blank=True)
    deployed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    reason = models.CharField(max_length=500, blank=True)
    #: Who decided, where the line demands approval.
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    activated_at = models.DateTimeField(null=True, blank=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.program_version} → {self.machine}"


class DeploymentPolicy(models.Model):
    """What a project demands before a program goes to its machines."""

    project = models.OneToOneField(
        "accounts.Project", models.CASCADE, related_name="deployment_policy"
    )
    #: Somebody else who may decide has to agree.
    approval = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"deployments of {self.project}"


class RetainedCopy(models.Model):
    """What a controller retained at a moment, for the day on which its disk is lost with its host. Nobody is shown the values."""

    machine = models.ForeignKey(
        "environments.Machine", models.CASCADE, related_name="retained_copies"
    )
    #: of the machine's placement when it was taken
    generation = models.PositiveIntegerField()
    #: of when it is, by this plant's clock: what the controller saves in a second is a second old at most
    as_of = models.DateTimeField()
    #: when the controller saved it, by its own clock, and the scan it is of
    saved_ns = models.BigIntegerField()
    scan = models.PositiveBigIntegerField()
    layout_hash = models.CharField(max_length=64)
    #: alike where the values are, whatever scan and time say
    values_sha256 = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ("machine", "-generation", "-as_of")
        indexes = (
            models.Index(fields=("machine", "-generation", "-as_of"), name="retained_newest"),
        )

    def __str__(self) -> str:
        return f"{self.machine_id}: scan {self.scan}"


class SetPoint(models.Model):
    """A tag that people may write from the portal, within limits. The allow-list of the machine follows."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    machine = models.ForeignKey("environments.Machine", models.CASCADE, related_name="set_points")
    tag = models.CharField(_("tag"), max_length=200)
    low = models.FloatField(_("lowest value"))
    high = models.FloatField(_("highest value"))
    unit = models.CharField(_("unit"), max_length=16, blank=True)

    objects = SetPointQuerySet.as_manager()

    class Meta:
        ordering = ("machine", "tag")
        constraints = (models.UniqueConstraint(fields=("machine", "tag"), name="set_point_once"),)

    def __str__(self) -> str:
        return f"{self.tag} of {self.machine}"


def framing_of(protocol: str | None) -> str:
    """The gateway's name for the frames of a device's protocol."""
    return "rtu" if protocol == "modbus_rtu_tcp" else "tcp"


class RecordedTag(models.Model):
    """A tag that is recorded whether somebody looks or not; Prometheus keeps its values."""

    machine = models.ForeignKey(
        "environments.Machine", models.CASCADE, related_name="recorded_tags"
    )
    tag = models.CharField(_("tag"), max_length=200)

    class Meta:
        ordering = ("machine", "tag")
        constraints = (
            models.UniqueConstraint(fields=("machine", "tag"), name="recorded_tag_once"),
        )

    def __str__(self) -> str:
        return f"{self.tag} of {self.machine}"


class Device(models.Model):
    """A device of the shop floor, reached over Modbus or OPC UA in its cell."""

    PROTOCOLS = (
        ("modbus_tcp", "Modbus TCP"),
        ("modbus_rtu_tcp", _("Modbus RTU over TCP")),
        ("opcua", "OPC UA"),
    )
    WORD_ORDERS = (
        ("low_first", _("low word first")),
        ("high_first", _("high word first")),
    )
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=48)
    project = models.ForeignKey(
        "accounts.Project", models.PROTECT, related_name="devices", verbose_name=_("project")
    )
    cell = models.ForeignKey(
        "inventory.Cell", models.PROTECT, related_name="devices", verbose_name=_("cell")
    )
    protocol = models.CharField(
        _("protocol"), max_length=16, choices=PROTOCOLS, default="modbus_tcp"
    )
    address = models.GenericIPAddressField(_("address"), protocol="IPv4")
    port = models.PositiveIntegerField(_("port"), default=502)
    unit = models.PositiveSmallIntegerField(_("unit id"), default=1)
    rate_ms = models.PositiveIntegerField(_("read every (ms)"), default=100)
    timeout_ms = models.PositiveIntegerField(_("timeout (ms)"), default=500)
    word_order = models.CharField(
        _("word order"),
        max_length=10,
        choices=WORD_ORDERS,
        default="low_first",
        help_text=_("Modbus: which register of a value of several comes first"),
    )
    #: OPC UA: the certificate that a person trusted, PEM; another one is not talked to
    certificate = models.TextField(_("certificate"), blank=True, default="")
    #: OPC UA without encryption: why it cannot be
    unencrypted = models.CharField(_("why not encrypted"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DeviceQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("project", "name"), name="device_name_once"),
            models.UniqueConstraint(
                fields=("cell", "address", "port", "unit"), name="device_place_once"
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def framing(self) -> str:
        """How Modbus requests to it are framed: "tcp" or "rtu"."""
        return framing_of(self.protocol)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the trusted certificate, in hexadecimal; "" without one."""
        return fingerprint_of(self.certificate) if self.certificate else ""


class TagMapping(models.Model):
    """One point of a device bound to one tag of a machine's program. Opens the firewall for the pair."""

    AREAS = (
        ("coil", _("coil")),
        ("discrete", _("discrete input")),
        ("input", _("input register")),
        ("holding", _("holding register")),
        ("node", _("OPC UA node")),
    )
    TYPES = tuple(
        (name, name)
        for name in ("BOOL", "INT", "UINT", "DINT", "UDINT", "REAL", "LREAL", "WORD", "DWORD")
    )
    FAIL = (("hold", _("hold")), ("zero", _("zero")), ("substitute", _("substitute")))
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    machine = models.ForeignKey(
        "environments.Machine", models.CASCADE, related_name="mappings", verbose_name=_("machine")
    )
    device = models.ForeignKey(
        Device, models.PROTECT, related_name="mappings", verbose_name=_("device")
    )
    tag = models.CharField(_("tag"), max_length=200)
    area = models.CharField(_("area"), max_length=10, choices=AREAS)
    register = models.CharField(_("register or node id"), max_length=200)
    data_type = models.CharField(_("type"), max_length=8, choices=TYPES, default="INT")
    direction = models.CharField(
        _("direction"),
        max_length=4,
        choices=(("in", _("device → program")), ("out", _("program → device"))),
    )
    scale = models.FloatField(_("scale"), default=1.0)
    offset = models.FloatField(_("offset"), default=0.0)
    fail = models.CharField(
        _("when the device is silent"), max_length=12, choices=FAIL, default="hold"
    )
    substitute = models.FloatField(_("substitute value"), default=0.0)

    objects = MappingQuerySet.as_manager()

    class Meta:
        ordering = ("machine", "device", "tag")
        constraints = (models.UniqueConstraint(fields=("machine", "tag"), name="tag_mapped_once"),)

    def __str__(self) -> str:
        return f"{self.device} {self.area} {self.register} ↔ {self.tag}"


class EngineeringStation(models.Model):
    """A named client in a cell that may speak to a project's vPLCs, and what it may write."""

    name = models.SlugField(_("name"), max_length=48)
    project = models.ForeignKey("accounts.Project", models.PROTECT, related_name="stations")
    cell = models.ForeignKey("inventory.Cell", models.PROTECT, related_name="stations")
    cidr = models.CharField(_("address or network"), max_length=43)
    #: [{"area": "holding"|"coil", "first": int, "last": int}]
    write_ranges = models.JSONField(default=list)

    objects = StationQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("project", "name"), name="station_name_once"),
        )

    def __str__(self) -> str:
        return self.name


class ModbusSecurity(models.Model):
    """Modbus/TCP Security that a project asks for, or one environment of it: port 802 with certificates and roles."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        "accounts.Project",
        models.CASCADE,
        related_name="modbus_security",
        verbose_name=_("project"),
    )
    environment = models.ForeignKey(
        "environments.Environment", models.CASCADE, null=True, blank=True,
        related_name="modbus_security", verbose_name=_("environment"),
    )  # fmt: skip
    authorities = models.TextField(
        _("certificates"),
        help_text=_("PEM: of the authorities of the clients' certificates, or of the clients themselves"),
    )  # fmt: skip
    #: Whether stations still reach the port without TLS.
    plain = models.BooleanField(_("stations reach port 502 too"), default=True)
    #: [{"name", "functions": [int], "write": [{"area", "first", "last"}]}]
    roles = models.JSONField(_("roles"), default=list)

    objects = ModbusSecurityQuerySet.as_manager()

    class Meta:
        ordering = ("project__slug", "pk")
        constraints = (
            models.UniqueConstraint(fields=("environment",), name="modbus_security_once"),
            models.UniqueConstraint(
                fields=("project",),
                condition=models.Q(environment=None),
                name="modbus_security_of_project_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.environment or self.project}"
