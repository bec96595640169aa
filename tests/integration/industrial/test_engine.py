"""The scan process by itself: tasks, faults, clocks, and the memory it shares."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from industrial.runtime import shm as twin
from industrial.runtime.build import NATIVE
from industrial.runtime.shm import (
    Area,
    Command,
    EventKind,
    Quality,
    Role,
    SharedMemory,
    ShmError,
    State,
    Write,
)
from tests.support.engine import engine, two_tasks
from tests.support.vplc import until


def _scans(shm: SharedMemory, name: str) -> int:
    return next((task.scans for task in shm.tasks() if task.name == name), 0)


def test_the_python_twin_has_the_offsets_of_the_header(tmp_path: Path) -> None:
    names = {
        "in": twin.IN_AT, "out": twin.OUT_AT, "mem": twin.MEM_AT, "in_stage": twin.STAGE_AT, "journal": twin.JOURNAL_AT,
        "arena": twin.ARENA_AT, "force_seq": twin.FORCES_AT, "trace_seq": twin.TRACED_AT, "trace_head": twin.TRACE_HEAD_AT,
        "trace": twin.TRACE_AT, "tasks": twin.TASKS_AT, "more": twin.MORE_AT, "events": twin.EVENTS_AT,
        "quality_stage": twin.QUALITY_STAGE_AT, "quality": twin.QUALITY_AT, "stamp_stage": twin.STAMP_STAGE_AT,
        "stamp": twin.STAMP_AT, "recorder_head": twin.RECORDER_HEAD_AT, "recorder": twin.RECORDER_AT,
        "fault_arena": twin.FAULT_ARENA_AT, "epoch": twin._EPOCH, "out_scan": twin._OUT_SCAN, "role": twin._ROLE,
        "start_kind": twin._START, "inputs_ready": twin._READY, "clock_trusted": twin._CLOCK, "event_head": twin._EVENT_HEAD,
        "crashes": twin._CRASHES, "retain_saved_ns": twin._SAVED, "command_result": twin._RESULT,
        "journal_refused": twin._REFUSED, "command_why": twin._WHY,
        "retain_failed": twin._RETAIN_FAILED, "program_epoch_ms": twin.PROGRAM_EPOCH_MS, "latched": twin.LATCHED_AT,
        "history_head": twin.HISTORY_HEAD_AT, "past_generation": twin.PAST_GENERATION_AT, "past": twin.PAST_AT, "history": twin.HISTORY_AT,
    }  # fmt: skip
    lines = "".join(f'printf("%zu\\n", offsetof(vplc_shm, {name}));' for name in names)
    source = f'#include <stdio.h>\n#include "vplc_shm.h"\nint main(void) {{ {lines} printf("%zu\\n", sizeof(vplc_shm)); }}'
    (tmp_path / "o.c").write_text(source)
    subprocess.run(["gcc", "-I", str(NATIVE), "-o", str(tmp_path / "o"), str(tmp_path / "o.c")], check=True)  # fmt: skip
    told = subprocess.run([tmp_path / "o"], capture_output=True, text=True, check=True).stdout
    found = [int(line) for line in told.split()]
    assert dict(zip(names, found, strict=False)) == names
    # The header's length is a multiple of 8; the twin maps what it needs of it.
    assert found[-1] >= twin.SIZE > found[-1] - 8


def test_a_fast_task_interrupts_a_slow_one_and_nothing_is_half_published(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks(work_us=8_000))
        shm = made.start()
        until(lambda: _scans(shm, "slow") > 3, "the slow task")
        half = 0
        for _ in range(200):
            half += shm.snapshot().outputs[8]
        assert half == 0, "an output in the middle of a scan was seen"
        # What one task changes is not lost by the other one's publishing.
        images = shm.snapshot(arena=True)
        count = int.from_bytes(images.arena[16:20], "little")
        assert abs(count - _scans(shm, "fast")) < 50
        assert count & 0xFF == images.outputs[0]
        rows = {task.name: task for task in shm.tasks()}
        assert rows["fast"].priority == 1
        assert 0 < rows["fast"].scan_ns_min <= rows["fast"].scan_ns_max
        assert rows["fast"].late_ns_min <= rows["fast"].late_ns_max


@pytest.mark.parametrize(("order", "code", "line"), [(1, 1, 12), (2, 5, 13)])
def test_a_task_that_faults_or_hangs_stops_alone(
    tmp_path: Path, order: int, code: int, line: int
) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks(watchdog_ns=30_000_000))
        shm = made.start()
        until(lambda: _scans(shm, "slow") > 2, "scans")
        shm.write([Write(Area.MEM, 0, 1, order)])
        until(lambda: shm.state is State.FAULT, "the fault")
        (fault,) = shm.faults()
        assert (fault.task, fault.code, fault.line, fault.file) == (
            "slow",
            code,
            line,
            "src/main.st",
        )
        # Its variables at the fault are there to be seen, and are not published.
        seen = int.from_bytes(shm.fault_arena()[24:28], "little")
        assert seen == fault.scan + 1
        assert int.from_bytes(shm.snapshot(arena=True).arena[24:28], "little") == fault.scan
        assert shm.snapshot().outputs[8] == 0
        slow, fast = _scans(shm, "slow"), _scans(shm, "fast")
        until(lambda: _scans(shm, "fast") > fast + 20, "the other task goes on")
        assert _scans(shm, "slow") == slow
        assert EventKind.FAULT in [row.kind for row in shm.events()]


def test_overruns_are_counted_and_skipped(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks(work_us=50_000, watchdog_ns=30_000_000_000))
        shm = made.start()
        until(lambda: _scans(shm, "slow") > 1, "two long scans", 120)
        slow = next(task for task in shm.tasks() if task.name == "slow")
        assert slow.overruns > 0
        # One scan for each cycle that was not missed, and no more: the grid is kept.
        assert slow.scan_ns_max > slow.interval_ns


def test_the_first_scan_waits_for_good_inputs_or_for_its_time(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks(), engine__conf="input_timeout_ms 600000\n")
        shm = made.start()
        until(lambda: shm.state is State.WAITING, "waiting")
        before = shm.heartbeat_age_s
        until(lambda: shm.heartbeat_age_s <= max(before, 0.5), "it lives meanwhile")
        assert _scans(shm, "fast") == 0
        shm.stage_inputs([(0, b"\x05")], quality=[(0, 2, Quality.GOOD)])
        shm.inputs_ready()
        until(lambda: _scans(shm, "fast") > 0, "the first scan")
        assert shm.snapshot().inputs[0] == 5
        word, age = shm.quality(0)
        assert word is Quality.GOOD
        assert age is not None
        assert age < 60
        assert shm.quality(4) == (Quality.UNKNOWN, None)
        assert EventKind.INPUT_TIMEOUT not in [row.kind for row in shm.events()]
    with engine(tmp_path / "late") as made:
        made.install("p", two_tasks(), engine__conf="input_timeout_ms 50\n")
        shm = made.start()
        until(lambda: _scans(shm, "fast") > 0, "a scan without inputs")
        assert EventKind.INPUT_TIMEOUT in [row.kind for row in shm.events()]


def test_a_full_journal_is_the_writers_error_and_another_layouts_writes_are_dropped(
    tmp_path: Path,
) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks())
        shm = made.start()
        until(lambda: _scans(shm, "fast") > 0, "scans")
        assert not shm.order(Command.STOP)
        one = Write(Area.MEM, 100, 1, 1)
        # Nobody takes them while the program stands.
        until(lambda: shm._u32(twin._HEAD) == shm._u32(twin._TAIL), "an empty journal")
        shm.write([one] * twin.JOURNAL)
        with pytest.raises(ShmError, match="journal is full"):
            shm.write([one])
        assert not shm.order(Command.RUN)
        until(lambda: shm.snapshot().memory[100] == 1, "the writes")
        shm.layout = shm.generation - 1
        shm.write([Write(Area.ARENA, 40, 1, 9)])
        until(lambda: shm.journal_refused == 1, "the write of another layout")
        shm.layout = shm.generation
        shm.write([Write(Area.ARENA, 41, 1, 8)])
        until(lambda: shm.snapshot(arena=True).arena[41] == 8, "the write of this layout")
        assert shm.snapshot(arena=True).arena[40] == 0


def test_the_role_is_a_gate_and_every_start_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks())
        shm = made.start()
        until(lambda: shm.out_scan > 3, "scans")
        first = shm.epoch
        assert shm.role is Role.ACTIVE
        assert not shm.order(Command.STANDBY)
        assert (shm.role, shm.epoch) == (Role.STANDBY, first + 1)
        assert not shm.order(Command.ACTIVE)
        made.kill()
        again = made.start()
        until(lambda: again.out_scan > 0, "scans again")
        assert again.epoch > first + 2
