"""A host's control groups: its CPUs, the list of all its processes, and the freezer. Versions 1 and 2.

Version 1: a group `HOST` in each mounted hierarchy. Version 2: `HOST` lends its controllers to the groups
below it and so may hold no process itself; libvirtd lives in `HOST/daemon`, guests in `HOST/machine`. Its
control-group namespace is rooted at `HOST` and pinned to a file: a daemon that is started again while guests
run could not be moved into `HOST` to make it anew.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from .errors import LabError
from .system import run

CGROUPS = Path("/sys/fs/cgroup")
PINS = Path("/run/millwright")
#: What version 2 lends to guests; `cpu` only where FIFO threads are still allowed in a group with it.
WANTED = ("cpuset", "memory", "pids", "io")


def is_v2() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


@lru_cache(maxsize=1)
def fifo_in_groups() -> bool:
    """Whether a thread in a group of the cpu controller may be FIFO, found out by doing.

    Where the kernel schedules realtime by group, a fresh group has no budget and refuses; hosts then stay
    out of this controller: FIFO works, shares and quota do not.
    """
    if is_v2():
        lend(CGROUPS, "cpu")
        parent = CGROUPS
    else:
        found = [path for options, path in _mounted() if "cpu" in options.split(",")]
        if not found:
            return False
        parent = found[0]
    group = parent / f"mw-probe-{os.getpid()}"
    group.mkdir()
    try:
        script = f"echo $$ > '{group}/cgroup.procs' && exec chrt -f 1 true"
        return run("sh", "-c", script, check=False).returncode == 0
    finally:
        _remove(group)


def _mounted() -> list[tuple[str, Path]]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        point = Path(left.split(" ")[4])
        if kind == "cgroup" and point.parent == CGROUPS:
            wanted = [
                word
                for word in options.split(",")
                if word not in {"rw", "ro", "xattr", "clone_children"}
                and not word.startswith("release_agent")
            ]
            found.append((",".join(wanted), point))
        elif kind == "cgroup2" and point == CGROUPS:
            found.append(("", point))
    return sorted(set(found), key=lambda item: str(item[1]))


def controllers() -> list[tuple[str, Path]]:
    """Hierarchies the hosts are in, as (mount options, path): each of v1, or [("", path)] for v2."""
    return [
        (options, path)
        for options, path in _mounted()
        if "cpu" not in options.split(",") or fifo_in_groups()
    ]


def libvirt_controllers() -> list[str]:
    """What libvirt is told to use for guests."""
    return ["cpuset", "cpuacct", "memory", "devices", "blkio", *(["cpu"] * fifo_in_groups())]


def group_paths(name: str) -> list[Path]:
    """The host's group in every hierarchy, there or not."""
    return [path / name for _, path in _mounted()]


def lend(group: Path, *names: str) -> None:
    """Let the groups below use these controllers, as far as the group has them (version 2)."""
    control = group / "cgroup.subtree_control"
    has = (group / "cgroup.controllers").read_text().split()
    lent = control.read_text().split()
    for name in names:
        if name in has and name not in lent:
            # One at a time: a line with a single refused name changes nothing.
            with suppress(OSError):
                control.write_text(f"+{name}")


def make(name: str, cpus: str) -> None:
    """Have the host's groups, with its CPUs.

    Raises:
        LabError: this machine's control groups cannot hold a host to its CPUs.
    """
    if is_v2():
        _make_v2(name, cpus)
        return
    there = controllers()
    for needed in ("cpuset", "freezer"):
        if not any(needed in options.split(",") for options, _ in there):
            raise LabError(f"control groups: {needed} is not mounted below {CGROUPS}")
    for options, path in there:
        group = path / name
        group.mkdir(exist_ok=True)
        if "cpuset" in options.split(","):
            (group / "cpuset.mems").write_text((path / "cpuset.mems").read_text())
            _set_cpus(group, cpus)


def _make_v2(name: str, cpus: str) -> None:
    wanted = (*WANTED, *(["cpu"] * fifo_in_groups()))
    group = CGROUPS / name
    lend(CGROUPS, *wanted)
    group.mkdir(exist_ok=True)
    _set_cpus(group, cpus)
    pin = PINS / f"{name}.cgroup"
    if not os.path.ismount(pin):
        PINS.mkdir(mode=0o755, exist_ok=True)
        pin.touch()
        run("sh", "-ec", f"echo $$ > '{group}/cgroup.procs'; exec unshare --cgroup='{pin}' true")
    (group / "daemon").mkdir(exist_ok=True)
    # Held from here on: the machine's service manager takes controllers back that nothing below uses.
    lend(group, *wanted)


