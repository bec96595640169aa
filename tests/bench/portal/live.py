"""What open pages of running lines cost the portal's process: `python -m tests.bench.portal.live`.

Each page belongs to another person and shows another environment: its stream of steps, tags that change every
second and Prometheus' figures, and the number of unread notifications every half minute, as a browser asks for
it. The real gateway reads registers that a stand-in in its own process moves; a stand-in for Prometheus answers.
Measured is the processor time of the portal's one process. On a machine that others use the looks come late:
the share is therefore also given for one look a second, as it is where the process gets its turn.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter

from tests.bench.portal.serving import cpu_s, free_port, options, plant, portal

#: Six tags, as the filling line has, and as many more.
TAGS = 12
#: The gateway with registers that are the time: each look of a page finds new values.
GATEWAY = """
import time
from millwright.gateway import modbus
async def read(self, host, port, unit, area, first, count):
    now = int(time.time())
    return [(now + n) % 60000 for n in range(first, first + count)]
modbus.ModbusDoor.read = read
from millwright.gateway.__main__ import main
main()
"""


def _prepare(pages: int) -> list[tuple[str, str]]:
    """Environments with a program that shows tags, each with somebody who is signed in: (name, cookie)."""
    from django.conf import settings
    from django.test import Client
    from millwright.accounts.models import User
    from millwright.environments.models import Machine
    from millwright.shopfloor.models import Deployment, Program, ProgramVersion

    machines = list(Machine.objects.select_related("environment__project").order_by("pk")[:pages])
    program = Program.objects.create(
        project=machines[0].environment.project, name=f"live-{time.time_ns()}"
    )
    symbols = [
        {"path": f"Main.value{n}", "type": "UINT", "area": "Q", "offset": 2 * n, "size": 2, "located": f"%QW{n}"}
        for n in range(TAGS)
    ]  # fmt: skip
    people = list(User.objects.filter(username__startswith="person-").order_by("username")[:pages])
    version = ProgramVersion.objects.create(
        program=program, number=1, files={}, state="ready", symbols={"symbols": symbols},
        uploaded_by=people[0],
    )  # fmt: skip
    Deployment.objects.filter(machine__in=machines).delete()
    Deployment.objects.bulk_create(
        Deployment(machine=machine, program_version=version, state="active") for machine in machines
    )
    found = []
    for machine, person in zip(machines, people, strict=True):
        User.objects.filter(pk=person.pk).update(plant_role="operator")
        person.refresh_from_db()
        caller = Client()
        caller.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        cookie = caller.cookies[settings.SESSION_COOKIE_NAME].value
        found.append((machine.environment.name, f"{settings.SESSION_COOKIE_NAME}={cookie}"))
    return found


async def _prometheus(port: int, names: list[str], stop: asyncio.Event) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(row[15:]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length:")
                )  # fmt: skip
                await reader.readexactly(length)
                value = [time.time(), f"{time.time() % 10:.3f}"]
                rows = [{"metric": {"environment": name}, "value": value} for name in names]
                body = json.dumps({"status": "success", "data": {"result": rows}}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        await stop.wait()


async def _page(port: int, name: str, cookie: str, met: Counter[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /environments/{name}/events/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode()
    )
    status = await reader.readline()
    assert b" 200 " in status, status
    async for line in reader:
        if line.startswith(b"event: "):
            met[line[7:].decode().strip()] += 1


async def _unread(port: int, cookie: str, number: int, pages: int, met: Counter[str]) -> None:
    await asyncio.sleep(30 * number / pages)
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /notifications/unread/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n".encode()
        )
        if b" 200 " in await reader.readline():
            met["unread"] += 1
        await reader.read()
        writer.close()
        await asyncio.sleep(30)


async def _watch(
    pid: int, port: int, prometheus: int, people: list[tuple[str, str]], seconds: float
) -> tuple[float, float, Counter[str]]:
    """Processor time, time by the clock and what the pages were sent, once all of them are open."""
    stop, met = asyncio.Event(), Counter[str]()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_prometheus(prometheus, [name for name, _cookie in people], stop))
        ]
        for number, (name, cookie) in enumerate(people):
            tasks.append(group.create_task(_page(port, name, cookie, met)))
            tasks.append(group.create_task(_unread(port, cookie, number, len(people), met)))
        while met["tags"] < 3 * len(people):
            await asyncio.sleep(0.5)
        met.clear()
        used, begun = cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        used, taken, seen = cpu_s(pid) - used, time.monotonic() - begun, Counter(met)
        stop.set()
        for task in tasks:
            task.cancel()
    return used, taken, seen


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with plant(asked) as home:
        logging.disable(logging.WARNING)
        from millwright.gateway.limits import write_cells
        from millwright.settings import get_settings

        people = _prepare(asked.pages)
        write_cells(home / "cells.json", ["10.0.0.0/8"])
        prometheus = free_port()
        gateway = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, "--socket", get_settings().gateway_socket,
             "--cells", home / "cells.json", "--metrics-port", str(free_port())],
        )  # fmt: skip
        try:
            with portal(home, 1, MILLWRIGHT_PROMETHEUS_PORT=str(prometheus)) as server:
                pid = server.workers()[0]
                used, taken, met = asyncio.run(
                    _watch(pid, server.port, prometheus, people, asked.seconds)
                )
        finally:
            gateway.terminate()
            gateway.wait(30)
    # Tags are sent every other look.
    looks = met["tags"] / asked.pages * 2
    print(
        f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n"
        f"{asked.pages} pages, {taken:.0f} s, {looks:.0f} looks: {dict(met)}\n"
        f"processor time of the portal {used:.1f} s: {used / taken:.1%} of one processor as it was, "
        f"{used / looks:.1%} at one look a second"
    )


if __name__ == "__main__":
    main()
