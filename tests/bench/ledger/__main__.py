"""A ledger of ten million intervals: `python -m tests.bench.ledger [--intervals 10000000] [--environments 2000]`.

How long one environment's month takes to measure, and the whole plant's month with its table. The database is
a new SQLite file, with `--postgres` a private PostgreSQL server that ends with it. Rows are written by SQL, two
years of them, one in twenty superseded by a correction; measuring is the product's own.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

#: The month that is measured, and the two years before its end over which rows lie.
MONTH = dt.date(2026, 6, 1)
BEGIN = dt.datetime(2024, 7, 1, tzinfo=dt.UTC)
END = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)

#: A small server, but not one for tests; `minimal`: what is loaded at once is not logged.
POSTGRES = (
    "shared_buffers=1GB",
    "maintenance_work_mem=1GB",
    "max_parallel_maintenance_workers=1",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "autovacuum=off",
)

_ROWS = """
INSERT INTO service_levels_interval
    (environment_id, machine_id, incident, "begin", "end", kind, cause, why, host, verb, reason, written_at, long)
SELECT m.environment_id, m.id, {incident}, {begin}, {end},
       CASE WHEN n %% 17 = 0 THEN 'missing' ELSE 'down' END,
       CASE n %% 5 WHEN 0 THEN 'unplanned' WHEN 1 THEN 'small_stop' WHEN 2 THEN 'planned'
                   WHEN 3 THEN 'changeover' ELSE 'unplanned' END,
       'stopped', 'h1', 'seen', '', '2026-01-01 00:00:00{utc}', {no}
