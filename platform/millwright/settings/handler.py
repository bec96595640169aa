"""How a request is handled under uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import MiddlewareNotUsed, RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import FileResponse, HttpResponseBase
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from .connections import drop_dead, release_connections

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: Middleware that a program with a token goes round: it has no session, no form, no page and no password.
NOT_FOR_TOKENS = frozenset(
    {
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "millwright.accounts.language.OwnLanguageMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
        "millwright.accounts.middleware.FirstThingsMiddleware",
        "axes.middleware.AxesMiddleware",
    }
)


class OneThreadHandler(ASGIHandler):
    """A request's middleware and view run one after the other in one thread of a few, which keeps its connection.

    Django's own handler starts a thread for each request, whose connection nobody uses again, and goes there
    and back for each middleware, which together takes longer than most answers. An asynchronous view is still
    awaited by the event loop, and a stream is still read by it.

    Args:
        threads: requests that are worked on at once.
        middleware: what every request passes, outermost first.
    """

    def __init__(self, threads: ThreadPoolExecutor, middleware: Sequence[str]) -> None:
        self._threads, self._middleware = threads, middleware
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        """For one thread, whatever is asked."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain = convert_exception_to_response(self._get_response)
        for path in reversed(self._middleware):
            try:
                layer = import_string(path)(chain)
            except MiddlewareNotUsed:
                continue
            if hasattr(layer, "process_view"):
                self._view_middleware.insert(0, layer.process_view)
            if hasattr(layer, "process_template_response"):
                self._template_response_middleware.append(layer.process_template_response)
            if hasattr(layer, "process_exception"):
                self._exception_middleware.append(layer.process_exception)
            chain = convert_exception_to_response(layer)
        self._middleware_chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, answer it in a thread, send the answer."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        response = await self._in_thread(self._answer, scope, body)
        if response.streaming:
            try:
                await self._stream(response, receive, send)
            finally:
                await asyncio.shield(self._in_thread(response.close))
        else:
            await self.send_response(response, send)

    async def _in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        return await sync_to_async(work, thread_sensitive=False, executor=self._threads)(*given)

    def _answer(self, scope: Scope, body: SpooledTemporaryFile[bytes]) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        drop_dead()
        request, response = self.create_request(scope, body)
        if request is not None:
            response = self.get_response(request)
        response._handler_class = type(self)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if response.streaming and not response.is_async:
            # Read here: Django would read it in the one thread that all streams of a process share, whose
            # connection nobody looks after. It would be read whole there too.
            response.streaming_content = [*response.streaming_content]
        if response.streaming:
            # Others may have this thread, and what the view read with, for as long as the stream lasts.
            release_connections()
        else:
            response.close()
            body.close()
        return response

    async def _stream(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        """Send it until it ends or the reader is gone."""
        sending = asyncio.create_task(self.send_response(response, send))
        leaving = asyncio.create_task(receive())
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = sending.done()
            for task in (sending, leaving):
                task.cancel()
            # What the reader of a stream lacks is no fault of ours; what fails while it is made is.
            outcome = await asyncio.gather(sending, leaving, return_exceptions=True)
        if ended and isinstance(outcome[0], Exception):
            raise outcome[0]


class Portal:
    """Pages, and the API for programs by a shorter way."""

    def __init__(self, threads: int) -> None:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._pages = OneThreadHandler(pool, settings.MIDDLEWARE)
        self._api = OneThreadHandler(
            pool, [each for each in settings.MIDDLEWARE if each not in NOT_FOR_TOKENS]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the way that fits the request."""
        handler = self._api if by_token(scope) else self._pages
        await handler(scope, receive, send)


def by_token(scope: Scope) -> bool:
    """Whether a program asks the API with a token, and brings no cookie with which it might be somebody else."""
    if not scope["path"].startswith("/api/"):
        return False
    names = dict(scope["headers"])
    return b"cookie" not in names and names.get(b"authorization", b"")[:7].lower() == b"bearer "
