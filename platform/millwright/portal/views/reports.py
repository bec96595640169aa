"""The monthly report of an environment, and signing it off."""

from __future__ import annotations

import datetime as dt
import re

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.service_levels import actions
from millwright.service_levels.models import Seal
from millwright.service_levels.monthly import month_of_environment
from millwright.service_levels.reporting import (
    PdfUnavailableError,
    render_csv,
    render_pdf,
    render_report,
    sealed_file,
)
from millwright.service_levels.seals import verdicts_of

from .base import attempt
from .environments import find


def _month(text: str) -> dt.date:
    if not re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", text):
        raise Http404
    return dt.date(int(text[:4]), int(text[5:]), 1)


def _file(content: str | bytes, kind: str, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@login_required
def report(request: HttpRequest, name: str, month: str) -> HttpResponseBase:
    """A month for managers: as a page, as PDF, as CSV, and as the file of a seal."""
    environment, now = find(request, name), timezone.now()
    wanted, form = _month(month), request.GET.get("as", "")
    if form == "sealed":
        number = request.GET.get("number", "")
        seal = get_object_or_404(
            Seal.objects.select_related("environment", "made_by"),
            environment=environment,
            month=wanted,
            number=int(number) if re.fullmatch(r"[0-9]{1,6}", number) else 0,
        )
        response = StreamingHttpResponse(
            (line.encode() for line in sealed_file(seal)), content_type="application/x-ndjson"
        )
        response["Content-Disposition"] = (
            f'attachment; filename="{name}-{month}-seal-{seal.number}.jsonl"'
        )
        return response
    found = month_of_environment(environment, wanted, now)
    if form == "csv":
        return _file(render_csv(found), "text/csv; charset=utf-8", f"{name}-{month}.csv")
    verdicts = verdicts_of(found.seals)
    if form == "pdf":
        try:
            return _file(render_pdf(found, verdicts), "application/pdf", f"{name}-{month}.pdf")
        except PdfUnavailableError as error:
            return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    text = render_report(
        found,
        verdicts,
        request=request,
        can_seal=found.over and may(request.user, "decide", environment.project),
    )
    return HttpResponse(text)


@login_required
@require_POST
def seal(request: HttpRequest, name: str, month: str) -> HttpResponse:
    """Sign a month off that is over."""
    environment, wanted = find(request, name), _month(month)
    attempt(
        request,
        lambda: actions.seal_month(request.user, environment, wanted),
        _("The month is signed off."),
    )
    return redirect("portal:report", name, month)
