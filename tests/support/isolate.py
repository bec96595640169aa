"""A pytest plugin, loaded before Django's settings are: tests have a home of their own.

Never the machine's installation: every MILLWRIGHT_ variable but the database's and the cache's is dropped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

_scratch = Path(tempfile.mkdtemp(prefix="mw-tests-"))
for _name in [name for name in os.environ if name.startswith("MILLWRIGHT_")]:
    if _name not in {"MILLWRIGHT_DATABASE_URL", "MILLWRIGHT_CACHE_DIR"}:
        del os.environ[_name]
os.environ["MILLWRIGHT_HOME"] = str(_scratch / "home")


def pytest_unconfigure() -> None:
    """Take the scratch folder away."""
    shutil.rmtree(_scratch, ignore_errors=True)


def pytest_configure() -> None:
    """Let tests that use threads empty append-only tables at their end: nothing else may."""
    from django.db.backends.sqlite3.base import DatabaseOperations
    from millwright.audit.triggers import forbid_changes

    flush = DatabaseOperations.sql_flush

    def sql_flush(self: Any, style: Any, tables: list[str], **kwargs: Any) -> list[str]:
        from django.apps import apps
        from millwright.audit.models import AppendOnly

        class Editor:
            connection = self.connection

            def __init__(self) -> None:
                self.statements: list[str] = []

            def execute(self, statement: str) -> None:
                self.statements.append(statement)

        before, after = Editor(), Editor()
        kept = {row._meta.db_table for row in apps.get_models() if issubclass(row, AppendOnly)}
        for table in sorted(kept & set(tables)):
            forwards, backwards = forbid_changes(table)
            backwards(None, before)
            forwards(None, after)
        return [*before.statements, *flush(self, style, tables, **kwargs), *after.statements]

    DatabaseOperations.sql_flush = sql_flush  # type: ignore[method-assign]
