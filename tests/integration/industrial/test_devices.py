"""The scanner with devices that are not ours: pymodbus in RTU over TCP, asyncua with and without encryption."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.common.node import Node
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from industrial.devices import DeviceError, Scanner, load_devices
from industrial.devices.modbus import batches
from industrial.runtime.shm import Area
from industrial.security import ensure_identity
from tests.support.memory import PlayedScan

SYMBOLS: list[dict[str, Any]] = [
    {"path": "Main.a", "type": "INT", "area": "I", "offset": 0, "bit": None},
    {"path": "Main.b", "type": "REAL", "area": "I", "offset": 4, "bit": None},
    {"path": "Main.flag", "type": "BOOL", "area": "I", "offset": 8, "bit": 2},
    {"path": "Main.x", "type": "INT", "area": "Q", "offset": 0, "bit": None},
    {"path": "Main.y", "type": "DINT", "area": "Q", "offset": 4, "bit": None},
    {"path": "Main.lamp", "type": "BOOL", "area": "Q", "offset": 8, "bit": 0},
]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop of its own, five minutes at most."""

    @functools.wraps(test)
    def run(*words: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*words, **named), 300))

    return run


async def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait, generously."""
    for _ in range(3000):
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


@asynccontextmanager
async def scanning(folder: Path, text: str) -> AsyncIterator[tuple[Scanner, PlayedScan]]:
    """A scanner of one device on a played scan."""
    scan = PlayedScan(folder / "shm")
    scan.start()
    scanner = Scanner(lambda: scan.shm, keys=folder / "keys")
    scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
    try:
        yield scanner, scan
    finally:
        tasks = list(scanner._tasks)
        scanner.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        scan.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


RTU = """
protocol = "modbus_rtu_tcp"
address = "127.0.0.1:{port}"
rate_ms = 10
timeout_ms = 5000
word_order = "high_first"
fail = "substitute"
[[point]]
tag = "Main.a"
area = "holding"
address = 10
scale = 2
deadband = 5
substitute = -7
[[point]]
tag = "Main.b"
area = "holding"
address = 20
[[point]]
tag = "Main.flag"
area = "coil"
address = 3
[[point]]
tag = "Main.x"
area = "holding"
address = 40
direction = "out"
[[point]]
tag = "Main.y"
area = "holding"
address = 41
direction = "out"
"""


@in_loop
async def test_rtu_over_tcp_with_neighbours_in_one_request(tmp_path: Path) -> None:
    asked: list[tuple[int, int, int]] = []

    def note(sending: bool, pdu: Any) -> Any:
        if not sending:
            asked.append((pdu.function_code, pdu.address, pdu.count))
        return pdu

    port = free_port()

    async def serve(level: int) -> ModbusTcpServer:
        number = list(struct.unpack(">HH", struct.pack(">f", 1.5)))
        registers = [0] * 10 + [level] + [0] * 9 + number + [0] * 78
        coils = [False] * 3 + [True] + [False] * 12
        device = SimDevice(
            1,
            simdata=(
                [SimData(0, values=coils, datatype=DataType.BITS)],
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, values=registers, datatype=DataType.REGISTERS)],
                [SimData(0, values=[0], datatype=DataType.REGISTERS)],
            ),
        )
        made = ModbusTcpServer(
            device, framer=FramerType.RTU, address=("127.0.0.1", port), trace_pdu=note
        )
        await made.serve_forever(background=True)
        return made

    server = await serve(100)
    async with scanning(tmp_path, RTU.format(port=port)) as (scanner, scan):
        device = scanner.devices[0]

        def inputs() -> tuple[int, float, int]:
            data = scan.get(Area.IN, 0, 9)
            a, b = struct.unpack_from("<h2xf", data)
            return a, b, data[8]

        await eventually(lambda: inputs() == (200, 1.5, 4), "the inputs")
        scan.put(Area.OUT, 0, struct.pack("<h2xi", -3, 0x12345))

        async def told() -> bool:
            return await server.async_getValues(1, 3, 40, 3) == [65533, 1, 0x2345]

        await eventually(told, "the outputs")
        assert set(asked) <= {(3, 10, 12), (1, 3, 1), (16, 40, 3)}, "one request for neighbours"
        # Two registers are four in the unit of the variable: within the deadband.
        await server.async_setValues(1, 16, 10, [102])
        seen = device.reads
        await eventually(lambda: device.reads > seen + 3, "reads")
        assert inputs()[0] == 200
        await server.async_setValues(1, 16, 10, [103])
        await eventually(lambda: inputs()[0] == 206, "a change beyond the deadband")
        await server.shutdown()
        await eventually(lambda: inputs()[0] == -7, "the substitute")
        assert not device.good
        assert device.errors
        server = await serve(103)
        await eventually(lambda: device.good and inputs()[0] == 206, "the device again")
    await server.shutdown()


OPCUA = """
protocol = "opcua"
url = "opc.tcp://127.0.0.1:{port}/"
rate_ms = 20
timeout_ms = 5000
mode = "{mode}"
fail = "substitute"
{trust}
[[point]]
tag = "Main.a"
node = "ns=2;s=level"
scale = 0.5
substitute = -7
[[point]]
tag = "Main.flag"
node = "ns=2;s=flag"
fail = "hold"
[[point]]
tag = "Main.y"
node = "ns=2;s=speed"
direction = "out"
[[point]]
tag = "Main.lamp"
node = "ns=2;s=lamp"
direction = "out"
"""


@asynccontextmanager
async def opcua_device(port: int, secured: Path | None = None) -> AsyncIterator[dict[str, Node]]:
    """asyncua's server with four nodes."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    policy = ua.SecurityPolicyType.NoSecurity
    if secured is not None:
        policy = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
        own = ensure_identity(secured, "device")
        await server.load_certificate(str(own.certificate))
        await server.load_private_key(str(own.key))
        await server.set_application_uri(own.uri)
    server.set_security_policy([policy])
    index = await server.register_namespace("urn:test:device")
    nodes = {}
    for name, value, kind in (
        ("level", 20, ua.VariantType.Int16),
        ("flag", True, ua.VariantType.Boolean),
        ("speed", 0, ua.VariantType.Int32),
        ("lamp", False, ua.VariantType.Boolean),
    ):
        node = await server.nodes.objects.add_variable(
            ua.NodeId(name, index), name, ua.Variant(value, kind)
        )
        await node.set_writable()
        nodes[name] = node
    await server.start()
    try:
        yield nodes
    finally:
        await server.stop()


