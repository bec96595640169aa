"""Who is in a cell: a bounded search of its addresses for Modbus and OPC UA servers.

It knocks gently: controllers and drives of the shop floor have small network stacks, and some stop when many
connections come at once. One search at a time, so many new connections a second, one connection to a door.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Any

from . import discovery
from .errors import BadRequest, GatewayError, TooBusy
from .opcua import url_of

#: Addresses in one search; new connections a second, and how long each door has to open.
MOST_ADDRESSES, PER_SECOND, OPEN_S = 256, 50, 1.0
#: Open doors that are asked at once what they are.
ASKED_AT_ONCE = 8
DOORS = {"modbus_tcp": 502, "opcua": 4840}


class Sweep:
    """One search at a time, whoever asks."""

    def __init__(
        self, *, per_second: float = PER_SECOND, doors: dict[str, int] | None = None
    ) -> None:
        self._pause_s = 1.0 / per_second
        self._doors = doors or DOORS
        self._busy = asyncio.Lock()

    async def search(self, first: str, last: str, timeout_s: float) -> list[dict[str, Any]]:
        """Servers from `first` to `last`, by address: `{"address", "port", "protocol", "detail"}`.

        Raises:
            BadRequest: too many addresses, or in no order.
            TooBusy: another search is under way.
        """
        low, high = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
        count = int(high) - int(low) + 1
        if not 1 <= count <= MOST_ADDRESSES:
            raise BadRequest(
                f"first, last: {first} to {last} are {count} addresses; expected 1 to {MOST_ADDRESSES}"
            )
        if self._busy.locked():
            raise TooBusy("another search is under way; ask again in a few seconds")
        async with self._busy:
            knocks: list[asyncio.Task[dict[str, Any] | None]] = []
            slots = asyncio.Semaphore(ASKED_AT_ONCE)
            try:
                for number in range(count):
                    for protocol, port in self._doors.items():
                        knock = self._knock(str(low + number), port, protocol, slots, timeout_s)
                        knocks.append(asyncio.create_task(knock))
                        await asyncio.sleep(self._pause_s)
                return [found for knock in knocks if (found := await knock) is not None]
            finally:
                # Whoever asked may have gone: nothing goes on knocking for nobody.
                for knock in knocks:
                    knock.cancel()
                await asyncio.gather(*knocks, return_exceptions=True)

    async def _knock(
        self, host: str, port: int, protocol: str, slots: asyncio.Semaphore, timeout_s: float
    ) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(OPEN_S):
                _reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return None
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1.0)
        async with slots:
            try:
                detail = await _what(host, port, protocol, timeout_s)
            except GatewayError as error:
                detail = f"the port is open, and no more is known: {error}"
        return {"address": host, "port": port, "protocol": protocol, "detail": detail[:300]}


async def _what(host: str, port: int, protocol: str, timeout_s: float) -> str:
    """What answers, in its own words as far as it has some."""
    if protocol == "opcua":
        offered = await discovery.opcua_endpoints(url_of(host, port), timeout_s)
        return f"{len(offered)} endpoints"
    units = await discovery.modbus_units(host, port, 1, 1, timeout_s)
    said = units[0]["identification"] if units else {}
    words = [said.get(key, "") for key in ("vendor", "product_name", "product_code", "revision")]
    return " ".join(word for word in words if word)
