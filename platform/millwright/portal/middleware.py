"""Refuses what no page, no endpoint and no database can mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _


class CharacterZeroMiddleware:
    """An address with a character 0 in it is refused: PostgreSQL cannot even compare with it."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):  # type: ignore[no-untyped-def]  # sync or async by mode
        if "\0" in request.path or any(
            "\0" in f"{key}{value}" for key, value in request.GET.items()
        ):
            refused = self._refuse(request)
            return self._later(refused) if iscoroutinefunction(self) else refused
        return self.get_response(request)

    @staticmethod
    def _refuse(request: HttpRequest) -> HttpResponse:
        reason = _("The address has a character 0 in it, which nothing here can mean.")
        if request.path.startswith("/api/"):
            body = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": reason}
            return JsonResponse(body, status=400, content_type="application/problem+json")
        return HttpResponse(reason, status=400, content_type="text/plain; charset=utf-8")

    @staticmethod
    async def _later(response: HttpResponse) -> HttpResponse:
        return response
