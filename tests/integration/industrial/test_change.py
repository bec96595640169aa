"""Another program in place of a running one: between two scans, refused, back again, optimised later."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from industrial.runtime.paths import Paths
from industrial.runtime.shm import Area, EventKind, SharedMemory, State, Write
from tests.support.vplc import until

SOURCE = """PROGRAM Main
VAR turns : DINT; step : DINT := 1; x : LREAL := 0.1; total : LREAL; END_VAR
VAR lamp AT %QX0.0 : BOOL; END_VAR
turns := turns + step;
total := total + SIN(x) / 3.0;
END_PROGRAM
"""
#: Other places for the old variables, a new one, another arithmetic.
CHANGED = SOURCE.replace("VAR turns", "VAR fresh : ARRAY[0..9] OF LREAL; added : INT := 42; turns").replace(
    "turns + step;", "turns + step; fresh[3] := total; lamp := TRUE;"
)  # fmt: skip
MANIFEST = 'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("tcc") is None, reason="needs both compilers"
)


class Running:
    """`vplc run` of a folder, and the tools beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir(parents=True)
        self.write(SOURCE)
        (folder / "vplc.toml").write_text(MANIFEST)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "industrial.cli", "run", str(folder), "--modbus", "0", "--opcua", "0", "--metrics", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert re.search("Modbus", line), line + self.process.stdout.read()
        self.shm = SharedMemory(Paths.of_project(folder).shm)

    def write(self, source: str) -> None:
        (self.folder / "src/main.st").write_text(source)

    def tool(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "industrial.cli", *words, "--project", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def read(self, *paths: str) -> dict[str, Any]:
        done = self.tool("monitor", *paths)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)["values"])

    def turns_ahead(self) -> int:
        """By how much the turns are more than the number of their scan, which is the same in all of them."""
        done = self.tool("trace", "Main.turns", "--scans", "5")
        rows = [line.split(",") for line in done.stdout.split()[1:]]
        (found,) = {int(row[2]) - int(row[0]) for row in rows}
        return found

    def compiler(self) -> str:
        about = json.loads((Paths.of_project(self.folder).active / "build.json").read_text())
        return str(about["compiler"])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "p")
    yield made
    made.process.send_signal(signal.SIGINT)
    made.process.communicate(timeout=60)


def test_a_write_by_the_names_of_the_program_before_counts_as_long_as_the_layout_is_the_same(
    running: Running,
) -> None:
    until(lambda: running.compiler() == "gcc" and running.shm.changes == 1, "the second stage", 120)
    shm = running.shm
    symbols = json.loads((Paths.of_project(running.folder).active / "symbols.json").read_text())
    (step,) = [row["offset"] for row in symbols["symbols"] if row["path"] == "Main.step"]
    # As a client's that came while the second stage took over: it was told that it is written.
    shm.layout = shm.generation - 1
    shm.write([Write(Area.ARENA, step, 4, 5)])
    until(lambda: running.read("Main.step")["Main.step"] == 5, "the value")
    assert shm.journal_refused == 0
    running.write(CHANGED)
    assert running.tool("ctl", "change", "--no-optimise").returncode == 0
    # Elsewhere now: it would be another variable's.
    shm.layout = shm.generation - 1
    shm.write([Write(Area.ARENA, step, 4, 7)])
    until(lambda: shm.journal_refused == 1, "the refusal")
    assert running.read("Main.step")["Main.step"] == 5


def test_a_change_keeps_values_and_cycles_is_refused_with_the_reason_and_goes_back(
    running: Running,
) -> None:
    # tcc's program ran at once; gcc's takes its place without a scan more or less.
    until(lambda: running.compiler() == "gcc" and running.shm.changes == 1, "the second stage", 120)
    ahead = running.turns_ahead()
    # Neither did the second stage: the first turn was that of scan 0.
    assert ahead == 1
    running.write(CHANGED)
    done = running.tool("ctl", "change", "--no-optimise")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["format"], answer["ok"], answer["how"]) == (1, True, "online")
    assert sorted(answer["carry"]["added"]) == ["Main.added", "Main.fresh"]
    until(lambda: running.read("Main.fresh[3]")["Main.fresh[3]"] > 0, "the new arithmetic")
    found = running.read("Main.turns", "Main.added", "Main.total", "Main.fresh")
    assert found["Main.added"] == 42
    # As many turns in as many scans as before: no scan was lost by the changes, and none was done twice.
    shm = running.shm
    assert running.turns_ahead() == ahead
    assert shm.snapshot().outputs[0] == 1
    assert shm.epoch > 0
    assert [e.kind for e in shm.events()].count(EventKind.START) == 1
    # Another type cannot take the value over: what runs goes on.
    running.write(CHANGED.replace("turns : DINT", "turns : LINT"))
    refused = running.tool("ctl", "change")
    assert refused.returncode == 1
    assert "Main.turns was DINT, is LINT" in refused.stderr
    before = shm.tasks()[0].scans
    until(lambda: shm.tasks()[0].scans > before, "it goes on")
    assert running.read("Main.added")["Main.added"] == 42
    # One step back, with the values of now.
    back = running.tool("ctl", "rollback")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["how"] == "online"
    missing = running.tool("monitor", "Main.added")
    assert "is not a variable" in missing.stderr
    assert running.read("Main.turns")["Main.turns"] > found["Main.turns"]
    # And forth again: it is one step.
    assert running.tool("ctl", "rollback").returncode == 0
    assert running.read("Main.added")["Main.added"] == 42
    # Anew where it cannot be online, and only when told so.
    again = running.tool("ctl", "change", "--restart", "--no-optimise")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["how"] == "restart"
    assert answer["carry"]["lost"][0].startswith("Main.turns was DINT")
    assert shm.state is State.RUN
