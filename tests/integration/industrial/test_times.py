"""The scan process and time: its grid, what a scan sees of the clock, a machine that stood still, a wall clock that is set."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from math import gcd
from pathlib import Path

import pytest

from industrial.runtime.shm import EventKind, SharedMemory, State
from tests.support.engine import Engine, engine
from tests.support.vplc import until

#: Two tasks note of each scan what they saw: `now` before and after some work, and the flags, in a ring of 64.
CLOCKED = r"""
#include "vplc_abi.h"
#include <string.h>
static void note(vplc_ctx *c, unsigned at) {
    uint64_t row[5] = {c->scan, c->now_ns, 0, (uint64_t)c->wall_ns, c->flags};
    volatile uint32_t n = 0;
    while (n < 20000) n++;
    row[2] = c->now_ns + (row[3] != (uint64_t)c->wall_ns);
    memcpy(c->arena + at + 40 * (c->scan % 64), row, 40);
    if (c->flags & 4) c->arena[8]++;
}
static void fast(vplc_ctx *c) { note(c, 64); }
static void slow(vplc_ctx *c) { note(c, 64 + 2560); }
static void init(vplc_ctx *c, int warm) { (void)c; (void)warm; }
static const vplc_task tasks[] = {{"fast", 10000000, 1, 0, fast}, {"slow", 15000000, 5, 0, slow}};
const vplc_program vplc_program_v1 = {VPLC_ABI_VERSION, "clocked", "1", {1}, 8192, 0, 0, 0, 0, tasks, 2, init};
"""
FIRST, TRUSTED, STOOD_STILL = 1, 2, 4


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Engine]:
    with engine(tmp_path) as one:
        yield one


def rows(shm: SharedMemory, task: int) -> list[tuple[int, ...]]:
    """What the last scans of a task noted: number, now, now again, wall, flags."""
    arena = shm.snapshot(arena=True).arena
    found = [struct.unpack_from("<5Q", arena, 64 + 2560 * task + 40 * n) for n in range(64)]
    return sorted(row for row in found if row[1])


def scans(shm: SharedMemory, task: int = 0) -> int:
    return shm.tasks()[task].scans if shm.tasks() else 0


def kinds(shm: SharedMemory) -> list[EventKind]:
    return [row.kind for row in shm.events()]


def test_time_is_frozen_for_a_scan_and_tasks_keep_to_their_grid(made: Engine) -> None:
    made.install("p", CLOCKED)
    shm = made.start()
    until(lambda: scans(shm, 1) > 40, "scans")
    grids = []
    for task, interval in enumerate((10_000_000, 15_000_000)):
        found = rows(shm, task)
        assert all(before == after for _, before, after, _, _ in found)
        assert len({row[0] for row in found}) == len(found)
        cycle = shm.tasks()[task]
        # A scan for each cycle of the grid that was not missed, however late some of them began.
        span = (found[-1][1] - found[0][1]) / interval
        numbers = found[-1][0] - found[0][0]
        assert span + 1 >= numbers >= span - cycle.overruns - 1
        grids.append(interval)
    assert gcd(*grids) == 5_000_000
    shm.close()


def test_a_process_that_stood_still_is_an_event_its_cycles_are_counted_and_no_watchdog_fires(
    made: Engine,
) -> None:
    made.install("p", CLOCKED)
    shm = made.start()
    until(lambda: scans(shm) > 10, "scans")
    before, gaps = shm.tasks()[0], shm.clock.gaps
    assert made.process is not None
    made.process.send_signal(signal.SIGSTOP)
    # Stopped for sure, wherever it was: only then its time is measured.
    until(lambda: _state_of(made.process.pid) == "T", "it stands still")  # type: ignore[union-attr]
    time.sleep(0.8)
    made.process.send_signal(signal.SIGCONT)
    until(lambda: shm.clock.gaps > gaps, "the gap")
    until(lambda: scans(shm) > before.scans + 20, "it goes on")
    assert EventKind.GAP in kinds(shm)
    assert shm.clock.last_gap_ns >= 250_000_000
    after = shm.tasks()[0]
    skipped = after.gaps_skipped - before.gaps_skipped
    assert skipped >= 25, "cycles of a quarter of a second and more"
    assert after.overruns - before.overruns >= skipped
    # None of them is made up for, and the next scan was told.
    assert shm.snapshot(arena=True).arena[8] >= 1
    assert shm.state is State.RUN
    assert not shm.faults()
    assert EventKind.FAULT not in kinds(shm)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


#: The wall clock of the process goes by what a file says; its monotonic one is the machine's.
SET_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timex.h>
#include <time.h>
static volatile long long *ahead;
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("AHEAD"), O_RDONLY);
    ahead = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(which, at);
    if (which == CLOCK_REALTIME) at->tv_sec += *ahead;
    return done;
}
int adjtimex(struct timex *about) { about->status = 0; return TIME_OK; }
"""


