"""The runtime with real processes and clients that are not ours: mbpoll, pymodbus, asyncua."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import Client
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pymodbus.client import ModbusTcpClient

from industrial.package import pack
from industrial.runtime.shm import EventKind, State
from industrial.simulators.filling_line import FillingLine, RemoteIo
from tests.support.vplc import LocalVplc, until


@pytest.fixture
def vplc(tmp_path: Path) -> Iterator[LocalVplc]:
    made = LocalVplc(tmp_path)
    try:
        made.start_scan()
        made.start_protocols()
        yield made
    finally:
        made.stop()


def mbpoll(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("mbpoll") is None:
        pytest.fail("mbpoll is not installed (scripts/bootstrap test)")
    return subprocess.run(
        ["mbpoll", "-m", "tcp", "-p", str(port), "-0", "-1", "-t", "4", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_program_is_delivered_runs_and_is_read_and_written_by_mbpoll(
    vplc: LocalVplc, tmp_path: Path
) -> None:
    assert vplc.status()["state"] == "no_program"
    answer = vplc.deliver(vplc.program(tmp_path))
    assert answer["ok"], answer
    until(lambda: vplc.status()["scans"].get("main", 0) > 5, "scans")
    port = vplc.protocols.bound["modbus"]
    read = mbpoll(port, "-r", "0", "-c", "4", "127.0.0.1")
    assert read.returncode == 0, read.stderr
    values = [
        int(line.split("\t")[1].split()[0])
        for line in read.stdout.splitlines()
        if line.startswith("[")
    ]
    assert values == [0, 1, 0, 8000]
    written = mbpoll(port, "-r", "3", "127.0.0.1", "5000")
    assert written.returncode == 0, written.stdout
    until(lambda: "5000" in mbpoll(port, "-r", "3", "127.0.0.1").stdout, "the set-point")
    # Outside the range; what the program drives; outside the map.
    for register in ("5", "0"):
        refused = mbpoll(port, "-r", register, "127.0.0.1", "1")
        assert "Illegal data address" in refused.stdout + refused.stderr
    assert (
        "Illegal data address"
        in (outside := mbpoll(port, "-r", "40000", "127.0.0.1")).stdout + outside.stderr
    )


def test_opc_ua_shows_the_same_values(vplc: LocalVplc, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    object.__setattr__(vplc.protocols.ports, "opcua", free)
    vplc.deliver(vplc.program(tmp_path))

    async def read() -> tuple[int, int]:
        async with Client(f"opc.tcp://127.0.0.1:{free}/") as client:
            index = await client.get_namespace_index("urn:millwright:vplc")
            setpoint = await client.get_node(f"ns={index};s=Main.setpoint").read_value()
            count = await client.get_node(f"ns={index};s=Main.count").read_value()
            return setpoint, count

    def attempt() -> tuple[int, int] | None:
        try:
            found = asyncio.run(read())
        except (OSError, TimeoutError, ConnectionError):
            return None
        return found if found[0] else None

    setpoint, count = until(attempt, "OPC UA")
    assert setpoint == 8000
    assert count > 0


def test_metrics_are_what_prometheus_expects(vplc: LocalVplc, tmp_path: Path) -> None:
    vplc.deliver(vplc.program(tmp_path))
    until(lambda: vplc.status()["scans"].get("main", 0) > 5, "scans")
    text = _metrics(vplc)
    assert 'vplc_scans_total{task="main"}' in text
    assert 'vplc_scan_seconds_bucket{le="+Inf",task="main"}' in text
    assert 'vplc_info{program="hand"' in text
    assert 'vplc_task_interval_seconds{task="main"} 0.01' in text
    assert 'vplc_faults_total{kind="watchdog"} 0.0' in text
    assert "vplc_forced_variables 0.0" in text
    assert "vplc_retain_failures_total 0.0" in text
    assert "vplc_standby 0.0" in text
    assert "vplc_clock_trusted " in text
    until(lambda: "vplc_retain_age_seconds 0." in _metrics(vplc), "a save")

    def clients(protocol: str) -> float:
        lines = _metrics(vplc).splitlines()
        head = f'vplc_protocol_clients{{protocol="{protocol}"}} '
        return float(next(line for line in lines if line.startswith(head)).removeprefix(head))

    client = ModbusTcpClient("127.0.0.1", port=vplc.protocols.bound["modbus"])
    assert client.connect()
    until(lambda: clients("modbus") == 1, "one client")
    client.close()
    until(lambda: clients("modbus") == 0, "no client")


def _metrics(vplc: LocalVplc) -> str:
    url = f"http://127.0.0.1:{vplc.protocols.bound['metrics']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(("order", "code"), [(1, 1), (2, 5), (3, 3), (4, 5)])
def test_a_faulting_program_stops_with_its_line_and_never_kills_the_process(
    vplc: LocalVplc, tmp_path: Path, order: int, code: int
) -> None:
    vplc.deliver(vplc.program(tmp_path))
    until(lambda: vplc.status()["scans"].get("main", 0) > 2, "scans")
    assert (
        mbpoll(vplc.protocols.bound["modbus"], "-r", "1024", "127.0.0.1", str(order)).returncode
        == 0
    )
    until(lambda: vplc.status()["state"] == "fault", "the fault")
    status = vplc.status()
    assert (status["fault"]["code"], status["fault"]["line"], status["fault"]["task"]) == (
        code,
        7,
        "main",
    )
    kind = {1: "division_by_zero", 3: "reference", 5: "watchdog"}[code]
    assert f'vplc_fault{{kind="{kind}"}} 1.0' in _metrics(vplc)
    assert f'vplc_faults_total{{kind="{kind}"}} 1.0' in _metrics(vplc)
    assert vplc.process is not None
    assert vplc.process.poll() is None
    before = vplc.shm().snapshot(arena=True).arena
    assert vplc.shm().snapshot(arena=True).arena == before
    # A new delivery runs again.
    assert vplc.deliver(vplc.program(tmp_path, "2"))["ok"]
    until(
        lambda: vplc.status()["state"] == "run" and vplc.status()["program"]["version"] == "2",
        "running again",
    )


def test_bundles_that_were_not_signed_by_us_are_refused(vplc: LocalVplc, tmp_path: Path) -> None:
    stranger = LocalVplc(tmp_path / "other", Ed25519PrivateKey.generate())
    answer = vplc.deliver(stranger.program(tmp_path))
    assert not answer["ok"]
    assert "signature" in answer["message"]
    damaged = bytearray(vplc.program(tmp_path))
    damaged[len(damaged) // 2] ^= 1
    assert not vplc.deliver(bytes(damaged))["ok"]
    assert vplc.status()["state"] == "no_program"


def test_retained_values_survive_a_killed_scan(vplc: LocalVplc, tmp_path: Path) -> None:
    vplc.deliver(vplc.program(tmp_path))
    until(lambda: vplc.status()["scans"].get("main", 0) > 120, "more than a second of scans")
    until(lambda: vplc.paths.retain.exists(), "retain")
    saved = vplc.paths.retain.read_bytes()
    until(lambda: vplc.paths.retain.read_bytes() != saved, "another save")
    count = int.from_bytes(vplc.shm().snapshot(arena=True).arena[:4], "little")
    assert vplc.process is not None
    os.kill(vplc.process.pid, signal.SIGKILL)
    vplc.process.wait()
    vplc.start_scan()
    until(lambda: vplc.shm().tasks() and vplc.shm().tasks()[0].scans > 0, "scanning again")
    again = int.from_bytes(vplc.shm().snapshot(arena=True).arena[:4], "little")
    # At most a second of a 10 ms task is lost; nothing is invented.
    assert count - 200 < again
    assert again > 10


def test_the_scan_goes_on_without_the_protocols(vplc: LocalVplc, tmp_path: Path) -> None:
    vplc.deliver(vplc.program(tmp_path))
    until(lambda: vplc.status()["scans"].get("main", 0) > 2, "scans")
    shm = vplc.shm()
    pid = shm.scan_pid
    process, vplc.process = vplc.process, None
    vplc.stop()
    before = shm.tasks()[0].scans
    until(lambda: shm.tasks()[0].scans > before + 20, "scans without protocols")
    assert shm.scan_pid == pid
    vplc.process = process
    vplc._loop = None


def test_a_simulated_device_is_driven_to_its_set_point(vplc: LocalVplc, tmp_path: Path) -> None:
    line = FillingLine(level=79.0)
    remote = RemoteIo(line)
    bound: list[int] = []
    ready, goes, stop = threading.Event(), threading.Event(), threading.Event()
    opened: list[float] = []

    def serve() -> None:
        async def main() -> None:
            bound.append(await remote.start("127.0.0.1", 0))
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.02)
                if goes.is_set():
                    line.step(0.02)
                if line.valve:
                    opened.append(line.level)

        asyncio.run(main())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(30)
    io = f"""name = "station"