FROM number CROSS JOIN bench_machine m
"""
_AT = "%s + n * %s + m.shift"
_AFTER = f"{_AT} + 30 + (n * 37 + m.shift) %% 600"
#: Rows in each database's words. Five parameters: rows for each machine, first and step twice.
_NUMBERS = (
    "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < %s)"
)
_FILL_SQLITE = _NUMBERS + _ROWS.format(
    incident="lower(hex(randomblob(16)))",
    begin=f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {_AT}, 'unixepoch')",
    end=f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {_AFTER}, 'unixepoch')",
    utc="",
    no="0",
)
_FILL_POSTGRES = _NUMBERS + _ROWS.format(
    incident="gen_random_uuid()",
    begin=f"to_timestamp({_AT})",
    end=f"to_timestamp({_AFTER})",
    utc="+00",
    no="false",
)


def fill(environments: int, intervals: int) -> int:
    """Write the rows; returns how many there are."""
    from django.db import connection

    each = max(1, intervals // environments)
    step = int((END - BEGIN).total_seconds() // each)
    first = int(BEGIN.timestamp())
    if connection.vendor == "postgresql":
        return _fill_postgres(environments, each, first, step)
    with connection.cursor() as cursor:
        # A fresh file that nobody misses: indexes are built once the rows are there, nothing is journalled.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            " AND tbl_name = 'service_levels_interval'"
        )
        indexes = cursor.fetchall()
        for name, _sql in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        cursor.execute(
            "CREATE TEMP TABLE bench_machine AS SELECT environment_id, min(id) AS id,"
            " abs(random()) % %s AS shift FROM environments_machine GROUP BY environment_id LIMIT %s",
            [max(1, step // 2), environments],
        )
        cursor.execute(_FILL_SQLITE, [each, first, step, first, step])
        for _name, sql in indexes:
            cursor.execute(sql)
        cursor.execute(
            "INSERT INTO service_levels_supersession (interval_id, at, verb)"
            " SELECT id, '2026-01-01 00:00:00', 'classify' FROM service_levels_interval WHERE id % 20 = 0"
        )
        cursor.execute(
            "INSERT INTO service_levels_servicespan (environment_id, begin)"
            " SELECT environment_id, %s FROM bench_machine",
            [f"{BEGIN:%Y-%m-%d %H:%M:%S}"],
        )
        cursor.execute("ANALYZE")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA cache_size = -2000")
        cursor.execute("SELECT count(*) FROM service_levels_interval")
        return int(cursor.fetchone()[0])


def _fill_postgres(environments: int, each: int, first: int, step: int) -> int:
    from django.db import connection, transaction

    begun = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'service_levels_interval'"
            " AND indexname NOT LIKE '%%pkey'",
            [],
        )
        indexes = cursor.fetchall()
        for name, _sql in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        # Keys are right by how the rows are made: ten million checks of them would measure nothing.
        cursor.execute("SET session_replication_role = replica")
        # Emptied in the same transaction, so that nothing goes into the log (`wal_level=minimal`).
        cursor.execute("TRUNCATE service_levels_interval CASCADE")
        cursor.execute(
            "CREATE TEMP TABLE bench_machine AS SELECT DISTINCT ON (environment_id) environment_id, id,"
            " floor(random() * %s)::integer AS shift FROM environments_machine ORDER BY environment_id LIMIT %s",
            [max(1, step // 2), environments],
        )
        cursor.execute(_FILL_POSTGRES, [each, first, step, first, step])
        _took("rows", begun)
        for _name, sql in indexes:
            cursor.execute(sql)
        _took("indexes", begun)
        cursor.execute(
            "INSERT INTO service_levels_supersession (interval_id, at, verb)"
            " SELECT id, '2026-01-01 00:00:00+00', 'classify' FROM service_levels_interval WHERE id % 20 = 0"
        )
        cursor.execute(
            "INSERT INTO service_levels_servicespan (environment_id, begin)"
            " SELECT environment_id, %s FROM bench_machine",
            [BEGIN],
        )
        cursor.execute("SET session_replication_role = origin")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        _took("vacuum", begun)
        cursor.execute("SELECT count(*) FROM service_levels_interval")
        return int(cursor.fetchone()[0])


def _took(what: str, begun: float) -> None:
    print(f"{what}: after {time.perf_counter() - begun:.0f} s", flush=True)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds by the wall's clock and of the processor, which a busy machine does not lengthen."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - processor) * 1e3


def _said(name: str, times: list[tuple[float, float]]) -> None:
    walls, processors = zip(*times, strict=True)
    p95 = statistics.quantiles(walls, n=20)[-1]
    print(
        f"{name}: p50 {statistics.median(walls):.1f} ms, p95 {p95:.1f} ms;"
        f" of the processor p50 {statistics.median(processors):.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ledger", description=__doc__)
    parser.add_argument("--environments", type=int, default=2000)
    parser.add_argument("--intervals", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--postgres", action="store_true", help="on a private PostgreSQL server")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="millwright-bench-"))
        if asked.postgres:
            from tests.support.postgres import private_server

            server = stack.enter_context(private_server(*POSTGRES))
            os.environ["MILLWRIGHT_DATABASE_URL"] = server.create_database("bench")
        os.environ["MILLWRIGHT_HOME"] = home
        os.environ["DJANGO_SETTINGS_MODULE"] = "millwright.settings.django"
        import django

        django.setup()
        from django.core.management import call_command
        from millwright.environments.models import Environment
        from millwright.service_levels.contracts import sync_objectives
        from millwright.service_levels.measuring import measure_one, refresh
        from millwright.service_levels.models import MonthSum, ServiceSpan
        from millwright.service_levels.monthly import month_of_environment
        from millwright.service_levels.reporting import plant_csv

        from tests.bench.portal.generate import generate

        call_command("migrate", verbosity=0)
        generate(20, asked.environments, 10, 10, 10)
        sync_objectives()
        begun = time.perf_counter()
        count = fill(asked.environments, asked.intervals)
        print(f"{count} intervals: written in {time.perf_counter() - begun:.0f} s", flush=True)

        keys = list(ServiceSpan.objects.values_list("environment", flat=True))
        now = END + dt.timedelta(days=2)
        chosen = random.Random(6).choices(keys, k=asked.rounds)  # noqa: S311  # any sample will do
        measured = [_timed(lambda key=key: measure_one(key, MONTH, now)) for key in chosen]
        rows = Environment.objects.select_related("project").filter(pk__in=chosen)
        page = [_timed(lambda row=row: month_of_environment(row, MONTH, now)) for row in rows]
        if not measure_one(chosen[0], MONTH, now).outages:
            raise SystemExit(f"{chosen[0]}: nothing was measured")
        _said("one environment's month, measured", measured)
        _said("everything of its page and report", page)

        begun = time.perf_counter()
        done = refresh(keys, MONTH, now)
        took = time.perf_counter() - begun
        sums = MonthSum.objects.select_related("environment__project").filter(month=MONTH)
        table = plant_csv(sums.order_by("environment__name"))
        whole = time.perf_counter() - begun
        print(
            f"the plant's month, {done} environments: measured {took:.1f} s,"
            f" with its table {whole:.1f} s ({len(table.splitlines()) - 1} rows)"
        )


if __name__ == "__main__":
    main()
