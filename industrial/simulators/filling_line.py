"""A filling station: tank with inlet valve, conveyor, bottles. A Modbus TCP remote I/O, unit 1.

Input registers: 0 level (0 to 10000 = 0 to 100.00 %), 1 bottles filled. Discrete inputs: 0 bottle present,
1 emergency stop is fine. Coils: 0 inlet valve, 1 conveyor. The outlet fills a bottle while one stands there.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

#: Percent of the tank per second: inlet, outlet; seconds of conveyor between bottles; percent per bottle.
INLET, OUTLET, BOTTLE_EVERY_S, BOTTLE = 6.0, 2.0, 2.0, 4.0


@dataclass(slots=True)
class FillingLine:
    """The physics. `step` advances by seconds; deterministic."""

    level: float = 40.0
    valve: bool = False
    conveyor: bool = False
    bottles: int = 0
    bottle_present: bool = True
    stop_ok: bool = True
    _filled: float = 0.0
    _way_s: float = 0.0

    def step(self, seconds: float) -> None:
        if self.valve:
            self.level += INLET * seconds
        if self.bottle_present and self._filled < BOTTLE:
            poured = min(OUTLET * seconds, self.level, BOTTLE - self._filled)
            self.level -= poured
            self._filled += poured
        if self.conveyor:
            self._way_s += seconds
            if self.bottle_present and self._filled >= BOTTLE - 1e-9:
                self.bottles = (self.bottles + 1) % 65536
                self.bottle_present, self._filled, self._way_s = False, 0.0, 0.0
            elif not self.bottle_present and self._way_s >= BOTTLE_EVERY_S:
                self.bottle_present, self._way_s = True, 0.0
        self.level = min(100.0, max(0.0, self.level))


class RemoteIo:
    """The line's Modbus TCP server: function codes 1 to 5, 15."""

    def __init__(self, line: FillingLine) -> None:
        self.line = line
        self.server: asyncio.Server | None = None
        self.seen_valve: list[bool] = []

    def answer(self, request: bytes) -> bytes:
        """The answer's PDU."""
        line, function = self.line, request[0]
        try:
            first, count = struct.unpack_from(">HH", request, 1)
            if function in (1, 2):
                bits = (
                    [line.valve, line.conveyor]
                    if function == 1
                    else [line.bottle_present, line.stop_ok]
                )
                if count < 1 or first + count > len(bits):
                    return bytes((function | 0x80, 2))
                packed = sum(bit << n for n, bit in enumerate(bits[first : first + count]))
                return bytes((function, 1, packed))
            if function in (3, 4):
                values = [round(line.level * 100), line.bottles]
                if count < 1 or first + count > len(values):
                    return bytes((function | 0x80, 2))
                return bytes((function, 2 * count)) + struct.pack(
                    f">{count}H", *values[first : first + count]
                )
            if function == 5:
                return request if self._coil(first, count == 0xFF00) else bytes((0x85, 2))
            if function == 15:
                good = all(
                    self._coil(first + n, bool(request[6 + n // 8] >> (n % 8) & 1))
                    for n in range(count)
                )
                return request[:5] if good else bytes((0x8F, 2))
        except (struct.error, IndexError):
            return bytes((function | 0x80, 3))
        return bytes((function | 0x80, 1))

    def _coil(self, number: int, value: bool) -> bool:
        if number == 0:
            self.line.valve = value
        elif number == 1:
            self.line.conveyor = value
        return number < 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, protocol, length, unit = struct.unpack(
                    ">HHHB", await reader.readexactly(7)
                )
                if protocol or not 2 <= length <= 254:
                    return
                answer = self.answer(await reader.readexactly(length - 1))
                writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def start(self, host: str, port: int) -> int:
        self.server = await asyncio.start_server(self._serve, host, port)
        return int(self.server.sockets[0].getsockname()[1])

    async def run(self, host: str, port: int, period_s: float = 0.05) -> None:
        """Serve, and let time pass."""
        await self.start(host, port)
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(period_s)
            now = loop.time()
            self.line.step(now - last)
            last = now
