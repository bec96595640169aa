"""How many mixed reads a second the API answers with two workers: `python -m tests.bench.portal.reads`.

A thousand hosts, 20,000 machines in a private PostgreSQL server; readers keep their connections and ask one
thing after the other. Beside what the clock saw stands the processor time of a request, in the workers and in
the database: on a machine that others use, only that says what two workers can do with processors of their own.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.bench.portal.serving import database_cpu_s, options, plant, portal

#: What is asked, and how often among a hundred: a page of each list, and single things by their key.
MIX = {
    "environments/?page_size=20": 12,
    "machines/?page_size=20": 8,
    "operations/?page_size=20": 8,
    "requests/?page_size=20": 6,
    "audit/?page_size=20": 4,
    "devices/?page_size=20": 4,
    "environments/{environment}/": 20,
    "machines/{machine}/": 18,
    "operations/{operation}/": 14,
    "hosts/{host}/": 6,
}


@dataclass
class Tally:
    """What the readers met."""

    seconds: list[float] = field(default_factory=list)
    by: dict[str, list[float]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, token: str
) -> bytes:
    """One request on a kept connection; the status line's code."""
    writer.write(
        f"GET /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return lines[0].split()[1]


async def _read(
    port: int, token: str, keys: dict[str, list[str]], until: float, tally: Tally, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - what is asked next, no secret
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kinds, weights = list(MIX), list(MIX.values())
    try:
        while time.monotonic() < until:
            kind = dice.choices(kinds, weights)[0]
            path = kind.format(**{name: dice.choice(rows) for name, rows in keys.items()})
            begun = time.perf_counter()
            code = await _ask(reader, writer, path, token)
            taken = time.perf_counter() - begun
            if code == b"200":
                tally.seconds.append(taken)
                tally.by.setdefault(kind, []).append(taken)
            else:
                tally.refused[f"{kind} {code.decode()}"] += 1
    finally:
        writer.close()


async def _all(port: int, tokens: list[str], keys: dict[str, list[str]], seconds: float) -> Tally:
    tally = Tally()
    until = time.monotonic() + seconds
    await asyncio.gather(
        *(_read(port, token, keys, until, tally, n) for n, token in enumerate(tokens))
    )
    return tally


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with plant(asked) as home:
        from millwright.accounts.actions import issue_token
        from millwright.accounts.models import User
        from millwright.environments.models import Environment, Machine, Operation
        from millwright.inventory.models import Host

        keys = {
            "environment": list(Environment.objects.values_list("name", flat=True)[:500]),
            "machine": [str(pk) for pk in Machine.objects.values_list("pk", flat=True)[:500]],
            "operation": [str(pk) for pk in Operation.objects.values_list("pk", flat=True)[:500]],
            "host": list(Host.objects.values_list("name", flat=True)[:500]),
        }
        tokens = []
        for n in range(asked.readers):
            user, _made = User.objects.get_or_create(
                username=f"bench-reader-{n}", defaults={"plant_role": "operator"}
            )
            tokens.append(issue_token(user, user, f"bench {time.time_ns()}")[1])
        with portal(home, asked.workers) as server:
            # Each worker opens its connections and reads its templates once.
            asyncio.run(_all(server.port, tokens, keys, min(10.0, asked.seconds)))
            workers, database, begun = server.cpu_s(), database_cpu_s(), time.monotonic()
            tally = asyncio.run(_all(server.port, tokens, keys, asked.seconds))
            taken = time.monotonic() - begun
            workers, database = server.cpu_s() - workers, database_cpu_s() - database
    done = len(tally.seconds)
    if not done:
        raise SystemExit(f"nothing was answered: {dict(tally.refused)}")
    own, theirs = workers / done * 1e3, database / done * 1e3
    print(
        f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n"
        f"{done} reads in {taken:.1f} s by {asked.readers} readers: {done / taken:.0f} a second, "
        f"p50 {statistics.median(tally.seconds) * 1e3:.0f} ms, "
        f"p95 {statistics.quantiles(tally.seconds, n=20)[-1] * 1e3:.0f} ms; not 200: {dict(tally.refused)}\n"
        f"processor time of a read: workers {own:.2f} ms, database {theirs:.2f} ms\n"
        f"so {asked.workers} workers with a processor each could answer {asked.workers * 1e3 / own:.0f} a second, "
        f"and two processors with the database on them {2e3 / (own + theirs):.0f}"
    )
    for kind, rows in sorted(tally.by.items(), key=lambda row: -statistics.median(row[1])):
        print(f"{kind:32} {len(rows):6} p50 {statistics.median(rows) * 1e3:7.1f} ms")


if __name__ == "__main__":
    main()
