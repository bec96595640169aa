"""How long lists and the search take on a large plant: `python -m tests.bench.portal`.

Times are of the server's own work (Django's test client, no network, no browser); the database is a new
file, with `--postgres` a private PostgreSQL server that ends with it, or what MILLWRIGHT_DATABASE_URL
names, which must be empty (or `--filled` by an earlier run). Each address is asked as an administrator,
who sees everything, and as an engineer of one project.

Beside the wall's clock stands processor time, of the request's own thread and of its database session
together: what the clock shows when nobody else wants the processors. Only it is fit to be judged on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
    "/capacity/",
    "/operations/",
    "/audit/",
    "/audit/?q=stop+env-00100",
    "/audit/?q=stop",
    "/audit/?q=person-7",
    "/search/?q=env-0199",
    "/search/?q=10.3.1.7",
    "/notifications/",
    "/notifications/deliveries/",
    "/administration/",
    "/service-levels/",
    "/service-levels/ledger/",
)
API = (
    "requests",
    "environments",
    "machines",
    "operations",
    "devices",
    "programs",
    "hosts",
    "hosts/heat",
    "cells",
    "deployments",
    "environments?tags__name=press",
    "machines?host__name=host-0001",
    "requests?ordering=name",
    "operations?state=failed",
    "audit",
    "status",
)


def _api(name: str) -> str:
    path, mark, query = name.partition("?")
    return f"/api/v1/{path}/{mark}{query}"


def _session_cpu() -> Callable[[], float]:
    """A clock of the processor time, ms, that the database session has used; 0 for SQLite, which has none."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return lambda: 0.0
    with connection.cursor() as cursor:
        # Helpers' time would be nobody's.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SELECT pg_backend_pid()")
        account = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")
    return lambda: int(account.read_text().split()[0]) / 1e6


class Cost(NamedTuple):
    """Of one address: ms by the clock and of the processors (p50, p95), queries, bytes."""

    wall: tuple[float, float]
    cpu: tuple[float, float]
    database: float
    queries: int
    size: int


def _taken() -> list[str]:
    """Have computed what the orchestrator keeps of a large pool; a page that asks for copies of a size."""
    from millwright.balancing import filling, pictures

    kinds = filling.kinds()
    if kinds:
        pictures.Pictures().fits(*kinds[0], spare=1)
    begun = time.process_time()
    pictures.picture_round()
    kept = ", ".join(
        f"{row.name} {row.seconds:.2f} s" for row in pictures.Picture.objects.order_by("name")
    )
    print(f"kept of the pool ({kept}): {time.process_time() - begun:.2f} s of a processor in all")
    return [f"/capacity/?kind={template}/{size}&spare=1" for template, size in kinds[:1]]


def _measure(ask: Callable[[], Any], url: str, rounds: int, session: Callable[[], float]) -> Cost:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    answer = ask()
    assert answer.status_code in (200, 403), (url, answer.status_code)
    with CaptureQueriesContext(connection) as captured:
        answer = ask()
        # Before the next request empties the log.
        queries = len(captured.connection.queries_log)
    wall, cpu, database = [], [], []
    for _ in range(rounds):
        begun, thread, used = time.perf_counter(), time.process_time(), session()
        ask()
        wall.append((time.perf_counter() - begun) * 1e3)
        database.append(session() - used)
        cpu.append((time.process_time() - thread) * 1e3 + database[-1])
    return Cost(
        (statistics.median(wall), statistics.quantiles(wall, n=20)[-1]),
        (statistics.median(cpu), statistics.quantiles(cpu, n=20)[-1]),
        statistics.median(database),
        queries,
        len(answer.content),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--postgres", action="store_true", help="on a private PostgreSQL server")
    parser.add_argument("--filled", action="store_true", help="the database holds a plant already")
    parser.add_argument("--only", nargs="+", default=[""], help="addresses that hold one of these")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="millwright-bench-"))
        if asked.postgres:
            from tests.support.postgres import private_server

            server = stack.enter_context(private_server())
            os.environ["MILLWRIGHT_DATABASE_URL"] = server.create_database("bench")
        os.environ["MILLWRIGHT_HOME"] = home
        # As the portal's processes have it, whose sessions are tuned for pages.
        os.environ["DJANGO_SETTINGS_MODULE"] = "millwright.settings.django"
        import django
        from millwright.settings import connections

        connections.answers_requests = True
        django.setup()
        import logging

        from django.core.management import call_command
        from django.db import connection
        from django.test import Client
        from millwright.accounts.models import User

        from tests.bench.portal import sleeping
        from tests.bench.portal.generate import generate

        logging.disable(logging.WARNING)
        if not asked.filled:
            call_command("migrate", verbosity=0)
            begun = time.perf_counter()
            written = generate(
                asked.hosts,
                asked.machines,
                asked.people,
                asked.operations,
                asked.entries,
                sleep=True,
            )
            written |= sleeping.season()
            rows = ", ".join(f"{count} {name}" for name, count in written.items())
            print(f"{rows}: {time.perf_counter() - begun:.0f} s")
            User.objects.create_user("bench-administrator", plant_role="administrator")
            with connection.cursor() as cursor:
                # As autovacuum would have by now.
                cursor.execute("ANALYZE")
        spare = _taken()
        drafts = sleeping.drafts(User.objects.get(username="person-0"))
        sleeping.check(drafts)
        people = [User.objects.get(username=name) for name in ("bench-administrator", "person-0")]
        print(
            f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; "
            f"times in ms, {asked.rounds} rounds"
        )
        print(
            f"{'address':32} {'who':14} {'cpu p50':>8} {'cpu p95':>8} {'database':>8} "
            f"{'clock p50':>9} {'clock p95':>9} {'queries':>8} {'KB':>7}"
        )
        from millwright.settings.heap import settle

        # As the portal's process does when it begins.
        settle()
        session = _session_cpu()
        for person in people:
            caller = Client(headers={"host": "127.0.0.1"})
            caller.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
            works: dict[str, Callable[[], Any]] = {}
            for url in (
                *PAGES,
                *spare,
                *sleeping.pages(),
                *(f"/requests/{row.pk}/" for row in drafts.values()),
                *(_api(name) for name in (*API, *sleeping.api())),
            ):
                if person is people[0] or "env-00100" not in url:
                    works[url] = functools.partial(caller.get, url)
            if person is not people[0]:
                for size, row in drafts.items():
                    works[f"submission of size {size}"] = sleeping.submitted(caller, row)
            who = "administrator" if person is people[0] else "engineer"
            for url, ask in works.items():
                if not any(part in url for part in asked.only):
                    continue
                cost = _measure(ask, url, asked.rounds, session)
                print(
                    f"{url:32} {who:14} {cost.cpu[0]:8.1f} {cost.cpu[1]:8.1f} {cost.database:8.1f} "
                    f"{cost.wall[0]:9.1f} {cost.wall[1]:9.1f} {cost.queries:8} "
                    f"{cost.size / 1024:7.1f}",
                    flush=True,
                )
        connection.close()


if __name__ == "__main__":
    main()
