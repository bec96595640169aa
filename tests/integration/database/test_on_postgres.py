"""What holds on SQLite holds on PostgreSQL: the data, the actions, the API and the pages, run again there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from millwright.orchestrator.lock import AdvisoryLock

from tests.support.postgres import PrivatePostgres, postgres

__all__ = ["postgres"]

ROOT = Path(__file__).resolve().parents[3]
PARTS = (
    "api",
    "audit",
    "database",
    "environments",
    "orchestrator/test_service.py",
    "portal",
)

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("part", PARTS)
def test_the_suite_passes_there(postgres: PrivatePostgres, part: str) -> None:
    # Django reads its database once per process, hence a process of its own.
    url = postgres.create_database(f"mw_{part.split('/')[0]}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--create-db", "--maxfail=2", "-m", "not postgres and not full",
         f"tests/integration/{part}"],
        cwd=ROOT,
        env={**os.environ, "MILLWRIGHT_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 0, done.stdout


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
