"""Templates and their versions."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Template(models.Model):
    name = models.SlugField(_("name"), max_length=48, unique=True)
    title = models.CharField(max_length=120)
    summary = models.TextField(blank=True)
    offered = models.BooleanField(_("offered in the catalogue"), default=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.title


class TemplateVersion(models.Model):
    """One version of a template; `spec` is the validated template.yaml, `image` what was built."""

    template = models.ForeignKey(Template, models.PROTECT, related_name="versions")
    version = models.CharField(max_length=32)
    spec = models.JSONField()
    image_state = models.CharField(
        max_length=12,
        default="missing",
        choices=(
            ("missing", _("not built")),
            ("building", _("being built")),
            ("ready", _("ready")),
            ("failed", _("failed")),
        ),
    )
    #: {"name", "kernel", "initrd", "disk": paths, "sha256": {…}, "virtual_size"}
    image = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("template", "version"), name="template_version_once"),
        )
        ordering = ("template", "-created_at")

    def __str__(self) -> str:
        return f"{self.template} {self.version}"
