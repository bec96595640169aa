"""How full the pool is, and what still fits."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.balancing import filling
from millwright.balancing.pictures import Pictures

#: Hosts on one page.
HOSTS_A_PAGE = 50


@login_required
def capacity(request: HttpRequest) -> HttpResponse:
    """Heat map, how many more fit, and what if a host dies. Asks once, changes nothing."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Planning is for those who keep the pool."))
    pictures = Pictures()
    kinds = [f"{template}/{size}" for template, size in filling.kinds()]
    asked = request.GET.get("kind", "")
    heat, losses, together = pictures.heat(), pictures.losses(), pictures.together()
    left = [row for row in losses.value or () if row.left or row.waits]
    context = {
        "heat": heat,
        "page_obj": Paginator(sorted(heat.value or (), key=_fullest_first), HOSTS_A_PAGE).get_page(
            request.GET.get("page")
        ),
        "losses": losses,
        "broken": [
            {
                "host": row.host,
                "left": row.left[: filling.NAMED],
                "more": max(len(row.left) - filling.NAMED, 0),
                "waits": row.waits[: filling.NAMED],
                "waits_more": max(len(row.waits) - filling.NAMED, 0),
            }
            for row in sorted(left, key=_worst_first)[:HOSTS_A_PAGE]
        ],
        "broken_more": max(len(left) - HOSTS_A_PAGE, 0),
        "fine": len(losses.value or ()) - len(left),
        "together": together,
        "kinds": kinds,
        "kind": asked,
        "growth": request.GET.get("growth", ""),
        "spare": request.GET.get("spare", "0"),
        "spares": [str(number) for number in range(filling.MOST_SPARE + 1)],
        "fits": None,
        "errors": [],
        "wrong": {},
    }
    if asked:
        template, _slash, size = asked.partition("/")
        context["cores"] = filling.cores_of(template, size)
        try:
            growth = float((context["growth"] or "0").replace(",", "."))
        except ValueError:
            text = _("%(value)r is no number") % {"value": context["growth"]}
            context["wrong"] = {"growth": [text]}
        else:
            spare = int(context["spare"]) if context["spare"].isdecimal() else -1
            try:
                context["fits"] = pictures.fits(template, size, growth=growth, spare=spare)
            except ValidationError as error:
                told = error.message_dict
                context["wrong"] = {"growth": told.pop("growth", [])}
                context["errors"] = [text for texts in told.values() for text in texts]
    answers = (heat, losses, together, context["fits"])
    context["computing"] = any(row is not None and row.computing for row in answers)
    return render(request, "portal/capacity.html", context)


def _fullest_first(row: filling.Heat) -> tuple[float, str]:
    return -max(row.cpu or 0.0, row.memory or 0.0, row.cores or 0.0, row.disk or 0.0), row.host


def _worst_first(row: filling.Loss) -> tuple[int, int, str]:
    return -len(row.left), -len(row.waits), row.host
