"""What outlives a scan process: retained variables, other layouts, kinds of start, and starts that do not last."""

from __future__ import annotations

import errno
import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from industrial.runtime.carry import plan
from industrial.runtime.shm import (
    ARENA_AT,
    Command,
    EventKind,
    Retained,
    SharedMemory,
    Start,
    State,
)
from tests.support.disk import NoDisk, disk
from tests.support.engine import Engine, engine, with_powercut
from tests.support.vplc import until

#: Two retained numbers far from each other that are always alike, one that is not retained, and what they were at the first scan.
COUNTING = r"""
#include "vplc_abi.h"
#include <string.h>
static void run(vplc_ctx *c) {
    uint64_t n, plain;
    memcpy(&n, c->arena + A, 8);
    if (c->flags & 1) { memcpy(c->arena + 64, c->arena + A, 8); memcpy(c->arena + 72, c->arena + B, 8); memcpy(c->arena + 80, c->arena + 48, 8); }
    n++;
    memcpy(c->arena + A, &n, 8); memcpy(c->arena + B, &n, 8);
    memcpy(&plain, c->arena + 48, 8); plain++; memcpy(c->arena + 48, &plain, 8);
    c->out[0] = 9; c->mem[3] = 4;
}
static void init(vplc_ctx *c, int warm) { (void)warm; uint64_t n = 1000; memcpy(c->arena + A, &n, 8); memcpy(c->arena + B, &n, 8); }
static const vplc_task tasks[] = {{"main", 2000000, 1, 0, run}};
static const vplc_range retain[] = {{A, 8}, {B, SIZE}};
const vplc_program vplc_program_v1 = {VPLC_ABI_VERSION, "counting", "1", {LAYOUT}, ARENA, retain, 2, 0, 0, tasks, 1, init};
"""
FAST = "retain_period_ms 100\n"


def counting(*, a: int = 16, b: int = 32, layout: int = 1, size: int = 8, arena: int = 8192) -> str:
    found = COUNTING.replace("LAYOUT", str(layout)).replace("SIZE", str(size))
    return found.replace("ARENA", str(arena)).replace("A,", f"{a},").replace("+ A", f"+ {a}").replace("+ B", f"+ {b}").replace("{B,", f"{{{b},")  # fmt: skip


def numbers(shm: SharedMemory, a: int = 16) -> tuple[int, tuple[int, int, int]]:
    """The number now; and at the first scan: both retained ones, and the plain one."""
    arena = shm.snapshot(arena=True).arena
    return struct.unpack_from("<Q", arena, a)[0], struct.unpack_from("<3Q", arena, 64)


def scanned(shm: SharedMemory, n: int = 0) -> None:
    until(lambda: shm.tasks() and shm.tasks()[0].scans > n, "scans")


def saved_after_now(shm: SharedMemory) -> int:
    """A number that is on the disk."""
    value, _ = numbers(shm)
    saves = shm.retain.saves
    # The one under way may have begun before; the next one has not.
    until(lambda: shm.retain.saves >= saves + 2, "two saves")
    return value


def _killed(
    made: Engine,
    rounds: int,
    seed: int,
    *,
    power: bool = False,
    cut: Callable[[], None] | None = None,
) -> None:
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    shm = made.start()
    for round_ in range(rounds):
        scanned(shm)
        least = saved_after_now(shm)
        time.sleep(chance.random() * 0.12)
        if power:
            made.cut_power(chance)
        else:
            made.kill()
        if cut is not None:
            cut()
        most = struct.unpack_from("<Q", shm._map, ARENA_AT + 16)[0]
        shm.close()
        shm = made.start()
        scanned(shm)
        assert shm.retain.result is Retained.KEPT, round_
        assert shm.start_kind is Start.WARM
        _, (first, second, plain) = numbers(shm)
        assert first == second, f"round {round_}: two scans in one file"
        assert least <= first <= most, f"round {round_}"
        assert plain == 0


def test_retained_values_survive_being_killed_at_any_moment(tmp_path: Path) -> None:
    with engine(tmp_path, "--crash-limit", "0") as made:
        made.install("p", counting(), engine__conf=FAST)
        _killed(made, 30, 1)


