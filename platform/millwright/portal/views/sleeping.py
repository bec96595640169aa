"""A host's power on its page: put to sleep, woken."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext as _

from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments.reasons import said
from millwright.inventory import power, waking
from millwright.inventory.models import Host

from .base import WORDS, attempt


class PowerForm(forms.Form):
    """A reason, the confirmation, and until when."""

    reason = forms.CharField(max_length=300)
    confirm = forms.BooleanField()
    until = forms.DateTimeField(required=False)


def power_of(host: Host) -> dict[str, Any]:
    """What the host's page says of its power."""
    why = power.why_not_asleep(host) if host.power == HostPower.AWAKE else None
    kinds = (OperationKind.SLEEP_HOST, OperationKind.WAKE_HOST)
    failing = [row for row in waking.not_waking() if row.host.pk == host.pk]
    return {
        "how": host.policy.get("sleep") or {},
        "why_not": said(why) if why else "",
        "reason": said(host.power_reason),
        "operations": host.operations.filter(kind__in=kinds)[:3],
        "not_waking": failing[0] if failing else None,
    }


def change_power(request: HttpRequest, row: Host) -> bool:
    """Put to sleep, or wake: with a reason, and the box ticked. Whether it was done; if not, a message says why."""
    wanted, form = request.POST.get("wanted", ""), PowerForm(request.POST)

    def change() -> Any:
        # Who may not is told that first, whatever the form holds.
        power.may_change(request.user)
        if not form.is_valid():
            raise forms.ValidationError(_("Give a reason, tick the box, and write a time, if any."))
        reason, until = form.cleaned_data["reason"], form.cleaned_data["until"]
        if wanted == "sleep":
            return power.ask_sleep(request.user, row, reason=reason, until=until)
        return power.ask_wake(request.user, row, reason=reason)

    told = _("It is being put to sleep.") if wanted == "sleep" else _("It is being woken.")
    return attempt(request, change, told, WORDS) is not None
