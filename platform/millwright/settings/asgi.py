"""The portal's entry point for uvicorn: `uvicorn millwright.settings.asgi:application`."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
# Here each request has a thread of its own: a connection kept per thread would never be used again, and a hundred
# requests a minute would use up what the server allows.
os.environ.setdefault("MILLWRIGHT_DATABASE_POOL", "12")
django.setup(set_prefix=False)

from millwright.portal.consoles import console  # noqa: E402  # models are there only now
from millwright.settings.handler import OneThreadHandler  # noqa: E402
from millwright.settings.heap import settle  # noqa: E402

_pages = OneThreadHandler()
settle()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pages and API by HTTP, consoles by WebSocket."""
    await (console if scope["type"] == "websocket" else _pages)(scope, receive, send)
