"""The lab: up, down, status, and what befalls hosts: power loss, a killed daemon, a freeze, a cut cable."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millwright.pki import Authority, write_client, write_host

from . import daemon, network, system
from .errors import LabError
from .plan import HostPlan, LabPlan, plan_lab

Progress = Callable[[str], None]


class Lab:
    """The lab of one instance. `root` holds its state; `pki` its authority."""

    def __init__(self, root: Path, pki: Path, index: int) -> None:
        self.root = root
        self.authority = Authority(pki / "ca")
        self.client_folder = pki / "client" / "orchestrator"
        self.index = index

    # --- plan ----------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.root / "lab.json"

    def plan(self) -> LabPlan:
        """The plan of the lab that is up.

        Raises:
            LabError: there is none.
        """
        try:
            saved = json.loads(self._file.read_text())
        except FileNotFoundError:
            raise LabError("there is no lab; start one with: millwright lab up") from None
        return plan_lab(self.index, saved["hosts"], saved["cpus"])

    def exists(self) -> bool:
        return self._file.exists()

    def host(self, name: str) -> HostPlan:
        """The host of that name or number.

        Raises:
            LabError: there is none.
        """
        hosts = self.plan().hosts
        for host in hosts:
            if name in (host.name, f"h{host.number}", str(host.number)):
                return host
        raise LabError(f"host = {name!r}: one of {', '.join(host.name for host in hosts)}")

    def uri(self, host: HostPlan) -> str:
        """How the orchestrator reaches a host."""
        return f"qemu+tls://{host.address}/system?pkipath={self.client_folder}"

    # --- up and down ---------------------------------------------------------------------------------

    def up(self, hosts: int, progress: Progress = lambda _line: None) -> LabPlan:
        """Have a lab of so many hosts; one that is up is left as it is, parts that are missing are made.

        Raises:
            LabError: no root, or something refused.
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and mounts: it needs root")
        if self.exists() and len(self.plan().hosts) != hosts:
            raise LabError(
                f"a lab of {len(self.plan().hosts)} hosts is up; take it down first: millwright lab down"
            )
        plan = plan_lab(self.index, hosts, os.sched_getaffinity(0))
        if not self.exists():
            self._clean(progress)
        self.root.mkdir(parents=True, exist_ok=True)
        cpus = sorted({cpu for host in plan.hosts for cpu in host.cpus})
        # Written first: a start killed half-way is continued, not mistaken for somebody else's.
        self._file.write_text(json.dumps({"hosts": hosts, "cpus": cpus}))
        network.ensure_bridge(plan.management_bridge, plan.management_address)
        network.ensure_bridge(plan.cell_bridge, plan.cell_address(1))
        self.authority.ensure()
        write_client(self.authority, self.client_folder, daemon.CLIENT)
        for host in plan.hosts:
            network.ensure_host(plan, host)
            write_host(
                self.authority, daemon.folder(self.root, host) / "pki", host.name, [host.address]
            )
            daemon.write_files(self.root, plan, host)
            was = daemon.daemon_pid(self.root, host)
            daemon.start(self.root, host)
            daemon.ensure_pool(self.root, host)
            progress(f"{host.name}: {'was up' if was else 'started'} at {host.address}")
        network.ensure_cell_namespace(plan, plan.gateway_netns, plan.cell_address(2))
        return plan

    def down(self, progress: Progress = lambda _line: None) -> None:
        """Take everything away: guests, daemons, namespaces, bridges, groups, files."""
        self._clean(progress)
        shutil.rmtree(self.root, ignore_errors=True)

    def _clean(self, progress: Progress) -> None:
        """Remove what this instance may have left, whatever a killed run got to."""
        for number in range(1, 9):
            name = f"mw{self.index}-h{number}"
            if any(group.exists() for group in system.group_paths(name)):
                killed = system.kill_all(name)
                system.remove_groups(name)
                progress(f"{name}: {killed} processes ended")
        for name in network.leftover_namespaces(self.index):
            for pid in system.run("ip", "netns", "pids", name).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            network.remove_netns(name)
            network.remove_link(f"{name}c")
            network.remove_link(f"{name}m")
            progress(f"{name}: namespace removed")
        for name in (f"mw{self.index}m", f"mw{self.index}c1"):
            if network.remove_link(name):
                progress(f"{name}: bridge removed")

    def add_device(self, number: int) -> tuple[str, str]:
        """A namespace for a device in the cell; returns its name and address."""
        plan = self.plan()
        if not 1 <= number <= 40:
            raise LabError(f"device = {number}: 1 to 40")
        name, address = plan.device_netns(number), plan.cell_address(49 + number)
        network.ensure_cell_namespace(plan, name, address)
        return name, address

    # --- what befalls hosts ----------------------------------------------------------------------------

    def kill(self, name: str, only: str | None = None) -> str:
        """Power loss of a host, its guests too; or the death of its libvirtd only."""
        host = self.host(name)
        if only is None:
            return f"{host.name}: power lost, {system.kill_all(host.name)} processes gone"
        if only != "libvirtd":
            raise LabError(f"only = {only!r}: libvirtd")
        pid = daemon.daemon_pid(self.root, host)
        if pid is None:
            raise LabError(f"{host.name}: libvirtd does not run")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10.0
        while pid in system.pids(host.name) and time.monotonic() < end:
            time.sleep(0.02)
        return f"{host.name}: libvirtd ({pid}) killed"

    def freeze(self, name: str) -> str:
        """Stop the host with all its guests where they stand."""
        host = self.host(name)
        system.freeze(host.name)
        return f"{host.name}: frozen"

    def cut(self, name: str) -> str:
        """Pull both cables."""
        host = self.host(name)
        for link in (host.management_link, host.cell_link):
            system.run("ip", "link", "set", link, "down")
        return f"{host.name}: cut off"

    def restore(self, name: str) -> str:
        """Undo whatever befell the host: thaw, plug in, start libvirtd."""
        host = self.host(name)
        system.thaw(host.name)
        for link in (host.management_link, host.cell_link):
            system.run("ip", "link", "set", link, "up")
        daemon.start(self.root, host)
        return f"{host.name}: back"

    # --- status ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The lab as data."""
        if not self.exists():
            return {"up": False, "instance": f"mw{self.index}", "hosts": []}
        plan = self.plan()
        hosts = [
            {
                "name": host.name,
                "address": host.address,
                "uri": self.uri(host),
                "policy": host.policy,
                "cpus": sorted(host.cpus),
                "libvirtd": daemon.daemon_pid(self.root, host),
                "frozen": system.is_frozen(host.name),
                "processes": len(system.pids(host.name)),
            }
            for host in plan.hosts
        ]
        return {
            "up": True,
            "instance": plan.instance,
            "hosts": hosts,
            "cell": {
                "name": plan.cell,
                "cidr": plan.cell_cidr,
                "bridge": plan.host_cell_bridge,
                "gateway": plan.cell_address(2),
            },
        }
