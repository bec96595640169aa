"""Modbus FC3 against other servers: `python -m tests.bench.modbus` prints JSON.

CPU time of the server per request with 8 connections, interleaved with pymodbus' server as it is shipped; requests a
second of one client, in pairs with libmodbus' server. The client is libmodbus in both, 10 registers a request.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.controller import controller, cpu_s, free_port, machine
from tests.support.libmodbus import NoLibmodbus, libmodbus_peer

REGISTERS = 10
SOURCE = "PROGRAM Main\nVAR n AT %QW0 : INT; END_VAR\nn := n + 1;\nEND_PROGRAM\n"
_PYMODBUS = """
import asyncio, sys
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import StartAsyncTcpServer
block = ModbusSequentialDataBlock(1, [17] * 4096)
context = ModbusServerContext(ModbusDeviceContext(hr=block), single=True)
asyncio.run(StartAsyncTcpServer(context, address=("127.0.0.1", int(sys.argv[1]))))
"""


def load(port: int, connections: int, seconds: float) -> int:
    """Requests that so many connections of libmodbus' client got answered."""
    done = subprocess.run(
        [str(libmodbus_peer()), "load", "127.0.0.1", str(port), str(connections), str(seconds), str(REGISTERS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} requests failed")
    return int(found["requests"])


@contextmanager
def pymodbus_server() -> Iterator[tuple[int, int]]:
    """pymodbus' server: process and port."""
    import socket
    import time

    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _PYMODBUS, str(port)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


@contextmanager
def libmodbus_server() -> Iterator[tuple[int, int]]:
    """libmodbus' server: process and port."""
    process = subprocess.Popen(
        [str(libmodbus_peer()), "server", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None:
            raise RuntimeError("no output to read")
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def cpu_per_request(pid: int, port: int, seconds: float) -> float:
    """Microseconds of the server for each request of 8 connections."""
    before = cpu_s(pid)
    count = load(port, 8, seconds)
    return (cpu_s(pid) - before) / count * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    try:
        libmodbus_peer()
    except NoLibmodbus as error:
        print(json.dumps({"modbus": "not measured", "why": str(error)}))
        return
    begun = machine()
    ours_us, theirs_us, ratios, rates = [], [], [], []
    manifest = "[modbus]\nrequests_per_s = 0\n"
    with (
        controller(SOURCE, manifest=manifest) as ours,
        pymodbus_server() as (py_pid, py_port),
        libmodbus_server() as (_, c_port),
    ):
        for number in range(chosen.rounds):
            pairs = [(ours.process.pid, ours.modbus, ours_us), (py_pid, py_port, theirs_us)]
            for pid, port, into in pairs if number % 2 else pairs[::-1]:
                into.append(cpu_per_request(pid, port, chosen.seconds))
            one = {}
            order = [("ours", ours.modbus), ("libmodbus", c_port)]
            for name, port in order if number % 2 else order[::-1]:
                one[name] = load(port, 1, chosen.seconds) / chosen.seconds
            ratios.append(one["ours"] / one["libmodbus"])
            rates.append(one["ours"])
    ended = machine()
    print(
        json.dumps(
            {
                "rounds": chosen.rounds,
                "cpu_us_per_request": round(statistics.median(ours_us), 1),
                "pymodbus_cpu_us_per_request": round(statistics.median(theirs_us), 1),
                "cpu_ratio": round(statistics.median(a / b for a, b in zip(ours_us, theirs_us, strict=True)), 3),
                "one_client_requests_per_s": round(statistics.median(rates)),
                "rate_ratio_to_libmodbus": round(statistics.median(ratios), 3),
                "steal_s": round(ended["steal_s"] - begun["steal_s"], 2),
                "load": ended["load"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
