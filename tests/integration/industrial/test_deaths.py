"""What becomes of a device's outputs when one of the two processes dies, with a device that is not ours."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer

from industrial.devices import load_devices
from industrial.devices.scanner import Scanner
from industrial.runtime import shm as twin
from industrial.runtime.paths import Paths
from industrial.runtime.shm import Area, Quality, SharedMemory, State
from tests.integration.industrial.test_devices import (
    SYMBOLS,
    eventually,
    free_port,
    in_loop,
)
from tests.integration.industrial.test_outputs import _device
from tests.support.memory import PlayedScan
from tests.support.vplc import until

SOURCE = """PROGRAM Main
VAR n AT %QW0 : INT; lamp AT %QX40.0 : BOOL := TRUE; kept AT %QW10 : INT := 77; seen AT %IW0 : INT; END_VAR
n := n + 1; lamp := TRUE; kept := 77;
END_PROGRAM
"""
MANIFEST = (
    'format = 1\nname = "p"\nversion = "1"\n'
    '[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
)
IO = """protocol = "modbus_tcp"
address = "127.0.0.1:{port}"
rate_ms = 20
timeout_ms = 5000
heartbeat = {{area = "holding", address = 60}}
[[point]]
tag = "Main.seen"
area = "holding"
address = 70
[[point]]
tag = "Main.lamp"
area = "coil"
address = 3
direction = "out"
[[point]]
tag = "Main.kept"
area = "holding"
address = 40
direction = "out"
on_fault = "hold"
"""


class Remote:
    """pymodbus' server in a loop of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: ModbusTcpServer = self._do(_device(self.port))

    def _do(self, what):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    def register(self, address: int) -> int:
        return int(self._do(self._server.async_getValues(1, 3, address, 1))[0])

    @property
    def lamp(self) -> bool:
        return bool(self._do(self._server.async_getValues(1, 1, 3, 1))[0])

    def stop(self) -> None:
        self._do(self._server.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


@pytest.fixture
def remote() -> Iterator[Remote]:
    made = Remote()
    yield made
    made.stop()


def test_a_scan_that_stands_and_protocols_that_die(remote: Remote, tmp_path: Path) -> None:
    project = tmp_path / "p"
    for name, text in (
        ("src/main.st", SOURCE),
        ("vplc.toml", MANIFEST),
        ("io/d.toml", IO.format(port=remote.port)),
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    command = [sys.executable, "-m", "industrial.cli", "run", str(project), "--compiler", "tcc"]
    for port in ("modbus", "opcua", "metrics"):
        command += [f"--{port}", "0"]
    scan = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "Modbus" in process.stdout.readline()
            shm = SharedMemory(Paths.of_project(project).shm)
            scan = shm.scan_pid
            until(lambda: remote.lamp and remote.register(40) == 77, "led")
            first = remote.register(60)
            until(lambda: remote.register(60) != first, "the heartbeat counts")
            # The scan stands still: the protocols see it, whatever it left in the memory.
            os.kill(scan, signal.SIGSTOP)
            until(lambda: not remote.lamp, "zero after the death of the scan")
            assert remote.register(40) == 77, "held"
            stood = remote.register(60)
            status = json.loads((project / "state/run/status.json").read_text())
            reads = status["devices"]["d"]["reads"]
            until(lambda: _reads(project) > reads + 10, "cycles meanwhile")
            assert remote.register(60) == stood, "and no heartbeat"
            os.kill(scan, signal.SIGCONT)
            until(lambda: remote.lamp and remote.register(60) != stood, "led again")
            assert shm.state is State.RUN
            # The protocols die: the device's own watchdog sees it by the heartbeat, and the scan goes on.
            process.kill()
            process.wait(60)
            stood, before = remote.register(60), shm.tasks()[0].scans
            until(lambda: shm.tasks()[0].scans > before + 100, "a second of scans")
            assert remote.register(60) == stood
        finally:
            process.kill()
            if scan:
                os.kill(scan, signal.SIGKILL)


def _reads(project: Path) -> int:
    status = json.loads((project / "state/run/status.json").read_text())
    return int(status["devices"]["d"]["reads"])


RATED = """protocol = "modbus_tcp"
address = "127.0.0.1:{port}"
rate_ms = {rate}
timeout_ms = 5000
[[point]]
tag = "Main.{tag}"
area = "holding"
address = {address}
"""


@in_loop
async def test_each_device_has_its_own_rate_and_its_own_fate(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    server = await _device(port)
    await server.async_setValues(1, 16, 10, [5])
    scan = PlayedScan(tmp_path / "shm")
    scan.start()
    scanner = Scanner(lambda: scan.shm, keys=tmp_path / "keys")
    texts = {
        "io/fast.toml": RATED.format(port=port, rate=10, tag="a", address=10) + "scale = 2\noffset = 100\n",
        "io/slow.toml": RATED.format(port=port, rate=300, tag="b", address=20),
        "io/gone.toml": RATED.format(port=nobody, rate=10, tag="flag", address=30).replace("holding", "coil"),
    }  # fmt: skip
    scanner.start(load_devices(texts, SYMBOLS))
    by = {device.name: device for device in scanner.devices}
    try:
        await eventually(lambda: by["slow"].reads >= 4, "the slow one")
        assert by["fast"].reads > 2 * by["slow"].reads
        assert by["fast"].good
        assert by["slow"].latency_s > 0
        await eventually(lambda: by["gone"].errors >= 2, "the one that is not there")
        assert not by["gone"].good
        assert by["gone"].error
        assert scan.get(Area.IN, 0, 2) == bytes([2 * 5 + 100, 0])
        stage = twin.QUALITY_STAGE_AT
        assert [scan._map[stage + offset] for offset in (0, 4, 8)] == [Quality.GOOD, Quality.GOOD, Quality.BAD]  # fmt: skip
    finally:
        tasks = list(scanner._tasks)
        scanner.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        scan.stop()
        await server.shutdown()


@in_loop
async def test_a_silent_device_is_tried_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = PlayedScan(tmp_path / "shm")
    scan.start()
    scanner = Scanner(lambda: scan.shm, keys=tmp_path / "keys")
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    devices = load_devices(
        {"io/d.toml": RATED.format(port=free_port(), rate=10, tag="a", address=1)}, SYMBOLS
    )
    with monkeypatch.context() as patched:
        patched.setattr("industrial.devices.scanner.asyncio.sleep", noted)
        task = asyncio.create_task(scanner._run(devices[0]))
        while len(pauses) < 14:
            await sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    own = [pause for pause in pauses if pause >= 0.1]
    assert own[0] < 0.2
    steps = [b / a for a, b in itertools.pairwise(own) if b < 10]
    assert steps
    assert all(abs(step - 1.7) < 0.01 for step in steps)
    assert max(own) == own[-1] == 10.0
    scan.stop()
