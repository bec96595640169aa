"""What a person does before anything else: choose a password of his own, set up a second factor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from millwright.settings import get_settings

from .permissions import project_roles

#: Where a person sets up the second factor, signs out, or changes the language.
_OPEN = ("/accounts/", "/i18n/", "/enter/", "/static/")


def lacks_second_factor(user: Any) -> bool:
    """Whether one of the person's roles, on the plant or in a project, demands a second factor he has not set up."""
    demanded = get_settings().two_factor_role_set
    if not demanded or not user.is_authenticated:
        return False
    roles = {user.plant_role, *(role for held in project_roles(user).values() for role in held)}
    if user.is_superuser:
        roles.add("administrator")
    return bool(roles & demanded) and not is_mfa_enabled(user)


class FirstThingsMiddleware:
    """Sends a person with a temporary password, or without a demanded factor, to where that is mended; works under both sync and async handlers.

    Tokens are not asked: a token is a secret of its own, with a scope and an end.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):  # type: ignore[no-untyped-def]  # sync or async by mode
        if iscoroutinefunction(self):
            return self._later(request)
        return self._refusal(request) or self.get_response(request)

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        refusal = await sync_to_async(self._refusal)(request)
        return refusal or await self.get_response(request)  # type: ignore[misc]

    def _refusal(self, request: HttpRequest) -> HttpResponseBase | None:
        if request.path.startswith(_OPEN):
            return None
        if getattr(request.user, "password_is_temporary", False):
            text = _("Choose a password of your own first.")
            return _lead(request, text, "password_change_required", "account_change_password")
        if get_settings().two_factor_role_set and lacks_second_factor(request.user):
            text = _("Your role needs two-factor sign-in: set it up first.")
            return _lead(request, text, "two_factor_required", "mfa_index")
        return None


def _lead(request: HttpRequest, text: str, code: str, page: str) -> HttpResponseBase:
    """To the page where it is done; programs are told why they are refused."""
    if request.path.startswith("/api/"):
        body = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": text, "code": code}  # fmt: skip
        return JsonResponse(body, status=403, content_type="application/problem+json")
    messages.warning(request, text)
    return redirect(page)
