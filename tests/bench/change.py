"""Edit to running: `python -m tests.bench.change` prints JSON, milliseconds.

A program of about 200 lines runs; a line is edited; `vplc ctl change` compiles it (tcc) and has it taken over between
two scans. Measured from the start of the command until the new program has scanned, and the command's own end. Wanted:
ten times faster than OpenPLC's path through g++.

`--peers DIR`: DIR/openplc is a tree of OpenPLC Runtime 3 that its own installer has built. The same program with the
same edits goes through its own compile_program.sh (iec2c, g++, link); that its runtime has to be stopped and started
anew afterwards is not counted, so the peer is measured as too fast. Without such a tree it is "not measured".
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from industrial.runtime.paths import Paths
from industrial.runtime.shm import SharedMemory
from industrial.runtime.variables import Variables
from tests.bench.controller import ROOT, controller, machine

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


def openplc(peers: Path | None, rounds: int) -> dict[str, Any]:
    """Milliseconds that the peer's own script takes after an edit; or that it was not measured, and why."""
    folder = peers / "openplc/webserver" if peers is not None else None
    script = folder / "scripts/compile_program.sh" if folder is not None else None
    if folder is None or script is None or not script.exists():
        return {"openplc": "not measured", "why": "PEERS has no openplc/webserver/scripts/compile_program.sh"}  # fmt: skip
    if not (folder / "iec2c").exists():
        return {"openplc": "not measured", "why": f"{folder}/iec2c: its installer has not built it"}
    took = []
    program = folder / "st_files/mw_bench.st"
    try:
        for edit in range(1, rounds + 1):
            program.write_text(source(edit) + _CONFIGURATION)
            start = time.perf_counter()
            done = subprocess.run(
                ["bash", str(script), program.name], cwd=folder, capture_output=True, text=True, timeout=600,
            )  # fmt: skip
            if done.returncode != 0:
                words = (done.stdout + done.stderr).strip().splitlines()
                return {"openplc": "not measured", "why": f"its script failed: {words[-1] if words else ''}"}  # fmt: skip
            took.append((time.perf_counter() - start) * 1000)
    finally:
        program.unlink(missing_ok=True)
    return {"openplc": round(statistics.median(took)), "openplc_rounds": rounds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peers", type=Path, help="folder of peers")
    chosen = parser.parse_args()
    begun = machine()
    running_ms, ended_ms, missed = [], [], 0
    with controller(source(0)) as running:
        memory = SharedMemory(Paths.of_project(running.folder).shm)
        symbols = json.loads((Paths.of_project(running.folder).active / "symbols.json").read_text())
        mark = Variables(symbols["symbols"]).find("Main.mark")
        for edit in range(1, chosen.rounds + 1):
            (running.folder / "src/main.st").write_text(source(edit))
            overruns = memory.tasks()[0].overruns
            start = time.perf_counter()
            command = subprocess.Popen(
                [sys.executable, "-m", "industrial.cli", "ctl", "change", "--project", str(running.folder)],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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
    peer = openplc(chosen.peers, min(3, chosen.rounds))
    if isinstance(peer["openplc"], int):
        peer["times_faster"] = round(peer["openplc"] / statistics.median(running_ms), 1)
    ended = machine()
    print(
        json.dumps(
            {
                "lines": source(0).count("\n"), "rounds": chosen.rounds,
                "edit_to_running_ms": round(statistics.median(running_ms)),
                "longest_ms": round(max(running_ms)), "command_ms": round(statistics.median(ended_ms)),
                "cycles_missed": missed,
                **peer,
                "steal_s": round(ended["steal_s"] - begun["steal_s"], 2), "load": ended["load"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
