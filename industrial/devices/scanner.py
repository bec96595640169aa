"""The I/O scanner: reads devices into the input image and writes outputs to them, each at its own rate.

A device that is silent is retried with a growing pause; its inputs follow the fail policy (hold, zero, substitute),
as does a single value that the device says is bad. When the program is stopped, has faulted, or the scan process is
silent, and at shutdown, each output follows its own policy (zero, hold, substitute). In the role of a standby nothing
is written at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from industrial.runtime.shm import Area, Quality, Role, SharedMemory, ShmError, State, Write
from industrial.tasks import ending

from .config import Device, Point
from .link import Link
from .values import AREA, FORMATS, decode, encode

#: Outputs are written again at least this often, so that a device's own watchdog is fed.
REFRESH_S = 1.0
#: A device whose outputs nobody leads any more is tried for so long, with these pauses.
LEAVE_S, AGAIN_S = 60.0, 0.2


class _Staged:
    """What a cycle passes on to the scan."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, bytes]] = []
        self.bits: list[tuple[int, int, bool]] = []
        self.journal: list[Write] = []
        self.quality: list[tuple[int, int, Quality]] = []

    def judge(self, point: Point, word: Quality) -> None:
        """The quality of an input."""
        symbol = point.symbol
        if AREA[symbol["area"]] is Area.IN:
            size = 1 if symbol["type"] == "BOOL" else struct.calcsize(FORMATS[symbol["type"]])
            self.quality.append((symbol["offset"], size, word))

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
        shm.stage_inputs(self.changes, self.bits, quality=self.quality)
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
    _leaving: dict[asyncio.Task[None], Device] = field(default_factory=dict)

    def start(self, devices: list[Device]) -> None:
        """Run these devices in place of those before.

        One that answers and is set up as before goes on without a pause, one that is silent is tried at once. Outputs
        that nobody leads any more follow their policy of a stop.
        """
        kept: list[Device] = []
        tasks: list[asyncio.Task[None]] = []
        before = list(zip(self.devices, self._tasks, strict=True))
        for device in devices:
            same = next((row for row in before if row[0] == device and row[0].good), None)
            if same is None:
                device.led = any(row[0].led and row[0].place == device.place for row in before)
                kept.append(device)
                tasks.append(asyncio.create_task(self._run(device)))
            else:
                before.remove(same)
                kept.append(same[0])
                tasks.append(same[1])
        # What is being left already may be led again by now.
        for device, task in before + [(device, task) for task, device in self._leaving.items()]:
            task.cancel()
            left = replace(device, points=device.orphans(devices), heartbeat=None)
            if device.led and left.points:
                leaving = asyncio.create_task(self._leave(left, task))
                self._leaving[leaving] = left
                leaving.add_done_callback(self._leaving.pop)
        self.devices, self._tasks = kept, tasks

    async def _leave(self, device: Device, task: asyncio.Task[None]) -> None:
        await asyncio.gather(task, return_exceptions=True)
        await self._farewell(device, LEAVE_S)

    def stop(self) -> None:
        """End the connections; outputs stay as they are."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def shutdown(self) -> None:
        """End the connections and leave outputs by the policy of a stop. A device that does not answer keeps nothing waiting."""
        tasks = list(self._tasks)
        self.stop()
        leaving = dict(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*tasks, *leaving, return_exceptions=True)
        await asyncio.gather(
            *(
                self._farewell(device, 2 * device.timeout_s)
                for device in (*self.devices, *leaving.values())
                if device.led
            )
        )

    async def _farewell(self, device: Device, limit_s: float) -> None:
        """Leave outputs by the policy of a stop; tried again until the device takes it or the time is over."""
        wanted = [
            (point, value)
            for point in device.points
            if point.output and (value := _safe(point, point.on_stop)) is not None
        ]
        if not wanted or self._standby():
            return
        end = time.monotonic() + limit_s
        while (left_s := end - time.monotonic()) > 0 and not ending():
            # A connection of its own: the one before may have ended in the middle of a request.
            link = self._link(device)
            try:
                async with asyncio.timeout(min(left_s, 2 * device.timeout_s)):
                    await link.open()
                    await link.write(wanted)
                return
            except (OSError, TimeoutError) as error:
                device.errors += 1
                device.good, device.error = False, str(error) or type(error).__name__
            finally:
                with contextlib.suppress(OSError, TimeoutError):
                    await link.close()
            await asyncio.sleep(AGAIN_S)

    def _standby(self) -> bool:
        try:
            return self.shm().role is Role.STANDBY
        except ShmError:
            return False

    def _link(self, device: Device) -> Link:
        # Imported when wanted: without such a device its library costs nothing.
        if device.protocol == "opcua":
            from .opcua import OpcUaLink

            return OpcUaLink(device, self.keys)
        from .modbus import ModbusLink

        return ModbusLink(device)

    async def _run(self, device: Device) -> None:
        pause = device.rate_s
        while not ending():
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
        while not ending():
            begun = time.monotonic()
            await self._read(device, link, passed)
            if ending():
                return
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
            staged.judge(point, Quality.GOOD)
        staged.send(self.shm())
        device.bad_points = len(bad)
        self._fail(bad)

    async def _write(
        self, device: Device, link: Link, written: dict[Point, float | bool], *, everything: bool
    ) -> None:
        outputs = [point for point in device.points if point.output]
        shm = self.shm()
        if (not outputs and device.heartbeat is None) or shm.role is Role.STANDBY:
            return
        policy = self._policy(shm)
        wanted: list[tuple[Point, float | bool]] = []
        if outputs and not policy:
            images = shm.snapshot(arena=any(point.symbol["area"] == "arena" for point in outputs))
        for point in outputs:
            value: float | bool | None
            if policy:
                value = _safe(point, getattr(point, policy))
                value = written.get(point) if value is None else value
            else:
                value = _raw(point, decode(point.symbol, images))
            before = written.get(point)
            if value is None or (
                before is not None
                and not everything
                and _alike(point, value, before, safe=bool(policy))
            ):
                continue
            wanted.append((point, value))
        if device.heartbeat is not None and self.alive():
            device.beats = (device.beats + 1) & 0x7FFF
            wanted.append((device.heartbeat, device.beats))
        if wanted:
            device.led = True
            await link.write(wanted)
            written.update(wanted)

    def _policy(self, shm: SharedMemory) -> str:
        """Which policy outputs follow; empty while the program leads them."""
        state = shm.state
        if not self.alive() or state in (State.FAULT, State.NO_PROGRAM):
            return "on_fault"
        return "" if state is State.RUN else "on_stop"

    def _fail(self, points: Iterable[Point]) -> None:
        """Inputs of a silent device, or values that are bad, by policy."""
        staged = _Staged()
        for point in points:
            staged.judge(point, Quality.BAD)
            if point.fail != "hold":
                staged.add(point, point.substitute if point.fail == "substitute" else 0.0)
        if staged.quality or staged.journal:
            staged.send(self.shm())


def _raw(point: Point, value: float | bool) -> float | bool:
    """A value in the device's unit."""
    return value if point.type == "BOOL" else (float(value) - point.offset) / point.scale


def _safe(point: Point, policy: str) -> float | bool | None:
    """What a device is told while the program does not lead it: a zero is the device's own zero; None: what it has."""
    if policy == "zero":
        return 0.0
    return _raw(point, point.substitute) if policy == "substitute" else None


def _alike(point: Point, value: float | bool, before: float | bool, *, safe: bool) -> bool:
    """Whether a device need not be told. A safe output's zero is told whatever the deadband."""
    if value == before:
        return True
    return not safe and abs(value - before) * abs(point.scale) <= point.deadband