@pytest.mark.parametrize("mode", ["subscribe", "read"])
@in_loop
async def test_an_opc_ua_device_is_read_written_and_its_quality_counts(
    tmp_path: Path, mode: str
) -> None:
    port = free_port()
    text = OPCUA.format(port=port, mode=mode, trust='unencrypted = "a test on loopback"')

    async with scanning(tmp_path, text) as (scanner, scan):
        device = scanner.devices[0]

        def inputs() -> tuple[int, int]:
            data = scan.get(Area.IN, 0, 9)
            return struct.unpack_from("<h", data)[0], data[8]

        await eventually(lambda: device.errors, "nobody there yet")
        async with opcua_device(port) as nodes:
            await eventually(lambda: inputs() == (10, 4), "the inputs")
            await nodes["level"].write_value(ua.Variant(60, ua.VariantType.Int16))
            await eventually(lambda: inputs() == (30, 4), "a change")
            scan.put(Area.OUT, 4, struct.pack("<iB", -70_000, 1))

            async def told() -> bool:
                return (
                    await nodes["speed"].read_value() == -70_000
                    and await nodes["lamp"].read_value() is True
                )

            await eventually(told, "the outputs")
            bad = ua.DataValue(
                ua.Variant(99, ua.VariantType.Int16),
                StatusCode=ua.StatusCode(ua.UInt32(ua.StatusCodes.BadSensorFailure)),
            )
            await nodes["level"].write_attribute(ua.AttributeIds.Value, bad)
            await eventually(lambda: inputs() == (-7, 4), "the substitute of a bad value")
            assert device.good
            assert device.bad_points == 1
            await nodes["level"].write_value(ua.Variant(2, ua.VariantType.Int16))
            await eventually(lambda: inputs() == (1, 4) and not device.bad_points, "good again")
        await eventually(lambda: not device.good and inputs() == (-7, 4), "a silent device")
        async with opcua_device(port):
            await eventually(lambda: device.good and inputs() == (10, 4), "the device again")


