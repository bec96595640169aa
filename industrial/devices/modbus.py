"""Devices that speak Modbus: over TCP, or RTU frames in a TCP connection."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusTcpClient

from .config import AREAS, FORMATS, Device, Point
from .link import Reading
from .values import encode

_BITS = ("coil", "discrete")
_MOST_BITS = 1000


class ModbusLink:
    """One connection."""

    def __init__(self, device: Device) -> None:
        self._device = device
        framer = FramerType.RTU if device.protocol == "modbus_rtu_tcp" else FramerType.SOCKET
        self._client = AsyncModbusTcpClient(
            device.host, port=device.port, timeout=device.timeout_s, retries=0, reconnect_delay=0,
            framer=framer,
        )  # fmt: skip
        self._batches = [
            batch
            for area in AREAS
            for batch in batches(
                (p for p in device.points if not p.output and p.area == area),
                _MOST_BITS if area in _BITS else device.max_registers,
                device.gap,
            )
        ]

    async def open(self) -> None:
        device = self._device
        if not await self._client.connect():
            raise ConnectionError(f"{device.host}:{device.port} does not accept a connection")

    async def close(self) -> None:
        self._client.close()

    async def read(self) -> Sequence[Reading]:
        found: list[Reading] = []
        for batch in self._batches:
            area, first = batch[0].area, batch[0].address
            raw = await self._ask(area, first, max(point.end for point in batch) - first)
            found += [(point, self._value(point, raw, first)) for point in batch]
        return found

    async def _ask(self, area: str, first: int, count: int) -> list[int] | list[bool]:
        client, unit = self._client, self._device.unit
        call = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "input": client.read_input_registers,
            "holding": client.read_holding_registers,
        }[area]
        try:
            answer = await call(first, count=count, device_id=unit)
        except ModbusException as error:
            raise ConnectionError(str(error)) from None
        if answer.isError():
            raise ConnectionError(f"{area} {first}+{count}: {answer}")
        found = list(answer.bits[:count]) if area in _BITS else list(answer.registers)
        if len(found) != count:
            raise ConnectionError(f"{area} {first}+{count}: {len(found)} values came")
        return found

    async def write(self, wanted: Sequence[tuple[Point, float | bool]]) -> None:
        values = dict(wanted)
        for area in ("coil", "holding"):
            points = (point for point in values if point.area == area)
            most = _MOST_BITS if area == "coil" else self._device.max_registers
            # Nothing between two outputs is written: it is not ours.
            for batch in batches(points, most, 0):
                await self._put(area, batch, values)

    async def _put(self, area: str, batch: list[Point], values: dict[Point, float | bool]) -> None:
        client, unit, first = self._client, self._device.unit, batch[0].address
        try:
            if area == "coil":
                bits = [bool(values[point]) for point in batch]
                if len(bits) == 1:
                    answer = await client.write_coil(first, bits[0], device_id=unit)
                else:
                    answer = await client.write_coils(first, bits, device_id=unit)
            else:
                words = [
                    word for point in batch for word in self.words(point, float(values[point]))
                ]
                answer = await client.write_registers(first, words, device_id=unit)
        except ModbusException as error:
            raise ConnectionError(str(error)) from None
        if answer.isError():
            raise ConnectionError(f"{area} {first}: {answer}")

    def words(self, point: Point, value: float) -> list[int]:
        """A value as registers, in the device's order."""
        data = encode({"type": point.type}, value)
        return self._ordered(struct.unpack(f"<{len(data) // 2}H", data))

    def _ordered(self, words: Iterable[int]) -> list[int]:
        found = list(words)
        if self._device.high_first:
            found.reverse()
        if self._device.swap_bytes:
            found = [(word >> 8) | (word & 0xFF) << 8 for word in found]
        return found

    def _value(self, point: Point, raw: list[int] | list[bool], first: int) -> float | bool:
        at = point.address - first
        if point.type == "BOOL":
            return bool(raw[at])
        words = self._ordered(raw[at : at + point.registers])
        value: float = struct.unpack(FORMATS[point.type], struct.pack(f"<{len(words)}H", *words))[0]
        return value


def batches(points: Iterable[Point], most: int, gap: int) -> list[list[Point]]:
    """Points of one area that are asked for with one request each: at most so long, with holes of at most `gap`."""
    found: list[list[Point]] = []
    end = 0
    for point in sorted(points, key=lambda one: (one.address, one.end)):
        if found and point.end - found[-1][0].address <= most and point.address - end <= gap:
            found[-1].append(point)
            end = max(end, point.end)
        else:
            found.append([point])
            end = point.end
    return found
