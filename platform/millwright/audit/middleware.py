"""Remembers where a request came from, for the audit trail."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from .actions import Origin, current_origin


class OriginMiddleware:
    """Works under both sync and async handlers."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):  # type: ignore[no-untyped-def]  # sync or async by mode
        origin = Origin(
            address=request.META.get("REMOTE_ADDR") or None, request_id=uuid.uuid4().hex
        )
        token = current_origin.set(origin)
        if iscoroutinefunction(self):
            return self._later(request, token)
        try:
            response = self.get_response(request)
        finally:
            current_origin.reset(token)
        response["X-Request-Id"] = origin.request_id
        return response

    async def _later(self, request: HttpRequest, token: object) -> HttpResponseBase:
        response = await self.get_response(request)  # type: ignore[misc]
        response["X-Request-Id"] = current_origin.get().request_id
        return response