@in_loop
async def test_an_opc_ua_device_is_believed_by_its_certificate_alone(tmp_path: Path) -> None:
    port = free_port()

    def pem(folder: Path, machine: str) -> str:
        made = x509.load_der_x509_certificate(
            ensure_identity(folder, machine).certificate.read_bytes()
        )
        return f"server_certificate = '''{made.public_bytes(Encoding.PEM).decode()}'''"

    right, wrong = pem(tmp_path / "device", "device"), pem(tmp_path / "other", "other")
    async with opcua_device(port, tmp_path / "device") as nodes:
        for name, trust in (("right", right), ("wrong", wrong)):
            folder = tmp_path / name
            folder.mkdir()
            text = OPCUA.format(port=port, mode="read", trust=trust)
            async with scanning(folder, text) as (scanner, scan):
                device = scanner.devices[0]
                if name == "right":
                    await eventually(lambda d=device: d.good, "encrypted")  # type: ignore[misc]
                    # The scan takes the input in at its next start, after the device was found good.
                    await eventually(lambda s=scan: s.get(Area.IN, 0, 2) == b"\x0a\x00", "10")  # type: ignore[misc]
                else:
                    await eventually(lambda d=device: d.errors > 1, "refusals")  # type: ignore[misc]
                    assert not device.reads
        assert await nodes["level"].read_value() == 20


def test_batches_keep_to_length_and_holes() -> None:
    text = 'protocol = "modbus_tcp"\naddress = "h:1"\n' + "".join(
        f'[[point]]\ntag = "Main.a"\narea = "input"\naddress = {at}\n' for at in (30, 0, 17, 18, 9)
    )
    points = load_devices({"io/d.toml": text}, SYMBOLS)[0].points

    def of(most: int, gap: int) -> list[list[int]]:
        return [[point.address for point in one] for one in batches(points, most, gap)]

    assert of(100, 16) == [[0, 9, 17, 18, 30]]
    assert of(19, 16) == [[0, 9, 17, 18], [30]]
    assert of(100, 0) == [[0], [9], [17, 18], [30]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('protocol = "s7"', "protocol = 's7': one of modbus_tcp, modbus_rtu_tcp, opcua"),
        ('protocol = "modbus_tcp"\naddress = "x"', "address = 'x': expected host:port"),
        ('protocol = "opcua"\nurl = "http://x"', "expected opc.tcp://"),
        ('protocol = "opcua"\nurl = "opc.tcp://x"', "server_certificate is missing"),
        ('protocol = "opcua"\nurl = "opc.tcp://x"\nserver_certificate = "x"', "in PEM"),
        (
            'protocol = "opcua"\nurl = "opc.tcp://x"\nunencrypted = "so"\n[[point]]\ntag = "Main.a"\nnode = 5',
            r"point\[1\].node = 5",
        ),
        (
            'protocol = "modbus_tcp"\naddress = "h:1"\nword_order = "abcd"',
            "word_order = 'abcd': one of low_first, high_first",
        ),
        (
            'protocol = "modbus_tcp"\naddress = "h:1"\n[[point]]\ntag = "Main.a"\narea = "input"\naddress = 0\ndeadband = -1',
            r"point\[1\]: deadband = -1: 0 to",
        ),
    ],
)
def test_what_cannot_be_is_told(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        load_devices({"io/d.toml": text}, SYMBOLS)
