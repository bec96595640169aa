"""`millwright doctor`: what this machine lacks, why it matters, and the line that mends it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from millwright.settings import Settings, get_settings

from .output import show_rows

Verdict = Literal["ok", "note", "wrong"]

#: program → Debian package, what for
PROGRAMS = {
    "libvirtd": ("libvirt-daemon-system", "the hosts of the lab"),
    "virsh": ("libvirt-clients", "looking at hosts by hand"),
    "qemu-system-x86_64": ("qemu-system-x86", "running guests"),
    "qemu-img": ("qemu-utils", "making disk images"),
    "mmdebstrap": ("mmdebstrap", "building template images"),
    "mke2fs": ("e2fsprogs", "building template images"),
    "ip": ("iproute2", "networks of the lab"),
    "nft": ("nftables", "firewalls"),
    "ebtables": ("ebtables", "libvirt's network filters"),
    "iptables": ("iptables", "libvirt's network filters"),
    "gcc": ("gcc", "compiling control programs"),
    "tcc": ("tcc", "compiling control programs at once"),
    "prometheus": ("prometheus", "metrics"),
    "promtool": ("prometheus", "checking Prometheus' configuration"),
}
MIN_MEMORY_BYTES = 6 * 2**30
MIN_DISK_BYTES = 10 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `mend` is a line to run or a thing to do; empty where nothing is wrong."""

    check: str
    verdict: Verdict
    detail: str
    mend: str = ""


def _programs() -> Iterator[Finding]:
    for program, (package, why) in PROGRAMS.items():
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if path:
            yield Finding(program, "ok", path)
        else:
            yield Finding(
                program, "wrong", f"missing; needed for {why}", f"sudo apt-get install {package}"
            )


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(
        "python",
        "ok" if good else "wrong",
        version,
        "" if good else "Python 3.11 or newer is needed",
    )


def _memory() -> Iterator[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    good = total >= MIN_MEMORY_BYTES
    yield Finding(
        "memory",
        "ok" if good else "wrong",
        f"{total / 2**30:.1f} GiB",
        ""
        if good
        else f"at least {MIN_MEMORY_BYTES // 2**30} GiB are needed for two hosts with a vPLC each",
    )


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, path in (("state", settings.home), ("cache", settings.cache_dir)):
        there = path
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        good = free >= MIN_DISK_BYTES
        yield Finding(
            f"disk ({name})",
            "ok" if good else "wrong",
            f"{free / 2**30:.1f} GiB free at {path}",
            ""
            if good
            else f"free {MIN_DISK_BYTES // 2**30} GiB, or set MILLWRIGHT_{'HOME' if name == 'state' else 'CACHE_DIR'}",
        )


def _cpus() -> Iterator[Finding]:
    count = len(os.sched_getaffinity(0))
    if count >= 2:
        yield Finding("cpus", "ok", f"{count} may be used")
    else:
        yield Finding("cpus", "note", "one", "with two or more, a vPLC gets a core of its own")


def _root() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("root", "ok", "network namespaces and libvirtd can be started")
    else:
        yield Finding(
            "root",
            "wrong",
            "the lab's hosts need root",
            "run as root, or use hosts you have: make up POOL=qemu:///system",
        )


def _kvm() -> Iterator[Finding]:
    if Path("/dev/kvm").exists():
        yield Finding(
            "kvm", "ok", "/dev/kvm is there; each host proves by booting a guest whether it works"
        )
    else:
        yield Finding(
            "kvm",
            "note",
            "/dev/kvm is missing: guests are emulated",
            "timing is not promised under emulation",
        )


def _kernel() -> Iterator[Finding]:
    bridge = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridge.exists() or Path("/sys/module/br_netfilter").exists():
        yield Finding("br_netfilter", "ok", "IP rules reach bridged frames")
    else:
        yield Finding("br_netfilter", "note", "not loaded yet", "modprobe br_netfilter")
    groups = Path("/sys/fs/cgroup")
    version = "v2" if (groups / "cgroup.controllers").exists() else "v1"
    usable = version == "v2" or (groups / "cpuset").exists()
    yield Finding(
        "cgroups",
        "ok" if usable else "wrong",
        version,
        "" if usable else "mount the cpuset controller",
    )


def _ports(settings: Settings) -> Iterator[Finding]:
    from .place import checkout
    from .supervision import Supervision

    if Supervision(settings, checkout()).running():
        yield Finding("ports", "ok", f"instance {settings.instance} runs")
        return
    taken = []
    for name in ("portal", "orchestrator_metrics", "prometheus"):
        port = getattr(settings, f"{name}_port")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(f"{port} ({name.replace('_', ' ')})")
    if taken:
        variable = "MILLWRIGHT_PORTAL_PORT and the like"
        yield Finding(
            "ports",
            "wrong",
            f"in use: {', '.join(taken)}",
            f"end what listens there, or set {variable}",
        )
    else:
        yield Finding("ports", "ok", "free")


def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order in which they are mended best."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _programs,
        _root,
        _cpus,
        _memory,
        lambda: _disk(settings),
        _kvm,
        _kernel,
        lambda: _ports(settings),
    )
    return [finding for check in checks for finding in check()]


@click.command()
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def doctor(form: str) -> None:
    """Check this machine and say what to mend. Ends with 1 if `make up` would fail."""
    findings = examine(get_settings())
    rows = [
        {"check": row.check, "verdict": row.verdict, "detail": row.detail, "mend": row.mend}
        for row in findings
    ]
    show_rows(rows, ("check", "verdict", "detail", "mend"), form)
    wrong = sum(row.verdict == "wrong" for row in findings)
    if form == "table":
        click.echo("\nall is well" if not wrong else f"\n{wrong} to mend")
    if wrong:
        sys.exit(1)
