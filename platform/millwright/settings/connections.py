"""Database connections of a process that answers requests and serves long streams."""

from __future__ import annotations

import select

#: Whether this process answers requests: `settings.asgi` says so before Django's settings are read.
answers_requests = False


def release_connections() -> None:
    """Close this thread's connections that are due or broken; one inside a transaction stays."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def drop_dead() -> None:
    """Close this thread's connections whose server has ended them, without asking it.

    A server that restarts closes its sessions, which makes their sockets readable; between two requests
    nothing else is expected on them. A question to it before each request would cost more than this.
    """
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        raw = connection.connection
        if connection.vendor != "postgresql" or raw is None or connection.in_atomic_block:
            continue
        if raw.closed or _readable(raw.fileno()):
            connection.close()


def _readable(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
