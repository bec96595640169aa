"""Step: hosts and networks. A lab of real libvirt hosts, or the libvirt that the machine has."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

from millwright.cli.errors import CliError
from millwright.core.topology import format_cpu_list
from millwright.lab import Lab, LabError, plan_lab
from millwright.lab import network as lab_network
from millwright.lab.plan import LabPlan
from millwright.lab.system import link_exists

from .steps import Done, Plan

#: Where libvirt keeps images unless told otherwise.
IMAGES = "/var/lib/libvirt/images"
#: Number of the example's device in the cell.
DEVICE = 1


def the_lab(plan: Plan) -> Lab:
    return Lab(plan.settings.lab_dir, plan.settings.pki_dir, plan.settings.index)


def start(plan: Plan) -> Done:
    """Have hosts and the cell; fills `plan.hosts`, `plan.cell` and the namespaces."""
    return _use_pool(plan) if plan.pool else _start_lab(plan)


def _start_lab(plan: Plan) -> Done:
    lab = the_lab(plan)
    changes: list[str] = []

    def said(line: str) -> None:
        # The lab says "was up" of what it found as it should be.
        if "was up" not in line:
            changes.append(line)

    try:
        layout = lab.up(plan.host_count, said)
        plan.device["netns"], plan.device["address"] = lab.add_device(DEVICE)
        found = lab.status()["hosts"]
    except LabError as error:
        raise CliError(str(error)) from None
    by_name = {host.name: host for host in layout.hosts}
    for row in found:
        sockets = lab.root / row["name"] / "run"
        plan.hosts.append(
            {
                "name": row["name"],
                "uri": row["uri"],
                "address": row["address"],
                "policy": row["policy"],
                "agent_netns": by_name[row["name"]].netns,
                "agent_uri": f"qemu:///system?socket={sockets / 'libvirt-sock-ro'}",
            }
        )
    _cell(plan, layout, bridge=layout.host_cell_bridge)
    plan.daemon_cpus = layout.hosts[0].housekeeping
    names = ", ".join(f"{row['name']} at {row['address']}" for row in plan.hosts)
    return Done.of(changes, detail=names)


def _cell(plan: Plan, layout: LabPlan, bridge: str) -> None:
    plan.cell = {
        "slug": layout.cell,
        "cidr": layout.cell_cidr,
        "bridge": bridge,
        "gateway": layout.cell_address(2),
        "station": layout.cell_address(1),
        "first": layout.cell_address(100),
        "last": layout.cell_address(199),
    }
    plan.gateway_netns = layout.gateway_netns


def _use_pool(plan: Plan) -> Done:
    """The machine's own libvirt as the one host; only the cell's bridge and two namespaces are made."""
    check_uri(plan.pool)
    cpus = sorted(os.sched_getaffinity(0))
    layout = plan_lab(plan.settings.index, 1, cpus)
    changes = _storage(plan.pool)
    try:
        if not link_exists(layout.cell_bridge):
            changes.append(f"bridge {layout.cell_bridge} for cell {layout.cell}")
        lab_network.ensure_bridge(layout.cell_bridge, layout.cell_address(1))
        lab_network.ensure_cell_namespace(layout, layout.gateway_netns, layout.cell_address(2))
        plan.device["netns"] = layout.device_netns(DEVICE)
        plan.device["address"] = layout.cell_address(49 + DEVICE)
        lab_network.ensure_cell_namespace(layout, plan.device["netns"], plan.device["address"])
    except LabError as error:
        raise CliError(str(error)) from None
    plan.hosts.append(
        {
            "name": host_name(),
            "uri": plan.pool,
            "address": None,
            "policy": policy_for(cpus),
            "agent_netns": "",
            "agent_uri": plan.pool,
        }
    )
    _cell(plan, layout, bridge=layout.cell_bridge)
    plan.daemon_cpus = frozenset(cpus[:1])
    return Done.of(changes, detail=f"{plan.pool} as {plan.hosts[0]['name']}")


def _storage(uri: str) -> list[str]:
    """Have the host's storage pool: the one there is, else libvirt's usual folder."""
    from millwright.hypervisor import HypervisorError, NotFound
    from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor
    from millwright.operations.volumes import POOL

    driver = LibvirtHypervisor(HostAddress(name="pool", uri=uri), site="")
    try:
        try:
            driver.ensure_pool(POOL)
        except NotFound:
            driver.ensure_pool(POOL, IMAGES)
            return [f"storage pool {POOL} at {IMAGES}"]
    except HypervisorError as error:
        raise CliError(f"--pool {uri}: {error}") from None
    finally:
        driver.close()
    return []


def host_name() -> str:
    """This machine's name as the inventory takes it."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")
    return (name or "this-machine")[:48]


def policy_for(cpus: list[int]) -> dict[str, Any]:
    """The first CPU keeps house, the last half (at least one, if there are two) is for realtime."""
    realtime = cpus[max(1, (len(cpus) + 1) // 2) :]
    shared = [cpu for cpu in cpus if cpu not in realtime]
    return {
        "housekeeping_cpus": format_cpu_list(cpus[:1]),
        "realtime_cpus": format_cpu_list(realtime),
        "shared_cpus": format_cpu_list(shared),
        "best_effort": True,
    }


def check_uri(uri: str) -> None:
    """Raise unless this machine's libvirt answers.

    Raises:
        CliError: with libvirt's words and the way to mend it.
    """
    if not re.fullmatch(r"qemu:///system(\?.*)?", uri):
        raise CliError(
            f"--pool {uri!r}: expected qemu:///system; add remote hosts with: millwright host add"
        )
    try:
        done = subprocess.run(
            ["virsh", "-c", uri, "version"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError(f"--pool {uri}: {error}") from None
    if done.returncode:
        raise CliError(
            f"--pool {uri}: {done.stderr.strip()}; is libvirtd running? (systemctl start libvirtd)"
        )


def agent_socket_there(uri: str) -> bool:
    """Whether the read-only socket that an agent's URI names exists."""
    _, _, path = uri.partition("socket=")
    return not path or Path(path).exists()