protocol = "modbus_tcp"
address = "127.0.0.1:{bound[0]}"
rate_ms = 20
timeout_ms = 2000
[[point]]
tag = "Main.sensor"
area = "input"
address = 0
type = "UINT"
[[point]]
tag = "Main.valve"
area = "coil"
address = 0
type = "BOOL"
direction = "out"
"""
    assert vplc.deliver(vplc.program(tmp_path))["ok"]
    config = pack(
        "config", "line", "1", {"io/station.toml": io.encode(), "security.toml": b""}, vplc.key
    )
    assert vplc.deliver(config)["ok"]
    until(lambda: vplc.status()["devices"].get("station", {}).get("good"), "the device")
    until(lambda: line.valve, "the valve opens")
    # Only now the tank fills: however late we look, we see it.
    goes.set()
    until(lambda: opened and opened[-1] > 79.0, "the level rises")
    until(lambda: line.level >= 80.0 and not line.valve, "the valve closes at the set-point")
    # A configuration that names an unknown tag changes nothing.
    wrong = vplc.deliver(
        pack(
            "config",
            "line",
            "2",
            {"io/station.toml": io.replace("Main.valve", "Main.nothing").encode()},
            vplc.key,
        )
    )
    assert "Main.nothing" in wrong["message"]
    assert vplc.status()["devices"]["station"]["good"]
    # A program that waits for its inputs gets them, and not its time's end.
    manifest = b"[start]\ninput_timeout_ms = 600000\n"
    assert vplc.deliver(vplc.program(tmp_path, "2", **{"vplc.toml": manifest}))["ok"]
    shm = vplc.shm()
    until(lambda: shm.state is State.RUN and shm.tasks()[0].scans > 0, "good inputs")
    assert shm.snapshot().inputs[:2] != b"\0\0"
    assert EventKind.INPUT_TIMEOUT not in [row.kind for row in shm.events()]
    stop.set()
    thread.join(30)
