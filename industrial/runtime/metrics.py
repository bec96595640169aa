"""The vPLC's metrics for Prometheus, from the shared memory at each scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .shm import BUCKETS, ShmError

if TYPE_CHECKING:
    from .protocols import Protocols

#: Upper bounds in seconds of the buckets, which are powers of two in microseconds.
BOUNDS = [f"{2**n / 1e6:g}" for n in range(BUCKETS - 1)] + ["+Inf"]


class _VplcCollector(Collector):
    def __init__(self, protocols: Protocols) -> None:
        self._protocols = protocols

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        protocols = self._protocols
        try:
            shm = protocols.shm()
            tasks = shm.tasks()
        except ShmError:
            yield GaugeMetricFamily("vplc_up", "1 if the scan process is there", value=0)
            return
        yield GaugeMetricFamily(
            "vplc_up", "1 if the scan process is there", value=float(shm.heartbeat_age_s < 1.0)
        )
        yield GaugeMetricFamily(
            "vplc_running", "1 if the program runs", value=float(shm.state == 1)
        )
        yield GaugeMetricFamily("vplc_fifo", "1 if tasks have FIFO priority", value=float(shm.fifo))
        yield GaugeMetricFamily(
            "vplc_forced_variables", "Variables that are forced", value=len(shm.forces())
        )
        program = protocols.inbox.active_program() or {"name": "", "version": "", "sha256": ""}
        info = GaugeMetricFamily(
            "vplc_info", "The program that runs", labels=("program", "version", "sha256")
        )
        info.add_metric([program["name"], program["version"], program["sha256"][:16]], 1)
        yield info
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
            scans.add_metric([row.name], row.scans)
            overruns.add_metric([row.name], row.overruns)
            times.add_metric(
                [row.name], buckets=_cumulative(row.scan_buckets), sum_value=row.scan_ns_sum / 1e9
            )
            late.add_metric(
                [row.name], buckets=_cumulative(row.late_buckets), sum_value=row.late_ns_sum / 1e9
            )
        yield from (scans, overruns, times, late)
        good = GaugeMetricFamily(
            "vplc_device_good", "1 if the device answered its last read", labels=("device",)
        )
        errors = CounterMetricFamily(
            "vplc_device_errors", "Failed exchanges with the device", labels=("device",)
        )
        latency = GaugeMetricFamily(
            "vplc_device_latency_seconds", "Duration of the last exchange", labels=("device",)
        )
        for device in protocols.scanner.devices:
            good.add_metric([device.name], float(device.good))
            errors.add_metric([device.name], device.errors)
            latency.add_metric([device.name], device.latency_s)
        yield from (good, errors, latency)
        yield GaugeMetricFamily(
            "vplc_modbus_connections", "Open Modbus connections", value=protocols.modbus.connections
        )
        yield CounterMetricFamily(
            "vplc_modbus_requests", "Modbus requests", value=protocols.modbus.requests
        )
        yield CounterMetricFamily(
            "vplc_modbus_refused",
            "Modbus writes and connections refused",
            value=protocols.modbus.refused,
        )


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
