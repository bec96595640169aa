"""`vplc run`: a folder becomes a controller, with clients that are not ours."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from industrial.package import pack
from industrial.runtime.delivery import announce
from industrial.runtime.inbox import Inbox
from industrial.runtime.keys import local_key
from industrial.runtime.local import LocalController
from industrial.runtime.paths import Paths
from industrial.runtime.protocols import Ports
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
    """As from the folder above it: where the project is named without its whole path."""
    return subprocess.Popen(
        [sys.executable, "-m", "industrial.cli", "run", project.name, "--modbus", "0", "--opcua", "0", "--metrics", "0", *words],
        cwd=project.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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


MOVED = """PROGRAM Main
VAR RETAIN new : LREAL; odd : INT; starts : INT; END_VAR
VAR turns AT %QW0 : INT; seen AT %QW1 : INT; once : BOOL; END_VAR
IF NOT once THEN starts := starts + 1; odd := odd + 1; once := TRUE; END_IF;
turns := turns + 1;
seen := starts;
END_PROGRAM
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the engine needs gcc")
def test_retained_values_find_their_variables_and_status_tells_which_did_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "vplc.toml").write_text(
        'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
    )

    def report(source: str) -> dict[str, Any]:
        """Of a run of this source; empty when nothing ran."""
        (tmp_path / "src/main.st").write_text(source)
        process = _start(tmp_path, "--compiler", "tcc")
        try:
            assert process.stdout is not None
            assert "Modbus" in process.stdout.readline()
            found: dict[str, Any] = {}

            def ran() -> bool:
                done = _tool(tmp_path, "status", "--format", "json", "--journal", "50")
                found.update(json.loads(done.stdout))
                seen = json.loads(_tool(tmp_path, "monitor", "Main.seen").stdout)["values"][
                    "Main.seen"
                ]
                found["seen"] = seen
                return done.returncode == 0 and seen > 0 and found["journal"] != []

            until(ran, "a scan and its report")
            return found
        finally:
            _stop(process)

    first = report(SOURCE)
    assert (first["start"], first["retain"]["result"], first["seen"]) == ("cold", "none", 1)
    assert first["tasks"][0]["interval_us"] == 10000
    assert first["format"] == 1
    # Handed over, and never run: what is on the disk is of the program before it.
    (tmp_path / "src/main.st").write_text(SOURCE.replace("starts : INT", "starts, other : INT"))
    LocalController(tmp_path, Ports(), "tcc").deliver()
    second = report(MOVED)
    assert (second["start"], second["retain"]["result"]) == ("warm", "migrated")
    assert second["seen"] == 2
    assert second["retain"]["lost"] == []
    third = report(MOVED.replace("odd : INT", "odd : DINT"))
    assert third["seen"] == 3
    assert third["retain"]["lost"] == ["Main.odd was INT, is DINT"]
    assert [row["text"] for row in third["journal"] if row["event"] == "start"] == [
        "the program starts cold", "the program starts warm", "the program starts warm",
    ]  # fmt: skip
    # Nobody runs any more, and that is told in words.
    assert "no vPLC runs here" in _tool(tmp_path, "status").stderr


