"""Database connections of a process that serves long streams."""

from __future__ import annotations


def release_connections() -> None:
    """Give this thread's connections back, or close what is due; one inside a transaction stays."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
