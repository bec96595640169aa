"""The scan process alone, with programs written in C against the ABI."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from industrial.runtime import ensure_engine
from industrial.runtime.shm import SharedMemory
from tests.support.vplc import compile_c, until

#: Two tasks: a fast one that counts at byte 16, a slow one that counts at 24 and does what memory byte 0 orders.
TWO_TASKS = r"""
#include "vplc_abi.h"
#include <string.h>
#include <time.h>
static void count(vplc_ctx *c, unsigned at) { uint32_t n; memcpy(&n, c->arena + at, 4); n++; memcpy(c->arena + at, &n, 4); }
static void fast(vplc_ctx *c) { c->line = 3; count(c, 16); c->out[0]++; }
static void slow(vplc_ctx *c) {
    c->line = 11; c->file = 0;
    count(c, 24);
    c->out[8] = 1;
    if (c->mem[0] == 1) { c->line = 12; c->fault(c, VPLC_FAULT_DIV_ZERO); }
    if (c->mem[0] == 2) { c->line = 13; for (;;) {} }
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    do clock_gettime(CLOCK_MONOTONIC, &b); while ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000 < WORK);
    c->out[8] = 0;
}
static void init(vplc_ctx *c, int warm) { (void)warm; c->mem[10] = 7; }
static const char *const files[] = {"src/main.st"};
static const vplc_task tasks[] = {{"slow", 20000000, 5, SLOW_WATCHDOG, slow}, {"fast", 5000000, 1, 0, fast}};
static const vplc_range retain[] = {{16, 4}};
const vplc_program vplc_program_v1 = {VPLC_ABI_VERSION, "two", "1", {LAYOUT}, 64, retain, 1, files, 1, tasks, 2, init};
"""


def two_tasks(*, layout: int = 1, work_us: int = 0, watchdog_ns: int = 0) -> str:
    """The source with its numbers."""
    source = TWO_TASKS.replace("LAYOUT", str(layout)).replace("WORK", str(work_us))
    return source.replace("SLOW_WATCHDOG", str(watchdog_ns))


class Engine:
    """A scan process in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.environment = dict(os.environ)
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[str] | None = None

    def install(self, name: str, source: str, **beside: str | bytes) -> None:
        """Compile and point the active link at it; `beside` are files of its package."""
        package = self.folder / name
        package.mkdir()
        compile_c(package, source)
        for key, content in beside.items():
            data = content.encode() if isinstance(content, str) else content
            (package / key.replace("__", ".")).write_bytes(data)
        self.point(name)

    def point(self, name: str) -> None:
        """Make an installed one active."""
        fresh = self.folder / ".active"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.folder / name)
        fresh.rename(self.folder / "active")

    def start(self) -> SharedMemory:
        """Start and wait for its memory."""
        path = self.folder / "shm"
        path.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *(str(ensure_engine()), "--shm", str(path)),
                *("--program", str(self.folder / "active/program.so")),
                *("--retain", str(self.folder / "retain.bin"), *self.options),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        until(path.exists, "the shared memory")
        return SharedMemory(path)

    def stop(self) -> str:
        """End it in order; what it said."""
        if self.process is None:
            return ""
        self.process.terminate()
        _, text = self.process.communicate(timeout=60)
        self.process = None
        return text

    def cut_power(self, chance: random.Random) -> None:
        """Kill it, and leave of what is retained what a disk would: see powercut.c, which has to be preloaded."""
        kept = Path(self.environment["POWERCUT"])
        self.kill()
        now = {path.name: path for path in self.folder.glob("retain.bin*")}
        contents = {path.stat().st_ino: path.read_bytes() for path in now.values()}
        names = {name: path.stat().st_ino for name, path in now.items()}
        if chance.random() < 0.5:
            # Or names that nobody synchronised have not reached the disk either.
            rows = [row.split(" ", 1) for row in (kept / "names").read_text().splitlines()]
            names = {name: int(number) for number, name in rows if name.startswith("retain.bin")}
        for path in now.values():
            path.unlink()
        for name, number in names.items():
            durable = kept / str(number)
            if durable.exists():
                data = durable.read_bytes()
            else:
                lost = contents.get(number, b"")
                data = lost[: chance.randrange(len(lost) + 1)]
                data = chance.choice([data, bytes(len(data)), b""])
            (self.folder / name).write_bytes(data)

    def kill(self) -> None:
        """As a crash does it."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=60)
        self.process = None


def with_powercut(made: Engine) -> None:
    """From its next start on, note what a disk would hold."""
    library, kept = made.folder / "powercut.so", made.folder / "kept"
    kept.mkdir()
    source = Path(__file__).parent / "native/powercut.c"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True
    )
    made.environment |= {"LD_PRELOAD": str(library), "POWERCUT": str(kept)}


@contextlib.contextmanager
def engine(folder: Path, *options: str) -> Iterator[Engine]:
    """One that is ended whatever happens."""
    made = Engine(folder, *options)
    try:
        yield made
    finally:
        made.stop()
