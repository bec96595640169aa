"""Bridges, namespaces and links of a lab. Everything is "ensure": what is there is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import LabError
from .plan import HostPlan, LabPlan
from .system import in_netns, link_exists, netns_exists, run


def ensure_bridge(name: str, address: str | None = None, netns: str | None = None) -> None:
    """A bridge, up, perhaps with an address of a /24.

    Raises:
        LabError: the system refused.
    """
    prefix = ["ip", "-n", netns] if netns else ["ip"]
    if not link_exists(name, netns):
        run(*prefix, "link", "add", name, "type", "bridge", "forward_delay", "0")
    # Fixed: a bridge otherwise takes the lowest MAC of its ports, and neighbours lose it as ports come and go.
    run(*prefix, "link", "set", name, "address", _mac(name, netns), "up")
    if address:
        run(*prefix, "addr", "replace", f"{address}/24", "dev", name)


def _mac(*parts: str | None) -> str:
    """A locally administered address that is the same every time."""
    digest = hashlib.sha256("/".join(part or "" for part in parts).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def ensure_netns(name: str) -> None:
    """A namespace with its loopback up."""
    if not netns_exists(name):
        run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def ensure_link(
    outside: str,
    inside: str,
    netns: str,
    bridge: str,
    *,
    address: str | None = None,
    inner_bridge: str | None = None,
) -> None:
    """A veth pair: one end in the machine's bridge, the other in the namespace, with an address or in a bridge there."""
    if not link_exists(outside):
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", netns)
    run("ip", "link", "set", outside, "master", bridge, "up")
    if inner_bridge:
        run("ip", "-n", netns, "link", "set", inside, "master", inner_bridge)
    run("ip", "-n", netns, "link", "set", inside, "up")
    if address:
        run("ip", "-n", netns, "addr", "replace", f"{address}/24", "dev", inside)


def ensure_host(plan: LabPlan, host: HostPlan) -> None:
    """A host's namespace: management address, and the cell's bridge with its uplink."""
    ensure_netns(host.netns)
    ensure_bridge(plan.host_cell_bridge, netns=host.netns)
    ensure_link(
        host.management_link, "mgmt0", host.netns, plan.management_bridge, address=host.address
    )
    ensure_link(
        host.cell_link, "cell0", host.netns, plan.cell_bridge, inner_bridge=plan.host_cell_bridge
    )
    _let_filters_see_bridges(host.netns)


def _let_filters_see_bridges(netns: str) -> None:
    """Without it the IP rules of libvirt's filters never see bridged packets, and nothing says so.

    Raises:
        LabError: this kernel cannot.
    """
    if not Path("/proc/sys/net/bridge").exists():
        run("modprobe", "br_netfilter", check=False)
    for family, needed in (("iptables", True), ("ip6tables", False)):
        key = f"net.bridge.bridge-nf-call-{family}"
        path = "/proc/sys/" + key.replace(".", "/")
        done = in_netns(netns, "sh", "-c", f"echo 1 > {path}", check=False)
        if done.returncode and needed:
            raise LabError(
                f"{key}: {done.stderr.strip()}; filters would not hold. Load it: modprobe br_netfilter"
            )


def ensure_cell_namespace(plan: LabPlan, name: str, address: str) -> None:
    """A namespace with one address in the cell: the gateway's, or a device's.

    Raises:
        LabError: the system refused.
    """
    ensure_netns(name)
    ensure_link(f"{name}c", "cell0", name, plan.cell_bridge, address=address)


def remove_netns(name: str) -> bool:
    if not netns_exists(name):
        return False
    run("ip", "netns", "del", name)
    return True


def remove_link(name: str) -> bool:
    if not link_exists(name):
        return False
    # A pair whose other end's namespace was just removed goes by itself, at a moment of the kernel's choosing.
    done = run("ip", "link", "del", name, check=False)
    if done.returncode and link_exists(name):
        raise LabError(f"ip link del {name}: {done.stderr.strip()}")
    return True


def leftover_namespaces(index: int) -> list[str]:
    """Namespaces of this instance, planned or not."""
    names = [line.split(" ")[0] for line in run("ip", "netns", "list").stdout.splitlines() if line]
    return [
        name for name in names if name.startswith((f"mw{index}h", f"mw{index}dev", f"mw{index}gw"))
    ]


def is_up(name: str) -> bool:
    """Whether the link is there and not pulled."""
    done = run("ip", "-o", "link", "show", "dev", name, check=False)
    return done.returncode == 0 and ",UP" in done.stdout.partition(">")[0]
