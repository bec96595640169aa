"""A scrape of the host agent over HTTP, 200 domains and one that hangs: `python -m tests.bench.agent` prints JSON.

libvirt is a stand-in with a real one's latencies: a bulk call holds its answer back 11 ms and a share for each domain,
and one domain's job is stuck, for which libvirt waits 30 s unless it is asked not to wait (NOWAIT); then it tells that
domain's state alone. Beside it, what asking each domain by itself, and waiting, would have cost.

Wanted: under 1 s, the others' figures whole; fewer than 50 series for a domain.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections import Counter
from typing import Any
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from monitoring.agent import HostCollector, LibvirtReader
from monitoring.agent.libvirt_reader import bulk_stats

#: Seconds: what a bulk call took on a lab host, each domain's share of it, and libvirt's wait for a job.
CALL_S, DOMAIN_S, JOB_WAIT_S = 0.011, 0.0011, 30.0
VCPUS, DISKS, NICS = 4, 2, 2


class FakeDomain:
    def __init__(self, number: int) -> None:
        self.number = number

    def name(self) -> str:
        return f"mw-bench-{self.number}"

    def UUIDString(self) -> str:
        return f"00000000-0000-0000-0000-{self.number:012d}"

    def jobStats(self) -> dict[str, int]:
        time.sleep(JOB_WAIT_S if self.number == 0 else DOMAIN_S)
        return {"type": 0}


def statistics_of(number: int) -> dict[str, Any]:
    """A domain with four vCPUs, two disks and two network cards, as libvirt names its figures."""
    stats: dict[str, Any] = {"state.state": 1, "cpu.time": number * 10**9, "vcpu.current": VCPUS}
    stats |= {"vcpu.maximum": VCPUS, "balloon.current": 2**21, "balloon.maximum": 2**22}
    stats |= {"balloon.rss": 2**20, "block.count": DISKS, "net.count": NICS}
    for cpu in range(VCPUS):
        stats |= {f"vcpu.{cpu}.time": 10**9, f"vcpu.{cpu}.delay": 10**6, f"vcpu.{cpu}.state": 1}
    for disk in range(DISKS):
        stats |= {f"block.{disk}.name": f"vd{disk}"}
        stats |= {f"block.{disk}.{key}.{unit}": 1 for key in ("rd", "wr") for unit in ("reqs", "bytes")}  # fmt: skip
    for nic in range(NICS):
        stats |= {f"net.{nic}.name": f"vnet{number}-{nic}"}
        stats |= {f"net.{nic}.{key}.bytes": 1 for key in ("rx", "tx")}
    return stats


class FakeLibvirt:
    """As many domains as wanted; the first one's job never ends."""

    def __init__(self, domains: int) -> None:
        self.domains = [FakeDomain(number) for number in range(domains)]

    def getAllDomainStats(self, _stats: int, flags: int) -> list[tuple[FakeDomain, dict[str, Any]]]:
        import libvirt

        time.sleep(CALL_S + DOMAIN_S * len(self.domains))
        waits = not flags & libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        if waits:
            time.sleep(JOB_WAIT_S)
        return [(dom, {"state.state": 1} if dom.number == 0 else statistics_of(dom.number)) for dom in self.domains]  # fmt: skip

    def listAllStoragePools(self, _flags: int) -> list[Any]:
        return []


def scrape(port: int) -> tuple[float, str]:
    """Seconds of a scrape, and its text."""
    began = time.perf_counter()
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return time.perf_counter() - began, text


def series(text: str) -> Counter[str]:
    """Series by domain."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "domain" in sample.labels:
                found[sample.labels["domain"]] += 1
    return found


def served(connection: Any, rounds: int) -> tuple[list[float], str]:
    """Times of so many scrapes of an agent on a port of its own, and the last one's text."""
    registry = CollectorRegistry()
    reader = LibvirtReader("fake", opener=lambda _uri: connection, ask=bulk_stats)
    registry.register(HostCollector(reader))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        taken = [scrape(server.server_port) for _ in range(rounds)]
    finally:
        server.shutdown()
        thread.join(10)
    return [seconds for seconds, _text in taken], taken[-1][1]


class HungLibvirt(FakeLibvirt):
    """The whole libvirtd hangs."""

    def __init__(self) -> None:
        super().__init__(0)
        self.released = threading.Event()

    def getAllDomainStats(self, _stats: int, _flags: int) -> list[Any]:
        self.released.wait(60)
        return []


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    times, text = served(FakeLibvirt(chosen.domains), chosen.rounds)
    found = series(text)
    hung = HungLibvirt()
    hung_times, hung_text = served(hung, 2)
    hung.released.set()
    median = statistics.median(times)
    print(
        json.dumps(
            {
                "domains": chosen.domains,
                "scrape_s": {"median": round(median, 3), "worst": round(max(times), 3)},
                "of_which_libvirt_s": round(CALL_S + DOMAIN_S * chosen.domains, 3),
                "series_per_domain": max(found.values()),
                "series_of_the_hung_domain": found["mw-bench-0"],
                "domains_with_all_figures": sum(
                    count == max(found.values()) for count in found.values()
                ),
                "text_kib": round(len(text) / 1024),
                "one_question_per_domain_and_waiting_s": round(
                    JOB_WAIT_S + CALL_S * chosen.domains, 1
                ),
                "libvirtd_hangs": {
                    "scrape_s": round(max(hung_times), 2),
                    "says_so": "millwright_libvirt_up 0.0" in hung_text,
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