def _tool(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "industrial.cli", *words, "--project", str(project)]
    if words[0] == "force":
        command = [*command[:4], "--project", str(project), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_an_engineer_does_to_a_running_program(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.st").write_text(SOURCE)
    (tmp_path / "vplc.toml").write_text(
        'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
    )
    process = _start(tmp_path)

    def read(*paths: str) -> dict[str, object]:
        done = _tool(tmp_path, "monitor", *paths)
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["format"] == 1
        return dict(shown["values"])

    try:
        assert process.stdout is not None
        assert "Modbus" in process.stdout.readline()
        # Forced: before the program, which reads it, and after it, so that nothing else is seen.
        assert json.loads(_tool(tmp_path, "force", "set", "Main.seen=4711", "%QX40.1=true").stdout) == {"format": 1, "forced": {"Main.seen": 4711, "%QX40.1": True}}  # fmt: skip
        until(lambda: read("Main.seen")["Main.seen"] == 4711, "the force")
        assert read("%QX40.1", "%QW1") == {"%QX40.1": True, "%QW1": 4711}
        assert json.loads(_tool(tmp_path, "force").stdout)["forced"]["Main.seen"] == 4711
        # Who and when stand beside it, for those who ask from afar.
        notes = json.loads((tmp_path / "state/run/forces.json").read_text()).values()
        assert {note["path"] for note in notes} == {"Main.seen", "%QX40.1"}
        assert all(note["at"] and "by" in note for note in notes)
        assert "not forced" in _tool(tmp_path, "force", "clear", "Main.once").stderr
        assert json.loads(_tool(tmp_path, "force", "clear", "--all").stdout) == {
            "format": 1,
            "forced": {},
        }
        until(lambda: read("Main.seen")["Main.seen"] == 1, "the program's own value")
        # Every scan is in the trace, and no other.
        done = _tool(tmp_path, "trace", "Main.turns", "Main.once", "--scans", "20")
        rows = [line.split(",") for line in done.stdout.split()[1:]]
        assert len(rows) == 20
        assert [int(row[0]) for row in rows] == list(range(int(rows[0][0]), int(rows[0][0]) + 20))
        assert len({int(row[2]) - int(row[0]) for row in rows}) == 1, "one turn a scan"
        assert {row[3] for row in rows} == {"True"}
        # Single cycles want a stop, and are just that.
        assert "want a stopped program" in _tool(tmp_path, "ctl", "step").stderr
        assert _tool(tmp_path, "ctl", "stop").returncode == 0
        before = int(str(read("Main.turns")["Main.turns"]))
        assert _tool(tmp_path, "ctl", "step", "--count", "3").returncode == 0
        until(lambda: read("Main.turns")["Main.turns"] == before + 3, "three cycles")
        assert _tool(tmp_path, "ctl", "run").returncode == 0
        until(lambda: int(str(read("Main.turns")["Main.turns"])) > before + 3, "more cycles")
        assert "did you mean Main.turns" in _tool(tmp_path, "monitor", "Main.turn").stderr
    finally:
        _stop(process)


PROJECT = 'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'


def _project(folder: Path, source: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.st").write_text(source)
    (folder / "vplc.toml").write_text(PROJECT)
    return folder


def _ran(project: Path) -> dict[str, Any]:
    """Status of a run that has scanned, and the number of starts that its program counts."""
    process = _start(project, "--compiler", "tcc")
    found: dict[str, Any] = {}

    def ran() -> bool:
        found.update(json.loads(_tool(project, "status", "--format", "json").stdout))
        values = json.loads(_tool(project, "monitor", "Main.seen").stdout)["values"]
        found["seen"] = values["Main.seen"]
        return bool(found["seen"] > 0)

    try:
        assert process.stdout is not None
        assert "Modbus" in process.stdout.readline()
        until(ran, "a scan and its report")
        return found
    finally:
        _stop(process)


def _given(project: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """Deliver a copy of retained values to a controller that has never run; its answer."""
    paths = Paths.of_project(project)
    paths.prepare()
    key = local_key(paths.state)
    number = announce(paths, pack("retain", "copy", "1", files, key))
    Inbox(paths, [key.public_key()]).take_all()
    return dict(json.loads((paths.inbox / f"{number}.result").read_text()))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the engine needs gcc")
def test_a_controller_built_anew_goes_on_with_a_copy_of_its_retained_values(tmp_path: Path) -> None:
    lost = _project(tmp_path / "lost", SOURCE)
    for starts in (1, 2, 3):
        assert _ran(lost)["seen"] == starts
    copy = {
        "retain.bin": Paths.of_project(lost).retain.read_bytes(),
        "symbols.json": (Paths.of_project(lost).active / "symbols.json").read_bytes(),
    }
    # Its disk is gone with its host: nothing but the copy is left.
    shutil.rmtree(lost)
    same = _project(tmp_path / "same", SOURCE)
    assert _given(same, {"retain.bin": copy["retain.bin"]})["how"] == "given"
    report = _ran(same)
    assert (report["start"], report["retain"]["result"], report["seen"]) == ("warm", "kept", 4)
    # What has values of its own does not go back to older ones.
    assert _given(same, {"retain.bin": copy["retain.bin"]})["how"] == "own"
    assert _ran(same)["seen"] == 5
    moved = _project(tmp_path / "moved", MOVED.replace("odd", "extra"))
    assert _given(moved, copy)["how"] == "given"
    report = _ran(moved)
    assert (report["start"], report["retain"]["result"], report["seen"]) == ("warm", "migrated", 4)
    # Of a layout that nobody describes, and of a damaged file, nothing is taken; and both say so.
    other = _project(tmp_path / "other", MOVED)
    assert _given(other, {"retain.bin": copy["retain.bin"]})["how"] == "given"
    report = _ran(other)
    assert (report["start"], report["retain"]["result"], report["seen"]) == ("cold", "lost", 1)
    damaged = bytearray(copy["retain.bin"])
    damaged[-1] ^= 1
    last = _project(tmp_path / "damaged", SOURCE)
    answer = _given(last, {"retain.bin": bytes(damaged)})
    assert not answer["ok"] and "retain.bin: damaged: checksum" in answer["message"]
    report = _ran(last)
    assert (report["start"], report["retain"]["result"], report["seen"]) == ("cold", "none", 1)
