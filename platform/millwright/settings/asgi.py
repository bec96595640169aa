"""The portal's entry point for uvicorn: `uvicorn millwright.settings.asgi:application`."""

import os
from typing import Any

import django

from millwright.settings import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
connections.answers_requests = True
django.setup(set_prefix=False)

# Models, and what uses them, are there only now.
from millwright.portal.consoles import console  # noqa: E402
from millwright.settings import get_settings  # noqa: E402
from millwright.settings.handler import Portal  # noqa: E402
from millwright.settings.heap import settle  # noqa: E402

# Each thread that answers requests keeps a connection, and one more serves what streams read.
_pages = Portal(max(2, get_settings().database_pool or 12) - 1)
settle()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pages and API by HTTP, consoles by WebSocket."""
    await (console if scope["type"] == "websocket" else _pages)(scope, receive, send)
