"""Requests that were asked for in one go, decided as one: all of them or none."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.models import Project
from millwright.core.lifecycle import RequestState

from .actions import approve_request, reject_request
from .models import Environment, Request
from .quota import require_quota
from .sizes import size_of


def waiting_alike(request: Request) -> list[Request]:
    """Those of the same asking that wait for a decision, this one among them, by name; itself where it stands alone."""
    if request.alike is None:
        return [request]
    rows = Request.objects.filter(alike=request.alike, state=RequestState.SUBMITTED)
    # The number behind the name counts: line-2 comes before line-10.
    return sorted(rows.with_names(), key=lambda row: (len(row.name), row.name))


@transaction.atomic
def decide_alike(
    actor: Any,
    request: Request,
    *,
    approve: bool,
    reason: str = "",
    changes: dict[str, Any] | None = None,
) -> list[Request]:
    """Approve or reject all that wait of one asking, in one transaction, each with its line in the trail.

    Raises:
        PermissionRefused: the actor may not decide in this project.
        ValidationError: one of them cannot be granted, with its name; nothing is decided then.
    """
    rows = waiting_alike(request)
    if not rows:
        raise ValidationError({"state": _("none of them waits for a decision any more")})
    if approve:
        # The project's row first, as each approval locks it: two who approve at once wait for each other.
        Project.objects.select_for_update(no_key=True).get(pk=request.project_id)
        spec = request.template_version.spec
        size = size_of(spec, (changes or {}).get("size") or request.size)
        require_quota(request.project, size, environments=len(rows))
    done = []
    for row in rows:
        try:
            if approve:
                done.append(approve_request(actor, row, reason, changes))
            else:
                done.append(reject_request(actor, row, reason))
        except ValidationError as error:
            raise ValidationError(
                {
                    field: [f"{row.name}: {text}" for text in texts]
                    for field, texts in error.message_dict.items()
                }
            ) from None
    return done


def conflicts(request: Request, rows: list[Request]) -> list[str]:
    """What whoever decides should know besides: names that are taken by now, and who else waits for the same quota."""
    found = [
        _("an environment %(name)r exists by now") % {"name": name}
        for name in Environment.objects.present()
        .filter(name__in=[row.name for row in rows])
        .values_list("name", flat=True)
    ]
    others = list(
        Request.objects.filter(project=request.project_id, state=RequestState.SUBMITTED)
        .exclude(pk__in=[row.pk for row in rows])
        .select_related("template_version")
        .order_by("submitted_at")[:50]
    )
    wanted = [row.name for row in others if row.name in {own.name for own in rows}]
    found += [
        _("%(name)s is asked for by another request, too") % {"name": name} for name in wanted
    ]
    if others:
        found.append(
            _("%(n)s more wait for the quota of %(project)s: %(names)s")
            % {
                "n": len(others),
                "project": request.project,
                "names": ", ".join(row.name for row in others[:5])
                + (" …" if len(others) > 5 else ""),
            }
        )
    return found
