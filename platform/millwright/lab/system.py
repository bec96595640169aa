"""Calls of the system's tools, and processes found by their control group."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .errors import LabError

CGROUPS = Path("/sys/fs/cgroup")


def run(
    *command: str, check: bool = True, stdin: str | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a tool.

    Raises:
        LabError: it failed; with what it said.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, input=stdin, timeout=timeout_s, check=False
    )
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done


def in_netns(name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run("ip", "netns", "exec", name, *command, check=check)


def controllers() -> list[tuple[str, Path]]:
    """Mounted hierarchies as (mount options, path): each v1 controller, or [("", path)] for v2 alone."""
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
            # Where the kernel schedules realtime by group, a group of its own has no budget and FIFO is
            # refused: hosts stay in the machine's own group of this controller.
            if "cpu" not in wanted:
                found.append((",".join(wanted), point))
        elif kind == "cgroup2" and point == CGROUPS:
            found.append(("", point))
    return sorted(set(found), key=lambda item: str(item[1]))


def is_v2() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


def group_paths(name: str) -> list[Path]:
    return [path / name for _, path in controllers()]


def make_groups(name: str, cpus: str) -> None:
    """Have the host's group in every hierarchy, with its CPUs."""
    for options, path in controllers():
        group = path / name
        group.mkdir(exist_ok=True)
        if is_v2():
            with suppress(OSError):
                (path / "cgroup.subtree_control").write_text("+cpuset +cpu +memory +pids +io")
            with suppress(OSError):
                (group / "cpuset.cpus").write_text(cpus)
        elif "cpuset" in options.split(","):
            (group / "cpuset.mems").write_text((path / "cpuset.mems").read_text())
            (group / "cpuset.cpus").write_text(cpus)


def pids(name: str) -> set[int]:
    """All processes in the host's groups and below."""
    found: set[int] = set()
    for group in group_paths(name):
        if not group.exists():
            continue
        for file in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
            with suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def kill_all(name: str, limit_s: float = 20.0) -> int:
    """Kill every process of the group, frozen or not; returns how many there were.

    Raises:
        LabError: some would not die.
    """
    seen: set[int] = set()
    end = time.monotonic() + limit_s
    thaw(name)
    while alive := pids(name):
        seen |= alive
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise LabError(f"{name}: processes that would not die: {sorted(alive)}")
        time.sleep(0.05)
    return len(seen)


def remove_groups(name: str) -> None:
    """Remove the host's groups, deepest first; those still busy are waited for."""
    end = time.monotonic() + 10.0
    for group in group_paths(name):
        while group.exists():
            below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
            for path in [*below, group]:
                with suppress(OSError):
                    path.rmdir()
            if group.exists():
                if time.monotonic() > end:
                    raise LabError(f"{group}: cannot be removed")
                time.sleep(0.05)


def _freezer(name: str) -> tuple[Path, str, str]:
    if is_v2():
        return CGROUPS / name / "cgroup.freeze", "1", "0"
    return CGROUPS / "freezer" / name / "freezer.state", "FROZEN", "THAWED"


def freeze(name: str) -> None:
    """Stop every process of the host where it stands."""
    path, on, _ = _freezer(name)
    path.write_text(on)
    if not is_v2():
        # Processes that are made at this moment are caught by writing again.
        end = time.monotonic() + 10.0
        while path.read_text().strip() != "FROZEN" and time.monotonic() < end:
            path.write_text(on)
            time.sleep(0.02)


def thaw(name: str) -> None:
    path, _, off = _freezer(name)
    if path.exists():
        path.write_text(off)


def is_frozen(name: str) -> bool:
    path, _on, _ = _freezer(name)
    return path.exists() and path.read_text().strip() not in ("THAWED", "0")


def link_exists(name: str, netns: str | None = None) -> bool:
    prefix: Sequence[str] = ("ip", "-n", netns) if netns else ("ip",)
    return run(*prefix, "link", "show", "dev", name, check=False).returncode == 0


def netns_exists(name: str) -> bool:
    return Path("/run/netns", name).exists()
