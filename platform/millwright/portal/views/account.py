"""Entry by a one-time link: single use, 15 minutes, from this machine only."""

from __future__ import annotations

import ipaddress

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django.views.i18n import set_language as set_language_of_browser

from millwright.accounts.actions import use_login_link
from millwright.accounts.language import choose_language, known


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """In this browser, and for whoever is signed in wherever he goes, his letters included."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and known(code):
        choose_language(request.user, code)
    return set_language_of_browser(request)


@never_cache
def enter(request: HttpRequest, secret: str) -> HttpResponse:
    """A page with one button: a link preview or a prefetch must not use the link up."""
    peer = request.META.get("REMOTE_ADDR", "")
    if not peer or not ipaddress.ip_address(peer).is_loopback:
        return render(
            request,
            "portal/enter.html",
            {"refused": _("One-time links work on the machine itself only.")},
            status=403,
        )
    if request.method != "POST":
        return render(request, "portal/enter.html", {})
    user = use_login_link(secret)
    if user is None:
        return render(
            request,
            "portal/enter.html",
            {
                "refused": _(
                    "This link was used already or is older than 15 minutes. Get a new one with: millwright user link NAME"
                )
            },
            status=410,
        )
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    UserSession.objects.create_from_request(request)
    messages.success(request, _("Signed in as %(user)s.") % {"user": user})
    return redirect("portal:home")
