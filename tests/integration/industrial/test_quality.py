"""Quality and age of inputs, as the program, an engineer and an OPC UA client see them while a device comes and goes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path

from asyncua import Client, ua
from click.testing import CliRunner

from industrial.cli import main
from industrial.runtime.local import LocalController
from industrial.runtime.protocols import Ports
from tests.integration.industrial.test_devices import eventually, free_port, in_loop
from tests.integration.industrial.test_outputs import _device

SOURCE = """PROGRAM Main
VAR level AT %IW0 : INT; zeroed AT %IW2 : INT; own AT %IW8 : INT; good AT %QX40.0 : BOOL; age : TIME; n : DINT; END_VAR
n := n + 1;
good := INPUT_GOOD(level);
age := INPUT_AGE(level);
END_PROGRAM
"""
DEVICE = """protocol = "modbus_tcp"
address = "127.0.0.1:{port}"
rate_ms = 20
timeout_ms = 5000
[[point]]
tag = "Main.level"
area = "holding"
address = 10
[[point]]
tag = "Main.zeroed"
area = "holding"
address = 11
fail = "substitute"
substitute = 5
"""


@in_loop
async def test_a_device_that_comes_and_goes_is_seen_by_everybody(tmp_path: Path) -> None:
    device_port, port = free_port(), free_port()
    project = tmp_path / "project"
    for name, text in (
        ("src/main.st", SOURCE),
        ("io/d.toml", DEVICE.format(port=device_port)),
        ("vplc.toml", 'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'),
        ("security.toml", '[opcua]\nanonymous_read = "a test on loopback"\n'),
    ):  # fmt: skip
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    controller = LocalController(project, Ports("127.0.0.1", 0, port, 0), "tcc")
    controller.deliver()
    listening = asyncio.Event()
    running = asyncio.create_task(controller.run(lambda _protocols: listening.set()))
    try:
        await asyncio.wait_for(listening.wait(), 120)

        async def connected() -> Client | None:
            client = Client(f"opc.tcp://127.0.0.1:{port}/", timeout=20)
            try:
                await client.connect()
            except (OSError, TimeoutError):
                return None
            return client

        found: list[Client] = []

        async def connect() -> bool:
            if (client := await connected()) is not None:
                found.append(client)
            return bool(found)

        await eventually(connect, "OPC UA")

        async def told(name: str) -> ua.DataValue:
            return await found[0].get_node(f"ns=2;s=Main.{name}").read_data_value(False)

        async def has(name: str, code: int) -> bool:
            return bool((await told(name)).StatusCode.value == code)

        codes = ua.StatusCodes
        await eventually(lambda: has("level", codes.UncertainInitialValue), "nothing was read yet")
        assert await has("own", codes.Good), "what no device feeds is the program's own"
        shown = CliRunner().invoke(
            main, ["monitor", "Main.level", "Main.n", "--project", str(project)]
        )
        inputs = json.loads(shown.output)["inputs"]
        assert list(inputs) == ["Main.level"]
        assert inputs["Main.level"]["age_s"] is None
        server = await _device(device_port)
        await eventually(lambda: has("level", codes.Good), "it answers")
        await eventually(lambda: has("zeroed", codes.Good), "and for the other")
        await eventually(lambda: _is(told("good"), True), "the program sees it")
        await server.shutdown()
        gone = dt.datetime.now(dt.UTC)
        await eventually(lambda: has("level", codes.UncertainLastUsableValue), "it is silent")
        await eventually(lambda: has("zeroed", codes.UncertainSubstituteValue), "the substitute")
        await eventually(lambda: _is(told("good"), False), "the program sees it, too")
        await eventually(lambda: _above(told("age"), 300), "how long ago it was")
        last = await told("level")
        # What was on its way when the device went may have been taken a moment later.
        told_at = last.SourceTimestamp.replace(tzinfo=dt.UTC)
        assert told_at <= gone + dt.timedelta(milliseconds=250) < dt.datetime.now(dt.UTC)
        assert (await told("zeroed")).Value.Value == 5
        shown = CliRunner().invoke(main, ["monitor", "Main.level", "--project", str(project)])
        level = json.loads(shown.output)["inputs"]["Main.level"]
        assert level["quality"] == "bad"
        assert level["age_s"] > 0.2
        await found[0].disconnect()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _is(value: object, wanted: bool) -> bool:
    return bool((await value).Value.Value is wanted)  # type: ignore[misc]


async def _above(value: object, least: int) -> bool:
    return bool((await value).Value.Value > least)  # type: ignore[misc]
