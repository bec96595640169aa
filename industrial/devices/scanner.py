"""The I/O scanner: reads devices into the input image and writes outputs to them, each at its own rate.

A device that is silent is retried with a growing pause; its inputs follow the fail policy (hold, zero, substitute),
as does a single value that the device says is bad. When the scan stands still or its process is gone, outputs go to
zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from industrial.runtime.shm import Area, SharedMemory, ShmError, State, Write

from .config import Device, Point
from .link import Link
from .values import AREA, decode, encode

#: Outputs are written again at least this often, so that a device's own watchdog is fed.
REFRESH_S = 1.0


class _Staged:
    """What a cycle passes on to the scan."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, bytes]] = []
        self.bits: list[tuple[int, int, bool]] = []
        self.journal: list[Write] = []

    def add(self, point: Point, value: float | bool) -> None:
        """A value in the variable's unit."""
        symbol = point.symbol
        area = AREA[symbol["area"]]
        if symbol["type"] == "BOOL":
            flag = bool(value)
            if area is Area.IN:
                self.bits.append((symbol["offset"], symbol["bit"] or 0, flag))
            elif symbol.get("bit") is not None:
                self.journal.append(Write(area, symbol["offset"], 0, int(flag), symbol["bit"]))
            else:
                self.journal.append(Write(area, symbol["offset"], 1, int(flag)))
            return
        data = encode(symbol, float(value))
        if area is Area.IN:
            self.changes.append((symbol["offset"], data))
        else:
            number = int.from_bytes(data, "little")
            self.journal.append(Write(area, symbol["offset"], len(data), number))

    def send(self, shm: SharedMemory) -> None:
        shm.stage_inputs(self.changes, self.bits)
        if self.journal:
            shm.write(self.journal)


@dataclass(slots=True)
class Scanner:
    """Runs the devices until cancelled. `keys`: the folder of the vPLC's certificate, for OPC UA."""

    shm: Callable[[], SharedMemory]
    devices: list[Device] = field(default_factory=list)
    alive: Callable[[], bool] = lambda: True
    keys: Path = Path("keys")
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, devices: list[Device]) -> None:
        """Run these devices in place of those before."""
        self.stop()
        self.devices = devices
        self._tasks = [asyncio.create_task(self._run(device)) for device in devices]

    def stop(self) -> None:
        """End the connections."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _link(self, device: Device) -> Link:
        # Imported when wanted: without such a device its library costs nothing.
        if device.protocol == "opcua":
            from .opcua import OpcUaLink

            return OpcUaLink(device, self.keys)
        from .modbus import ModbusLink

        return ModbusLink(device)

    async def _run(self, device: Device) -> None:
        pause = device.rate_s
        while True:
            link = self._link(device)
            try:
                await link.open()
                pause = device.rate_s
                await self._cycle(device, link)
            except (OSError, TimeoutError, ShmError) as error:
                device.errors += 1
                device.good, device.error = False, str(error) or type(error).__name__
                with contextlib.suppress(ShmError):
                    self._fail(point for point in device.points if not point.output)
            finally:
                await link.close()
            pause = min(max(pause, 0.1) * 1.7, 10.0)
            await asyncio.sleep(pause)

    async def _cycle(self, device: Device, link: Link) -> None:
        passed: dict[Point, float | bool] = {}
        written: dict[Point, float | bool] = {}
        refreshed = 0.0
        next_at = time.monotonic()
        while True:
            begun = time.monotonic()
            await self._read(device, link, passed)
            if begun - refreshed > REFRESH_S:
                refreshed = begun
                await self._write(device, link, written, everything=True)
            else:
                await self._write(device, link, written, everything=False)
            device.latency_s = time.monotonic() - begun
            device.good, device.error, device.last_good = True, "", time.monotonic()
            device.reads += 1
            next_at = max(next_at + device.rate_s, time.monotonic())
            await asyncio.sleep(next_at - time.monotonic())

    async def _read(self, device: Device, link: Link, passed: dict[Point, float | bool]) -> None:
        staged, bad = _Staged(), []
        for point, raw in await link.read():
            if raw is None:
                bad.append(point)
                passed.pop(point, None)
                continue
            value = raw if isinstance(raw, bool) else raw * point.scale + point.offset
            before = passed.get(point)
            if before is not None and point.deadband and abs(value - before) <= point.deadband:
                value = before
            passed[point] = value
            # Staged each time, changed or not: the memory may be that of a new scan process.
            staged.add(point, value)
        staged.send(self.shm())
        device.bad_points = len(bad)
        self._fail(bad)

    async def _write(
        self, device: Device, link: Link, written: dict[Point, float | bool], *, everything: bool
    ) -> None:
        outputs = [point for point in device.points if point.output]
        if not outputs:
            return
        shm = self.shm()
        images = shm.snapshot(arena=any(point.symbol["area"] == "arena" for point in outputs))
        safe = shm.state is not State.RUN or not self.alive()
        wanted: list[tuple[Point, float | bool]] = []
        for point in outputs:
            value: float | bool = 0.0 if safe else decode(point.symbol, images)
            if point.type != "BOOL" and not safe:
                value = (float(value) - point.offset) / point.scale
            before = written.get(point)
            if before is not None and not everything and _alike(point, value, before, safe=safe):
                continue
            wanted.append((point, value))
        if wanted:
            await link.write(wanted)
            written.update(wanted)

    def _fail(self, points: Iterable[Point]) -> None:
        """Inputs of a silent device, or values that are bad, by policy."""
        staged = _Staged()
        for point in points:
            if point.fail != "hold":
                staged.add(point, point.substitute if point.fail == "substitute" else 0.0)
        if staged.changes or staged.bits or staged.journal:
            staged.send(self.shm())


def _alike(point: Point, value: float | bool, before: float | bool, *, safe: bool) -> bool:
    """Whether a device need not be told. A safe output's zero is told whatever the deadband."""
    if value == before:
        return True
    return not safe and abs(value - before) * abs(point.scale) <= point.deadband