@pytest.mark.full
def test_retained_values_survive_a_thousand_kills(tmp_path: Path) -> None:
    with engine(tmp_path, "--crash-limit", "0") as made:
        made.install("p", counting(), engine__conf=FAST)
        _killed(made, 1000, 2)


def _cut(folder: Path, rounds: int, seed: int) -> None:
    with engine(folder, "--crash-limit", "0") as made:
        made.install("p", counting(), engine__conf=FAST)
        with_powercut(made)
        _killed(made, rounds, seed, power=True)


def test_retained_values_survive_the_loss_of_what_was_not_synchronised(tmp_path: Path) -> None:
    _cut(tmp_path, 6, 3)


@pytest.mark.full
def test_retained_values_survive_twenty_power_cuts(tmp_path: Path) -> None:
    _cut(tmp_path, 20, 4)


def _machines_cut(folder: Path, rounds: int, seed: int) -> None:
    """The scan's folder on a file system of its own, with program, links and memory; each cut goes through its recovery."""
    try:
        with disk(folder) as own, engine(own.folder / "vplc", "--crash-limit", "0") as made:
            made.install("p", counting(), engine__conf=FAST)
            os.sync()
            _killed(made, rounds, seed, cut=own.cut)
            made.stop()
    except NoDisk as why:
        pytest.skip(str(why))


def test_retained_values_survive_power_cuts_of_their_disk(tmp_path: Path) -> None:
    _machines_cut(tmp_path, 3, 5)


@pytest.mark.full
def test_retained_values_survive_twenty_power_cuts_of_their_disk(tmp_path: Path) -> None:
    _machines_cut(tmp_path, 20, 6)


def _symbols(layout: int, a: int, b: int, kind: str = "ULINT") -> dict[str, Any]:
    def row(path: str, offset: int, what: str) -> dict[str, Any]:
        return {"path": path, "type": what, "area": "arena", "offset": offset, "bit": None, "size": 8, "dims": None, "retain": True}  # fmt: skip

    return {
        "layout_hash": bytes([layout]).ljust(32, b"\0").hex(),
        "tasks": [],
        "symbols": [row("Main.a", a, "ULINT"), row("Main.b", b, kind)],
    }


def test_another_layout_takes_the_values_by_name_and_type_and_tells_what_it_lost(
    tmp_path: Path,
) -> None:
    with engine(tmp_path) as made:
        made.install("one", counting(), engine__conf=FAST)
        shm = made.start()
        scanned(shm)
        kept = saved_after_now(shm)
        made.stop()
        # Both numbers lie elsewhere, and one of them is of another type.
        moved = plan(_symbols(1, 16, 32), _symbols(2, 96, 24, "LREAL"))
        assert moved.lost == ["Main.b was ULINT, is LREAL"]
        made.install(
            "two", counting(a=96, b=24, layout=2), engine__conf=FAST, carry__bin=moved.data
        )
        made.point("two")
        shm = made.start()
        scanned(shm)
        assert shm.retain.result is Retained.MIGRATED
        _, (first, second, _) = numbers(shm, 96)
        assert first >= kept
        assert second == 1000, "its initial value"
        made.stop()
        # Without a plan nothing is guessed: initial values, an event, and the file stays to be looked at.
        made.install("three", counting(layout=3), engine__conf=FAST)
        made.point("three")
        shm = made.start()
        scanned(shm)
        assert (shm.retain.result, shm.start_kind) == (Retained.LOST, Start.COLD)
        assert EventKind.RETAIN_LOST in [row.kind for row in shm.events()]
        assert numbers(shm)[1][:2] == (1000, 1000)
        assert (tmp_path / "retain.bin.lost").exists()


@pytest.mark.parametrize("damage", ["byte", "cut", "empty"])
def test_a_damaged_file_is_never_half_taken_and_the_one_before_is(
    tmp_path: Path, damage: str
) -> None:
    with engine(tmp_path) as made:
        made.install("p", counting(), engine__conf=FAST)
        shm = made.start()
        scanned(shm)
        kept = saved_after_now(shm)
        made.stop()
        for name in ("retain.bin", "retain.bin.old"):
            path = tmp_path / name
            data = bytearray(path.read_bytes())
            data[-9] ^= 4
            path.write_bytes({"byte": bytes(data), "cut": bytes(data[:-4]), "empty": b""}[damage])
            shm = made.start()
            scanned(shm)
            if name == "retain.bin":
                assert (shm.retain.result, shm.start_kind) == (Retained.KEPT, Start.WARM)
                _, (first, second, _) = numbers(shm)
                assert first == second >= kept
                made.kill()
                path.write_bytes(b"spoilt")
        assert (shm.retain.result, shm.start_kind) == (Retained.LOST, Start.COLD)
        assert numbers(shm)[1] == (1000, 1000, 0)


