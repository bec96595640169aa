"""A host's relay: in its network and its control groups, so that it ends and stands still with the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import daemon, groups
from .plan import HostPlan

MODULE = "millwright.relay"
#: As the unit has it: glibc before 2.40 copies large pieces by an instruction that is slow on some processors of AMD
#: where they are not aligned, which what Python allocates is not: nearly a fifth of what relays take (`python -m tests.bench.relay`).
TUNABLES = "glibc.cpu.x86_rep_movsb_threshold=100000000"


def pid(host: HostPlan) -> int | None:
    """The running relay's pid."""
    for number in groups.pids(host.name):
        try:
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if MODULE.encode() in words:
            return number
    return None


def ensure(root: Path, host: HostPlan) -> bool:
    """Have the relay run; returns whether it was started. Nobody waits for it: without one QEMU encrypts by itself."""
    if pid(host) is not None:
        return False
    home = daemon.folder(root, host)
    pair = home / "pki/qemu"
    command = (
        f"exec nsenter --net=/run/netns/{host.netns} '{sys.executable}' -I -m {MODULE}"
        f" --address {host.address} --orchestrator {daemon.CLIENT} --authority '{pair}/ca-cert.pem'"
        f" --certificate '{pair}/server-cert.pem' --key '{pair}/server-key.pem'"
    )
    with (home / "log/relay.log").open("ab") as log:
        subprocess.Popen(
            ["sh", "-ec", "\n".join([*groups.enter_script(host.name), command])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={
                "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                "GLIBC_TUNABLES": TUNABLES,
            },
        )
    return True
