"""`make bench [PEERS=DIR]`: every benchmark, one after the other, with its command and what it printed.

Peers (other projects' programs and data, built outside of the repository) lie in folders of DIR; where one is
absent the row says "not measured". Times are of this machine: compare ratios, not numbers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark: module, arguments ({peers} is the folder), and the peer's file it cannot do without."""

    title: str
    module: str
    words: tuple[str, ...] = ()
    needs: str = ""


BENCHES = (
    Bench("checking Structured Text: OSCAT", "tests.bench.st",
          ("{peers}/oscat", "--with", "{peers}/oscat_globals.st", "--dialect", "codesys23"), "oscat"),
    Bench("what the blocks of OSCAT compute", "tests.bench.oscat", ("{peers}/oscat",), "oscat"),
    Bench("a scan of 1000 statements", "tests.bench.st_scan", ("--peers", "{peers}")),
    Bench("Modbus FC3 against pymodbus and libmodbus", "tests.bench.modbus"),
    Bench("memory of a controller with 1000 tags", "tests.bench.memory"),
    Bench("edit to running, 200 lines, against OpenPLC's g++", "tests.bench.change", ("--peers", "{peers}")),
    Bench("OPC UA notifications against plain asyncua", "tests.bench.opcua"),
    Bench("start lateness of a 1 ms task beside cyclictest", "tests.bench.lateness"),
    Bench("hostile connections on both ports, ten minutes", "tests.bench.hostile", ("--rest", "10")),
    Bench("a scrape of the host agent, 200 domains and one that hangs", "tests.bench.agent"),
    Bench("placement at 1,000 hosts and 20,000 machines", "tests.bench.scale"),
    Bench("the balancer's questions at 1,000 hosts and 20,000 machines", "tests.bench.doors"),
    Bench("moves and contention beside two other rules", "tests.bench.balancing"),
    Bench("hosts asleep on four generated weeks, beside the best by hindsight", "tests.bench.consolidation", ("1",)),
    Bench("orders of 1,000 full exchanges", "tests.bench.order"),
    Bench("live migration beside plain virsh (root; a lab)", "tests.bench.migration"),
    Bench("what two relays take for a machine's memory", "tests.bench.relay"),
    Bench("machine reassignment, instance a1_1", "tests.bench.roadef2012",
          ("-t", "60", "-p", "{peers}/roadef2012/model_a1_1.txt", "-i", "{peers}/roadef2012/assignment_a1_1.txt",
           "-o", "/dev/null", "-s", "1"), "roadef2012/model_a1_1.txt"),
    Bench("lists and search of a large plant", "tests.bench.portal"),
    Bench("a ledger of ten million intervals, the plant's month", "tests.bench.ledger"),
    Bench("rules and alerts of 2,000 environments on one core", "tests.bench.rules"),
)  # fmt: skip


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--peers", type=Path, help="folder of peers and their data")
    parser.add_argument("--only", help="run those whose title or module holds this text")
    chosen = parser.parse_args()
    failed = False
    for bench in BENCHES:
        if chosen.only and chosen.only not in f"{bench.title} {bench.module}":
            continue
        words = [word.format(peers=chosen.peers) for word in bench.words]
        print(f"\n== {bench.title}\n   python -m {bench.module} {' '.join(words)}", flush=True)
        if bench.needs and (chosen.peers is None or not (chosen.peers / bench.needs).exists()):
            print(f"   not measured: PEERS has no {bench.needs}")
            continue
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", bench.module, *words], cwd=ROOT, check=False)
        failed |= done.returncode != 0
        print(f"   ended with {done.returncode} after {time.monotonic() - begun:.0f} s", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
