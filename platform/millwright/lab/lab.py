"""The lab: up, down, status, and what befalls hosts: power loss, a killed daemon, a freeze, a cut cable."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from millwright.pki import Authority, write_client, write_host

from . import daemon, groups, network, relay, system
from .errors import LabError
from .instance import LOCKS
from .plan import MAX_HOSTS, HostPlan, LabPlan, plan_lab

Progress = Callable[[str], None]
MAX_DEVICES = 40


class Lab:
    """The lab of one instance. `root` holds its state; `pki` its authority; `locks` says whose it is."""

    def __init__(self, root: Path, pki: Path, index: int, locks: Path = LOCKS) -> None:
        self.root = root
        self.authority = Authority(pki / "ca")
        self.client_folder = pki / "client" / "orchestrator"
        self.index = index
        self._locks = locks

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
            return plan_lab(self.index, saved["hosts"], saved["cpus"])
        except FileNotFoundError:
            raise LabError("there is no lab; start one with: millwright lab up") from None
        except (ValueError, KeyError, TypeError):
            raise LabError(f"{self._file}: damaged; begin anew with: millwright lab down") from None

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
        """Have a lab of so many hosts, all well; parts that are missing are made, the others left alone.

        Raises:
            LabError: no root, the instance's lab is another's, or something refused.
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and mounts: it needs root")
        with self._locked():
            if other := self._other_owner():
                raise LabError(
                    f"instance = 'mw{self.index}': its lab belongs to {other}; take another, "
                    f"as in: MILLWRIGHT_INSTANCE=mw{(self.index + 1) % 10} millwright lab up"
                )
            plan = self._agree(hosts, progress)
            network.ensure_bridge(plan.management_bridge, plan.management_address)
            network.ensure_bridge(plan.cell_bridge, plan.cell_address(1))
            self.authority.ensure()
            write_client(self.authority, self.client_folder, daemon.CLIENT)
            for host in plan.hosts:
                progress(f"{host.name}: {self._have(plan, host)} at {host.address}")
            network.ensure_cell_namespace(plan, plan.gateway_netns, plan.cell_address(2))
        return plan

    def _agree(self, hosts: int, progress: Progress) -> LabPlan:
        """The plan of what runs, or a new one, written down before anything is made."""
        if self.exists():
            plan = self.plan()
            if len(plan.hosts) != hosts:
                raise LabError(
                    f"hosts = {hosts}: a lab of {len(plan.hosts)} is up; "
                    "take it down first: millwright lab down"
                )
            if any(groups.pids(host.name) for host in plan.hosts):
                # The CPUs it was begun with: this process may itself be held to fewer.
                return plan
        else:
            self._clean(progress)
        cpus = sorted(os.sched_getaffinity(0))
        plan = plan_lab(self.index, hosts, cpus)
        self.root.mkdir(parents=True, exist_ok=True)
        self._owner_file.write_text(json.dumps({"root": str(self.root)}))
        # Before anything is made: a start killed half-way is continued, not mistaken for somebody else's.
        _write(self._file, json.dumps({"hosts": hosts, "cpus": cpus}))
        return plan

    def _have(self, plan: LabPlan, host: HostPlan) -> str:
        """Have the host, well; returns what was done."""
        was = daemon.daemon_pid(self.root, host)
        frozen = groups.is_frozen(host.name)
        # What is frozen cannot answer below.
        groups.thaw(host.name)
        network.ensure_host(plan, host)
        folder = daemon.folder(self.root, host)
        write_host(self.authority, folder / "pki", host.name, [host.address])
        daemon.write_files(self.root, plan, host)
        daemon.start(self.root, host)
        relay.ensure(self.root, host)
        daemon.ensure_pool(self.root, host)
        return "thawed" if frozen else "was up" if was else "started"

    def down(self, progress: Progress = lambda _line: None) -> None:
        """Take everything away: guests, daemons, namespaces, bridges, groups, files.

        A lab of the same instance that belongs to another installation is left alone, and that is said.

        Raises:
            LabError: no root and something to take away, or something will not go.
        """
        if os.geteuid() != 0:
            if self.exists():
                raise LabError("taking a lab down needs root")
            return
        with self._locked():
            if other := self._other_owner():
                progress(f"the lab of mw{self.index} belongs to {other} and is left alone")
            else:
                self._clean(progress)
                self._owner_file.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time for an instance: `up` beside `down` would leave half of each."""
        self._locks.mkdir(parents=True, exist_ok=True)
        with (self._locks / f"mw{self.index}.lab.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    @property
    def _owner_file(self) -> Path:
        return self._locks / f"mw{self.index}.lab.json"

    def _other_owner(self) -> str | None:
        """The state folder of another installation whose lab this instance's names belong to."""
        try:
            root = str(json.loads(self._owner_file.read_text())["root"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # One whose state folder was deleted without `down` has left only things to clean.
        return root if root != str(self.root) and Path(root, "lab.json").exists() else None

    def _clean(self, progress: Progress) -> None:
        """Remove what this instance may have left, whatever a killed run got to."""
        for number in range(1, MAX_HOSTS + 1):
            name = f"mw{self.index}-h{number}"
            if groups.exist(name):
                killed = groups.kill_all(name)
                groups.remove(name)
                progress(f"{name}: {killed} processes ended")
        for name in network.leftover_namespaces(self.index):
            for pid in system.run("ip", "netns", "pids", name).stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            network.remove_netns(name)
            network.remove_link(f"{name}c")
            network.remove_link(f"{name}m")
            progress(f"{name}: namespace removed")
        for name in (f"mw{self.index}m", f"mw{self.index}c1"):
            if network.remove_link(name):
                progress(f"{name}: bridge removed")

    # --- more in the cell ------------------------------------------------------------------------------

    def add_device(self, number: int) -> tuple[str, str]:
        """A namespace for a device in the cell; returns its name and address.

        Raises:
            LabError: the number is out of range, or there is no lab.
        """
        plan, name = self._device(number)
        address = plan.cell_address(49 + number)
        network.ensure_cell_namespace(plan, name, address)
        return name, address

    def remove_device(self, number: int) -> bool:
        """Take a device's namespace away, and what runs in it; False if there was none.

        Raises:
            LabError: the number is out of range, or there is no lab.
        """
        _, name = self._device(number)
        if not system.netns_exists(name):
            return False
        for pid in system.run("ip", "netns", "pids", name).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        network.remove_netns(name)
        network.remove_link(f"{name}c")
        return True

    def _device(self, number: int) -> tuple[LabPlan, str]:
        plan = self.plan()
        if not 1 <= number <= MAX_DEVICES:
            raise LabError(f"device = {number}: 1 to {MAX_DEVICES}")
        return plan, plan.device_netns(number)

    # --- what befalls hosts ----------------------------------------------------------------------------

    def kill(self, name: str, only: str | None = None) -> str:
        """Power loss of a host, its guests too; or the death of its libvirtd only.

        Raises:
            LabError: no such host, or nothing to kill.
        """
        host = self.host(name)
        if only is None:
            return f"{host.name}: power lost, {groups.kill_all(host.name)} processes gone"
        if only != "libvirtd":
            raise LabError(f"only = {only!r}: libvirtd")
        pid = daemon.daemon_pid(self.root, host)
        if pid is None:
            raise LabError(f"{host.name}: libvirtd does not run")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10.0
        while pid in groups.pids(host.name) and time.monotonic() < end:
            time.sleep(0.02)
        return f"{host.name}: libvirtd ({pid}) killed"

    def freeze(self, name: str) -> str:
        """Stop the host with all its guests where they stand.

        Raises:
            LabError: no such host, or it does not run.
        """
        host = self.host(name)
        groups.freeze(host.name)
        return f"{host.name}: frozen"

    def cut(self, name: str, only: str | None = None) -> str:
        """Pull both cables, or one: `management`, `cell`.

        Raises:
            LabError: no such host, or no such cable.
        """
        host = self.host(name)
        links = {"management": host.management_link, "cell": host.cell_link}
        if only is not None and only not in links:
            raise LabError(f"only = {only!r}: {' or '.join(links)}")
        for cable, link in links.items():
            if only in (None, cable):
                system.run("ip", "link", "set", link, "down")
        return f"{host.name}: cut off" + (f" from the {only} network" if only else "")

    def restore(self, name: str) -> str:
        """Undo whatever befell the host: thaw, plug in, start libvirtd.

        Raises:
            LabError: no such host, or libvirtd does not start.
        """
        host = self.host(name)
        done = ["thawed"] if groups.is_frozen(host.name) else []
        groups.thaw(host.name)
        for link in (host.management_link, host.cell_link):
            system.run("ip", "link", "set", link, "up")
        if daemon.daemon_pid(self.root, host) is None:
            daemon.start(self.root, host)
            done.append("libvirtd started")
        if relay.ensure(self.root, host):
            done.append("relay started")
        return f"{host.name}: back" + (f", {', '.join(done)}" if done else "")

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
                "netns": host.netns,
                "policy": host.policy,
                "cpus": sorted(host.cpus),
                "libvirtd": daemon.daemon_pid(self.root, host),
                "frozen": groups.is_frozen(host.name),
                "cut": not (network.is_up(host.management_link) and network.is_up(host.cell_link)),
                "processes": len(groups.pids(host.name)),
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
                "station": plan.cell_address(1),
                "gateway": plan.cell_address(2),
                "gateway_netns": plan.gateway_netns,
            },
            "bridges": [plan.management_bridge, plan.cell_bridge],
        }


def _write(path: Path, text: str) -> None:
    """In one rename: a killed start leaves the whole file or none."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(path)
