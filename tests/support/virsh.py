"""libvirt's own client against a lab's host, and a guest to look at."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from uuid import uuid4

from millwright.lab import HostPlan, Lab

from tests.support.lab import CACHE
from vmtemplates import build_image, load_templates

FILTER = """\
<filter name='mw-test' chain='root'><uuid>6e0c3cf1-6d0f-4b8e-9a4c-5c1a0f1f2a77</uuid>
<rule action='accept' direction='in' priority='400'><tcp dstportstart='7'/></rule>
<rule action='accept' direction='out' priority='400'><tcp srcportstart='7'/></rule>
<rule action='accept' direction='inout' priority='400'><arp/></rule>
<rule action='drop' direction='inout' priority='900'><all/></rule></filter>
"""


def virsh(
    lab: Lab, host: HostPlan, *words: str, check: bool = True, uri: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a virsh command as the orchestrator, or with another URI."""
    done = subprocess.run(
        ["virsh", "-q", "-c", uri or lab.uri(host), *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"virsh {' '.join(words)}: {done.stderr.strip()}")
    return done


def until(what: str, condition: Callable[[], object], limit_s: float = 120.0) -> None:
    """Wait for a condition; the limit only tells a hang from an answer."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.1)


class Guest:
    """The tiny template as a plain domain, with an address in the cell and one filter."""

    def __init__(self, lab: Lab, host: HostPlan, last: int = 150) -> None:
        plan = lab.plan()
        self.lab, self.host = lab, host
        self.name = f"mw-test-{uuid4().hex[:8]}"
        self.address = plan.cell_address(last)
        self.log = lab.root / host.name / "log" / f"{self.name}.log"
        image = build_image(load_templates()["tiny"], CACHE / "images").as_dict()
        kernel, initrd = (image["files"][name]["path"] for name in ("kernel", "initrd"))
        word = f"ip={self.address}::{plan.cell_address(1)}:255.255.255.0:tiny:eth0:off"
        self.xml = (
            f"<domain type='qemu'><name>{self.name}</name><uuid>{uuid4()}</uuid>"
            "<memory unit='MiB'>192</memory><vcpu>1</vcpu>"
            f"<cputune><vcpupin vcpu='0' cpuset='{max(host.cpus)}'/>"
            f"<emulatorpin cpuset='{min(host.cpus)}'/></cputune>"
            f"<os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel>"
            f"<initrd>{initrd}</initrd><cmdline>{image['cmdline']} {word}</cmdline></os>"
            "<cpu mode='maximum'/><devices>"
            "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
            f"<serial type='file'><source path='/var/log/libvirt/{self.name}.log'/></serial>"
            f"<interface type='bridge'><source bridge='{plan.host_cell_bridge}'/>"
            f"<mac address='52:54:00:00:{plan.index:02x}:{last:02x}'/>"
            "<model type='virtio'/><filterref filter='mw-test'/></interface>"
            "</devices></domain>"
        )

    def start(self) -> None:
        """Start it as a transient domain."""
        path = self.lab.root / f"{self.name}.xml"
        for host in self.lab.plan().hosts:
            path.write_text(FILTER)
            virsh(self.lab, host, "nwfilter-define", str(path))
        path.write_text(self.xml)
        virsh(self.lab, self.host, "create", str(path))
        path.unlink()

    def state(self, host: HostPlan | None = None) -> str:
        return virsh(self.lab, host or self.host, "domstate", self.name, check=False).stdout.strip()

    def answers(self) -> bool:
        """Whether its echo answers the machine itself."""
        try:
            with socket.create_connection((self.address, 7), timeout=2) as connection:
                connection.sendall(b"hello")
                return connection.recv(5) == b"hello"
        except OSError:
            return False

    def boots(self) -> None:
        """Start it and wait until it answers."""
        self.start()
        until(f"{self.name} answers at {self.address}", self.answers)

    def destroy(self, host: HostPlan | None = None) -> None:
        virsh(self.lab, host or self.host, "destroy", self.name, check=False)
