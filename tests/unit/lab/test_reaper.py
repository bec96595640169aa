"""What a lab host's daemon leaves behind is its first process's child, and is buried as soon as it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from millwright.lab import reaper

#: for what has to happen; nothing is said of how soon
LIMIT_S = 60.0


def begin(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", reaper.__file__, "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    )


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_an_orphan_is_kept_and_buried_and_the_code_is_the_first_ones() -> None:
    # The first one ends while its orphan waits for a line that does not come.
    process = begin("sleep 600 > /dev/null & echo $!; exit 3")
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    # Its end is seen when the pipe's last writer is gone; the orphan is somebody's child by then.
    while parent(orphan) != process.pid:
        assert process.poll() is None
        os.sched_yield()
    os.kill(orphan, signal.SIGKILL)
    assert process.wait(LIMIT_S) == 3
    assert not Path(f"/proc/{orphan}").exists()
    process.stdout.close()


def test_one_that_leaves_nothing_ends_with_it() -> None:
    for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)):
        process = begin(script)
        assert process.wait(LIMIT_S) == code
        assert process.stdout is not None
        process.stdout.close()
