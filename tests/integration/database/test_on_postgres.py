"""What holds on SQLite holds on PostgreSQL: the data, the actions, the API and the pages, run again there.

What may differ is what the database is asked: locks that SQLite has not, the strictness of groups, of types and of
what follows a refused statement, JSON, times, constraints, triggers, search. Statements come with paths through the
code, and cases of one test mostly take the same one: of the actions (`environments`) and the pages (`portal`) CI
runs each test with its first case, and `make test-full` with all of them. The API's cases are endpoints, filters and
orders, each a statement of its own: they all run, like what is of the database itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from millwright.orchestrator.lock import AdvisoryLock

from tests.support.postgres import PrivatePostgres
from tests.support.template_database import TEMPLATE_DATABASE

ROOT = Path(__file__).resolve().parents[3]
#: Folders and files, the longest first, so that the last one to end is a short one.
PARTS = (
    pytest.param("environments whole", marks=pytest.mark.full),
    pytest.param("portal whole", marks=pytest.mark.full),
    "environments first",
    "api",
    "portal first",
    "orchestrator/test_service.py",
    "orchestrator/test_retaining.py",
    "database",
    "audit",
)

pytestmark = pytest.mark.postgres


def _run(postgres: PrivatePostgres, migrated: str, part: str) -> subprocess.CompletedProcess[str]:
    # Django reads its database once per process, hence a process of its own.
    place, _, cases = part.partition(" ")
    # What asks the server by the settings' address, as the orchestrator's lock does, finds a database there; tests
    # have a copy of the migrated one.
    url = postgres.create_database(f"mw_{Path(place).stem}_{cases}")
    plugin = ["-p", "tests.support.first_cases"] if cases == "first" else []
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--maxfail=2", "--durations=5",
         "-m", "not postgres and not full", *plugin, f"tests/integration/{place}"],
        cwd=ROOT,
        env={**os.environ, "MILLWRIGHT_DATABASE_URL": url, TEMPLATE_DATABASE: migrated},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, postgres: PrivatePostgres, migrated: str
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The chosen parts, two at a time: each waits for its server as often as it computes."""
    chosen = [
        item.callspec.params["part"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {part: pool.submit(_run, postgres, migrated, part) for part in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("part", PARTS)
def test_the_suite_passes_there(
    runs: dict[str, Future[subprocess.CompletedProcess[str]]], part: str
) -> None:
    done = runs[part].result()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 0, done.stdout
    print(done.stdout[-1500:])


def test_only_one_orchestrator_holds_the_lock_and_a_dead_one_loses_it(
    postgres: PrivatePostgres,
) -> None:
    url = postgres.create_database("mw_lock")
    first, second = AdvisoryLock(url), AdvisoryLock(url)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert first.held()
    assert not second.held()
    with psycopg.connect(url, autocommit=True) as session:
        # What the server does when a host dies or a connection breaks.
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    assert not first.held()
    # The server answers before the session it ends is gone.
    end = time.monotonic() + 60
    while not second.try_acquire():
        assert time.monotonic() < end, "the dead one's lock was never freed"
        time.sleep(0.05)
    assert not first.try_acquire()
    second.release()
    assert first.try_acquire()
    first.release()
