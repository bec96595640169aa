"""Start lateness of a 1 ms task beside cyclictest: `python -m tests.bench.lateness` prints JSON.

One controller, its Modbus asked by libmodbus' client and its OPC UA subscribed to all the time. By turns: a window of
the task alone, and two windows of cyclictest with the same FIFO priority and interval under the same load; the second
of cyclictest's against its first is the A/A control. Percentiles of both come from the same log-spaced buckets (eight to
an octave, with even spread inside of one). cyclictest runs with --default-system: else it forbids the processors to sleep
while it runs, for itself and everybody, which is the machine's tuning and not a program's. Wanted: the upper 95 % bound
of the median ratio of the p99 at most 1.3.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from industrial.runtime.histogram import FINE, bucket_of, percentile
from industrial.runtime.paths import Paths
from industrial.runtime.shm import SharedMemory
from tests.bench.controller import ROOT, Controller, bound, controller, machine
from tests.bench.memory import SECURITY, source
from tests.bench.modbus import load
from tests.support.libmodbus import NoLibmodbus

ITEMS = 100
#: FIFO priority of a task of priority 1.
PRIORITY = 79
_SUBSCRIBER = """
import asyncio, sys
from asyncua import Client
class Quiet:
    def datachange_notification(self, node, value, data): pass
async def main():
    async with Client(f"opc.tcp://127.0.0.1:{sys.argv[1]}/", timeout=60, watchdog_intervall=30) as client:
        subscription = await client.create_subscription(100, Quiet())
        await subscription.subscribe_data_change([client.get_node(f"ns=2;s=Main.v{n}") for n in range(int(sys.argv[2]))])
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def ours(memory: SharedMemory, seconds: float) -> list[int]:
    """Lateness of the task in a window, in buckets."""
    before = memory.late_fine(0)
    time.sleep(seconds)
    after = memory.late_fine(0)
    return [b - a for a, b in zip(before, after, strict=True)]


def cyclictest(seconds: float) -> list[int]:
    """The same of cyclictest, in the same buckets."""
    done = subprocess.run(
        ["cyclictest", "-q", "-m", "--default-system", f"-p{PRIORITY}", "-i1000", "-t1", f"-D{int(seconds)}", "-h100000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    buckets = [0] * FINE
    for value, count in re.findall(r"^(\d{6}) (\d+)$", done.stdout, re.MULTILINE):
        buckets[bucket_of(int(value))] += int(count)
    over = re.search(r"Histogram Overflows: 0*(\d+)", done.stdout)
    buckets[-1] += int(over[1]) if over else 0
    return buckets


@contextmanager
def busy(running: Controller) -> Iterator[dict[str, int]]:
    """Both protocols under load; the count of Modbus requests grows."""
    counts = {"modbus_requests": 0}
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                counts["modbus_requests"] += load(running.modbus, 4, 2)
            except (NoLibmodbus, RuntimeError, subprocess.CalledProcessError):
                return

    subscriber = subprocess.Popen(
        [sys.executable, "-c", _SUBSCRIBER, str(running.opcua), str(ITEMS)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if subscriber.stdout is None or subscriber.stdout.readline().strip() != "ready":
        raise RuntimeError("the subscriber does not start")
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()
        subscriber.kill()
        subscriber.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    if shutil.which("cyclictest") is None:
        print(json.dumps({"lateness": "not measured", "why": "no cyclictest (rt-tests)"}))
        return
    begun = machine()
    rows: dict[str, dict[str, list[float]]] = {
        name: {"p99": [], "p999": []} for name in ("ours", "first", "second")
    }
    with (
        controller(source(ITEMS), interval_us=1000, security=SECURITY, opcua=True) as running,
        busy(running) as asked,
    ):
        memory = SharedMemory(Paths.of_project(running.folder).shm)
        fifo = running.status()["fifo"]
        for number in range(chosen.rounds):
            order = ("ours", "first", "second")
            for name in (*order[number % 3 :], *order[: number % 3]):
                buckets = (
                    ours(memory, chosen.seconds) if name == "ours" else cyclictest(chosen.seconds)
                )
                rows[name]["p99"].append(percentile(buckets, 0.99))
                rows[name]["p999"].append(percentile(buckets, 0.999))
    ended = machine()

    def compared(one: str, other: str, key: str) -> dict[str, float]:
        ratios = [a / b for a, b in zip(rows[one][key], rows[other][key], strict=True)]
        middle, upper = bound(ratios)
        return {"median": round(middle, 3), "upper_95": round(upper, 3)}

    print(
        json.dumps(
            {
                "rounds": chosen.rounds, "window_s": chosen.seconds, "fifo": fifo, **asked,
                "p99_us": {name: round(statistics.median(row["p99"]), 1) for name, row in rows.items()},
                "p999_us": {name: round(statistics.median(row["p999"]), 1) for name, row in rows.items()},
                "p99_ratio": compared("ours", "first", "p99"),
                "p999_ratio": compared("ours", "first", "p999"),
                "control_p99_ratio": compared("second", "first", "p99"),
                "steal_s": round(ended["steal_s"] - begun["steal_s"], 2), "load": ended["load"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
