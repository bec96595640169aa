"""Indexes by which PostgreSQL finds a word in the middle of a text (pg_trgm), and the beginnings of addresses.

SQLite has nothing of the kind: there a search reads the table, which for a plant of SQLite's size is
quick enough.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)

#: Index → what follows CREATE INDEX … ON. The expressions are, letter by letter, those of Django's
#: `icontains`, `istartswith` and `startswith`, else PostgreSQL does not see that they serve.
Indexes = dict[str, str]


def contains(table: str, *columns: str) -> str:
    """For `icontains`; of several columns, for their texts one after the other with a blank between."""
    text = " || ' ' || ".join(columns)
    return f"{table} USING gin (UPPER(({text})::text) gin_trgm_ops)"


def begins(table: str, column: str) -> str:
    """For `istartswith` of a text."""
    return f"{table} (UPPER({column}::text) text_pattern_ops)"


def address_begins(table: str, column: str) -> str:
    """For `startswith` of an IP address."""
    return f"{table} ((HOST({column})::text) text_pattern_ops)"


def search_indexes(indexes: Indexes) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return (forwards, backwards) for a migration's RunPython.

    Where pg_trgm cannot be had (its package is missing, or the role may not create it) the indexes
    that need it are left out with a warning: searching works without them, only slower.
    """

    def forwards(apps: Any, editor: Any) -> None:
        if editor.connection.vendor != "postgresql":
            return
        trigrams = _has_trigrams(editor)
        for name, rest in indexes.items():
            if "gin_trgm_ops" in rest and not trigrams:
                _log.warning("%s: left out, since the database has no pg_trgm", name)
                continue
            editor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {rest}")

    def backwards(apps: Any, editor: Any) -> None:
        if editor.connection.vendor == "postgresql":
            for name in indexes:
                editor.execute(f"DROP INDEX IF EXISTS {name}")

    return forwards, backwards


def _has_trigrams(editor: Any) -> bool:
    from django.db import DatabaseError, transaction

    try:
        # A refusal must not end the migration that asks.
        with transaction.atomic(using=editor.connection.alias):
            editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError as error:
        _log.warning("pg_trgm cannot be had: %s", str(error).strip())
        return False
    return True
