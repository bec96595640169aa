"""The vPLC's metrics for Prometheus, from the shared memory at each scrape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .shm import BUCKETS, Role, SharedMemory, ShmError, State, TaskStats

if TYPE_CHECKING:
    from industrial.devices import Device

    from .protocols import Protocols

#: Upper bounds in seconds of the buckets, which are powers of two in microseconds.
BOUNDS = [f"{2**n / 1e6:g}" for n in range(BUCKETS - 1)] + ["+Inf"]

#: Codes of vplc_abi.h, as labels.
FAULTS = {
    1: "division_by_zero", 2: "bounds", 3: "reference", 4: "string", 5: "watchdog", 6: "stack", 7: "conversion",
}  # fmt: skip


class _VplcCollector(Collector):
    def __init__(self, protocols: Protocols) -> None:
        self._protocols = protocols

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            shm = self._protocols.shm()
            tasks = shm.tasks()
        except ShmError:
            yield GaugeMetricFamily("vplc_up", "1 if the scan process is there", value=0)
            return
        yield from self._controller(shm)
        yield from _tasks(tasks)
        yield from _devices(self._protocols.scanner.devices)
        yield from self._clients()

    def _controller(self, shm: SharedMemory) -> Iterator[Metric]:
        age = shm.heartbeat_age_s
        yield _gauge("up", "1 if the scan process is there", float(age < 1.0))
        yield _gauge(
            "clock_seconds", "The machine's monotonic clock at this scrape", time.monotonic()
        )
        process = GaugeMetricFamily(
            "vplc_process_info",
            "1, with the boot and the scan process",
            labels=("boot_id", "scan_pid"),
        )
        process.add_metric([self._protocols.boot_id, str(shm.scan_pid)], 1)
        yield process
        yield _gauge("heartbeat_age_seconds", "Since the scan process last said that it lives", age)
        yield _gauge("running", "1 if the program runs", float(shm.state == State.RUN))
        yield _gauge("fifo", "1 if tasks have FIFO priority", float(shm.fifo))
        yield _gauge("forced_variables", "Variables that are forced", len(shm.forces()))
        yield from _lasting(shm)
        fault = GaugeMetricFamily(
            "vplc_fault", "1 while a task stands still after this fault", labels=("kind",)
        )
        code = shm.fault[0] if shm.state == State.FAULT else 0
        for number, name in FAULTS.items():
            fault.add_metric([name], float(number == code))
        yield fault
        faults = CounterMetricFamily(
            "vplc_faults", "Faults of tasks; watchdog: a scan took too long", labels=("kind",)
        )
        for name in FAULTS.values():
            faults.add_metric([name], self._protocols.faults.get(name, 0))
        yield faults
        program = self._protocols.inbox.active_program() or {"name": "", "version": "", "sha256": ""}  # fmt: skip
        info = GaugeMetricFamily(
            "vplc_info", "The program that runs", labels=("program", "version", "sha256")
        )
        info.add_metric([program["name"], program["version"], program["sha256"][:16]], 1)
        yield info

    def _clients(self) -> Iterator[Metric]:
        protocols = self._protocols
        clients = GaugeMetricFamily("vplc_protocol_clients", "Open connections and sessions", labels=("protocol",))  # fmt: skip
        refused = CounterMetricFamily("vplc_protocol_refused", "Connections, sign-ins and writes refused", labels=("protocol",))  # fmt: skip
        for name, (count, denied) in protocols.clients().items():
            clients.add_metric([name], count)
            refused.add_metric([name], denied)
        yield from (clients, refused)
        modbus = protocols.modbus
        yield _gauge("modbus_connections", "Open Modbus connections", modbus.connections)
        yield CounterMetricFamily("vplc_modbus_requests", "Modbus requests", value=modbus.requests)
        yield CounterMetricFamily(
            "vplc_modbus_refused", "Modbus writes and connections refused", value=modbus.refused
        )


def _lasting(shm: SharedMemory) -> Iterator[Metric]:
    """What outlives a scan, and what the machine did to it."""
    retain, clock = shm.retain, shm.clock
    age = -1.0 if retain.age_s is None else retain.age_s
    yield _gauge("retain_age_seconds", "Since retained values were last saved; -1: never", age)
    yield CounterMetricFamily("vplc_retain_failures", "Saves of retained values that failed", value=retain.failed)  # fmt: skip
    yield _gauge("clock_trusted", "1 if the wall clock is synchronised and was not set lately", float(clock.trusted))  # fmt: skip
    yield CounterMetricFamily("vplc_clock_steps", "How often the wall clock was set", value=clock.steps)  # fmt: skip
    yield CounterMetricFamily("vplc_gaps", "How often the machine stood still", value=clock.gaps)
    yield _gauge("crashes", "Starts before this one that did not last", shm.crashes)
    yield _gauge("standby", "1 if devices are not written", float(shm.role == Role.STANDBY))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vplc_{name}", text, value=value)


def _tasks(tasks: Iterable[TaskStats]) -> Iterator[Metric]:
    interval = GaugeMetricFamily("vplc_task_interval_seconds", "A task's interval", labels=("task",))  # fmt: skip
    longest = GaugeMetricFamily("vplc_scan_longest_seconds", "Longest scan so far", labels=("task",))  # fmt: skip
    latest = GaugeMetricFamily("vplc_start_lateness_longest_seconds", "Latest start so far", labels=("task",))  # fmt: skip
    scans = CounterMetricFamily("vplc_scans", "Scans done", labels=("task",))
    overruns = CounterMetricFamily(
        "vplc_overruns",
        "Cycles missed because a scan took too long or began too late",
        labels=("task",),
    )
    times = HistogramMetricFamily("vplc_scan_seconds", "Duration of a scan", labels=("task",))
    late = HistogramMetricFamily(
        "vplc_start_lateness_seconds", "Start of a scan after its due time", labels=("task",)
    )
    for row in tasks:
        name = [row.name]
        interval.add_metric(name, row.interval_ns / 1e9)
        longest.add_metric(name, row.scan_ns_max / 1e9)
        latest.add_metric(name, row.late_ns_max / 1e9)
        scans.add_metric(name, row.scans)
        overruns.add_metric(name, row.overruns)
        times.add_metric(name, _cumulative(row.scan_buckets), row.scan_ns_sum / 1e9)
        late.add_metric(name, _cumulative(row.late_buckets), row.late_ns_sum / 1e9)
    yield from (interval, longest, latest, scans, overruns, times, late)


def _devices(devices: Iterable[Device]) -> Iterator[Metric]:
    label = ("device",)
    good = GaugeMetricFamily("vplc_device_good", "1 if the device answered its last read", labels=label)  # fmt: skip
    age = GaugeMetricFamily("vplc_device_age_seconds", "Since the device last answered; -1: it never has", labels=label)  # fmt: skip
    reads = CounterMetricFamily("vplc_device_reads", "Exchanges with the device that went well", labels=label)  # fmt: skip
    errors = CounterMetricFamily("vplc_device_errors", "Failed exchanges with the device", labels=label)  # fmt: skip
    latency = GaugeMetricFamily("vplc_device_latency_seconds", "Duration of the last exchange", labels=label)  # fmt: skip
    now = time.monotonic()
    for device in devices:
        name = [device.name]
        good.add_metric(name, float(device.good))
        age.add_metric(name, now - device.last_good if device.last_good else -1.0)
        reads.add_metric(name, device.reads)
        errors.add_metric(name, device.errors)
        latency.add_metric(name, device.latency_s)
    yield from (good, age, reads, errors, latency)


def _cumulative(buckets: tuple[int, ...]) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip(BOUNDS, buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


class Metrics:
    """A minimal HTTP server in the protocols' own loop: no thread, no framework."""

    def __init__(self, protocols: Protocols) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_VplcCollector(protocols))
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        self._server = await asyncio.start_server(self._serve, host, port, limit=8192)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0)
            wanted = head.split(b" ", 2)[1] if head.count(b" ") >= 2 else b""
            body, status = (
                (generate_latest(self._registry), "200 OK")
                if wanted.split(b"?")[0] == b"/metrics"
                else (b"see /metrics\n", "404 Not Found")
            )
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
        ):
            pass
        finally:
            writer.close()
