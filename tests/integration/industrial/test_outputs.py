"""Outputs when the program does not lead them, the quality of inputs, and the role of a standby."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from industrial.devices import DeviceError, Scanner, load_devices
from industrial.devices.link import Reading
from industrial.devices.modbus import ModbusLink
from industrial.runtime import shm as twin
from industrial.runtime.shm import Area, Quality, Role, State
from tests.integration.industrial.test_devices import (
    SYMBOLS,
    eventually,
    free_port,
    in_loop,
    scanning,
)

#: One output holds at a stop and takes a substitute after a fault, one the other way round, one says nothing.
DEVICE = """
protocol = "modbus_tcp"
address = "127.0.0.1:{port}"
rate_ms = 10
timeout_ms = 5000
heartbeat = {{area = "holding", address = 60}}
[[point]]
tag = "Main.a"
area = "holding"
address = 10
[[point]]
tag = "Main.x"
area = "holding"
address = 40
direction = "out"
scale = 2
substitute = 14
on_stop = "hold"
on_fault = "substitute"
[[point]]
tag = "Main.y"
area = "holding"
type = "INT"
address = 50
direction = "out"
substitute = -9
on_stop = "substitute"
on_fault = "hold"
[[point]]
tag = "Main.lamp"
area = "coil"
address = 3
direction = "out"
"""


async def _device(port: int) -> ModbusTcpServer:
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=[0] * 100, datatype=DataType.REGISTERS)],
            [SimData(0, values=[0], datatype=DataType.REGISTERS)],
        ),
    )
    made = ModbusTcpServer(device, address=("127.0.0.1", port))
    await made.serve_forever(background=True)
    return made


@in_loop
async def test_each_output_follows_its_policy_at_stop_fault_silence_and_shutdown(
    tmp_path: Path,
) -> None:
    port = free_port()
    server = await _device(port)

    async def outputs() -> tuple[int, int, bool]:
        x = (await server.async_getValues(1, 3, 40, 1))[0]
        y = (await server.async_getValues(1, 3, 50, 1))[0]
        lamp = (await server.async_getValues(1, 1, 3, 1))[0]
        return x, y - 65536 if y > 32767 else y, bool(lamp)

    async def beats() -> int:
        return int((await server.async_getValues(1, 3, 60, 1))[0])

    async def reach(wanted: tuple[int, int, bool], what: str) -> None:
        async def there() -> bool:
            return await outputs() == wanted

        await eventually(there, what)

    async with scanning(tmp_path, DEVICE.format(port=port)) as (scanner, scan):
        alive = True
        scanner.alive = lambda: alive

        def state(word: State) -> None:
            struct.pack_into("<I", scan._map, twin._STATE, word)

        scan.put(Area.OUT, 0, struct.pack("<h2xiB", 10, 30, 1))
        await reach((5, 30, True), "what the program says")
        state(State.STOP)
        await reach((5, -9, False), "held, substituted, zero")
        # What somebody writes into the image meanwhile reaches no device.
        scan.put(Area.OUT, 0, struct.pack("<h", 100))
        first = await beats()

        async def went_on() -> bool:
            return await beats() > first + 3

        await eventually(went_on, "heartbeats while it is stopped: it is led")
        assert (await outputs())[0] == 5
        state(State.RUN)
        await reach((50, 30, True), "led again")
        state(State.FAULT)
        await reach((7, 30, False), "substituted in the device's unit, held, zero")
        state(State.RUN)
        await reach((50, 30, True), "led again")
        # The scan process is silent: a fault's policy, and no heartbeat any more.
        alive = False
        await reach((7, 30, False), "as after a fault")
        seen, last = scanner.devices[0].reads, await beats()
        await eventually(lambda: scanner.devices[0].reads > seen + 5, "cycles")
        assert await beats() == last
        alive = True
        await reach((50, 30, True), "led again")
        # A standby's hand stays off, even at its end.
        struct.pack_into("<I", scan._map, twin._ROLE, Role.STANDBY)
        seen = scanner.devices[0].reads
        await eventually(lambda: scanner.devices[0].reads > seen + 2, "cycles as a standby")
        scan.put(Area.OUT, 0, struct.pack("<h2xi", 60, 60))
        seen = scanner.devices[0].reads
        await eventually(lambda: scanner.devices[0].reads > seen + 5, "more cycles")
        assert await outputs() == (50, 30, True)
        struct.pack_into("<I", scan._map, twin._ROLE, Role.ACTIVE)
        await reach((30, 60, True), "active again")
        # Configuration read anew while it runs moves nothing, and keeps the connection of what stays as it was.
        running, reads = scanner._tasks[0], scanner.devices[0].reads
        text = DEVICE.format(port=port)
        scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
        await eventually(lambda: scanner.devices[0].reads > reads + 2, "cycles")
        assert scanner._tasks == [running]
        assert await outputs() == (30, 60, True)
        # Set up otherwise, it is connected to anew, and what is led goes on.
        scanner.start(
            load_devices({"io/d.toml": text.replace("rate_ms = 10", "rate_ms = 11")}, SYMBOLS)
        )
        await eventually(lambda: scanner.devices[0].reads > 2, "the device again")
        assert scanner._tasks != [running]
        assert await outputs() == (30, 60, True)
        # An output that is not mapped any more is left by its policy of a stop, the others are not.
        less = text[: text.rindex("[[point]]")]
        assert "Main.lamp" not in less
        scanner.start(load_devices({"io/d.toml": less}, SYMBOLS))
        await reach((30, 60, False), "zero where nobody leads")
        scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
        await reach((30, 60, True), "led again")
        await eventually(lambda: scanner.devices[0].good, "a cycle to its end")
        # So are those of a device that is not there any more; the end of everything is the same.
        scanner.start([])
        await reach((30, -9, False), "held, substituted, zero")
        scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
        await reach((30, 60, True), "led again")
        await eventually(lambda: scanner.devices[0].good, "a cycle to its end")
        await scanner.shutdown()
        assert await outputs() == (30, -9, False)
    await server.shutdown()


@in_loop
async def test_an_input_has_the_quality_of_its_device(tmp_path: Path) -> None:
    port = free_port()
    async with scanning(tmp_path, DEVICE.format(port=port)) as (scanner, scan):

        def word() -> int:
            return int(scan._map[twin.QUALITY_STAGE_AT])

        await eventually(lambda: word() == Quality.BAD, "a device that is not there")
        server = await _device(port)
        await eventually(lambda: word() == Quality.GOOD, "good")
        assert scan._map[twin.QUALITY_STAGE_AT + 1] == Quality.GOOD, "both bytes"
        assert scan._map[twin.QUALITY_STAGE_AT + 2] == Quality.UNKNOWN, "and no more"
        await server.shutdown()
        await eventually(lambda: word() == Quality.BAD, "silent")
        await scanner.shutdown()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('on_stop = "off"', "on_stop = 'off': one of hold, zero, substitute"),
        ("heartbeat = 5", "heartbeat = 5: a table"),
        ('heartbeat = {area = "coil", address = 1}', "heartbeat"),
        ("heartbeat = {address = 70000}", "heartbeat.address = 70000: 0 to 65535"),
    ],
)
def test_policies_and_heartbeats_that_cannot_be_are_told(row: str, words: str) -> None:
    text = DEVICE.format(port=1).replace('heartbeat = {area = "holding", address = 60}', row)
    with pytest.raises(DeviceError) as caught:
        load_devices({"io/d.toml": text}, SYMBOLS)
    assert words in str(caught.value)


def test_outputs_that_say_nothing_follow_the_project() -> None:
    found = load_devices({"io/d.toml": DEVICE.format(port=1)}, SYMBOLS, on_stop="hold", on_fault="substitute")  # fmt: skip
    lamp = next(point for point in found[0].points if point.tag == "Main.lamp")
    assert (lamp.on_stop, lamp.on_fault) == ("hold", "substitute")


class _Forgetful(ModbusLink):
    """Its first reading after `asked` takes a cancellation for an answer, as `asyncio.wait_for` can until 3.12."""

    asked = forgot = False

    async def read(self) -> Sequence[Reading]:
        if not _Forgetful.asked:
            return await super().read()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            _Forgetful.asked, _Forgetful.forgot = False, True
        return await super().read()


@in_loop
async def test_a_connection_whose_end_was_not_noticed_leads_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    server = await _device(port)

    async def lamp() -> bool:
        return bool((await server.async_getValues(1, 1, 3, 1))[0])

    async with scanning(tmp_path, DEVICE.format(port=port)) as (scanner, scan):
        monkeypatch.setattr(Scanner, "_link", lambda _self, device: _Forgetful(device))
        scanner.start(load_devices({"io/d.toml": DEVICE.format(port=port)}, SYMBOLS))
        scan.put(Area.OUT, 0, struct.pack("<h2xiB", 10, 30, 1))
        await eventually(lamp, "led")
        _Forgetful.asked = True
        reads = scanner.devices[0].reads
        await eventually(lambda: scanner.devices[0].reads in (reads, reads + 1), "it waits")
        task = scanner._tasks[0]
        await asyncio.sleep(0.1)
        scanner.start([])

        async def left() -> bool:
            return task.done() and not await lamp()

        await eventually(left, "zero where nobody leads")
        assert _Forgetful.forgot
    await server.shutdown()


@in_loop
async def test_outputs_of_a_device_that_was_away_are_left_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    text = DEVICE.format(port=port)
    server = await _device(port)

    async def lamp() -> bool:
        return bool((await server.async_getValues(1, 1, 3, 1))[0])

    async with scanning(tmp_path, text) as (scanner, scan):
        scan.put(Area.OUT, 0, struct.pack("<h2xiB", 10, 30, 1))
        await eventually(lamp, "led")
        await server.shutdown()
        await eventually(lambda: not scanner.devices[0].good, "away")
        scanner.start([])
        await asyncio.sleep(0.1)
        server = await _device(port)
        await server.async_setValues(1, 5, 3, [True])

        async def left() -> bool:
            return not await lamp()

        await eventually(left, "zero where nobody leads")
        # Led again before it is back: what was to be left is not, and the other outputs are.
        scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
        await eventually(lamp, "led")
        await server.shutdown()
        await eventually(lambda: not scanner.devices[0].good, "away")
        scanner.start([])
        scanner.start(load_devices({"io/d.toml": text}, SYMBOLS))
        await eventually(lambda: not scanner._leaving, "nothing to leave")
        await scanner.shutdown()
    await server.shutdown()


def test_a_device_that_does_not_answer_keeps_no_shutdown_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, DEVICE.format(port=free_port())) as (scanner, _):
            await eventually(lambda: scanner.devices[0].errors, "nobody there")
            await asyncio.wait_for(scanner.shutdown(), 60)

    asyncio.run(main())
