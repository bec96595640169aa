"""Disks of earlier placements that were set aside: the list, and a person's word for the removal of one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.inventory import disks
from millwright.inventory.models import OldDisk

#: Disks on one page.
A_PAGE = 50


def _keeper(request: HttpRequest) -> None:
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Disks set aside are for those who keep the pool."))


@login_required
def old_disks(request: HttpRequest) -> HttpResponse:
    """All that were set aside, host by host."""
    _keeper(request)
    text = request.GET.get("q", "").strip()[:80]
    rows = OldDisk.objects.select_related("host").order_by("host__name", "pool", "name")
    if text:
        rows = rows.filter(
            Q(host__name__icontains=text) | Q(machine__icontains=text) | Q(name__icontains=text)
        )
    context: dict[str, Any] = {
        "page_obj": Paginator(rows, A_PAGE).get_page(request.GET.get("page")),
        "text": text,
        "bytes": rows.aggregate(Sum("allocation_bytes"))["allocation_bytes__sum"] or 0,
    }
    return render(request, "portal/old_disks.html", context)


@login_required
def old_disk(request: HttpRequest, pk: int) -> HttpResponse:
    """What a removal would take, and the word for it."""
    _keeper(request)
    row = get_object_or_404(OldDisk.objects.select_related("host"), pk=pk)
    given, errors = {"word": "", "reason": ""}, {}
    if request.method == "POST":
        # A name is not stripped by the browser's form: a blank at its end is no part of it.
        given = {key: request.POST.get(key, "").strip() for key in given}
        try:
            disks.ask_removal(request.user, row, **given)
        except ValidationError as error:
            errors = error.message_dict
        else:
            messages.success(
                request,
                _("%(name)s: it is removed within a minute, if no machine on %(host)s has it.")
                % {"name": row.name, "host": row.host.name},
            )
            return redirect("portal:old_disks")
    context = {"row": row, "would": disks.removal(row), "given": given, "errors": errors}
    return render(request, "portal/old_disk.html", context, status=422 if errors else 200)
