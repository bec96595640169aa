"""Hosts, cells and claims. What a host can do is probed and remembered per kernel, never assumed."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower


class Site(models.Model):
    """One plant, one control plane. Its uuid marks every domain and volume as ours."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)

    def __str__(self) -> str:
        return self.name


class Host(models.Model):
    """One libvirt host: policy (what people decided), facts and capabilities (what was found)."""

    name = models.SlugField(_("name"), max_length=48, unique=True)
    uri = models.CharField(_("libvirt URI"), max_length=300)
    address = models.GenericIPAddressField(_("management address"), null=True, blank=True)
    agent_url = models.CharField(_("host agent"), max_length=200, blank=True)
    #: {"housekeeping_cpus", "realtime_cpus", "shared_cpus": CPU lists, "best_effort": bool,
    #:  "memory_reserved_bytes": int}
    policy = models.JSONField(default=dict)
    #: From the hypervisor: {"cpus": [{"id","core","socket","node","siblings"}], "memory_bytes", …}
    topology = models.JSONField(default=dict)
    #: probe kind → {"verdict": "yes|no|unknown", "detail", "at"}; for the kernel named beside it
    capabilities = models.JSONField(default=dict)
    kernel = models.CharField(max_length=120, blank=True)
    accel = models.CharField(
        max_length=16, default="emulation", choices=(("kvm", "KVM"), ("emulation", _("emulation")))
    )
    memory_bytes = models.PositiveBigIntegerField(default=0)
    disk_bytes = models.PositiveBigIntegerField(default=0)
    disk_free_bytes = models.PositiveBigIntegerField(default=0)
    #: what it has beside, as `inventory.equipment` keeps it; nothing: not read yet, which is "not known"
    equipment = models.JSONField(null=True, default=None)
    health = models.CharField(
        _("health"), max_length=16, default=HostHealth.SUSPECT, choices=[(s, s) for s in HostHealth]
    )
    health_reason = models.CharField(max_length=300, blank=True)
    administration = models.CharField(
        _("administration"),
        max_length=16,
        default=HostAdministration.SCHEDULABLE,
        choices=[(s, s) for s in HostAdministration],
    )
    #: whether it sleeps by intent, since when, until when it shall (nothing: until somebody wakes it), and why
    power = models.CharField(
        _("power"),
        max_length=16,
        default=HostPower.AWAKE,
        db_default=HostPower.AWAKE.value,
        choices=[(s, s) for s in HostPower],
    )
    power_since = models.DateTimeField(null=True, blank=True)
    power_until = models.DateTimeField(null=True, blank=True)
    #: seconds that it has been asleep in all, up to when it fell asleep last
    asleep_s = models.FloatField(default=0.0, db_default=0.0)
    power_reason = models.CharField(max_length=300, blank=True, default="", db_default="")
    last_seen = models.DateTimeField(_("last seen"), null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    labels = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("name",)

    def shares_storage_with(self, other: Host) -> bool:
        """Whether both hosts' pools are one file system, as their policies say."""
        name = self.policy.get("shared_storage")
        return bool(name) and name == other.policy.get("shared_storage")

    def __str__(self) -> str:
        return self.name


class Cell(models.Model):
    """A shop-floor network that reaches every host, with the addresses Millwright gives in it."""

    slug = models.SlugField(_("name"), max_length=32, unique=True)
    title = models.CharField(_("title"), max_length=120, blank=True)
    cidr = models.CharField(_("network"), max_length=43)
    first_address = models.GenericIPAddressField(_("first address for machines"))
    last_address = models.GenericIPAddressField(_("last address for machines"))
    #: the bridge on each host, and the libvirt network that leads to it
    bridge = models.CharField(max_length=15)
    network_name = models.CharField(max_length=48)
    gateway_address = models.GenericIPAddressField(_("address of the gateway process"))
    monitoring_address = models.GenericIPAddressField(
        _("address Prometheus scrapes from"), null=True, blank=True
    )

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class CpuClaim(models.Model):
    """A physical CPU promised to one machine. The constraint makes a double claim impossible."""

    host = models.ForeignKey(Host, models.PROTECT, related_name="cpu_claims")
    cpu = models.PositiveIntegerField()
    machine = models.ForeignKey("environments.Machine", models.PROTECT, related_name="cpu_claims")
    vcpu = models.PositiveIntegerField(help_text=_("the vCPU that this CPU serves"))
    operation = models.UUIDField(help_text=_("the operation that claimed it"))
    claimed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("host", "cpu"), name="cpu_claimed_once"),)
        ordering = ("host", "cpu")

    def __str__(self) -> str:
        return f"{self.host} CPU {self.cpu}"


