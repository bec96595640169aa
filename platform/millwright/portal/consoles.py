"""The WebSocket of consoles: a ticket as its first message, then a machine's bytes, until somebody has to leave.

Text frames are ours (the ticket, the answer to it), binary frames the console's. Why it ended is the reason
of the close frame, one of `ENDS`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.http.request import split_domain_port, validate_host

from millwright.audit.actions import Origin, current_origin
from millwright.core.rfb import BY_HAND, RfbError, ViewerStream
from millwright.desk import DeskError, open_console
from millwright.environments import consoles
from millwright.environments.consoles import PATH
from millwright.settings import get_settings

log = logging.getLogger(__name__)

#: For the ticket; then between two looks at whether the person may still be here.
TICKET_S, LOOK_S = 10.0, 15.0
#: Nobody types that much at once, and a paste goes in pieces.
MOST_BYTES = 64 * 1024
#: WebSocket close codes: done; refused.
DONE, REFUSED = 1000, 4403

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def console(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """One WebSocket at `PATH`, from its handshake to its end."""
    await receive()  # websocket.connect
    if scope["path"] != PATH or not _from_here(scope):
        # Before it is accepted this is an answer 403.
        await send({"type": "websocket.close", "code": REFUSED})
        return
    await send({"type": "websocket.accept"})
    client = scope.get("client")
    origin = Origin(address=client[0] if client else None, request_id=uuid.uuid4().hex)
    current_origin.set(origin)
    secret = await _ticket(receive)
    visit = await _database(consoles.open_visit, secret) if secret else None
    if visit is None:
        await _end(send, "ticket", REFUSED)
        return
    end, details = "lost", {}
    try:
        try:
            reader, writer, about = await open_console(
                get_settings().desk_socket, visit=str(visit.pk)
            )
        except DeskError as error:
            end, details = "refused", {"error": str(error)}
            await send({"type": "websocket.send", "text": json.dumps({"error": str(error)})})
            return
        try:
            await send({"type": "websocket.send", "text": json.dumps({"opened": about})})
            end = await _carry(receive, send, reader, writer, visit)
        finally:
            writer.close()
    finally:
        await _database(consoles.close_visit, visit.pk, end, **details)
        await _end(send, end, REFUSED if end == "refused" else DONE)


def _from_here(scope: dict[str, Any]) -> bool:
    """Whether a page of this portal asks. What is no browser names no origin; its ticket alone decides."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    origin = headers.get(b"origin")
    return (
        origin is None or urlsplit(origin).netloc == host or origin in settings.CSRF_TRUSTED_ORIGINS
    )


async def _ticket(receive: Receive) -> str:
    """The secret of the first message; "" where something else came, or nothing in time."""
    try:
        message = await asyncio.wait_for(receive(), TICKET_S)
        return str(json.loads(message.get("text") or "")["ticket"])[:200]
    except (TimeoutError, ValueError, KeyError, TypeError):
        return ""


async def _carry(
    receive: Receive,
    send: Send,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    visit: Any,
) -> str:
    """Bytes both ways until one side ends or the person has to leave; returns which of `ENDS`."""
    now = asyncio.get_running_loop().time
    typed = now()
    viewer = ViewerStream() if visit.kind == "screen" else None

    async def outward() -> str:
        while data := await reader.read(MOST_BYTES):
            await send({"type": "websocket.send", "bytes": data})
        return "lost"

    async def inward() -> str:
        nonlocal typed
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return "left"
            data = message.get("bytes")
            if not data:
                continue
            if len(data) > MOST_BYTES:
                return "refused"
            try:
                # A viewer asks for pictures by itself; a terminal sends what is typed and nothing else.
                if viewer is None or any(said.kind in BY_HAND for said in viewer.feed(data)):
                    typed = now()
            except RfbError as error:
                log.info("screen: %s", error)
                return "refused"
            writer.write(data)
            await writer.drain()

    async def watch() -> str:
        idle_s = get_settings().console_idle_minutes * 60
        while True:
            await asyncio.sleep(min(LOOK_S, idle_s))
            if now() - typed >= idle_s:
                return "idle"
            if not await _database(consoles.still_allowed, visit.pk):
                return "forbidden"

    tasks = [asyncio.create_task(work()) for work in (inward, outward, watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # Who left by himself is told of before what ended because of it.
    first = next(task for task in tasks if task in done)
    if (error := first.exception()) is not None:
        log.info("console: %s", type(error).__name__)
        return "lost"
    return first.result()


async def _end(send: Send, reason: str, code: int) -> None:
    try:
        await send({"type": "websocket.close", "code": code, "reason": reason})
    except Exception as error:
        # The other end is gone: nobody is left to be told.
        log.debug("console: %s", error)


async def _database(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run `work` where Django's connections live. No request begins or ends here, so nobody else tidies up."""

    def tidy() -> Any:
        close_old_connections()
        try:
            return work(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(tidy)()
