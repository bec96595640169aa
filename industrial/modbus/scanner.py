"""The I/O scanner: reads devices into the input image and writes outputs to them, each at its own rate.

A device that is silent is retried with a growing pause; its inputs follow the fail policy (hold, zero,
substitute). When the scan stands still or its process is gone, outputs go to zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient

from industrial.runtime.shm import Area, SharedMemory, ShmError, Snapshot, State, Write

AREAS = ("coil", "discrete", "input", "holding")
FAIL = ("hold", "zero", "substitute")
FORMATS = {
    "BOOL": "",
    "INT": "<h",
    "UINT": "<H",
    "WORD": "<H",
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "REAL": "<f",
    "LREAL": "<d",
}
#: Outputs are written again at least this often, so that a device's own watchdog is fed.
REFRESH_S = 1.0
_AREA = {"I": Area.IN, "Q": Area.OUT, "M": Area.MEM, "arena": Area.ARENA}


class DeviceError(ValueError):
    """An io/*.toml breaks a rule; names file, field, value and rule."""


@dataclass(frozen=True, slots=True)
class Point:
    """One register or bit of a device, bound to a tag."""

    tag: str
    area: str
    address: int
    type: str
    output: bool
    scale: float
    offset: float
    fail: str
    substitute: float
    symbol: Mapping[str, Any]

    @property
    def registers(self) -> int:
        return 1 if self.type == "BOOL" else max(1, struct.calcsize(FORMATS[self.type]) // 2)


@dataclass(slots=True)
class Device:
    """A Modbus TCP device and its state."""

    name: str
    host: str
    port: int
    unit: int
    rate_s: float
    timeout_s: float
    points: tuple[Point, ...]
    good: bool = False
    last_good: float = 0.0
    reads: int = 0
    errors: int = 0
    latency_s: float = 0.0
    error: str = "not read yet"


def load_devices(files: Mapping[str, str], symbols: Iterable[Mapping[str, Any]]) -> list[Device]:
    """Read io/*.toml against the program's symbols.

    Raises:
        DeviceError: everything that is wrong in the first wrong file.
    """
    by_tag = {str(symbol["path"]).lower(): symbol for symbol in symbols}
    return [_device(path, text, by_tag) for path, text in sorted(files.items())]


def _device(path: str, text: str, symbols: Mapping[str, Mapping[str, Any]]) -> Device:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path}: {error}") from None
    if data.get("protocol") != "modbus_tcp":
        raise DeviceError(f"{path}: protocol = {data.get('protocol')!r}: modbus_tcp is spoken here")
    host, _, port = str(data.get("address", "")).rpartition(":")
    if not host or not port.isdigit():
        raise DeviceError(f"{path}: address = {data.get('address')!r}: expected host:port")
    fail = data.get("fail", "hold")
    points = tuple(
        _point(f"{path}: point[{n}]", row, symbols, fail)
        for n, row in enumerate(data.get("point", []), 1)
    )
    return Device(
        str(data.get("name", Path(path).stem)),
        host,
        int(port),
        int(data.get("unit", 1)),
        max(0.01, data.get("rate_ms", 100) / 1000),
        max(0.05, data.get("timeout_ms", 500) / 1000),
        points,
    )


def _point(
    where: str, row: Mapping[str, Any], symbols: Mapping[str, Mapping[str, Any]], fail: str
) -> Point:
    tag = str(row.get("tag", ""))
    symbol = symbols.get(tag.lower())
    if symbol is None:
        raise DeviceError(f"{where}.tag = {tag!r}: the program has no such variable")
    area, kind = row.get("area"), row.get("type", symbol["type"])
    fail = row.get("fail", fail)
    if area not in AREAS:
        raise DeviceError(f"{where}.area = {area!r}: one of {', '.join(AREAS)}")
    if kind not in FORMATS or (kind == "BOOL") != (area in ("coil", "discrete")):
        raise DeviceError(f"{where}.type = {kind!r}: does not fit area {area}")
    if fail not in FAIL:
        raise DeviceError(f"{where}.fail = {fail!r}: one of {', '.join(FAIL)}")
    output = row.get("direction", "in") == "out"
    if output and area in ("discrete", "input"):
        raise DeviceError(f"{where}.direction: {area} can only be read")
    address = row.get("address")
    if not isinstance(address, int) or not 0 <= address < 65536:
        raise DeviceError(f"{where}.address = {address!r}: 0 to 65535")
    scale = float(row.get("scale", 1.0))
    if scale == 0:
        raise DeviceError(f"{where}.scale = 0: a scale of zero loses the value")
    return Point(
        tag,
        area,
        address,
        kind,
        output,
        scale,
        float(row.get("offset", 0.0)),
        fail,
        float(row.get("substitute", 0.0)),
        symbol,
    )


_SYMBOL_FORMATS = {
    "SINT": "<b",
    "USINT": "<B",
    "BYTE": "<B",
    "INT": "<h",
    "UINT": "<H",
    "WORD": "<H",
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "LINT": "<q",
    "ULINT": "<Q",
    "LWORD": "<Q",
    "REAL": "<f",
    "LREAL": "<d",
    "TIME": "<I",
}


def encode(symbol: Mapping[str, Any], value: float) -> bytes:
    """A value as the symbol's bytes, saturated at its range."""
    layout = _SYMBOL_FORMATS[symbol["type"]]
    if layout in ("<f", "<d"):
        return struct.pack(layout, value)
    bits = struct.calcsize(layout) * 8
    low, high = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if layout[1].islower() else (0, (1 << bits) - 1)
    )
    return struct.pack(layout, max(low, min(high, round(value))))


def decode(symbol: Mapping[str, Any], images: Snapshot) -> float | bool:
    """A symbol's value from the images."""
    data = images.area(_AREA[symbol["area"]])
    if symbol["type"] == "BOOL":
        byte = data[symbol["offset"]]
        return bool(byte >> symbol["bit"] & 1) if symbol.get("bit") is not None else bool(byte)
    value: float = struct.unpack_from(_SYMBOL_FORMATS[symbol["type"]], data, symbol["offset"])[0]
    return value


@dataclass(slots=True)
class Scanner:
    """Runs the devices until cancelled."""

    shm: Callable[[], SharedMemory]
    devices: list[Device] = field(default_factory=list)
    alive: Callable[[], bool] = lambda: True
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, devices: list[Device]) -> None:
        """Run these devices in place of those before."""
        self.stop()
        self.devices = devices
        self._tasks = [asyncio.create_task(self._run(device)) for device in devices]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _run(self, device: Device) -> None:
        pause = device.rate_s
        while True:
            client = AsyncModbusTcpClient(
                device.host,
                port=device.port,
                timeout=device.timeout_s,
                retries=0,
                reconnect_delay=0,
            )
            try:
                if not await client.connect():
                    raise ConnectionError(
                        f"{device.host}:{device.port} does not accept a connection"
                    )
                pause = device.rate_s
                await self._cycle(device, client)
            except (ModbusException, ConnectionError, OSError, TimeoutError, ShmError) as error:
                device.errors += 1
                device.good, device.error = False, str(error) or type(error).__name__
                with contextlib.suppress(ShmError):
                    self._fail(device)
            finally:
                client.close()
            pause = min(max(pause, 0.1) * 1.7, 10.0)
            await asyncio.sleep(pause)

    async def _cycle(self, device: Device, client: AsyncModbusTcpClient) -> None:
        written: dict[tuple[str, int], object] = {}
        refreshed = 0.0
        next_at = time.monotonic()
        while True:
            begun = time.monotonic()
            await self._read(device, client)
            if begun - refreshed > REFRESH_S:
                written, refreshed = {}, begun
            await self._write(device, client, written)
            device.latency_s = time.monotonic() - begun
            device.good, device.error, device.last_good = True, "", time.monotonic()
            device.reads += 1
            next_at = max(next_at + device.rate_s, time.monotonic())
            await asyncio.sleep(next_at - time.monotonic())

    async def _read(self, device: Device, client: AsyncModbusTcpClient) -> None:
        changes: list[tuple[int, bytes]] = []
        bits: list[tuple[int, int, bool]] = []
        journal: list[Write] = []
        for area in AREAS:
            points = sorted(
                (p for p in device.points if not p.output and p.area == area),
                key=lambda p: p.address,
            )
            for batch in _batches(points, 1000 if area in ("coil", "discrete") else 100):
                first = batch[0].address
                count = max(p.address + p.registers for p in batch) - first
                raw = await _read_area(client, area, first, count, device.unit)
                for point in batch:
                    self._accept(point, _value(point, raw, first), changes, bits, journal)
        self.shm().stage_inputs(changes, bits)
        if journal:
            self.shm().write(journal)

    @staticmethod
    def _accept(
        point: Point,
        value: float | bool,
        changes: list[tuple[int, bytes]],
        bits: list[tuple[int, int, bool]],
        journal: list[Write],
    ) -> None:
        symbol = point.symbol
        area = _AREA[symbol["area"]]
        if symbol["type"] == "BOOL":
            flag = bool(value)
            if area is Area.IN:
                bits.append((symbol["offset"], symbol["bit"] or 0, flag))
            elif symbol.get("bit") is not None:
                journal.append(Write(area, symbol["offset"], 0, int(flag), symbol["bit"]))
            else:
                journal.append(Write(area, symbol["offset"], 1, int(flag)))
            return
        data = encode(symbol, float(value) * point.scale + point.offset)
        if area is Area.IN:
            changes.append((symbol["offset"], data))
        else:
            journal.append(Write(area, symbol["offset"], len(data), int.from_bytes(data, "little")))

    async def _write(
        self, device: Device, client: AsyncModbusTcpClient, written: dict[tuple[str, int], object]
    ) -> None:
        outputs = [point for point in device.points if point.output]
        if not outputs:
            return
        shm = self.shm()
        images = shm.snapshot(arena=any(point.symbol["area"] == "arena" for point in outputs))
        safe = shm.state is not State.RUN or not self.alive()
        for point in outputs:
            value = 0.0 if safe else float(decode(point.symbol, images))
            raw: object
            if point.type == "BOOL":
                raw = bool(value)
            else:
                data = encode(
                    {"type": point.type}, 0.0 if safe else (value - point.offset) / point.scale
                )
                raw = list(struct.unpack(f"<{len(data) // 2}H", data))
            if written.get((point.area, point.address)) == raw:
                continue
            if point.area == "coil":
                answer = await client.write_coil(point.address, bool(raw), device_id=device.unit)
            else:
                answer = await client.write_registers(point.address, raw, device_id=device.unit)
            if answer.isError():
                raise ConnectionError(f"{point.area} {point.address}: {answer}")
            written[point.area, point.address] = raw

    def _fail(self, device: Device) -> None:
        """Inputs of a silent device, by policy."""
        changes: list[tuple[int, bytes]] = []
        bits: list[tuple[int, int, bool]] = []
        journal: list[Write] = []
        for point in device.points:
            if point.output or point.fail == "hold":
                continue
            value = point.substitute if point.fail == "substitute" else 0.0
            self._accept(point, (value - point.offset) / point.scale, changes, bits, journal)
        self.shm().stage_inputs(changes, bits)
        if journal:
            self.shm().write(journal)


def _batches(points: list[Point], most: int) -> list[list[Point]]:
    """Neighbouring points read with one request."""
    found: list[list[Point]] = []
    for point in points:
        if (
            found
            and point.address + point.registers - found[-1][0].address <= most
            and point.address - (found[-1][-1].address + found[-1][-1].registers) <= 16
        ):
            found[-1].append(point)
        else:
            found.append([point])
    return found


async def _read_area(
    client: AsyncModbusTcpClient, area: str, first: int, count: int, unit: int
) -> list[int] | list[bool]:
    call = {
        "coil": client.read_coils,
        "discrete": client.read_discrete_inputs,
        "input": client.read_input_registers,
        "holding": client.read_holding_registers,
    }[area]
    answer = await call(first, count=count, device_id=unit)
    if answer.isError():
        raise ConnectionError(f"{area} {first}+{count}: {answer}")
    return list(answer.bits[:count]) if area in ("coil", "discrete") else list(answer.registers)


def _value(point: Point, raw: list[int] | list[bool], first: int) -> float | bool:
    at = point.address - first
    if point.type == "BOOL":
        return bool(raw[at])
    data = struct.pack(f"<{point.registers}H", *raw[at : at + point.registers])
    value: float = struct.unpack(FORMATS[point.type], data)[0]
    return value
