"""How a request is handled under uvicorn."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase


class OneThreadHandler(ASGIHandler):
    """Middleware and view run one after the other in the request's thread.

    Django's own handler calls each middleware from the event loop, and most of them go to that thread
    and back twice, which together takes longer than most answers. An asynchronous view is still awaited by
    the event loop, and a stream is still read by it.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """For one thread, whatever is asked."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """There and back once."""
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)
