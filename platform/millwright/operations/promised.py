"""What a machine was promised, read back from the host that runs it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from millwright.core.pinning import CpuAssignment
from millwright.core.topology import format_cpu_list
from millwright.hypervisor import Hypervisor

from .errors import StepFailed
from .ports import MachineRecord
from .saga import Context
from .volumes import filter_name


def check_pins(
    host: Hypervisor, machine: MachineRecord, wanted: CpuAssignment, context: Context
) -> None:
    """Whether vCPUs and emulator run on the CPUs that were claimed.

    Raises:
        StepFailed: which of them does not.
    """
    pins = host.pins(context.machine_id)
    for index, cpus in wanted.vcpu_cpus.items():
        if cpus and pins.vcpus.get(index) != cpus:
            raise StepFailed(
                f"vCPU {index} of {machine.domain_name} runs on CPU "
                f"{format_cpu_list(pins.vcpus.get(index, frozenset()))} of {host.name}, "
                f"{format_cpu_list(cpus)} was claimed"
            )
    if wanted.emulator_cpus and pins.emulator != wanted.emulator_cpus:
        raise StepFailed(
            f"the emulator of {machine.domain_name} runs on CPU {format_cpu_list(pins.emulator)}, "
            f"{format_cpu_list(wanted.emulator_cpus)} was claimed"
        )


def check_nics(xml: str, machine: MachineRecord) -> None:
    """Whether the machine's nic is behind its firewall and has the address that was claimed.

    Raises:
        StepFailed: what is otherwise.
    """
    if machine.network is None:
        return
    root = ET.fromstring(xml)  # noqa: S314 - the host's own answer, over an authenticated channel
    for nic in root.iterfind("devices/interface"):
        mac = nic.find("mac")
        if mac is None or mac.get("address") != machine.mac:
            continue
        reference = nic.find("filterref")
        named = {
            entry.get("name"): entry.get("value") for entry in nic.iterfind("filterref/parameter")
        }
        if reference is None or reference.get("filter") != filter_name(machine):
            raise StepFailed(f"the nic of {machine.domain_name} is not behind its firewall")
        if named.get("IP") != machine.address:
            raise StepFailed(
                f"the nic has address {named.get('IP')}, {machine.address} was claimed"
            )
        return
    raise StepFailed(f"{machine.domain_name} has no nic {machine.mac}")
