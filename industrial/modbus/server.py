"""The Modbus TCP server of a vPLC: function codes 1 to 6, 15, 16, 22, 23 and 43/14. Ours for its hot path."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from industrial.runtime.shm import ShmError

from .access import AccessList
from .image import ModbusImage, OutOfMap

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_BUSY = 1, 2, 3, 6
#: Limits against clients that are broken or hostile.
MAX_CONNECTIONS, IDLE_S = 64, 120.0
IDENTITY = {0: b"Millwright", 1: b"vPLC", 2: b"1"}


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ModbusServer:
    """Answers from the image; writes pass the allow-list and never touch what the program drives."""

    def __init__(self, image: Callable[[], ModbusImage], access: Callable[[], AccessList]) -> None:
        self._image = image
        self._access = access
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.requests = 0
        self.refused = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connections >= MAX_CONNECTIONS:
            self.refused += 1
            writer.close()
            return
        self.connections += 1
        client = str(writer.get_extra_info("peername")[0])
        try:
            while True:
                head = await asyncio.wait_for(reader.readexactly(7), IDLE_S)
                transaction, protocol, length, unit = struct.unpack(">HHHB", head)
                if protocol != 0 or not 2 <= length <= 254:
                    return
                request = await asyncio.wait_for(reader.readexactly(length - 1), IDLE_S)
                answer = self.answer(request, client)
                writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return
        finally:
            self.connections -= 1
            writer.close()

    def answer(self, request: bytes, client: str) -> bytes:
        """The answer's PDU to a request's PDU."""
        self.requests += 1
        function = request[0]
        try:
            return self._handle(function, request[1:], client)
        except _Refused as refusal:
            return bytes((function | 0x80, refusal.code))
        except OutOfMap:
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        except (struct.error, IndexError):
            return bytes((function | 0x80, ILLEGAL_VALUE))
        except ShmError:
            return bytes((function | 0x80, DEVICE_BUSY))

    def _handle(self, function: int, data: bytes, client: str) -> bytes:
        if function in (1, 2):
            first, count = struct.unpack(">HH", data)
            _check_count(count, 2000)
            bits = self._image().bits("coil" if function == 1 else "discrete", first, count)
            packed = bytearray((count + 7) // 8)
            for number, bit in enumerate(bits):
                packed[number // 8] |= bit << (number % 8)
            return bytes((function, len(packed))) + packed
        if function in (3, 4):
            first, count = struct.unpack(">HH", data)
            _check_count(count, 125)
            values = self._image().registers("holding" if function == 3 else "input", first, count)
            return bytes((function, 2 * count)) + struct.pack(f">{count}H", *values)
        if function == 5:
            first, raw = struct.unpack(">HH", data)
            if raw not in (0, 0xFF00):
                raise _Refused(ILLEGAL_VALUE)
            self._write_bits(client, first, [raw == 0xFF00])
            return bytes((function,)) + data
        if function == 6:
            first, value = struct.unpack(">HH", data)
            self._write_registers(client, first, [value])
            return bytes((function,)) + data
        return self._handle_many(function, data, client)

    def _handle_many(self, function: int, data: bytes, client: str) -> bytes:
        if function == 15:
            first, count, size = struct.unpack_from(">HHB", data)
            _check_count(count, 1968)
            if size != (count + 7) // 8 or len(data) != 5 + size:
                raise _Refused(ILLEGAL_VALUE)
            self._write_bits(
                client, first, [bool(data[5 + n // 8] >> (n % 8) & 1) for n in range(count)]
            )
            return bytes((function,)) + data[:4]
        if function == 16:
            first, count, size = struct.unpack_from(">HHB", data)
            _check_count(count, 123)
            if size != 2 * count or len(data) != 5 + size:
                raise _Refused(ILLEGAL_VALUE)
            self._write_registers(client, first, list(struct.unpack_from(f">{count}H", data, 5)))
            return bytes((function,)) + data[:4]
        if function == 22:
            first, keep, change = struct.unpack(">HHH", data)
            old = self._image().registers("holding", first, 1)[0]
            self._write_registers(client, first, [(old & keep) | (change & ~keep & 0xFFFF)])
            return bytes((function,)) + data
        if function == 23:
            read, count, first, write, size = struct.unpack_from(">HHHHB", data)
            _check_count(count, 125)
            _check_count(write, 121)
            if size != 2 * write or len(data) != 9 + size:
                raise _Refused(ILLEGAL_VALUE)
            self._write_registers(client, first, list(struct.unpack_from(f">{write}H", data, 9)))
            values = self._image().registers("holding", read, count)
            return bytes((function, 2 * count)) + struct.pack(f">{count}H", *values)
        if function == 43 and data[:1] == b"\x0e":
            return self._identify(data)
        raise _Refused(ILLEGAL_FUNCTION)

    @staticmethod
    def _identify(data: bytes) -> bytes:
        kind, start = data[1], data[2]
        if kind == 4 and start not in IDENTITY:
            raise _Refused(ILLEGAL_ADDRESS)
        if kind not in (1, 4):
            raise _Refused(ILLEGAL_VALUE)
        chosen = (
            {start: IDENTITY[start]}
            if kind == 4
            else {n: text for n, text in IDENTITY.items() if n >= start}
        )
        objects = b"".join(bytes((number, len(text))) + text for number, text in chosen.items())
        return bytes((43, 14, kind, 0x81, 0, 0, len(chosen))) + objects

    def _write_registers(self, client: str, first: int, values: list[int]) -> None:
        self._may(client, "holding", first, len(values))
        self._image().write_registers(first, values)

    def _write_bits(self, client: str, first: int, values: list[bool]) -> None:
        self._may(client, "coil", first, len(values))
        self._image().write_bits(first, values)

    def _may(self, client: str, area: str, first: int, count: int) -> None:
        access = self._access()
        if not access.may_write(client, area, first, count):
            self.refused += 1
            raise _Refused(
                ILLEGAL_ADDRESS
                if any(grant.area == area for grant in access.grants)
                else ILLEGAL_FUNCTION
            )
        if self._image().is_driven(area, first, count):
            self.refused += 1
            raise _Refused(ILLEGAL_ADDRESS)


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise _Refused(ILLEGAL_VALUE)
