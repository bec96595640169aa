"""`python -m tests.bench.hbal FILE.data [--peer] [--moves]`: balance Ganeti's text data by hbal's score.

The last line is JSON: `score` and `moves` of the plan; `seconds` from the opening of the file to
the plan, the compiled code being loaded; `process_seconds` from the start of the process, all
included. `--peer` runs hbal on the file as well (Debian's ganeti-htools) and adds its figures.

Rules, score and rules for stopping are hbal's as its manual gives them, default options. Not
modelled, and refused: location tags, exclusive storage, machines that are yet to come, several
node groups.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .data import Cluster, FileError, read
from .plan import Step, balance, warm

PEER_SECONDS = 1800


def _age() -> float:
    """Seconds since this process began."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def hbal(path: Path) -> dict[str, float]:
    """hbal's own score, moves and seconds for a file. Raises `RuntimeError` when it says neither."""
    begun = time.perf_counter()
    said = subprocess.run(  # a file that the caller named, no shell
        [shutil.which("hbal") or "hbal", "-t", str(path)],
        capture_output=True, text=True, timeout=PEER_SECONDS, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    scored = re.search(r"score improved from \S+ to (\S+)", said.stdout) or re.search(
        r"[Ii]nitial score:? ([\d.e-]+)", said.stdout
    )
    if said.returncode or not scored:
        raise RuntimeError(f"hbal ended with {said.returncode}: {said.stderr.strip()}")
    length = re.search(r"Solution length=(\d+)", said.stdout)
    return {
        "hbal_score": float(scored[1]),
        "hbal_moves": int(length[1]) if length else 0,
        "hbal_seconds": round(seconds, 3),
    }


def _line(cluster: Cluster, number: int, step: Step, before: tuple[int, int]) -> str:
    def pair(nodes: tuple[int, int]) -> str:
        return ":".join(cluster.nodes[node] for node in nodes if node >= 0)

    after = pair((step.primary, step.secondary))
    return (
        f"{number:4d}. {cluster.instances[step.machine]} {pair(before)} => {after} {step.score:.8f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.hbal", description=__doc__)
    parser.add_argument("file", type=Path, help="Ganeti's text data, as of `hscan` or `hbal -S`")
    parser.add_argument("--peer", action="store_true", help="run hbal on the file as well")
    parser.add_argument("--moves", action="store_true", help="print every move")
    asked = parser.parse_args()
    if asked.peer and not shutil.which("hbal"):
        parser.error("--peer: there is no hbal; it is in Debian's package ganeti-htools")
    try:
        warm(read(asked.file))
        begun = time.perf_counter()
        cluster = read(asked.file)
        plan = balance(cluster)
        seconds = time.perf_counter() - begun
    except (FileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.moves:
        nodes = list(zip(cluster.primary.tolist(), cluster.secondary.tolist(), strict=True))
        for number, step in enumerate(plan.steps, 1):
            print(_line(cluster, number, step, nodes[step.machine]))
            nodes[step.machine] = (step.primary, step.secondary)
    figures: dict[str, float] = {
        "score": round(plan.after, 8),
        "moves": len(plan.steps),
        "seconds": round(seconds, 4),
        "initial": round(plan.before, 8),
        "process_seconds": round(_age(), 3),
    }
    if asked.peer:
        try:
            figures |= hbal(asked.file)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        figures["times_faster"] = round(figures["hbal_seconds"] / seconds, 1)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
