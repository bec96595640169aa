"""How long lists and the search take on a large plant: `python -m tests.bench.portal`.

Times are of the server's own work (Django's test client, no network, no browser); the database is a new
file, with `--postgres` a private PostgreSQL server that ends with it, or what MILLWRIGHT_DATABASE_URL
names, which must be empty. Each address is asked as an administrator,
who sees everything, and as an engineer of one project.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from typing import Any

PAGES = (
    "/",
    "/catalogue/",
    "/requests/",
    "/environments/",
    "/environments/?q=env-0199",
    "/environments/env-00100/",
    "/programs/",
    "/devices/",
    "/pool/",
    "/operations/",
    "/audit/",
    "/audit/?q=stop+env-00100",
    "/search/?q=env-0199",
    "/search/?q=10.3.1.7",
    "/notifications/",
    "/notifications/deliveries/",
    "/administration/",
)
API = ("requests", "environments", "machines", "operations", "devices", "hosts", "audit")


def _measure(caller: Any, url: str, rounds: int) -> tuple[float, float, int, int]:
    """p50 and p95 in ms, queries, size in bytes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    answer = caller.get(url)
    assert answer.status_code in (200, 403), (url, answer.status_code)
    with CaptureQueriesContext(connection) as captured:
        answer = caller.get(url)
        # Before the next request empties the log.
        queries = len(captured.connection.queries_log)
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        caller.get(url)
        times.append((time.perf_counter() - begun) * 1e3)
    p95 = statistics.quantiles(times, n=20)[-1]
    return statistics.median(times), p95, queries, len(answer.content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--postgres", action="store_true", help="on a private PostgreSQL server")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="millwright-bench-"))
        if asked.postgres:
            from tests.support.postgres import private_server

            server = stack.enter_context(private_server())
            os.environ["MILLWRIGHT_DATABASE_URL"] = server.create_database("bench")
        os.environ["MILLWRIGHT_HOME"] = home
        os.environ["DJANGO_SETTINGS_MODULE"] = "millwright.settings.django"
        import django

        django.setup()
        import logging

        from django.core.management import call_command
        from django.db import connection
        from django.test import Client
        from millwright.accounts.models import User

        from tests.bench.portal.generate import generate

        logging.disable(logging.WARNING)
        call_command("migrate", verbosity=0)
        begun = time.perf_counter()
        written = generate(
            asked.hosts, asked.machines, asked.people, asked.operations, asked.entries
        )
        rows = ", ".join(f"{count} {name}" for name, count in written.items())
        print(f"{rows}: {time.perf_counter() - begun:.0f} s")
        people = (
            User.objects.create_user("bench-administrator", plant_role="administrator"),
            User.objects.get(username="person-0"),
        )
        with connection.cursor() as cursor:
            # As autovacuum would have by now.
            cursor.execute("ANALYZE")
        print(f"{'address':32} {'who':14} {'p50 ms':>8} {'p95 ms':>8} {'queries':>8} {'KB':>7}")
        for person in people:
            caller = Client(headers={"host": "127.0.0.1"})
            caller.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
            for url in (*PAGES, *(f"/api/v1/{name}/" for name in API)):
                if person is not people[0] and "env-00100" in url:
                    continue
                p50, p95, queries, size = _measure(caller, url, asked.rounds)
                who = "administrator" if person is people[0] else "engineer"
                print(f"{url:32} {who:14} {p50:8.1f} {p95:8.1f} {queries:8} {size / 1024:7.1f}")
        connection.close()


if __name__ == "__main__":
    main()
