"""What the images were: a reader that comes late gets every moment, one that comes too late the last, never a mixture."""

from __future__ import annotations

import itertools
import os
import signal
import struct
import time
from pathlib import Path

import pytest

from industrial.runtime.history import History, Moment
from industrial.runtime.shm import Command, SharedMemory
from tests.support.engine import engine
from tests.support.vplc import until

#: A task of 100 ms and one of 10 ms count; the first fills WIDE words with its number, and writes it at the arena's end.
COUNTS = r"""
#include "vplc_abi.h"
#include <string.h>
static void slow(vplc_ctx *c) {
    uint32_t n; memcpy(&n, c->arena, 4); n++; memcpy(c->arena, &n, 4);
    for (unsigned i = 0; i < WIDE; i++) memcpy(c->arena + 1024 + 4 * i, &n, 4);
    memcpy(c->arena + ARENA - 4, &n, 4);
    memcpy(c->out, &n, 4);
}
static void fast(vplc_ctx *c) { uint32_t n; memcpy(&n, c->arena + 64, 4); n++; memcpy(c->arena + 64, &n, 4); }
static void init(vplc_ctx *c, int warm) { (void)warm; c->mem[10] = 7; }
static const char *const files[] = {"src/main.st"};
static const vplc_task tasks[] = {{"slow", SLOW, 5, 0, slow}, {"fast", 10000000, 1, 0, fast}};
const vplc_program vplc_program_v1 = {VPLC_ABI_VERSION, "p", "1", {LAYOUT}, ARENA, 0, 0, files, 1, tasks, 2, init};
"""


def counts(*, wide: int = 0, arena: int = 4096, slow_ns: int = 100_000_000, layout: int = 1) -> str:
    """The source with its numbers."""
    words = {"WIDE": wide, "ARENA": arena, "SLOW": slow_ns, "LAYOUT": layout}
    source = COUNTS
    for word, number in words.items():
        source = source.replace(word, str(number))
    return source


def word(moment: Moment, at: int = 0) -> int:
    """An UDINT of the arena."""
    return int(struct.unpack_from("<I", moment.images.arena, at)[0])


def scans(shm: SharedMemory) -> int:
    tasks = shm.tasks()
    return tasks[0].scans if tasks else 0


def test_who_comes_late_gets_every_scan_of_a_slow_task(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counts(wide=500))
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        history = History(shm)
        (first,) = history.take()
        assert first.images.memory[10] == 7
        assert first.layout == b"\1\0\0\0"
        seen = word(first)
        until(lambda: scans(shm) > seen + 15, "a second and a half without a look")
        late = list(history.take())
        assert history.lost == 0
        numbers = sorted({word(moment) for moment in late})
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] in (seen, seen + 1)
        assert len(numbers) >= 14
        for moment in late:
            count = word(moment)
            assert moment.images.outputs[:4] == struct.pack("<I", count)
            assert moment.images.arena[1024:3024] == struct.pack("<I", count) * 500, "one scan"
            assert word(moment, 4092) == count
        assert [moment.wall_ns for moment in late] == sorted(moment.wall_ns for moment in late)
        assert abs(late[-1].wall_ns - time.time_ns()) < 600e9
        # What the fast task counted is told with it, and not much more often than ten times a second.
        assert len(late) <= 2 * len(numbers) + 2
        assert list(history.take())[-1:] != late[-1:]


def test_without_a_slow_task_ten_times_a_second(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counts(slow_ns=10_000_000))
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        history = History(shm)
        (first,) = history.take()
        until(lambda: scans(shm) > word(first) + 205, "205 scans")
        late = list(history.take())
        steps = [word(b) - word(a) for a, b in itertools.pairwise(late)]
        # Each tenth scan, give or take one that began late; fewer where scans were skipped.
        assert max(steps) in (10, 11)


def test_too_late_is_the_last_moment_and_not_a_mixture(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        # 200 kB a scan: the ring holds two.
        made.install("p", counts(wide=50_000, arena=260_000))
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        history = History(shm)
        (first,) = history.take()
        until(lambda: scans(shm) > word(first) + 6, "more than the ring holds")
        (last,) = history.take()
        assert history.lost == 1
        assert word(last) > word(first) + 5
        for _ in range(400):
            for moment in history.take():
                count = word(moment)
                assert moment.images.arena[1024:201_024] == struct.pack("<I", count) * 50_000
                assert word(moment, 259_996) == count
            time.sleep(0.005)


def test_an_arena_longer_than_the_ring_is_told_whole(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counts(wide=250_000, arena=1_040_000))
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        history = History(shm)
        (first,) = history.take()
        until(lambda: scans(shm) > word(first) + 2, "scans")
        for moment in history.take():
            assert moment.images.arena[1024:1_001_024] == struct.pack("<I", word(moment)) * 250_000


def test_another_program_is_told_from_its_start(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counts())
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        history = History(shm)
        list(history.take())
        made.install("q", counts(arena=8192, layout=2))
        assert shm.order(Command.RELOAD) == ""
        until(lambda: scans(shm) > 2, "scans of the other")
        found = list(history.take())
        layouts = [moment.layout[0] for moment in found]
        assert layouts == sorted(layouts)
        assert layouts[-1] == 2
        new = [moment for moment in found if moment.layout[0] == 2]
        assert word(new[0]) == 0, "initial values first"
        assert len(new[-1].images.arena) == 8192


@pytest.mark.parametrize("pause_s", [0.35, 1.2])
def test_a_reader_that_stood_still_misses_nothing(tmp_path: Path, pause_s: float) -> None:
    """The reader in a process of its own, stopped and let go again."""
    with engine(tmp_path) as made:
        made.install("p", counts(wide=1000, arena=8192))
        shm = made.start()
        until(lambda: scans(shm) > 2, "scans")
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                reader = History(SharedMemory(shm._path))
                told = [word(moment) for moment in reader.take()]
                os.write(into, b".")
                while told[-1] < told[0] + 30:
                    told += [word(moment) for moment in reader.take()]
                    time.sleep(0.01)
                numbers = sorted(set(told))
                whole = numbers == list(range(numbers[0], numbers[-1] + 1))
                os.write(into, b"y" if whole and reader.lost == 0 else b"n")
            finally:
                os._exit(0)
        os.read(out, 1)
        for _ in range(2):
            os.kill(child, signal.SIGSTOP)
            time.sleep(pause_s)
            os.kill(child, signal.SIGCONT)
            time.sleep(0.1)
        assert os.read(out, 1) == b"y"
        os.waitpid(child, 0)
        os.close(out)
        os.close(into)
