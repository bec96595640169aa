"""Realtime facts of the host, from /proc and /sys. What cannot be read is left out, not guessed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

#: Ticks of /proc/stat.
USER_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts of one moment. None: the kernel does not say."""

    kernel: str = ""
    realtime_kernel: bool | None = None
    isolated_cpus: int | None = None
    nohz_full_cpus: int | None = None
    #: share of time for realtime threads; -1: unlimited
    rt_runtime_ratio: float | None = None
    #: page size in bytes → (total, free)
    hugepages: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: CPU → seconds
    steal_s: dict[int, float] = field(default_factory=dict)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def count_cpus(text: str | None) -> int | None:
    """How many CPUs a kernel list such as "2-5,8" names; None if it is none."""
    if text is None or text == "(null)":
        return None if text is None else 0
    total = 0
    try:
        for part in text.split(","):
            if part:
                first, _, last = part.partition("-")
                total += int(last or first) - int(first) + 1
    except ValueError:
        return None
    return total


def _rt_ratio(root: Path) -> float | None:
    runtime = _text(root / "proc/sys/kernel/sched_rt_runtime_us")
    period = _text(root / "proc/sys/kernel/sched_rt_period_us")
    try:
        if runtime is None or period is None:
            return None
        return -1.0 if int(runtime) < 0 else int(runtime) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def _hugepages(root: Path) -> dict[int, tuple[int, int]]:
    found = {}
    folder = root / "sys/kernel/mm/hugepages"
    for entry in sorted(folder.glob("hugepages-*kB")):
        total, free = _text(entry / "nr_hugepages"), _text(entry / "free_hugepages")
        size = entry.name.removeprefix("hugepages-").removesuffix("kB")
        if total and free and total.isdigit() and free.isdigit() and size.isdigit():
            found[int(size) * 1024] = (int(total), int(free))
    return found


def _steal(root: Path) -> dict[int, float]:
    found = {}
    for line in (_text(root / "proc/stat") or "").splitlines():
        words = line.split()
        # cpuN user nice system idle iowait irq softirq steal (proc(5))
        if len(words) > 8 and words[0].startswith("cpu") and words[0][3:].isdigit():
            found[int(words[0][3:])] = int(words[8]) / USER_HZ
    return found


def read_facts(root: Path = Path("/")) -> HostFacts:
    """Read the facts. `root` stands in for / in tests."""
    realtime = _text(root / "sys/kernel/realtime")
    version = _text(root / "proc/sys/kernel/version")
    is_realtime: bool | None
    if realtime is not None:
        is_realtime = realtime == "1"
    else:
        is_realtime = (
            None if version is None else "PREEMPT_RT" in version.replace("PREEMPT RT", "PREEMPT_RT")
        )
    cpu = root / "sys/devices/system/cpu"
    return HostFacts(
        kernel=_text(root / "proc/sys/kernel/osrelease") or "",
        realtime_kernel=is_realtime,
        isolated_cpus=count_cpus(_text(cpu / "isolated")),
        nohz_full_cpus=count_cpus(_text(cpu / "nohz_full")),
        rt_runtime_ratio=_rt_ratio(root),
        hugepages=_hugepages(root),
        steal_s=_steal(root),
    )
