"""Readings as metric families. Names and help come from the registry, so that the list cannot drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring.registry import METRICS

from .hostfacts import HostFacts, read_facts
from .jobs import JobReader, Jobs
from .libvirt_reader import Domain, LibvirtReader

Family = CounterMetricFamily | GaugeMetricFamily
_BY_NAME = {metric.name: metric for metric in METRICS if metric.shown_by == "agent"}
_NS = 1e9
_KIB = 1024


class _Families:
    """Collects samples under registered names."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, short: str, value: float, *labels: str) -> None:
        metric = _BY_NAME[f"millwright_{short}"]
        family = self._families.get(metric.name)
        if family is None:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            self._families[metric.name] = family
        family.add_metric(labels, value)

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())


class HostCollector(Collector):
    """Asks at each scrape: what Prometheus sees is never older than the scrape."""

    def __init__(
        self,
        reader: LibvirtReader,
        *,
        facts: Callable[[], HostFacts] = read_facts,
        jobs: JobReader | None = None,
        deadline_s: float = 2.5,
    ) -> None:
        self._reader, self._facts, self._deadline_s = reader, facts, deadline_s
        self._jobs = jobs or JobReader()

    def describe(self) -> list[Any]:
        """Nothing: registering must not ask libvirt."""
        return []

    def collect(self) -> Iterator[Family]:
        found = _Families()
        reading = self._reader.read(self._deadline_s)
        found.add("libvirt_up", float(reading.up))
        found.add("libvirt_hang_seconds", reading.hang_s)
        if reading.up:
            found.add("libvirt_call_seconds", reading.call_s)
        for domain in reading.domains:
            _domain(found, domain)
        if reading.up:
            _migrations(found, self._jobs.look(reading.domains))
        for pool in reading.pools:
            found.add("storage_pool_active", float(pool.active), pool.name)
            if pool.active:
                found.add("storage_pool_bytes", pool.capacity, pool.name, "capacity")
                found.add("storage_pool_bytes", pool.available, pool.name, "available")
        _host(found, self._facts())
        yield from found


def _domain(found: _Families, domain: Domain) -> None:
    stats, name = domain.stats, domain.name
    found.add("domain_info", 1, name, domain.uuid)
    found.add("domain_state", 1, name, domain.state)
    if "cpu.time" in stats:
        found.add("domain_cpu_seconds_total", stats["cpu.time"] / _NS, name)
    if "vcpu.current" in stats:
        found.add("domain_vcpus", stats["vcpu.current"], name)
    for number in range(int(stats.get("vcpu.maximum", 0))):
        if (used := stats.get(f"vcpu.{number}.time")) is not None:
            found.add("domain_vcpu_seconds_total", used / _NS, name, str(number))
        if (waited := stats.get(f"vcpu.{number}.delay")) is not None:
            found.add("domain_vcpu_wait_seconds_total", waited / _NS, name, str(number))
    for key, kind in (("current", "actual"), ("maximum", "maximum"), ("rss", "rss")):
        if (size := stats.get(f"balloon.{key}")) is not None:
            found.add("domain_memory_bytes", size * _KIB, name, kind)
    for number in range(int(stats.get("block.count", 0))):
        device = str(stats.get(f"block.{number}.name", number))
        for key, way in (("rd", "read"), ("wr", "written")):
            if (size := stats.get(f"block.{number}.{key}.bytes")) is not None:
                found.add("domain_block_bytes_total", size, name, device, way)
    for number in range(int(stats.get("net.count", 0))):
        device = str(stats.get(f"net.{number}.name", number))
        for key, way in (("rx", "received"), ("tx", "sent")):
            if (size := stats.get(f"net.{number}.{key}.bytes")) is not None:
                found.add("domain_net_bytes_total", size, name, device, way)


def _migrations(found: _Families, jobs: Jobs) -> None:
    found.add("migrations_leaving", len(jobs.migrations))
    found.add("domain_jobs_unanswered", jobs.unanswered)
    for row in jobs.migrations:
        found.add("domain_migration_seconds", row.elapsed_s, row.domain)
        for kind in ("total", "processed", "remaining"):
            found.add("domain_migration_bytes", getattr(row, kind), row.domain, kind)


def _host(found: _Families, facts: HostFacts) -> None:
    found.add("host_info", 1, facts.kernel)
    if facts.realtime_kernel is not None:
        found.add("host_realtime_kernel", float(facts.realtime_kernel))
    if facts.isolated_cpus is not None:
        found.add("host_isolated_cpus", facts.isolated_cpus)
    if facts.nohz_full_cpus is not None:
        found.add("host_nohz_full_cpus", facts.nohz_full_cpus)
    if facts.rt_runtime_ratio is not None:
        found.add("host_rt_runtime_ratio", facts.rt_runtime_ratio)
    for size, (total, free) in facts.hugepages.items():
        found.add("host_hugepages", total, str(size), "total")
        found.add("host_hugepages", free, str(size), "free")
    for cpu, seconds in facts.steal_s.items():
        found.add("host_cpu_steal_seconds_total", seconds, str(cpu))
    for cpu, count in facts.isolated_interrupts.items():
        found.add("host_isolated_interrupts_total", count, str(cpu))
    if facts.smis is not None:
        found.add("host_smis_total", facts.smis)
    if facts.tuned_verified is not None:
        found.add("host_tuned_verified", float(facts.tuned_verified))
    if facts.timer_lateness_s is not None:
        mean, worst = facts.timer_lateness_s
        found.add("host_timer_lateness_seconds", mean, "mean")
        found.add("host_timer_lateness_seconds", worst, "worst")
