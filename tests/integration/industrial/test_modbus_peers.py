"""The Modbus server beside pymodbus' own on the same requests, and on a live scan: one request sees one scan."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from pathlib import Path

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from industrial.modbus.access import AccessList, Peer
from industrial.modbus.functions import Functions
from industrial.modbus.image import ModbusImage
from industrial.runtime.settings import PortSettings
from tests.bench.controller import controller
from tests.support.memory import PlayedScan

#: What may be written: coils that are no register of what is read, and memory.
WRITES = """
[[modbus.client]]
cidr = "10.0.0.0/24"
write = [{area = "holding", first = 1024, last = 36863}, {area = "coil", first = 320, last = 3199}]
"""
BITS, INPUTS, HOLDING = 32_768, 2_048, 36_864


def a_request(chance: random.Random) -> bytes:
    """One that the protocol allows, mostly inside the map."""
    function = chance.choice((1, 2, 3, 4, 5, 6, 15, 16, 22, 23))
    # One table of our map alone: %MW and %MD are the same memory as %ML.
    where = chance.choice((4100, 4105, 4200, 20_000, 36_800, 36_840))
    coil = 320 + chance.randrange(0, 600)
    words = [chance.randrange(65_536) for _ in range(chance.choice((1, 2, 3, 50)))]
    packed = struct.pack(f">{len(words)}H", *words)
    if function in (1, 2):
        start = chance.choice((coil, coil + 7, BITS - 5, BITS))
        return struct.pack(">BHH", function, start, chance.randrange(1, 40))
    if function in (3, 4):
        ends = (where, where + 1, HOLDING - 3, HOLDING) if function == 3 else (0, INPUTS - 2, INPUTS)  # fmt: skip
        return struct.pack(">BHH", function, chance.choice(ends), chance.randrange(1, 125))
    if function == 5:
        return struct.pack(">BHH", 5, coil, chance.choice((0, 0xFF00)))
    if function == 6:
        return struct.pack(">BHH", 6, where, words[0])
    if function == 15:
        count = chance.randrange(1, 30)
        # The bits beyond the last one mean nothing, and are zero as the specification's are.
        bits = (chance.getrandbits(count)).to_bytes((count + 7) // 8, "little")
        return struct.pack(">BHHB", 15, coil, count, len(bits)) + bits
    if function == 16:
        return struct.pack(">BHHB", 16, where, len(words), len(packed)) + packed
    if function == 22:
        return struct.pack(">BHHH", 22, where, chance.randrange(65_536), chance.randrange(65_536))
    # Not at the end: of one whose reading is refused pymodbus has written by then, which ours has not.
    where = min(where, 20_000)
    return struct.pack(">BHHHHB", 23, where, chance.randrange(1, 60), where, len(words), len(packed)) + packed  # fmt: skip


async def _pymodbus(requests: list[bytes]) -> list[bytes]:
    """What pymodbus' server answers, one after another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[False] * BITS, datatype=DataType.BITS)],
            [SimData(0, values=[False] * BITS, datatype=DataType.BITS)],
            [SimData(0, values=[0] * HOLDING, datatype=DataType.REGISTERS)],
            [SimData(0, values=[0] * INPUTS, datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    try:
        for number, request in enumerate(requests):
            writer.write(struct.pack(">HHHB", number, 0, len(request) + 1, 1) + request)
            transaction, _, length, _ = struct.unpack(">HHHB", await reader.readexactly(7))
            assert transaction == number
            answers.append(await reader.readexactly(length - 1))
    finally:
        writer.close()
        await server.shutdown()
    return answers


def test_it_answers_as_pymodbus_does(tmp_path: Path) -> None:
    chance = random.Random(16)  # noqa: S311 - requests, not secrets
    requests = [a_request(chance) for _ in range(1500)]
    theirs = asyncio.run(asyncio.wait_for(_pymodbus(requests), 120))
    scan = PlayedScan(tmp_path / "shm")
    image, access = ModbusImage(scan.shm, []), AccessList.parse(WRITES)
    functions = Functions(lambda: image, lambda: access, dict)
    peer = Peer("10.0.0.5")
    for request, wanted in zip(requests, theirs, strict=True):
        found = functions.answer(request, peer)
        scan.scan()
        assert found.hex(" ") == wanted.hex(" "), request.hex(" ")
    assert sum(answer[0] < 0x80 for answer in theirs) > 1000
    assert sum(answer[0] >= 0x80 for answer in theirs) > 50


SAME = """PROGRAM Main
VAR words AT %QW100 : ARRAY[0..122] OF INT; wide AT %MD0 : ARRAY[0..60] OF DINT; n : INT; i : INT; END_VAR
n := n + 1;
FOR i := 0 TO 122 DO words[i] := n; END_FOR;
FOR i := 0 TO 60 DO wide[i] := n; END_FOR;
END_PROGRAM
"""


def test_one_request_sees_one_scan() -> None:
    with (
        controller(SAME, interval_us=1000) as running,
        socket.create_connection(("127.0.0.1", running.modbus), 30) as link,
    ):
        link.settimeout(30)
        stream = link.makefile("rb")
        seen: set[int] = set()
        for n in range(1500):
            first, count, step = ((100, 123, 1), (2048, 122, 2))[n % 2]
            link.sendall(struct.pack(">HHHBBHH", n, 0, 6, 1, 3, first, count))
            _, _, length, _, function, size = struct.unpack(">HHHBBB", stream.read(9))
            assert function == 3, size
            assert size == length - 3
            words = struct.unpack(f">{count}H", stream.read(size))
            assert len(set(words[::step])) == 1, "two scans in one answer"
            seen.add(words[0])
        assert len(seen) > 20


def test_the_ports_are_those_of_the_protocols() -> None:
    ports = PortSettings.parse({})
    assert (ports.modbus, ports.modbus_tls, ports.opcua) == (502, 802, 4840)
