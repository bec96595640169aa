"""One PostgreSQL server for the folder, and a database in it that all migrations have run in."""

from __future__ import annotations

import pytest

from tests.support.postgres import PrivatePostgres, postgres
from tests.support.template_database import migrate

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def migrated(postgres: PrivatePostgres) -> str:
    """A database's name: the migrations ran in it from nothing, and others are made from it."""
    migrate({"MILLWRIGHT_DATABASE_URL": postgres.create_database("mw_migrated")})
    return "mw_migrated"
