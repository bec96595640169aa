"""Names, addresses and CPU sets of a lab: pure functions of the instance's number and the machine's CPUs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from millwright.core.topology import format_cpu_list

from .errors import LabError

MAX_HOSTS = 8


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One lab host. `cpus` is all it may use; the policy says for what."""

    name: str
    number: int
    netns: str
    address: str
    cpus: frozenset[int]
    realtime: frozenset[int]
    shared: frozenset[int]
    housekeeping: frozenset[int]
    management_link: str
    cell_link: str

    @property
    def policy(self) -> dict[str, object]:
        """What the inventory is told. Best effort is this host's policy, not a property of labs."""
        return {
            "cpus": format_cpu_list(self.cpus),
            "housekeeping_cpus": format_cpu_list(self.housekeeping),
            "realtime_cpus": format_cpu_list(self.realtime),
            "shared_cpus": format_cpu_list(self.shared),
            "best_effort": True,
        }


@dataclass(frozen=True, slots=True)
class LabPlan:
    """The whole lab of one instance."""

    index: int
    hosts: tuple[HostPlan, ...]

    @property
    def instance(self) -> str:
        return f"mw{self.index}"

    @property
    def management_bridge(self) -> str:
        return f"mw{self.index}m"

    @property
    def management_address(self) -> str:
        return f"10.77.{self.index}.1"

    @property
    def cell_bridge(self) -> str:
        """The cell's bridge on the machine itself."""
        return f"mw{self.index}c1"

    #: The cell's bridge inside each host, where the libvirt network leads.
    host_cell_bridge = "mwc-line1"
    cell = "line1"

    @property
    def cell_cidr(self) -> str:
        return f"10.9{self.index}.1.0/24"

    def cell_address(self, last: int) -> str:
        """.1 this machine (engineering station, scrape), .2 gateway, .50 devices, .100 to .199 machines."""
        return f"10.9{self.index}.1.{last}"

    @property
    def gateway_netns(self) -> str:
        return f"mw{self.index}gw"

    def device_netns(self, number: int) -> str:
        return f"mw{self.index}dev{number}"


def plan_lab(index: int, hosts: int, cpus: Iterable[int]) -> LabPlan:
    """Plan a lab. The first CPU keeps house for all; the others are dealt out, realtime first to host 1.

    Raises:
        LabError: an impossible number of hosts or CPUs.
    """
    if not 1 <= hosts <= MAX_HOSTS:
        raise LabError(f"hosts = {hosts}: 1 to {MAX_HOSTS}")
    there = sorted(cpus)
    if not there:
        raise LabError("this process may use no CPU")
    house = frozenset(there[:1])
    rest = there[1:]
    share, more = divmod(len(rest), hosts)
    planned = []
    position = 0
    for number in range(1, hosts + 1):
        count = share + (number <= more)
        own = rest[position : position + count]
        position += count
        # With three or more of its own, a host keeps one of them for ordinary guests.
        spare = own[-1:] if len(own) >= 3 else []
        realtime = frozenset(own) - frozenset(spare)
        name = f"mw{index}-h{number}"
        planned.append(
            HostPlan(
                name=name,
                number=number,
                netns=f"mw{index}h{number}",
                address=f"10.77.{index}.{10 + number}",
                cpus=house | frozenset(own),
                realtime=realtime,
                shared=frozenset(spare) or house,
                housekeeping=house,
                management_link=f"mw{index}h{number}m",
                cell_link=f"mw{index}h{number}c",
            )
        )
    return LabPlan(index, tuple(planned))
