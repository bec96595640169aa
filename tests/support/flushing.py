"""How the database is emptied after a test that uses threads: quickly, and append-only tables too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: What Django writes for the models themselves: to write it again takes longer than most tests do.
OF_MODELS = {"django_content_type", "auth_permission"}


class _Editor:
    """Collects the statements that a migration would have executed."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)


def _append_only() -> set[str]:
    from django.apps import apps
    from millwright.audit.models import AppendOnly

    return {row._meta.db_table for row in apps.get_models() if issubclass(row, AppendOnly)}


@contextmanager
def _unguarded(connection: Any, tables: list[str], statements: list[str]) -> Iterator[None]:
    """Let `statements` empty append-only tables, which nothing else may."""
    from millwright.audit.triggers import forbid_changes

    before, after = _Editor(connection), _Editor(connection)
    for table in sorted(_append_only() & set(tables)):
        forwards, backwards = forbid_changes(table)
        backwards(None, before)
        forwards(None, after)
    statements += before.statements
    yield
    statements += after.statements


def sql_flush(style: Any, connection: Any, **options: Any) -> list[str]:
    """The statements that empty all tables but those of the models."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [name for name in names if name not in OF_MODELS]
    if connection.vendor != "sqlite":
        # TRUNCATE asks no trigger.
        return list(connection.ops.sql_flush(style, tables, **options))
    statements: list[str] = []
    with _unguarded(connection, tables, statements):
        statements += connection.ops.sql_flush(style, tables, **options)
    return statements


def install() -> None:
    """Have Django's command `flush` do so; there is nothing then to be written again after it."""
    from django.core.management.commands import flush

    flush.sql_flush = sql_flush
    flush.emit_post_migrate_signal = lambda *_args, **_options: None
