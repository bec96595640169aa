"""Edit to running: `python -m tests.bench.change` prints JSON, milliseconds.

A program of about 200 lines runs; a line is edited; `vplc ctl change` compiles it (tcc) and has it taken over between
two scans. Measured from the start of the command until the new program has scanned, and the command's own end. Our
modules are byte-compiled as an installation leaves them, whatever the environment says. Wanted: ten times faster than
OpenPLC's path through g++, by turns with it.

`--peers DIR`: DIR/openplc is a tree of OpenPLC Runtime 3 that its own installer has built. The same program with the
same edits goes through its own compile_program.sh (iec2c, g++, link); that its runtime has to be stopped and started
anew afterwards is not counted, so the peer is measured as too fast. Without such a tree it is "not measured".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from industrial.runtime.paths import Paths
from industrial.runtime.shm import SharedMemory
from industrial.runtime.variables import Variables
from tests.bench.controller import ROOT, bound, controller, machine

LINES = 200


def source(edit: int) -> str:
    """About 200 lines; `mark` tells which edit runs."""
    declared = "\n".join(f"v{n} : DINT;" for n in range(LINES // 2 - 6))
    used = "\n".join(
        f"v{n} := v{n} + {n + 1} - v{max(0, n - 1)} / 3;" for n in range(LINES // 2 - 6)
    )
    return (
        f"PROGRAM Main\nVAR\nn AT %QW0 : INT;\nmark AT %QW1 : INT;\nEND_VAR\nVAR\n{declared}\nEND_VAR\n"
        f"n := n + 1;\nmark := {edit};\n{used}\nEND_PROGRAM\n"
    )


_CONFIGURATION = """
CONFIGURATION Config0
  RESOURCE Res0 ON PLC
    TASK task0(INTERVAL := T#10ms, PRIORITY := 0);
    PROGRAM instance0 WITH task0 : Main;
  END_RESOURCE
END_CONFIGURATION
"""


class OpenPlc:
    """The peer's own script on the same edits; `why` says why it is not measured, if it is not."""

    def __init__(self, peers: Path | None) -> None:
        self.folder = (peers or Path("/nowhere")) / "openplc/webserver"
        self.script = self.folder / "scripts/compile_program.sh"
        self.took_ms: list[float] = []
        self.why = ""
        if not self.script.exists():
            self.why = "PEERS has no openplc/webserver/scripts/compile_program.sh"
        elif not (self.folder / "iec2c").exists():
            self.why = f"{self.folder}/iec2c: its installer has not built it"

    def edit(self, number: int) -> None:
        """Milliseconds that it takes after an edit."""
        if self.why:
            return
        program = self.folder / "st_files/mw_bench.st"
        program.write_text(source(number) + _CONFIGURATION)
        try:
            start = time.perf_counter()
            done = subprocess.run(
                ["bash", str(self.script), program.name],
                cwd=self.folder, capture_output=True, text=True, timeout=600,
            )  # fmt: skip
            took = (time.perf_counter() - start) * 1000
        finally:
            program.unlink(missing_ok=True)
        if done.returncode != 0:
            words = (done.stdout + done.stderr).strip().splitlines()
            self.why = f"its script failed: {words[-1] if words else ''}"
            return
        self.took_ms.append(took)

    def report(self, ours_ms: list[float]) -> dict[str, Any]:
        """Its figures, and how many times faster ours is: of the medians, and the lower 95 % bound of the pairs."""
        if self.why:
            return {"openplc": "not measured", "why": self.why}
        ratios = [theirs / ours for theirs, ours in zip(self.took_ms, ours_ms, strict=True)]
        middle, upper = bound([-ratio for ratio in ratios])
        return {
            "openplc_ms": round(statistics.median(self.took_ms)),
            "openplc_shortest_ms": round(min(self.took_ms)),
            "times_faster": round(-middle, 1),
            "times_faster_lower_95": round(-upper, 1),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peers", type=Path, help="folder of peers")
    chosen = parser.parse_args()
    begun = machine()
    running_ms, ended_ms, missed = [], [], 0
    peer = OpenPlc(chosen.peers)
    with tempfile.TemporaryDirectory(prefix="mw-bench-") as cache, controller(source(0)) as running:
        installed = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        verb = [
            sys.executable,
            "-m",
            "industrial.cli",
            "ctl",
            "change",
            "--project",
            str(running.folder),
        ]
        subprocess.run(verb, cwd=ROOT, env=installed, stdout=subprocess.DEVNULL, check=True)
        memory = SharedMemory(Paths.of_project(running.folder).shm)
        symbols = json.loads((Paths.of_project(running.folder).active / "symbols.json").read_text())
        mark = Variables(symbols["symbols"]).find("Main.mark")
        for edit in range(1, chosen.rounds + 1):
            (running.folder / "src/main.st").write_text(source(edit))
            overruns = memory.tasks()[0].overruns
            start = time.perf_counter()
            command = subprocess.Popen(
                verb, cwd=ROOT, env=installed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            while True:
                outputs = memory.snapshot().outputs
                if mark.decode(outputs[mark.offset : mark.offset + 2]) == edit:
                    break
                if time.perf_counter() - start > 120:
                    raise RuntimeError("the new program does not run")
                time.sleep(0.002)
            running_ms.append((time.perf_counter() - start) * 1000)
            if command.wait(120) != 0:
                raise RuntimeError(command.stdout.read() if command.stdout else "refused")
            ended_ms.append((time.perf_counter() - start) * 1000)
            missed += memory.tasks()[0].overruns - overruns
            # By turns: what else the machine does meets both.
            peer.edit(edit)
    ended = machine()
    print(
        json.dumps(
            {
                "lines": source(0).count("\n"), "rounds": chosen.rounds,
                "edit_to_running_ms": round(statistics.median(running_ms)),
                "longest_ms": round(max(running_ms)), "command_ms": round(statistics.median(ended_ms)),
                "cycles_missed": missed,
                **peer.report(running_ms),
                "steal_s": round(ended["steal_s"] - begun["steal_s"], 2), "load": ended["load"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