def _set_cpus(group: Path, cpus: str) -> None:
    try:
        (group / "cpuset.cpus").write_text(cpus)
    except OSError as error:
        raise LabError(f"{group}/cpuset.cpus = {cpus!r}: {error.strerror}") from None


def enter_script(name: str) -> list[str]:
    """Shell lines that move the shell into the host's groups."""
    if is_v2():
        return [f"echo $$ > '{CGROUPS / name}/daemon/cgroup.procs'"]
    return [f"echo $$ > '{path / name}/cgroup.procs'" for _, path in controllers()]


def enter_namespace(name: str) -> tuple[str, str]:
    """Options of nsenter and of unshare that give a process the host's control-group namespace."""
    if is_v2():
        return f"--cgroup='{PINS / f'{name}.cgroup'}'", ""
    return "", "--cgroup"


def mount_script() -> list[str]:
    """Shell lines that mount the host's own view of control groups, inside its namespaces."""
    if is_v2():
        return [f"mount -t cgroup2 cgroup2 {CGROUPS}"]
    lines = [f"mount -t tmpfs -o size=1m tmpfs {CGROUPS}"]
    for options, path in controllers():
        lines += [f"mkdir '{path}'", f"mount -t cgroup -o {options} cgroup '{path}'"]
    return lines


def exist(name: str) -> bool:
    return any(group.exists() for group in group_paths(name))


def pids(name: str) -> set[int]:
    """All processes in the host's groups and below."""
    found: set[int] = set()
    for group in group_paths(name):
        if not group.exists():
            continue
        for file in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
            with suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    # Of a process in another pid namespace, the kernel says 0.
    return found - {0}


def kill_all(name: str, limit_s: float = 20.0) -> int:
    """Kill every process of the host, frozen or not; returns how many there were.

    Raises:
        LabError: some would not die.
    """
    seen: set[int] = set()
    end = time.monotonic() + limit_s
    while alive := pids(name):
        seen |= alive
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # After the signals: a thawed guest has no moment to run on.
        thaw(name)
        if time.monotonic() > end:
            raise LabError(f"{name}: processes that would not die: {sorted(alive)}")
        time.sleep(0.05)
    thaw(name)
    return len(seen)


def remove(name: str) -> None:
    """Remove the host's groups and its pinned namespace.

    Raises:
        LabError: a group stays busy.
    """
    pin = PINS / f"{name}.cgroup"
    while os.path.ismount(pin):
        run("umount", str(pin))
    pin.unlink(missing_ok=True)
    for group in group_paths(name):
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a group, deepest first; one that is still busy is waited for."""
    end = time.monotonic() + 10.0
    while group.exists():
        below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
        for path in [*below, group]:
            with suppress(OSError):
                path.rmdir()
        if group.exists():
            if time.monotonic() > end:
                raise LabError(f"{group}: cannot be removed")
            time.sleep(0.05)


def _freezer(name: str) -> Path:
    return CGROUPS / name / "cgroup.freeze" if is_v2() else _v1_freezer() / name / "freezer.state"


def _v1_freezer() -> Path:
    for options, path in _mounted():
        if "freezer" in options.split(","):
            return path
    return CGROUPS / "freezer"


def freeze(name: str, limit_s: float = 10.0) -> None:
    """Stop every process of the host where it stands.

    Raises:
        LabError: some run on.
    """
    path = _freezer(name)
    if not path.exists():
        raise LabError(f"{name}: not running")
    end = time.monotonic() + limit_s
    while True:
        # Again each time: version 1 leaves out what is forked at this moment.
        path.write_text("1" if is_v2() else "FROZEN")
        if _is_wholly_frozen(path):
            return
        if time.monotonic() > end:
            raise LabError(f"{name}: not frozen within {limit_s:.0f} s")
        time.sleep(0.02)


def _is_wholly_frozen(path: Path) -> bool:
    if is_v2():
        return "frozen 1" in (path.parent / "cgroup.events").read_text()
    return path.read_text().strip() == "FROZEN"


def thaw(name: str) -> None:
    path = _freezer(name)
    if path.exists():
        path.write_text("0" if is_v2() else "THAWED")


def is_frozen(name: str) -> bool:
    path = _freezer(name)
    return path.exists() and path.read_text().strip() not in ("THAWED", "0")