def test_a_save_that_fails_is_told_and_what_was_saved_stays(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counting(), engine__conf=FAST)
        shm = made.start()
        scanned(shm)
        kept = saved_after_now(shm)
        # A folder is where the new file should come into being.
        (tmp_path / "retain.bin.new").unlink(missing_ok=True)
        until(lambda: _blocked(tmp_path / "retain.bin.new"), "the obstacle")
        until(lambda: shm.retain.failed > 1, "saves that fail")
        assert shm.retain.wrong == errno.EISDIR
        assert [row.kind for row in shm.events()].count(EventKind.RETAIN_FAILED) == 1
        made.kill()
        (tmp_path / "retain.bin.new").rmdir()
        shm = made.start()
        scanned(shm)
        assert numbers(shm)[1][0] >= kept
        until(lambda: shm.retain.saves > 0, "a save")
        assert shm.retain.wrong == 0


def _blocked(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def test_too_much_to_retain_is_refused_and_not_cut(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counting(size=(256 << 10) + 1, arena=300_000))
        shm = made.start()
        until(lambda: shm.state is State.FAULT, "the refusal")
        assert "retained variables = 262153 bytes: at most 262144" in shm.refusal
        assert shm.tasks() == []


@pytest.mark.parametrize(
    ("mode", "kind", "retained", "plain"),
    [(1, Start.COLD, False, False), (2, Start.WARM, True, False), (3, Start.HOT, True, True)],
)
def test_the_table_of_starts(
    tmp_path: Path, mode: int, kind: Start, *, retained: bool, plain: bool
) -> None:
    with engine(tmp_path) as made:
        made.install("p", counting(), engine__conf=f"start_mode {mode}\n{FAST}")
        shm = made.start()
        scanned(shm, 20)
        assert shm.start_kind is Start.COLD, "nothing was saved yet"
        made.stop()
        shm = made.start()
        scanned(shm)
        assert shm.start_kind is kind
        _, (first, second, other) = numbers(shm)
        assert first == second
        assert (first > 1000) is retained
        assert (other > 0) is plain
        # Whatever the mode, an order to start cold does so, once.
        assert not shm.order(Command.COLD)
        scanned(shm)
        assert shm.start_kind is Start.COLD
        assert numbers(shm)[1] == (1000, 1000, 0)


def test_a_hot_start_of_other_code_is_a_warm_one(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", counting(), engine__conf=f"start_mode 3\n{FAST}")
        shm = made.start()
        scanned(shm, 20)
        made.stop()
        other = counting().replace("c->out[0] = 9", "c->out[0] = 8")
        made.install("q", other, engine__conf=f"start_mode 3\n{FAST}")
        made.point("q")
        shm = made.start()
        scanned(shm)
        assert (shm.start_kind, shm.retain.result) == (Start.WARM, Retained.KEPT)
        _, (first, _, plain) = numbers(shm)
        assert first > 1000
        assert plain == 0


def test_starts_that_do_not_last_end_in_stop_until_a_person_says_run(tmp_path: Path) -> None:
    with engine(tmp_path, "--crash-limit", "3") as made:
        made.install("p", counting(), engine__conf=FAST)
        for before in range(3):
            shm = made.start()
            scanned(shm)
            assert shm.crashes == before
            made.kill()
        shm = made.start()
        until(lambda: shm.state is State.STOP, "the stop")
        assert shm.crashes == 3
        assert EventKind.CRASH_LOOP in [row.kind for row in shm.events()]
        assert shm.snapshot().outputs[0] == 0
        assert shm.tasks()[0].scans == 0
        assert not shm.order(Command.RUN)
        scanned(shm)
        assert shm.state is State.RUN
        # An end in order is none that counts.
        made.stop()
        assert made.start().crashes == 0