def test_a_wall_clock_that_is_set_is_an_event_and_not_trusted_and_moves_no_cycle(
    made: Engine,
) -> None:
    folder = made.folder
    (folder / "clock.c").write_text(SET_CLOCK)
    library, ahead = folder / "clock.so", folder / "ahead"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "clock.c"), "-ldl"],
        check=True,
    )
    ahead.write_bytes(struct.pack("<q", 0))
    made.environment |= {"LD_PRELOAD": str(library), "AHEAD": str(ahead)}
    made.install("p", CLOCKED)
    shm = made.start()
    until(lambda: scans(shm) > 10 and shm.clock.trusted, "a trusted clock")
    until(lambda: rows(shm, 0)[-1][4] & TRUSTED, "the program is told")
    for step in (7200, -3600):
        steps, before = shm.clock.steps, scans(shm)
        with ahead.open("r+b") as file:
            (now,) = struct.unpack("<q", file.read(8))
            file.seek(0)
            file.write(struct.pack("<q", now + step))
        until(lambda steps=steps: shm.clock.steps > steps, "the step")  # type: ignore[misc]
        assert abs(shm.clock.last_step_ns / 1e9 - step) < 1
        assert not shm.clock.trusted
        until(lambda before=before: scans(shm) > before + 30, "it scans on")  # type: ignore[misc]
        newest = rows(shm, 0)
        assert not newest[-1][4] & TRUSTED
        times = [row[1] for row in newest]
        assert times == sorted(times), "the program's own time goes on"
        assert abs(newest[-1][3] / 1e9 - time.time() - now - step) < 60, "the new wall clock"
    assert kinds(shm).count(EventKind.CLOCK_STEP) == 2
    assert EventKind.CLOCK_TRUST in kinds(shm)
    assert not shm.faults()
    until(lambda: shm.clock.trusted, "trusted again after ten seconds")


def test_tasks_are_threads_of_real_time_priority_in_their_order_where_that_is_granted(
    made: Engine,
) -> None:
    made.install("p", CLOCKED)
    shm = made.start()
    until(lambda: scans(shm, 1) > 3, "scans")
    assert made.process is not None
    threads = sorted(int(path.name) for path in Path(f"/proc/{made.process.pid}/task").iterdir())
    ranks = [
        os.sched_getparam(tid).sched_priority
        for tid in threads
        if os.sched_getscheduler(tid) & 0xFF == os.SCHED_FIFO
    ]
    if not shm.fifo:
        assert not ranks
        pytest.skip("real-time priority is not granted here")
    # The dispatcher goes before the fast task, and that before the slow one; the first thread has none.
    assert len(ranks) == 3
    assert sorted(ranks)[0] < sorted(ranks)[1] < sorted(ranks)[2]
    assert os.sched_getscheduler(made.process.pid) != os.SCHED_FIFO
    maps = Path(f"/proc/{made.process.pid}/status").read_text()
    (kib,) = re.findall(r"VmData:\s+(\d+) kB", maps)
    assert int(kib) < 64 * 1024, "small stacks"


def test_the_threads_of_the_scan_do_nothing_but_scan_and_wait(made: Engine, tmp_path: Path) -> None:
    """Seen from outside, for a second: no allocation, no file, no lock that had to be waited for by the kernel's leave."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    made.install("p", CLOCKED, engine__conf="retain_period_ms 100\n")
    shm = made.start()
    until(lambda: scans(shm, 1) > 20, "scans")
    assert made.process is not None
    out = tmp_path / "calls"
    # The process's first thread obeys orders and saves; all others are the dispatcher's and the tasks'.
    threads = sorted(int(path.name) for path in Path(f"/proc/{made.process.pid}/task").iterdir())
    assert len(threads) == 4
    others = [word for tid in threads if tid != made.process.pid for word in ("-p", str(tid))]
    with subprocess.Popen(
        [strace, "-o", str(out), *others], stderr=subprocess.PIPE, text=True
    ) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if "attached" not in line:
            tracer.wait(30)
            pytest.skip(f"this process may not be watched: {line.strip()}")
        before = scans(shm)
        with contextlib.suppress(AssertionError):
            until(lambda: scans(shm) > before + 100, "a hundred scans")
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=60)
    calls = Counter(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?: resumed>|\()", out.read_text(), re.M))
    assert set(calls) <= {"clock_nanosleep", "futex", "restart_syscall"}, calls
    assert calls["clock_nanosleep"] + calls["futex"] > 100
