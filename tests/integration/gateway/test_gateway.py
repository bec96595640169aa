"""The gateway as a process: its socket, real Modbus and OPC UA servers behind it, its metrics port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from asyncua import Server
from millwright.gateway import GatewayClient, GatewayError, OutsideCells, TargetFailed
from millwright.gateway.errors import BadRequest
from millwright.gateway.limits import write_cells
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Servers:
    """A Modbus and an OPC UA server in one loop in a thread."""

    def __init__(self) -> None:
        self.modbus_port, self.opcua_port = _free_port(), _free_port()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the servers did not start")
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        device = SimDevice(
            1,
            simdata=[SimData(0, values=[8000, 1, 65535, 7], datatype=DataType.REGISTERS)],
        )
        modbus = ModbusTcpServer(device, address=("127.0.0.1", self.modbus_port))
        await modbus.serve_forever(background=True)
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.opcua_port}")
        index = await server.register_namespace("urn:test")
        await server.nodes.objects.add_variable(f"ns={index};s=Main.level", "level", 42)
        async with server:
            self._stop = asyncio.Event()
            self._ready.set()
            await self._stop.wait()
        await modbus.shutdown()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    folder = tmp_path_factory.mktemp("gw")
    write_cells(folder / "cells.json", ["127.0.0.1/32"])
    path, port = folder / "gw.sock", _free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "millwright.gateway",
            "--socket",
            path,
            "--cells",
            folder / "cells.json",
            "--metrics-port",
            str(port),
        ],
        env={**os.environ, "MILLWRIGHT_HOME": str(folder)},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with GatewayClient(path) as client:
                client.health()
            break
        except GatewayError:
            assert process.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield path, port, process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not path.exists()


@pytest.fixture
def client(gateway: tuple[Path, int, int]) -> Iterator[GatewayClient]:
    with GatewayClient(gateway[0]) as made:
        yield made


def test_only_this_user_may_ask(gateway: tuple[Path, int, int]) -> None:
    assert stat.S_IMODE(gateway[0].stat().st_mode) == 0o600


def test_registers_are_read_and_written(client: GatewayClient, servers: Servers) -> None:
    port = servers.modbus_port
    assert client.modbus_read("127.0.0.1", "holding", 0, 3, port=port) == [8000, 1, 65535]
    client.modbus_write("127.0.0.1", "holding", 3, [7500], port=port)
    assert client.modbus_read("127.0.0.1", "holding", 3, port=port) == [7500]


def test_a_refusal_names_the_exception(client: GatewayClient, servers: Servers) -> None:
    with pytest.raises(TargetFailed, match=r"exception 02 \(illegal data address\)"):
        client.modbus_read("127.0.0.1", "holding", 900, port=servers.modbus_port)


def test_nobody_listening_is_said(client: GatewayClient) -> None:
    port = _free_port()
    with pytest.raises(TargetFailed, match=f"127.0.0.1:{port}: no connection"):
        client.modbus_read("127.0.0.1", "holding", 0, port=port)
    assert "refused" in str(client.answers("tcp", "127.0.0.1", port))


def test_outside_the_cells_is_refused_for_every_protocol(client: GatewayClient) -> None:
    with pytest.raises(OutsideCells):
        client.modbus_read("127.0.0.2", "holding", 0)
    with pytest.raises(OutsideCells):
        client.opcua_read("opc.tcp://127.0.0.2:4840", ["i=2259"])
    for kind in ("modbus", "opcua", "tcp", "http"):
        with pytest.raises(OutsideCells):
            client.probe(kind, "127.0.0.2", 80)


def test_opcua_nodes_are_read_with_their_status(client: GatewayClient, servers: Servers) -> None:
    url = f"opc.tcp://127.0.0.1:{servers.opcua_port}"
    good, bad = client.opcua_read(url, ["ns=2;s=Main.level", "ns=2;s=Main.none"])
    assert (good["value"], good["good"]) == (42, True)
    assert (bad["value"], bad["good"], bad["status"]) == (None, False, "BadNodeIdUnknown")
    with pytest.raises(BadRequest, match="nodes"):
        client.opcua_read(url, [])


def test_probes_say_what_answered(
    client: GatewayClient, servers: Servers, gateway: tuple[Path, int, int]
) -> None:
    assert client.probe("tcp", "127.0.0.1", servers.modbus_port) == "the port is open"
    assert client.probe("modbus", "127.0.0.1", servers.modbus_port) == "holding register 0 is 8000"
    assert client.probe("opcua", "127.0.0.1", servers.opcua_port) == "server is running"
    assert client.probe("http", "127.0.0.1", gateway[1], "/metrics").startswith("HTTP 200")
    assert client.answers("modbus", "127.0.0.1", servers.modbus_port) is None


def test_live_tags_are_polled_once_and_shared(
    gateway: tuple[Path, int, int], servers: Servers
) -> None:
    body = {
        "host": "127.0.0.1",
        "port": servers.modbus_port,
        "tags": [
            {"path": "Main.level", "area": "holding", "address": 0, "type": "INT"},
            {"path": "Main.raw", "area": "holding", "address": 2, "type": "INT"},
        ],
    }
    transport = httpx.HTTPTransport(uds=str(gateway[0]))
    with httpx.Client(transport=transport, base_url="http://g", timeout=20) as http:
        assert http.get("/v1/tags/nobody").status_code == 404
        first = http.post("/v1/tags/m1", json=body).json()
        assert first["values"] == {"Main.level": 8000, "Main.raw": -1}
        assert first["error"] == ""
        assert http.get("/v1/tags/m1").json()["values"] == first["values"]
        assert http.get("/v1/health").json()["watched"] == 1


def test_the_tcp_port_shows_metrics_and_nothing_else(
    gateway: tuple[Path, int, int], client: GatewayClient
) -> None:
    client.health()
    text = httpx.get(f"http://127.0.0.1:{gateway[1]}/metrics").text
    assert 'millwright_gateway_requests_total{endpoint="/v1/health",status="200"}' in text
    assert httpx.post(f"http://127.0.0.1:{gateway[1]}/v1/modbus/read", json={}).status_code == 404
