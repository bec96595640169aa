"""`vplc run`: a folder becomes a controller, with clients that are not ours."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from tests.support.vplc import until

SOURCE = """PROGRAM Main
VAR RETAIN starts : INT; END_VAR
VAR turns AT %QW0 : INT; seen AT %QW1 : INT; once : BOOL; END_VAR
IF NOT once THEN starts := starts + 1; once := TRUE; END_IF;
turns := turns + 1;
seen := starts;
END_PROGRAM
"""


def _start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "industrial.cli", "run", str(project), "--modbus", "0", "--opcua", "0", "--metrics", "0", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def _scans(client: ModbusTcpClient) -> None:
    def turns() -> int:
        return int(client.read_holding_registers(0, count=1).registers[0])

    first = turns()
    until(lambda: turns() > first, "scans")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the engine needs gcc")
def test_a_folder_runs_and_keeps_what_is_retained(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.st").write_text(SOURCE)
    (tmp_path / "vplc.toml").write_text(
        'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
    )
    for round_ in (1, 2):
        process = _start(tmp_path)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"Modbus 127\.0\.0\.1:(\d+)", line)
            assert found, line + process.stdout.read()
            client = ModbusTcpClient("127.0.0.1", port=int(found[1]))
            assert client.connect()
            _scans(client)
            assert client.read_holding_registers(1, count=1).registers == [round_]
            client.close()
            # Retained values are written off the scan path within a second; a stop writes them too.
        finally:
            _stop(process)
    assert (tmp_path / "state/keys/local.pem").stat().st_mode & 0o777 == 0o600


def test_what_does_not_compile_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.st").write_text(SOURCE.replace("turns + 1", "turn + 1"))
    process = _start(tmp_path)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "turn is not declared" in text