class DeviceClaim(models.Model):
    """A device of a host given whole to one machine (a graphics card), by its PCI address.

    With a `profile` it is one vGPU instance on that card; a machine's instances are numbered in their order.
    """

    host = models.ForeignKey(Host, models.PROTECT, related_name="device_claims")
    address = models.CharField(max_length=12)
    #: vGPU profile of the instance; empty: the device itself
    profile = models.CharField(max_length=64, blank=True, default="", db_default="")
    machine = models.ForeignKey(
        "environments.Machine", models.PROTECT, related_name="device_claims"
    )
    operation = models.UUIDField(help_text=_("the operation that claimed it"))
    claimed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("host", "address"),
                condition=models.Q(profile=""),
                name="device_claimed_once",
            ),
        )
        ordering = ("host", "address")

    def __str__(self) -> str:
        return f"{self.host} {self.address}"


class AddressClaim(models.Model):
    """An address of a cell: a machine's, a device's or a station's."""

    cell = models.ForeignKey(Cell, models.PROTECT, related_name="address_claims")
    address = models.GenericIPAddressField()
    machine = models.OneToOneField(
        "environments.Machine", models.PROTECT, null=True, blank=True, related_name="address_claim"
    )
    note = models.CharField(max_length=120, blank=True)
    claimed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("cell", "address"), name="address_claimed_once"),
        )
        ordering = ("cell", "address")

    def __str__(self) -> str:
        return self.address


class Drift(models.Model):
    """A difference between intent and what a host says; named, never mended silently."""

    KINDS = (
        ("foreign", _("a domain that is not ours")),
        ("orphan_domain", _("a domain of ours that no machine owns")),
        ("orphan_volume", _("a volume of ours that no machine owns")),
        ("old_disk", _("a disk of an earlier placement that was set aside")),
        ("missing_domain", _("a machine without its domain")),
        ("state", _("a machine in another state than wanted")),
        ("pins", _("a machine on other CPUs than claimed")),
    )
    #: differences of a host's storage: looked for by rounds, not with its domains
    VOLUMES = ("orphan_volume", "old_disk")
    host = models.ForeignKey(Host, models.CASCADE, related_name="drifts")
    kind = models.CharField(max_length=20, choices=KINDS)
    name = models.CharField(max_length=200)
    detail = models.TextField(blank=True)
    machine = models.ForeignKey("environments.Machine", models.CASCADE, null=True, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("host", "kind", "name"), name="drift_once"),)
        ordering = ("host", "kind", "name")

    def __str__(self) -> str:
        return f"{self.host}: {self.get_kind_display()}: {self.name}"


class OldDisk(models.Model):
    """A disk of an earlier placement that was set aside on a host: nobody's, and kept until a person has it removed.

    Written by the orchestrator, which lists the hosts' pools; who wants one gone is written here too, and it acts on it.
    """

    host = models.ForeignKey(Host, models.CASCADE, related_name="old_disks")
    pool = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    #: whose it was: the machine's id as the marker has it, and its name as it was last known
    owner = models.CharField(max_length=64)
    machine = models.CharField(max_length=120, blank=True)
    generation = models.PositiveIntegerField()
    allocation_bytes = models.BigIntegerField()
    capacity_bytes = models.BigIntegerField()
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    #: who wants it removed, why and since when; empty: nobody
    removal_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    removal_name = models.CharField(max_length=150, blank=True)
    removal_reason = models.CharField(max_length=300, blank=True)
    removal_asked_at = models.DateTimeField(null=True, blank=True)
    #: why the last removal that was asked for was refused
    refused = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("host", "pool", "name"), name="old_disk_once"),
        )
        ordering = ("host", "pool", "name")

    def __str__(self) -> str:
        return f"{self.host}: {self.pool}/{self.name}"
