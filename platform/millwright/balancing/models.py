"""Resource pools and placement rules: what the balancer is told by people."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


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

    def __str__(self) -> str:
        return self.name


class PlacementRule(models.Model):
    """Keep machines together or apart, on or off certain hosts."""

    KINDS = (
        ("together", _("keep together")),
        ("apart", _("keep apart")),
        ("on_hosts", _("only on hosts")),
        ("off_hosts", _("never on hosts")),
    )
    name = models.SlugField(max_length=48, unique=True)
    kind = models.CharField(max_length=12, choices=KINDS)
    hard = models.BooleanField(_("must hold"), default=True)
    machines = models.ManyToManyField(
        "environments.Machine", blank=True, related_name="placement_rules"
    )
    hosts = models.ManyToManyField("inventory.Host", blank=True)
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name
