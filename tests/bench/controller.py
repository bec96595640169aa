"""What benchmarks of the controller share: one that runs, CPU time of processes, medians with their bounds."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Controller:
    """A running `vplc run`: the protocols' process, the scan's below it, and where it listens."""

    folder: Path
    process: subprocess.Popen[str]
    modbus: int
    opcua: int
    metrics: int

    @property
    def scan_pid(self) -> int:
        """The process of the scan."""
        return int(self.status()["scan_pid"])

    def status(self) -> dict[str, Any]:
        """What status.json says."""
        return dict(json.loads((self.folder / "state/run/status.json").read_text()))


@contextmanager
def controller(
    source: str, *, interval_us: int = 10_000, security: str = "", manifest: str = "", opcua: bool = False,
    priority: int = 1,
) -> Iterator[Controller]:  # fmt: skip
    """A controller with this program, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mw-bench-") as scratch:
        folder = Path(scratch)
        (folder / "src").mkdir()
        (folder / "src/main.st").write_text(source)
        (folder / "vplc.toml").write_text(
            f'format = 1\nname = "bench"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = {interval_us}\n'
            f'priority = {priority}\nprograms = ["Main"]\n{manifest}'
        )
        if security:
            (folder / "security.toml").write_text(security)
        opcua_port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "industrial.cli", "run", str(folder), "--modbus", "0",
             "--opcua", str(opcua_port), "--metrics", "0"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            if process.stdout is None:
                raise RuntimeError("no output to read")
            line = process.stdout.readline()
            found = re.search(r"Modbus [^:]+:(\d+).*metrics http://[^:]+:(\d+)", line)
            if found is None:
                raise RuntimeError(f"the controller does not start: {line}")
            made = Controller(folder, process, int(found[1]), opcua_port, int(found[2]))
            if opcua:
                _wait_for(opcua_port)
            while not (folder / "state/run/status.json").exists() and process.poll() is None:
                time.sleep(0.05)
            yield made
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens at {port}")


def cpu_s(pid: int) -> float:
    """CPU time that a process has taken, all of its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, float]:
    """Time that the machine below has taken (steal), and the load."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return {"steal_s": int(fields[8]) / os.sysconf("SC_CLK_TCK"), "load": os.getloadavg()[0]}


def pss_mib(pid: int) -> float:
    """Memory of a process, what it shares counted by share, in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) / 1024  # type: ignore[index]


def bound(
    values: Sequence[float], *, of: Callable[[Sequence[float]], float] = statistics.median,
    share: float = 0.95, rounds: int = 4000, seed: int = 1,
) -> tuple[float, float]:  # fmt: skip
    """A figure of the values and the upper end of its confidence interval, by bootstrap."""
    chance = random.Random(seed)  # noqa: S311 - statistics
    found = sorted(of(chance.choices(values, k=len(values))) for _ in range(rounds))
    return of(values), found[min(rounds - 1, int(share * rounds))]
