"""Bringing templates into the catalogue."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record

from .models import Template, TemplateVersion


@transaction.atomic
def sync_template(
    actor: Any, spec: dict[str, Any], *, image: dict[str, Any] | None = None
) -> TemplateVersion:
    """Have this version of a template in the catalogue; a version's content never changes.

    `spec` is a validated template.yaml as data; `image` describes the built image, if there is one.
    """
    template, made = Template.objects.update_or_create(
        name=spec["name"], defaults={"title": spec["title"], "summary": spec.get("summary", "")}
    )
    version, new = TemplateVersion.objects.get_or_create(
        template=template, version=str(spec["version"]), defaults={"spec": spec}
    )
    if version.spec != spec:
        if version.image_state == "ready" and _promise(version.spec) != _promise(spec):
            raise ValidationError(
                {
                    "version": f"{spec['name']} {spec['version']}: sizes or class changed; raise the version"
                }
            )
        version.spec = spec
        version.save(update_fields=("spec",))
    if image is not None and version.image != image:
        version.image, version.image_state = image, "ready"
        version.save(update_fields=("image", "image_state"))
        record(actor, "template.image", version, name=image.get("name", ""))
    if made or new:
        record(actor, "template.sync", version)
    return version


@transaction.atomic
def offer_template(actor: Any, template: Template, offered: bool) -> bool:
    """Have a template in the catalogue, or kept out of it; machines made from it stay. True if that changed anything.

    Raises:
        PermissionRefused: only administrators of the plant.
        ValidationError: the release keeps it for its own use.
    """
    require(actor, "administer")
    row = Template.objects.select_for_update().get(pk=template.pk)
    newest = row.versions.first()
    if offered and newest is not None and not newest.spec.get("offered", True):
        raise ValidationError(
            {
                "offered": _("%(name)s is for the pool's own probes and is never offered")
                % {"name": row.name}
            }
        )
    if row.offered == offered:
        return False
    row.offered = offered
    row.save(update_fields=("offered",))
    record(actor, "template.offer" if offered else "template.hide", row)
    return True


def _promise(spec: dict[str, Any]) -> tuple[Any, ...]:
    """What users of a version rely on."""
    needs = {name: value for name, value in (spec.get("requires") or {}).items() if value}
    return spec.get("class"), spec.get("sizes"), spec.get("devices"), needs
