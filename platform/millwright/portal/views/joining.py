"""Adding a host: name and address, what it says, roles of its CPUs, then it is registered and probed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from millwright.accounts.permissions import may
from millwright.desk import DeskError
from millwright.inventory import joining
from millwright.portal.forms import style

from .base import error_lines


class HostForm(forms.Form):
    """Everything of the wizard; the roles count once the host has been asked."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=48)
    uri = forms.CharField(
        label=gettext_lazy("libvirt address"),
        max_length=300,
        help_text=gettext_lazy("qemu+tls://its-name/system, as its certificate names it"),
    )
    address = forms.GenericIPAddressField(
        label=gettext_lazy("Management address"), protocol="IPv4", required=False
    )
    agent_url = forms.URLField(
        label=gettext_lazy("Address of its agent"),
        required=False,
        assume_scheme="http",
        help_text=gettext_lazy("http://address:9177, for its metrics"),
    )
    housekeeping_cpus = forms.CharField(label=gettext_lazy("CPUs that keep house"), required=False)
    shared_cpus = forms.CharField(label=gettext_lazy("Shared CPUs"), required=False)
    realtime_cpus = forms.CharField(label=gettext_lazy("Realtime CPUs"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


@login_required
def host_new(request: HttpRequest) -> HttpResponse:
    """First ask, then register."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Adding a host is for those who keep the pool."))
    form = HostForm(request.POST or None)
    context: dict[str, Any] = {"form": form}
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            # Both times: nothing joins that does not answer now.
            found = joining.check(request.user, data["name"], data["uri"])
            context["found"] = found
            if request.POST.get("verb") == "register":
                policy = {
                    "best_effort": True,
                    "memory_reserved_bytes": 2**30,
                    **{
                        key: data[key]
                        for key in ("housekeeping_cpus", "shared_cpus", "realtime_cpus")
                    },
                }
                host = joining.join(
                    request.user,
                    found,
                    name=data["name"],
                    uri=data["uri"],
                    address=data["address"] or None,
                    agent_url=data["agent_url"],
                    policy=policy,
                )
                messages.success(
                    request, _("Registered. It is asked and probed now; that takes some minutes.")
                )
                return redirect("portal:host", host.name)
            values = request.POST.copy()
            values.update(
                {key: value for key, value in found["policy"].items() if key.endswith("_cpus")}
            )
            context["form"] = HostForm(values)
        except ValidationError as error:
            for line in error_lines(error):
                form.add_error(None, line)
        except DeskError as error:
            form.add_error(None, str(error))
    shown = context["form"]
    return render(request, "portal/host_form.html", context, status=422 if shown.errors else 200)
