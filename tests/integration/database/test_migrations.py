"""The migrations make what the models say, and the tests' database is what the migrations made."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from tests.support import template_database
from tests.support.postgres import PrivatePostgres


@pytest.mark.django_db
def test_no_model_lacks_a_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_all_migrations_have_run_in_the_database_of_tests() -> None:
    loader = MigrationLoader(connection)
    assert set(loader.applied_migrations) == set(loader.disk_migrations)
    assert len(loader.disk_migrations) > 100


@pytest.mark.postgres
def test_the_migrations_run_on_an_empty_postgresql(
    postgres: PrivatePostgres, migrated: str
) -> None:
    """The fixture has run them; the triggers that keep rows as they were are there."""
    files = len(list(template_database.PLATFORM.glob("millwright/*/migrations/0*.py")))
    with psycopg.connect(postgres.url_of(migrated)) as session:
        rows = session.execute("SELECT app, name FROM django_migrations").fetchall()
        kept = session.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%_append_only'"
        ).fetchone()
    assert len(rows) > files > 80
    assert kept is not None
    assert kept[0] >= 6


def test_a_change_of_any_file_that_makes_the_database_names_another_template(
    tmp_path: Path,
) -> None:
    names = {path.name for path in template_database.made_of()}
    assert {"triggers.py", "search_indexes.py", "0001_initial.py", "dev.lock", "django.py"} <= names
    one, two = tmp_path / "0001_one.py", tmp_path / "0002_two.py"
    one.write_text("a")
    digests = [template_database.digest([one])]
    one.write_text("b")
    digests.append(template_database.digest([one]))
    two.write_text("")
    digests.append(template_database.digest([one, two]))
    assert len(set(digests)) == 3
    assert template_database.digest([two, one]) == digests[-1]


def _build(target: Path, made: list[Path]) -> None:
    made.append(target)
    with closing(sqlite3.connect(target)) as database:
        database.execute("CREATE TABLE whole (number int)")


def test_processes_that_begin_at_once_make_one_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(template_database, "_build", lambda target: _build(target, made))
    folder = tmp_path / "templates"
    folder.mkdir()
    # Of an earlier state of the migrations, and of a run that was killed.
    (folder / "old.sqlite3").touch()
    (folder / "building-x").mkdir()
    copies = [tmp_path / f"{number}.sqlite3" for number in range(4)]
    threads = [
        threading.Thread(target=template_database.copy_template, args=(folder, copy))
        for copy in copies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([made[0].name, "lock"])
    for copy in copies:
        with closing(sqlite3.connect(copy)) as database:
            assert database.execute("SELECT count(*) FROM whole").fetchone() == (0,)


def test_what_fails_to_be_migrated_is_no_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(environment: dict[str, str]) -> None:
        Path(environment["MILLWRIGHT_HOME"], "millwright.sqlite3").touch()
        raise RuntimeError("half")

    monkeypatch.setattr(template_database, "migrate", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half"):
            template_database.copy_template(tmp_path / "templates", tmp_path / "copy.sqlite3")
    assert [path.name for path in (tmp_path / "templates").iterdir()] == ["lock"]
    assert not (tmp_path / "copy.sqlite3").exists()
