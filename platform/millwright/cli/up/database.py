"""Step: the database, the catalogue and the cell."""

from __future__ import annotations

import io
import os
from typing import Any

from millwright.cli.errors import CliError

from .steps import Done, Plan


def setup_django() -> None:
    """Make the models usable in this process."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
    import logging

    import django

    django.setup()
    # Django's own logging is for processes; a command's output is for people.
    logging.getLogger().setLevel(logging.WARNING)


def enter_template(template: Any, image: Any) -> bool:
    """Have a template, with its image if there is one, in the catalogue; True if that changed anything."""
    from django.core.exceptions import ValidationError

    from millwright.catalog.actions import sync_template
    from millwright.catalog.models import Template, TemplateVersion

    spec = template.model_dump(mode="json", by_alias=True)
    before = TemplateVersion.objects.filter(
        template__name=spec["name"], version=str(spec["version"])
    ).first()
    kept = (before.spec, before.image) if before else None
    try:
        version = sync_template(None, spec, image=image.as_dict() if image is not None else None)
    except ValidationError as error:
        raise CliError("; ".join(error.messages)) from None
    if not spec.get("offered", True):  # what the plant itself took out of the catalogue stays out
        Template.objects.filter(name=spec["name"], offered=True).update(offered=False)
    return kept != (version.spec, version.image)


def prepare(plan: Plan) -> Done:
    """Migrate; enter site, templates and the cell."""
    setup_django()
    from django.core.exceptions import ValidationError
    from django.core.management import call_command
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    from millwright.inventory.actions import ensure_cell, ensure_site
    from millwright.inventory.models import Cell, Site
    from vmtemplates import load_templates

    changes = []
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if waiting:
            call_command("migrate", interactive=False, verbosity=0, stdout=io.StringIO())
            changes.append(f"{len(waiting)} migrations")
    except DatabaseError as error:
        raise CliError(f"the database refuses: {error}") from None
    if not Site.objects.exists():
        changes.append("site")
    ensure_site()
    images = {template.name: image for template, image in plan.images.values()}
    for template in load_templates().values():
        image = images.get(template.name)
        if enter_template(template, image):
            changes.append(f"template {template.name} {template.version}")
    cell = plan.cell
    before = Cell.objects.filter(slug=cell["slug"]).values().first()
    try:
        ensure_cell(
            None,
            slug=cell["slug"],
            title="Line 1",
            cidr=cell["cidr"],
            bridge=cell["bridge"],
            gateway_address=cell["gateway"],
            monitoring_address=cell["station"],
            first_address=cell["first"],
            last_address=cell["last"],
        )
    except ValidationError as error:
        raise CliError("; ".join(error.messages)) from None
    if before != Cell.objects.filter(slug=cell["slug"]).values().first():
        changes.append(f"cell {cell['slug']} {cell['cidr']}")
    return Done.of(changes)
