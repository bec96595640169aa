"""Modbus towards devices and vPLCs, in TCP's frames or RTU's over TCP: kept connections, one request at a time on each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from .errors import BadRequest, TargetFailed
from .limits import in_time

Area = Literal["holding", "input", "coil", "discrete"]
#: How a request is framed on its TCP connection.
Framing = Literal["tcp", "rtu"]
_FRAMERS = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU}
#: The protocol's own limits of one request: registers and bits.
MOST = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}
MOST_WRITTEN = {"holding": 123, "coil": 1968}
#: Names of the protocol's exception codes (Modbus Application Protocol 1.1b3, section 7).
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target failed to respond",
}
IDLE_S = 30.0


@dataclass
class _Kept:
    client: AsyncModbusTcpClient
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    used_at: float = field(default_factory=time.monotonic)
    users: int = 0


class ModbusDoor:
    """Reads and writes; connections idle for 30 s are closed by `sweep`."""

    def __init__(self, timeout_s: float = 3.0) -> None:
        self._timeout_s = timeout_s
        self._kept: dict[tuple[str, int, Framing], _Kept] = {}

    async def read(
        self,
        host: str,
        port: int,
        unit: int,
        area: Area,
        address: int,
        count: int,
        framing: Framing = "tcp",
    ) -> list[int] | list[bool]:
        """Read registers (0..65535) or bits.

        Raises:
            BadRequest: count beyond the protocol's limit.
            TargetFailed: refused (with the exception's name) or connection broken.
            TargetTimeout: no answer in time.
        """
        if not 1 <= count <= MOST[area]:
            raise BadRequest(f"count: {count}; {area} allows 1 to {MOST[area]} in one request")
        if address + count > 65536:
            raise BadRequest(f"address: {address} + {count} is beyond 65535")

        async def ask(client: AsyncModbusTcpClient) -> Any:
            call = {
                "holding": client.read_holding_registers,
                "input": client.read_input_registers,
                "coil": client.read_coils,
                "discrete": client.read_discrete_inputs,
            }[area]
            return await call(address, count=count, device_id=unit)

        answer = await self._ask(host, port, framing, ask)
        values = answer.bits if area in ("coil", "discrete") else answer.registers
        return list(values[:count])

    async def write(
        self,
        host: str,
        port: int,
        unit: int,
        area: Area,
        address: int,
        values: list[int],
        framing: Framing = "tcp",
    ) -> None:
        """Write holding registers or coils. Errors as `read`."""
        if area not in MOST_WRITTEN:
            raise BadRequest(f"area: {area} can only be read")
        if not 1 <= len(values) <= MOST_WRITTEN[area]:
            raise BadRequest(
                f"values: {len(values)} given; {area} allows 1 to {MOST_WRITTEN[area]}"
            )
        if address + len(values) > 65536:
            raise BadRequest(f"address: {address} + {len(values)} is beyond 65535")
        top = 65535 if area == "holding" else 1
        if wrong := [value for value in values if not 0 <= value <= top]:
            raise BadRequest(f"values: {wrong[0]} is not from 0 to {top}")

        async def ask(client: AsyncModbusTcpClient) -> Any:
            if area == "coil":
                return await client.write_coils(
                    address, [bool(value) for value in values], device_id=unit
                )
            return await client.write_registers(address, values, device_id=unit)

        await self._ask(host, port, framing, ask)

    async def _ask(self, host: str, port: int, framing: Framing, ask: Any) -> Any:
        target = f"{host}:{port}"
        kept = self._kept.get((host, port, framing))
        if kept is None:
            client = AsyncModbusTcpClient(
                host,
                port=port,
                timeout=self._timeout_s,
                retries=0,
                reconnect_delay=0,
                framer=_FRAMERS[framing],
            )
            kept = self._kept[(host, port, framing)] = _Kept(client)
        kept.users += 1
        try:
            return await in_time(self._exchange(kept, target, ask), target, self._timeout_s + 1)
        finally:
            kept.users -= 1
            kept.used_at = time.monotonic()

    async def _exchange(self, kept: _Kept, target: str, ask: Any) -> Any:
        async with kept.lock:
            fresh = not kept.client.connected
            if fresh and not await kept.client.connect():
                raise TargetFailed(f"{target}: no connection")
            try:
                answer = await ask(kept.client)
            except (ModbusException, OSError) as error:
                kept.client.close()
                # A kept connection may have died in silence: once more on a new one.
                if fresh or not await kept.client.connect():
                    raise TargetFailed(f"{target}: {error}") from None
                try:
                    answer = await ask(kept.client)
                except (ModbusException, OSError) as again:
                    kept.client.close()
                    raise TargetFailed(f"{target}: {again}") from None
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise TargetFailed(
                f"{target}: refused with exception {code:02d} ({EXCEPTIONS.get(code, 'unknown')})"
            )
        return answer

    def sweep(self) -> None:
        """Close connections that nobody used for a while."""
        limit = time.monotonic() - IDLE_S
        for key, kept in list(self._kept.items()):
            if kept.users == 0 and kept.used_at < limit:
                kept.client.close()
                del self._kept[key]

    def close(self) -> None:
        for kept in self._kept.values():
            kept.client.close()
        self._kept.clear()
