"""What is read from and written to the memory shared with the scan, as people would name it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    NO_PROGRAM = 0
    RUN = 1
    STOP = 2
    FAULT = 3
    #: For good inputs, before the first scan.
    WAITING = 4


class Role(IntEnum):
    ACTIVE = 0
    #: Scans, but no device is written.
    STANDBY = 1


class Start(IntEnum):
    NONE = 0
    COLD = 1
    WARM = 2
    HOT = 3


class Retained(IntEnum):
    NONE = 0
    KEPT = 1
    MIGRATED = 2
    LOST = 3


class EventKind(IntEnum):
    START = 1
    FAULT = 2
    CLOCK_STEP = 3
    GAP = 4
    INPUT_TIMEOUT = 5
    STOP = 6
    RUN = 7
    CHANGE = 8
    CHANGE_REFUSED = 9
    CRASH_LOOP = 10
    RETAIN_LOST = 11
    CLOCK_TRUST = 12
    ROLE = 13
    FORCE_DROPPED = 14
    #: `arg` is the errno.
    RETAIN_FAILED = 15


class Quality(IntEnum):
    """Of a byte of the inputs."""

    UNKNOWN = 0
    GOOD = 1
    BAD = 2


class Command(IntEnum):
    RUN = 1
    STOP = 2
    RELOAD = 3
    STEP = 4
    #: Take the active program over between two scans.
    CHANGE = 5
    #: Reload without retained values.
    COLD = 6
    ACTIVE = 7
    STANDBY = 8


class Area(IntEnum):
    IN = 0
    OUT = 1
    MEM = 2
    ARENA = 3


class ShmError(RuntimeError):
    """The shared memory is not there, of another version, or its journal is full."""


class ScanSilent(ShmError):
    """The scan process has not said for long that it lives: what the images hold is old."""


@dataclass(frozen=True, slots=True)
class TaskStats:
    """Counters of one task since its program was taken over. Durations in nanoseconds."""

    name: str
    interval_ns: int
    scans: int
    overruns: int
    scan_ns_sum: int
    scan_ns_max: int
    late_ns_sum: int
    late_ns_max: int
    scan_buckets: tuple[int, ...]
    late_buckets: tuple[int, ...]
    scan_ns_min: int = 0
    late_ns_min: int = 0
    #: Cycles lost while the whole machine stood still; they are among the overruns.
    gaps_skipped: int = 0
    watchdog_ns: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class TaskFault:
    """Why a task stands: where it was, in which scan, at which time of the program."""

    task: str
    code: int
    line: int
    file: str
    scan: int
    now_ns: int


@dataclass(frozen=True, slots=True)
class Event:
    """What the scan process noticed. `at_ns` is CLOCK_MONOTONIC; `value` nanoseconds, a code or a count, by kind."""

    number: int
    kind: EventKind
    arg: int
    value: int
    at_ns: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks as the scan process sees them."""

    trusted: bool
    steps: int
    gaps: int
    last_step_ns: int
    last_gap_ns: int


@dataclass(frozen=True, slots=True)
class Retain:
    """What became of the retained variables at the start, and when they were last saved (age in seconds, None: never)."""

    result: Retained
    bytes: int
    saves: int
    age_s: float | None
    #: Saves that failed since the start, and the errno of the last one; 0 after one that went well.
    failed: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The images after one scan: nothing of two scans in it."""

    inputs: bytes
    outputs: bytes
    memory: bytes
    arena: bytes

    def area(self, area: Area) -> bytes:
        return (self.inputs, self.outputs, self.memory, self.arena)[area]


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a client. `size` in bytes; 0 is the bit `bit`."""

    area: Area
    offset: int
    size: int
    value: int
    bit: int = 0
