"""A Modbus server with registers that change, and a gateway of this test's own in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millwright.gateway import GatewayClient, GatewayError
from millwright.gateway.limits import write_cells
from millwright.settings import get_settings
from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

_ROOT = Path(__file__).parents[2]
PICTURE = (_ROOT / "examples/filling_line/picture.toml").read_text()


def _symbol(path: str, kind: str, area: str, offset: int, **more: Any) -> dict[str, Any]:
    size = 1 if kind == "BOOL" else 2
    return {"path": path, "type": kind, "area": area, "offset": offset, "size": size, **more}


SYMBOLS = {
    "symbols": [
        _symbol("Main.level", "UINT", "Q", 0, driven=True, located="%QW0"),
        _symbol("Main.bottles", "UINT", "Q", 4, driven=True, located="%QW2"),
        _symbol("Main.setpoint", "UINT", "Q", 6, located="%QW3", comment="written by operators"),
        _symbol("Main.valve", "BOOL", "Q", 8, bit=0, driven=True, located="%QX8.0"),
        _symbol("Main.conveyor", "BOOL", "Q", 8, bit=1, driven=True, located="%QX8.1"),
        _symbol("Main.present", "BOOL", "I", 8, bit=0, located="%IX8.0"),
    ]
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveRegisters:
    """A server in a thread of its own; 256 registers and as many coils, which discrete inputs mirror at the start."""

    def __init__(
        self, values: list[int], *, valve: bool = True, conveyor: bool = True, rtu: bool = False
    ) -> None:
        self._framer = FramerType.RTU if rtu else FramerType.SOCKET
        self.port = free_port()
        self._values = values
        self._valve, self._conveyor = valve, conveyor
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LiveRegisters:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        words = [*self._values, *[0] * (256 - len(self._values))]
        bits = [False] * 256
        # Valve, which is also the bottle's sensor, and conveyor.
        bits[64], bits[65] = self._valve, self._conveyor
        device = SimDevice(
            1,
            simdata=(
                [SimData(0, values=bits, datatype=DataType.BITS)],
                [SimData(0, values=bits, datatype=DataType.BITS)],
                [SimData(0, values=words, datatype=DataType.REGISTERS)],
                [SimData(0, values=words, datatype=DataType.REGISTERS)],
            ),
        )
        identity = ModbusDeviceIdentification(
            info_name={
                "VendorName": "Sample Works",
                "ProductCode": "FS-1",
                "MajorMinorRevision": "2.4",
                "ProductName": "Filling station",
            }
        )
        server = ModbusTcpServer(
            device, address=("127.0.0.1", self.port), identity=identity, framer=self._framer
        )
        await server.serve_forever(background=True)
        self._ready.set()
        await self._stop.wait()
        await server.shutdown()

    def values(self, count: int = 8) -> list[int]:
        """Holding registers as they are now."""
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            return list(client.read_holding_registers(0, count=count, device_id=1).registers)

    def put(self, address: int, value: int) -> None:
        """Change a holding register as a program would."""
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            client.write_register(address, value, device_id=1)


@contextlib.contextmanager
def open_gateway(
    folder: Path, modbus_port: int, cells: tuple[str, ...] = ("127.0.0.1/32",)
) -> Iterator[Path]:
    """The real gateway at the portal's socket, with 127.0.0.1 as its cell; port 502 stands for `modbus_port`."""
    path = get_settings().gateway_socket
    write_cells(folder / "cells.json", list(cells))
    code = (
        "import sys; from millwright.gateway import modbus;"
        "real = modbus.AsyncModbusTcpClient;"
        f"modbus.AsyncModbusTcpClient = lambda host, port, **more: real(host, port={modbus_port} if port == 502 else port, **more);"
        f"from millwright.gateway import sweep; sweep.DOORS['modbus_tcp'] = {modbus_port};"
        "from millwright.gateway.__main__ import main; main()"
    )
    arguments = [
        "--socket",
        path,
        "--cells",
        folder / "cells.json",
        "--metrics-port",
        str(free_port()),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "MILLWRIGHT_HOME": str(folder)},
    )
    try:
        end = time.monotonic() + 300
        while True:
            try:
                with GatewayClient(path) as client:
                    client.health()
                break
            except GatewayError:
                assert time.monotonic() < end, "the gateway did not start"
                time.sleep(0.1)
        yield path
    finally:
        process.terminate()
        process.wait(120)
