"""Realtime facts of the host, from /proc and /sys. What cannot be read is left out, not guessed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

#: Model-specific register of Intel's processors that counts system management interrupts (SDM volume 4, MSR_SMI_COUNT).
MSR_SMI_COUNT = 0x34
#: Where the role `realtime` leaves the verdict of `tuned-adm verify`, which only root may ask for: 1 or 0.
TUNED_VERDICT = "run/millwright-tuned/verified"
#: A sample of the timer: so many sleeps of so many seconds, so that a scrape stays short.
SLEEPS, SLEEP_S = 20, 0.001
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
    #: isolated CPU → device interrupts since boot
    isolated_interrupts: dict[int, int] = field(default_factory=dict)
    #: system management interrupts of the first CPU since boot; None: the register is not readable
    smis: int | None = None
    #: what `tuned-adm verify` said when it was last asked
    tuned_verified: bool | None = None
    #: lateness of short sleeps, taken now: (mean, worst) in seconds
    timer_lateness_s: tuple[float, float] | None = None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def listed_cpus(text: str | None) -> list[int] | None:
    """The CPUs that a kernel list such as "2-5,8" names; None if it is none."""
    if text is None or text == "(null)":
        return None if text is None else []
    found: list[int] = []
    try:
        for part in text.split(","):
            if part:
                first, _, last = part.partition("-")
                found.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        return None
    return found


def count_cpus(text: str | None) -> int | None:
    """How many CPUs a kernel list such as "2-5,8" names; None if it is none."""
    cpus = listed_cpus(text)
    return None if cpus is None else len(cpus)


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


def _interrupts(root: Path, cpus: list[int]) -> dict[int, int]:
    """Interrupts of devices, which have numbers; the timer's and the kernel's own have letters."""
    lines = (_text(root / "proc/interrupts") or "").splitlines()
    if not lines or not cpus:
        return {}
    columns = {int(word[3:]): place for place, word in enumerate(lines[0].split())}
    found = {cpu: 0 for cpu in cpus if cpu in columns}
    for line in lines[1:]:
        name, _, rest = line.partition(":")
        if not name.strip().isdigit():
            continue
        words = rest.split()
        for cpu in found:
            if columns[cpu] < len(words) and words[columns[cpu]].isdigit():
                found[cpu] += int(words[columns[cpu]])
    return found


def _smis(root: Path) -> int | None:
    try:
        with (root / "dev/cpu/0/msr").open("rb", buffering=0) as registers:
            registers.seek(MSR_SMI_COUNT)
            data = registers.read(8)
    except OSError:
        return None
    return int.from_bytes(data, "little") if len(data) == 8 else None


def sample_timer() -> tuple[float, float]:
    """How late this process wakes from short sleeps: mean and worst, in seconds."""
    late = []
    for _ in range(SLEEPS):
        due = time.monotonic() + SLEEP_S
        time.sleep(SLEEP_S)
        late.append(max(0.0, time.monotonic() - due))
    return sum(late) / len(late), max(late)


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
    isolated = _text(cpu / "isolated")
    verdict = _text(root / TUNED_VERDICT)
    return HostFacts(
        kernel=_text(root / "proc/sys/kernel/osrelease") or "",
        realtime_kernel=is_realtime,
        isolated_cpus=count_cpus(isolated),
        nohz_full_cpus=count_cpus(_text(cpu / "nohz_full")),
        rt_runtime_ratio=_rt_ratio(root),
        hugepages=_hugepages(root),
        steal_s=_steal(root),
        isolated_interrupts=_interrupts(root, listed_cpus(isolated) or []),
        smis=_smis(root),
        tuned_verified={"1": True, "0": False}.get(verdict or ""),
        timer_lateness_s=sample_timer() if root == Path("/") else None,
    )
