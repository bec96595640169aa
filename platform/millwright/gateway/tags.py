"""Live tags: one poller per machine however many pages look, stopped when nobody looks any more."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from industrial.tasks import ending

from .errors import BadRequest, GatewayError
from .modbus import MOST, Area, ModbusDoor

#: A machine nobody asked for in this time is no longer polled.
LEASE_S = 15.0
#: Registers between two wanted ones that are cheaper to read than a second request.
GAP = {"holding": 16, "input": 16, "coil": 256, "discrete": 256}
MOST_TAGS = 2000
#: What a trend keeps of one machine: ten minutes, and never more values than this.
TREND_SAMPLES, TREND_VALUES = 600, 60_000
#: Types of several registers, as they lie in memory.
WIDE = {
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "REAL": "<f",
    "LINT": "<q",
    "ULINT": "<Q",
    "LWORD": "<Q",
    "LREAL": "<d",
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A name and where Modbus shows it. `type`: INT, UINT, WORD, BOOL, DINT, UDINT, REAL …"""

    path: str
    area: Area
    address: int
    type: str = "UINT"

    @property
    def width(self) -> int:
        """Registers (or bits) that it takes."""
        return struct.calcsize(WIDE.get(self.type, "<H")) // 2


def batches(tags: list[Tag]) -> list[tuple[Area, int, int]]:
    """The fewest requests that cover the tags: (area, first, count), gaps bridged."""
    found: list[tuple[Area, int, int]] = []
    for tag in sorted(tags, key=lambda tag: (tag.area, tag.address)):
        end = tag.address + tag.width
        if found:
            area, first, count = found[-1]
            if (
                area == tag.area
                and tag.address <= first + count + GAP[area]
                and end - first <= MOST[area]
            ):
                found[-1] = (area, first, max(count, end - first))
                continue
        found.append((tag.area, tag.address, tag.width))
    return found


def decode(tag: Tag, raw: list[int] | list[bool]) -> Any:
    """Registers as a value of the tag's type: low word first, as the process image lies in memory.

    None: a REAL or LREAL that is no number, or infinite.
    """
    if tag.area in ("coil", "discrete"):
        return bool(raw[0])
    data = b"".join(struct.pack("<H", word) for word in raw)
    kind = "<h" if tag.type == "INT" else WIDE.get(tag.type, "<H")
    value = struct.unpack(kind, data)[0]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # A REAL has seven digits; as many are shown.
        return float(f"{value:.7g}") if tag.type == "REAL" else value
    return bool(value) if tag.type == "BOOL" else value


async def read_all(
    modbus: ModbusDoor,
    host: str,
    port: int,
    unit: int,
    tags: list[Tag],
    requests: list[tuple[Area, int, int]],
) -> dict[str, Any]:
    """Values by path, read with the requests of `batches(tags)`. Raises GatewayError."""
    values: dict[str, Any] = {}
    for area, first, count in requests:
        raw = await modbus.read(host, port, unit, area, first, count)
        for tag in tags:
            start = tag.address - first
            if tag.area == area and start >= 0 and start + tag.width <= count:
                values[tag.path] = decode(tag, raw[start : start + tag.width])
    return values


@dataclass
class _Watch:
    host: str
    port: int
    unit: int
    tags: list[Tag]
    wanted_until: float
    values: dict[str, Any] = field(default_factory=dict)
    read_at: float | None = None
    error: str = ""
    first: asyncio.Event = field(default_factory=asyncio.Event)
    #: (seconds since 1970, values), oldest first.
    history: deque[tuple[float, dict[str, Any]]] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class LiveTags:
    """Subscriptions by machine id."""

    def __init__(self, modbus: ModbusDoor, interval_s: float = 1.0) -> None:
        self._modbus = modbus
        self._interval_s = interval_s
        self._watches: dict[str, _Watch] = {}

    async def watch(
        self, machine: str, host: str, port: int, unit: int, tags: list[Tag]
    ) -> dict[str, Any]:
        """Begin or go on watching; answers with the values once the first reading is there."""
        kept = self._keep(machine, host, port, unit, tags)
        await kept.first.wait()
        return self._answer(kept)

    def begin(
        self, machine: str, host: str, port: int, unit: int, tags: list[Tag]
    ) -> dict[str, Any]:
        """The same without waiting: no values and no age before the first reading."""
        return self._answer(self._keep(machine, host, port, unit, tags))

    def _keep(self, machine: str, host: str, port: int, unit: int, tags: list[Tag]) -> _Watch:
        if len(tags) > MOST_TAGS:
            raise BadRequest(f"tags: {len(tags)} given; at most {MOST_TAGS}")
        kept = self._watches.get(machine)
        until = time.monotonic() + LEASE_S
        if kept is None or (kept.host, kept.port, kept.unit, kept.tags) != (host, port, unit, tags):
            if kept and kept.task:
                kept.task.cancel()
            kept = self._watches[machine] = _Watch(host, port, unit, tags, until)
            kept.history = deque(maxlen=min(TREND_SAMPLES, TREND_VALUES // max(1, len(tags))))
            kept.task = asyncio.create_task(self._poll(machine, kept))
        kept.wanted_until = until
        return kept

    def get(self, machine: str) -> dict[str, Any] | None:
        """The last values; None if the machine is not watched."""
        kept = self._watches.get(machine)
        if kept is None:
            return None
        kept.wanted_until = time.monotonic() + LEASE_S
        return self._answer(kept)

    def trend(self, machine: str) -> dict[str, Any] | None:
        """What was read since somebody looks: times (seconds since 1970) and a column for each tag."""
        kept = self._watches.get(machine)
        if kept is None:
            return None
        samples = list(kept.history)
        return {
            "time": [round(at, 3) for at, _values in samples],
            "values": {
                tag.path: [values.get(tag.path) for _at, values in samples] for tag in kept.tags
            },
        }

    def _answer(self, kept: _Watch) -> dict[str, Any]:
        age = None if kept.read_at is None else round(time.monotonic() - kept.read_at, 3)
        return {"values": kept.values, "age_s": age, "error": kept.error}

    async def _poll(self, machine: str, kept: _Watch) -> None:
        requests = batches(kept.tags)
        try:
            while not ending() and time.monotonic() < kept.wanted_until:
                try:
                    kept.values = await self._read(kept, requests)
                    kept.read_at, kept.error = time.monotonic(), ""
                    kept.history.append((time.time(), kept.values))
                except GatewayError as error:
                    kept.error = str(error)
                kept.first.set()
                await asyncio.sleep(self._interval_s)
        finally:
            kept.first.set()
            if self._watches.get(machine) is kept:
                del self._watches[machine]

    async def _read(self, kept: _Watch, requests: list[tuple[Area, int, int]]) -> dict[str, Any]:
        return await read_all(self._modbus, kept.host, kept.port, kept.unit, kept.tags, requests)

    @property
    def watched(self) -> int:
        return len(self._watches)

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values() if watch.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
