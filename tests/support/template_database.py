"""The database of tests is migrated once and then copied: to run all migrations takes half a minute of CPU time.

SQLite: a file in pytest's cache, named by a digest of all that makes it (`digest`), copied to where the tests' own is.
`make test` names a new folder in TEMPLATE_FOLDER, so that its migrations have run from nothing, once for both of its
processes. PostgreSQL: `tests/support/postgres.py` migrates one database of its server, and TEMPLATE_DATABASE names it
to the processes whose test databases are made from it. Django's own `migrate` runs over each copy all the same, and
finds nothing to do.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import django
import pytest

TEMPLATE_FOLDER = "MW_TESTS_TEMPLATE_FOLDER"
TEMPLATE_DATABASE = "MW_TESTS_TEMPLATE_DATABASE"

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ROOT / "platform"


def _imported(source: str) -> Iterator[Path]:
    """The modules of ours that a migration calls, such as the one that makes triggers."""
    for node in ast.walk(ast.parse(source)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            place = PLATFORM / name.replace(".", "/")
            yield from (
                path
                for path in (place.with_suffix(".py"), *sorted(place.glob("*.py")))
                if name.startswith("millwright") and path.is_file()
            )


def made_of() -> list[Path]:
    """The files that decide what the migrations make: they, what they import, the apps and their versions."""
    migrations = sorted(PLATFORM.glob("millwright/*/migrations/*.py"))
    imported = {path for file in migrations for path in _imported(file.read_text("utf-8"))}
    settings = PLATFORM / "millwright/settings/django.py"
    return sorted({*migrations, *imported, settings, ROOT / "requirements/dev.lock"})


def digest(files: Iterable[Path]) -> str:
    """Names a template: any change of a file's content or place, of Django, Python or SQLite is another."""
    said = f"{django.VERSION} {sys.version} {sqlite3.sqlite_version}".encode()
    sums = [
        f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode() for path in sorted(files)
    ]
    return hashlib.sha256(b"\n".join([said, *sums])).hexdigest()[:24]


def migrate(environment: dict[str, str]) -> None:
    """Run all migrations in a process of their own, in the database that `environment` names."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity=0", "--no-input"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(PLATFORM), str(ROOT))),
            "DJANGO_SETTINGS_MODULE": "millwright.settings.django",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"migrate ended with {done.returncode}: {done.stdout}{done.stderr}")


def _build(target: Path) -> None:
    """Migrate an empty database into `target`, which is there whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as home:
        migrate({"MILLWRIGHT_HOME": home, "MILLWRIGHT_DATABASE_URL": ""})
        whole = Path(home) / "whole.sqlite3"
        # Without the journal's file beside it, whatever the process left there.
        with closing(sqlite3.connect(Path(home) / "millwright.sqlite3")) as made:
            made.execute("VACUUM INTO ?", [str(whole)])
        whole.replace(target)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock of one that was killed is free."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copy_template(folder: Path, target: Path) -> None:
    """Put a migrated database at `target`, from the folder's template, which the first to need it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        # Here, too, one at a time: Python 3.11 counts the depth of a parse for all threads together, and the parse
        # of one that another interrupts can end in a SystemError (python/cpython#106905).
        template = folder / f"{digest(made_of())}.sqlite3"
        if not template.is_file():
            for old in (*folder.glob("building-*"), *folder.glob("*.sqlite3")):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            _build(template)
        shutil.copyfile(template, target)


@pytest.fixture(scope="session")
def django_db_keepdb(
    request: pytest.FixtureRequest, django_db_keepdb: bool, django_db_createdb: bool
) -> bool:
    """Lay the template where Django makes its test database, and have it keep what it finds there."""
    from django.db import connection

    if django_db_createdb:
        return django_db_keepdb
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        cache = getattr(request.config, "cache", None)
        folder = os.environ.get(TEMPLATE_FOLDER) or (cache and cache.mkdir("template-database"))
        target = Path(settings["TEST"]["NAME"])
        if not folder or target.exists():
            return django_db_keepdb
        copy_template(Path(folder), target)
        return True
    if template := os.environ.get(TEMPLATE_DATABASE):
        settings["TEST"]["TEMPLATE"] = template
    return django_db_keepdb
