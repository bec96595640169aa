"""Hostile connections on both ports while scans go on: nothing dies, nothing stays, who is honest is served."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import Client

from industrial.opcua.door import MAX_FRAME, is_frame
from tests.bench.controller import Controller, controller
from tests.bench.hostile import SECURITY, SOURCE, attack
from tests.support.hostile import KINDS, MODBUS_FRAMES, OPCUA_FRAMES, frame
from tests.support.running import eventually


@pytest.fixture(scope="module")
def running() -> Iterator[Controller]:
    with controller(SOURCE, security=SECURITY, opcua=True) as made:
        yield made


def _read(running: Controller) -> int:
    async def read() -> int:
        async with Client(f"opc.tcp://127.0.0.1:{running.opcua}/", timeout=30) as client:
            return int(await client.get_node("ns=2;s=Main.a").read_value() is not None)

    return asyncio.run(read())


def _modbus(running: Controller) -> bytes:
    with socket.create_connection(("127.0.0.1", running.modbus), 30) as one:
        one.sendall(MODBUS_FRAMES[0])
        return one.recv(300)


def _descriptors(running: Controller) -> int:
    return len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))


def test_ten_seconds_of_hostile_clients(running: Controller) -> None:
    before = running.status()
    open_before = _descriptors(running)
    assert _read(running) == 1
    sent = attack(running, 10, 120, 7)
    assert all(sent[kind] > 0 for kind in KINDS), sent
    assert running.process.poll() is None
    assert _modbus(running)[7] == 3, "an honest Modbus client is answered"
    assert _read(running) == 1, "an honest OPC UA client is answered"

    def scanned() -> bool:
        now = running.status()
        assert now["scan_pid"] == before["scan_pid"]
        return now["state"] == "run" and now["scans"]["main"] > before["scans"]["main"]

    eventually(scanned, 60, "scans after the attack")
    eventually(
        lambda: _descriptors(running) <= open_before + 5,
        120, "descriptors of connections that are over",
    )  # fmt: skip


def test_an_honest_client_gets_in_past_a_full_house(running: Controller) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            silent = socket.create_connection(("127.0.0.1", running.opcua), 30)
            stack.callback(silent.close)
        assert _read(running) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"HELX" + (40).to_bytes(4, "little"),
        b"MSGF" + (2**31).to_bytes(4, "little") + b"x" * 100,
        b"OPNF" + (3).to_bytes(4, "little") + b"x" * 100,
    ],
)
def test_what_is_no_opc_ua_ends_its_connection(running: Controller, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.opcua), 30) as one:
        one.sendall(data)
        try:
            assert one.recv(100) == b""
        except ConnectionResetError:
            return


def test_heads_of_frames() -> None:
    for whole in OPCUA_FRAMES:
        for cut in range(len(whole)):
            assert is_frame(whole[:cut])
    assert not is_frame(b"MSGF" + (MAX_FRAME + 1).to_bytes(4, "little"))
    assert not is_frame(b"MSGF" + (12).to_bytes(4, "little"))
    chance = random.Random(3)  # noqa: S311 - a test
    assert not any(is_frame(frame("noise", True, chance)[:8].ljust(8, b"?")) for _ in range(200))
