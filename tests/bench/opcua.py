"""OPC UA notifications: `python -m tests.bench.opcua` prints JSON.

1000 variables that change ten times a second, all of them subscribed to by one client of asyncua's in a process of
its own, channel without security. CPU time of the server's process for each notification that came in, and values
that were missed (each is one more than the one before), by turns with a plain asyncua server that is driven its best way (`write_attribute_value` with the type known). Wanted: at most 75 %
of a core, everything delivered, and no more CPU time for a notification than the plain server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.controller import ROOT, controller, cpu_s, free_port, machine
from tests.bench.memory import SECURITY, source

ITEMS = 1000
_PLAIN = """
import asyncio, datetime as dt, sys
from asyncua import Server, ua
async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:bench")
    nodes = []
    for n in range(int(sys.argv[2])):
        node = await server.nodes.objects.add_variable(ua.NodeId(f"Main.v{n}", index), f"v{n}", 0, ua.VariantType.Int32)
        nodes.append(node.nodeid)
    async with server:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        value, due = 0, loop.time()
        while True:
            value += 1
            now = dt.datetime.now(dt.UTC)
            for node in nodes:
                await server.write_attribute_value(
                    node, ua.DataValue(ua.Variant(value, ua.VariantType.Int32), SourceTimestamp=now, ServerTimestamp=now))
            due += 0.1
            await asyncio.sleep(max(0.0, due - loop.time()))
asyncio.run(main())
"""
_CLIENT = """
import asyncio, json, sys, time
from asyncua import Client, ua
class Counter:
    count = lost = 0
    last = {}
    def datachange_notification(self, node, value, data):
        self.count += 1
        self.lost += max(0, value - self.last.get(node, value - 1) - 1)
        self.last[node] = value
async def main():
    port, items, rounds, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    async with Client(f"opc.tcp://127.0.0.1:{port}/", timeout=60, watchdog_intervall=60) as client:
        counter = Counter()
        subscription = await client.create_subscription(100, counter)
        nodes = [client.get_node(f"ns=2;s=Main.v{n}") for n in range(items)]
        await subscription.subscribe_data_change(nodes, queuesize=100)
        await asyncio.sleep(3)
        for line in sys.stdin:
            begun, before = time.monotonic(), counter.count
            counter.lost = 0
            print("begun", flush=True)
            await asyncio.sleep(seconds)
            print(json.dumps({"count": counter.count - before, "lost": counter.lost, "seconds": time.monotonic() - begun}), flush=True)
            if line.strip() == "last":
                break
asyncio.run(main())
"""


@contextmanager
def plain_server() -> Iterator[tuple[int, int]]:
    """asyncua's server: process and port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN, str(port), str(ITEMS)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError("the plain server does not start")
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def measure(pid: int, port: int, seconds: float) -> dict[str, float]:
    """What a client gets and what it costs the server."""
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(port), str(ITEMS), "1", str(seconds)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if client.stdin is None or client.stdout is None:
        raise RuntimeError("no pipes")
    client.stdin.write("last\n")
    client.stdin.flush()
    if client.stdout.readline().strip() != "begun":
        raise RuntimeError("the client does not begin")
    before = cpu_s(pid)
    found = json.loads(client.stdout.readline())
    used = cpu_s(pid) - before
    client.wait(60)
    return {
        "notifications_per_s": found["count"] / found["seconds"],
        "core": used / found["seconds"],
        "lost_of_million": 1e6 * found["lost"] / max(1, found["count"] + found["lost"]),
        "cpu_us": used / max(1, found["count"]) * 1e6,
    }


def middle(rows: list[dict[str, float]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(row[key] for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--nice", type=int, default=0, help="of client and servers; below 0 wants root"
    )
    chosen = parser.parse_args()
    os.setpriority(os.PRIO_PROCESS, 0, chosen.nice)
    begun = machine()
    ours: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    with (
        controller(source(ITEMS), interval_us=100_000, security=SECURITY, opcua=True) as running,
        plain_server() as (plain_pid, plain_port),
    ):
        time.sleep(2)
        for number in range(chosen.rounds):
            pairs: list[tuple[int, int, list[dict[str, float]]]] = [
                (running.process.pid, running.opcua, ours), (plain_pid, plain_port, plain),
            ]  # fmt: skip
            for pid, port, into in pairs if number % 2 else pairs[::-1]:
                into.append(measure(pid, port, chosen.seconds))
    ended = machine()
    result: dict[str, Any] = {
        "items": ITEMS, "changes_per_s": 10, "rounds": chosen.rounds,
        "ours": {key: round(middle(ours, key), 3) for key in ours[0]},
        "plain_asyncua": {key: round(middle(plain, key), 3) for key in plain[0]},
        "cpu_ratio": round(statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in zip(ours, plain, strict=True)), 3),
        "steal_s": round(ended["steal_s"] - begun["steal_s"], 2), "load": ended["load"],
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
