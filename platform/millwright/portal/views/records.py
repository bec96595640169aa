"""Operations: the list, one of them, cancel and retry."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.core.lifecycle import LIVE_OPERATION_STATES, OperationState
from millwright.environments import actions, moving
from millwright.environments.models import Operation

from .base import Rows, attempt


class OperationList(Rows):
    """What was and is being done."""

    rows = Operation.objects.with_names()
    template_name = "portal/operations.html"

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        state = self.request.GET.get("state", "")
        return queryset.filter(state=state) if state in set(OperationState) else queryset

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "states": list(OperationState),
            "selected": self.request.GET.get("state", ""),
        }


@login_required
def operation(request: HttpRequest, pk: Any) -> HttpResponse:
    """One operation: who, why, its steps, its error."""
    row = get_object_or_404(
        Operation.objects.with_names().prefetch_related("steps").for_user(request.user), pk=pk
    )
    allowed = (
        may(request.user, "operate", row.project) if row.project else may(request.user, "pool")
    )
    context = {
        "operation": row,
        "can_cancel": allowed and row.state in LIVE_OPERATION_STATES and not row.cancel_requested,
        "question": row.question if row.state == OperationState.WAITING and not row.answer else {},
        "can_answer": allowed or may(request.user, "pool"),
        "can_retry": allowed and row.state == OperationState.FAILED,
    }
    return render(request, "portal/operation.html", context)


@login_required
@require_POST
def operation_act(request: HttpRequest, pk: Any) -> HttpResponse:
    """Cancel, retry, answer."""
    row = get_object_or_404(Operation.objects.for_user(request.user), pk=pk)
    if request.POST.get("verb") == "cancel":
        attempt(
            request,
            lambda: actions.cancel_operation(request.user, row),
            _("It stops at its next step."),
        )
    elif request.POST.get("verb") == "retry":
        attempt(request, lambda: actions.retry_operation(request.user, row), _("Queued again."))
    elif request.POST.get("verb") == "answer":
        attempt(
            request,
            lambda: moving.answer_operation(request.user, row, request.POST.get("answer", "")),
            _("It goes on with your answer."),
        )
    return redirect("portal:operation", pk)
