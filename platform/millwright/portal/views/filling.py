"""How full the pool is, and what still fits."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.balancing import filling
from millwright.balancing.plant import read_plant


@login_required
def capacity(request: HttpRequest) -> HttpResponse:
    """Heat map, how many more fit, and what if a host dies. Asks once, changes nothing."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Planning is for those who keep the pool."))
    plant = read_plant()
    kinds = [f"{template}/{size}" for template, size in filling.kinds()]
    asked = request.GET.get("kind", "")
    context = {
        "heat": filling.heat(plant),
        "losses": filling.losses(plant),
        "kinds": kinds,
        "kind": asked,
        "growth": request.GET.get("growth", ""),
        "spare": request.GET.get("spare", "0"),
        "spares": [str(number) for number in range(filling.MOST_SPARE + 1)],
        "answer": None,
        "errors": [],
    }
    if asked:
        template, _slash, size = asked.partition("/")
        try:
            growth = float((context["growth"] or "0").replace(",", "."))
            spare = int(context["spare"])
        except ValueError:
            context["errors"] = [_("Growth and hosts to spare are numbers.")]
        else:
            try:
                context["answer"] = filling.fits(
                    template, size, growth=growth, spare=spare, plant=plant
                )
            except ValidationError as error:
                context["errors"] = error.messages
    return render(request, "portal/capacity.html", context)
