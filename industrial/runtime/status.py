"""What a controller says about itself: how it came up, what it retained, its clock, its faults, its journal.

Read from the shared memory alone: `vplc status` shows it with the protocols dead, too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .shm import EVENTS, Event, EventKind, Retained, Role, SharedMemory, State

STATES = {
    State.NO_PROGRAM: "no_program",
    State.RUN: "run",
    State.STOP: "stop",
    State.FAULT: "fault",
    State.WAITING: "wait",
}
#: Of each half of a journal on the disk, in bytes.
JOURNAL_BYTES = 512 << 10


def runtime_report(shm: SharedMemory, package: Path) -> dict[str, Any]:
    """Start, retained values, clock, role: what a person asks after a restart.

    Args:
        package: the active one; beside its program lies what could not be carried over.
    """
    retain, clock = shm.retain, shm.clock
    kept: dict[str, Any] = {
        "result": retain.result.name.lower(),
        "bytes": retain.bytes,
        "saves": retain.saves,
        "age_s": None if retain.age_s is None else round(retain.age_s, 3),
        "failed": retain.failed,
        "error": os.strerror(retain.wrong) if retain.wrong else "",
    }
    if retain.result is Retained.MIGRATED:
        kept["lost"] = _lost(package)
    return {
        "start": shm.start_kind.name.lower(),
        "retain": kept,
        "clock": {
            "trusted": clock.trusted,
            "steps": clock.steps,
            "gaps": clock.gaps,
            "last_step_s": clock.last_step_ns / 1e9,
            "last_gap_s": clock.last_gap_ns / 1e9,
        },
        "crashes": shm.crashes,
        "role": shm.role.name.lower(),
        "epoch": shm.epoch,
        "changes": shm.changes,
        "journal_refused": shm.journal_refused,
    }


def _lost(package: Path) -> list[str]:
    """Why which variables kept no value when the layout changed."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return [str(row) for row in json.loads((package / "carry.json").read_text())["lost"]]
    return []


def full_report(shm: SharedMemory, package: Path, *, events: int = 10) -> dict[str, Any]:
    """The versioned answer of `vplc status`; durations in microseconds."""
    alive = shm.heartbeat_age_s < 1.0
    return {
        "format": 1,
        "alive": alive,
        "state": STATES[shm.state],
        "scan_pid": shm.scan_pid,
        "heartbeat_age_s": round(shm.heartbeat_age_s, 3),
        "fifo": shm.fifo,
        "program": _about(package),
        "tasks": [
            {
                "name": task.name,
                "interval_us": task.interval_ns // 1000,
                "priority": task.priority,
                "scans": task.scans,
                "overruns": task.overruns,
                "gaps_skipped": task.gaps_skipped,
                "scan_us": _spread(task.scan_ns_min, task.scan_ns_sum, task.scan_ns_max, task.scans),
                "late_us": _spread(task.late_ns_min, task.late_ns_sum, task.late_ns_max, task.scans),
            }
            for task in shm.tasks()
        ],
        "faults": [
            {
                "task": row.task,
                "code": row.code,
                "file": row.file,
                "line": row.line,
                "scan": row.scan,
                "time_us": row.now_ns // 1000,
            }
            for row in shm.faults()
        ],
        "forced": len(shm.forces()),
        "refusal": shm.refusal,
        **runtime_report(shm, package),
        "events": [event_row(row) for row in shm.events()[-events:]] if events else [],
    }  # fmt: skip


def _about(package: Path) -> dict[str, str] | None:
    try:
        about = json.loads((package / "about.json").read_text())
        return {key: str(about[key]) for key in ("name", "version", "sha256")}
    except (OSError, ValueError, KeyError):
        return None


def _spread(least: int, total: int, most: int, count: int) -> dict[str, float]:
    mean = total / count if count else 0.0
    return {"min": least / 1e3, "mean": round(mean / 1e3, 3), "max": most / 1e3}


def event_row(row: Event) -> dict[str, Any]:
    """An event for people and programs: time in UTC, what, and a sentence."""
    at = datetime.fromtimestamp(row.wall_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    return {"at": at, "event": row.kind.name.lower(), "text": _sentence(row)}


def _sentence(row: Event) -> str:
    seconds = row.value / 1e9
    match row.kind:
        case EventKind.START:
            return f"the program starts {('', 'cold', 'warm', 'hot')[min(row.arg, 3)]}"
        case EventKind.FAULT:
            return f"task {row.arg} faults with code {row.value}"
        case EventKind.CLOCK_STEP:
            return f"the wall clock was set by {seconds:+.3f} s"
        case EventKind.GAP:
            return f"the machine stood still for {seconds:.3f} s"
        case EventKind.INPUT_TIMEOUT:
            return "the first scan begins without good inputs: their time is over"
        case EventKind.CRASH_LOOP:
            return f"{row.value} starts in a row did not last: stopped until told to run"
        case EventKind.RETAIN_LOST:
            return "retained values are damaged or of another layout: cold start"
        case EventKind.RETAIN_FAILED:
            return f"retained values are not saved: {errno.errorcode.get(row.arg, row.arg)}"
        case EventKind.CLOCK_TRUST:
            return "the wall clock is trusted" if row.arg else "the wall clock is not trusted"
        case EventKind.ROLE:
            return "standby: no device is written" if row.arg == Role.STANDBY else "active"
    return row.kind.name.lower().replace("_", " ")


class Journal:
    """Events and configuration errors as lines of JSON on the disk, the last one megabyte of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scan, self._next = 0, 0
        self._said: dict[str, str] = {}
        #: What a run of the protocols before this one wrote down of the same scan process.
        self._known = {_key(row) for row in read_journal(path, 4 * EVENTS)}

    def note_events(self, shm: SharedMemory) -> None:
        """Write down what the scan process noticed since the last call."""
        if shm.scan_pid != self._scan:
            self._scan, self._next = shm.scan_pid, 0
        found = shm.events(self._next)
        if not found:
            return
        self._next = found[-1].number + 1
        rows = [event_row(row) for row in found]
        self._write([row for row in rows if _key(row) not in self._known])
        self._known.clear()

    def note(self, source: str, text: str) -> None:
        """Write down an error of the protocols or a device when it begins and, with an empty text, when it ends."""
        if self._said.get(source, "") == text:
            return
        over = not text
        self._said[source] = text
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write([{"at": at, "event": "over" if over else "error", "source": source, "text": text or "well again"}])  # fmt: skip

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # A full disk is no reason to stop serving.
        with contextlib.suppress(OSError):
            if self.path.exists() and self.path.stat().st_size > JOURNAL_BYTES:
                self.path.replace(self.path.with_suffix(".old"))
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row.get("at")), str(row.get("event")), str(row.get("text"))


def read_journal(path: Path, most: int) -> list[dict[str, Any]]:
    """The last entries, oldest first; a line cut by a crash is left out."""
    return list(_entries(path))[-most:] if most else []


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for part in (path.with_suffix(".old"), path):
        with contextlib.suppress(OSError):
            for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    yield dict(json.loads(line))
