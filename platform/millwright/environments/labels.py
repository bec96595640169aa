"""Tags of environments, and the views of the list that a person keeps."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import PermissionRefused, require
from millwright.audit.actions import record

from .models import Environment, EnvironmentTag, SavedView

MOST_TAGS, MOST_VIEWS = 20, 50
_TAG = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
#: What a view may hold: the filters of the list of environments.
FILTERS = ("q", "state", "project", "mine", "ending", "tag")


@transaction.atomic
def set_tags(actor: Any, environment: Environment, names: list[str]) -> list[str]:
    """Have exactly these tags; returns them sorted.

    Raises:
        ValidationError: too many, or one that breaks the rule.
    """
    require(actor, "engineer", environment.project)
    wanted = sorted({name.strip().lower() for name in names if name.strip()})
    if len(wanted) > MOST_TAGS:
        raise ValidationError(
            {"tags": _("%(n)s given; at most %(most)s") % {"n": len(wanted), "most": MOST_TAGS}}
        )
    for name in wanted:
        if not _TAG.fullmatch(name):
            raise ValidationError(
                {"tags": _("%(value)r: up to 32 letters, digits and hyphens") % {"value": name}}
            )
    # Two who set tags at once: one after the other.
    Environment.objects.select_for_update().get(pk=environment.pk)
    before = sorted(environment.tags.values_list("name", flat=True))
    if before != wanted:
        environment.tags.exclude(name__in=wanted).delete()
        EnvironmentTag.objects.bulk_create(
            EnvironmentTag(environment=environment, name=name)
            for name in wanted
            if name not in before
        )
        record(
            actor,
            "environment.tags",
            environment,
            project=environment.project,
            before=before,
            tags=wanted,
        )
    return wanted


@transaction.atomic
def save_view(actor: Any, name: str, query: str) -> SavedView:
    """Keep a view of the list under a name of one's own; the same name again replaces it."""
    name = name.strip()
    if not 1 <= len(name) <= 48:
        raise ValidationError({"name": _("1 to 48 characters")})
    kept = urlencode(
        [(key, value) for key, value in parse_qsl(query.lstrip("?")) if key in FILTERS]
    )
    if len(kept) > 500:
        raise ValidationError({"query": _("at most 500 characters")})
    others = SavedView.objects.filter(user=actor).exclude(name=name)
    if others.count() >= MOST_VIEWS:
        raise ValidationError({"name": _("at most %(most)s views") % {"most": MOST_VIEWS}})
    view, _made = SavedView.objects.update_or_create(
        user=actor, name=name, defaults={"query": kept}
    )
    record(actor, "view.save", view, query=kept)
    return view


@transaction.atomic
def forget_view(actor: Any, view: SavedView) -> None:
    """Forget a view of one's own."""
    if view.user_id != actor.pk:
        raise PermissionRefused(actor, "forget another's view")
    record(actor, "view.forget", view)
    view.delete()
