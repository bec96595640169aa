"""Hostile clients on both ports while scans go on: `python -m tests.bench.hostile` prints JSON.

Windows at rest and windows with hostile connections (tests/support/hostile.py) by turns, on one controller. Compared:
overruns for a million scans; wanted is a rate under attack that is not higher than at rest within its 95 % bound
(windows drawn again and again), no crash, and memory that does not grow from the first attacks to the last.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

from tests.bench.controller import Controller, controller, machine, pss_mib

SOURCE = """PROGRAM Main
VAR n AT %QW0 : INT; a : ARRAY[0..99] OF DINT; i : INT; END_VAR
n := n + 1;
FOR i := 0 TO 99 DO a[i] := a[i] + i; END_FOR;
END_PROGRAM
"""
SECURITY = '[opcua]\nanonymous_read = "a measurement on loopback"\n'


def counters(running: Controller) -> tuple[int, int]:
    """Scans and overruns so far."""
    status = running.status()
    return status["scans"]["main"], status["overruns"]["main"]


def attack(running: Controller, seconds: float, connections: int, seed: int) -> dict[str, int]:
    """Hostile clients for so long, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile", str(running.modbus), str(running.opcua),
         str(seconds), str(connections), str(seed)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def rate(windows: list[tuple[int, int]]) -> float:
    """Overruns for a million scans."""
    return 1e6 * sum(over for _, over in windows) / max(1, sum(scans for scans, _ in windows))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each attack")
    parser.add_argument("--rest", type=float, default=30.0, help="seconds of each window at rest")
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--interval-us", type=int, default=1000)
    chosen = parser.parse_args()
    begun = machine()
    rest: list[tuple[int, int]] = []
    under: list[tuple[int, int]] = []
    memory: list[float] = []
    sent: dict[str, int] = {}
    with controller(
        SOURCE, interval_us=chosen.interval_us, security=SECURITY, opcua=True
    ) as running:
        scan = running.scan_pid
        for number in range(chosen.rounds):
            before = counters(running)
            time.sleep(chosen.rest)
            middle = counters(running)
            for kind, count in attack(running, chosen.seconds, chosen.connections, number).items():
                sent[kind] = sent.get(kind, 0) + count
            time.sleep(0.5)
            after = counters(running)
            rest.append((middle[0] - before[0], middle[1] - before[1]))
            under.append((after[0] - middle[0], after[1] - middle[1]))
            memory.append(pss_mib(running.process.pid))
        crashed = running.process.poll() is not None or running.scan_pid != scan
        fifo = running.status()["fifo"]
    chance = random.Random(1)  # noqa: S311 - statistics
    differences = sorted(
        rate([under[n] for n in drawn]) - rate([rest[n] for n in drawn])
        for drawn in (chance.choices(range(len(rest)), k=len(rest)) for _ in range(4000))
    )
    quarter = max(1, len(memory) // 4)
    ended = machine()
    print(
        json.dumps(
            {
                "rounds": chosen.rounds, "connections": chosen.connections, "fifo": fifo, "crashed": crashed,
                "attack_s": chosen.rounds * chosen.seconds, "sent": sent,
                "scans": {"rest": sum(row[0] for row in rest), "attack": sum(row[0] for row in under)},
                "overruns_per_million": {"rest": round(rate(rest), 2), "attack": round(rate(under), 2)},
                "difference_95": [round(differences[100], 2), round(differences[3899], 2)],
                "pss_mib": {
                    "first_quarter": round(statistics.median(memory[:quarter]), 1),
                    "last_quarter": round(statistics.median(memory[-quarter:]), 1),
                },
                "steal_s": round(ended["steal_s"] - begun["steal_s"], 2), "load": ended["load"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
