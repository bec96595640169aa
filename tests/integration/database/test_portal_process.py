"""A portal process shares its connections: many requests and open streams use few of PostgreSQL's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.postgres import PrivatePostgres

pytestmark = pytest.mark.postgres

POOL = 4
REQUESTS, AT_ONCE, STREAMS = 300, 12, 8
PREPARE = """
import django; django.setup()
from millwright.accounts.actions import issue_token
from millwright.accounts.models import User
user = User.objects.create_superuser("root", password=None)
print(issue_token(user, user, "test")[1])
"""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def portal(
    postgres: PrivatePostgres, migrated: str, tmp_path: Path
) -> Iterator[tuple[httpx.Client, str]]:
    """A client with a token, and the database's address."""
    url = postgres.create_database(f"mw_process_{uuid4().hex[:8]}", template=migrated)
    env = {
        **os.environ,
        "MILLWRIGHT_DATABASE_URL": url,
        "MILLWRIGHT_HOME": str(tmp_path),
        "MILLWRIGHT_DATABASE_POOL": str(POOL),
        "DJANGO_SETTINGS_MODULE": "millwright.settings.django",
    }
    prepared = subprocess.run(
        [sys.executable, "-c", PREPARE], env=env, capture_output=True, text=True, timeout=300, check=True
    )  # fmt: skip
    token = prepared.stdout.split()[-1]
    port = _free_port()
    log = (tmp_path / "portal.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "millwright.settings.asgi:application", "--port", str(port),
         "--no-access-log", "--timeout-graceful-shutdown", "1"],
        env=env, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        ) as client:
            _answers(client, process, tmp_path / "portal.log")
            yield client, url
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _answers(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            answer = client.get("environments/")
        except httpx.ConnectError:
            time.sleep(0.2)
            continue
        assert answer.status_code == 200, answer.text
        return


def _sessions(url: str) -> int:
    with psycopg.connect(url) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_many_requests_and_streams_share_a_few_connections(
    portal: tuple[httpx.Client, str],
) -> None:
    client, url = portal
    with ExitStack() as streams:
        for _ in range(STREAMS):
            # More streams than connections: none of them keeps one.
            opened = streams.enter_context(client.stream("GET", "events?seconds=120"))
            assert opened.status_code == 200, opened.read()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            codes = list(
                pool.map(lambda _n: client.get("environments/").status_code, range(REQUESTS))
            )
            assert set(codes) <= {200, 429}, sorted(set(codes))
            assert codes.count(200) >= REQUESTS / 3
        assert 1 <= _sessions(url) <= POOL


def test_a_database_that_was_started_again_costs_no_answer(
    portal: tuple[httpx.Client, str], postgres: PrivatePostgres
) -> None:
    client, _url = portal
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _n: client.get("environments/").status_code, range(4 * AT_ONCE)))
    postgres.kill()
    postgres.start_again()
    # Whichever thread answers, none still believes in its old connection; nor does the one of the streams.
    for _ in range(4 * POOL):
        assert client.get("environments/").status_code == 200
    with client.stream("GET", "events?seconds=0") as opened:
        assert opened.status_code == 200
        text = opened.read().decode()
    assert ": alive" in text or "event:" in text, text
