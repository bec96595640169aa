"""What the planner sees: hosts and a want, immutable, in base units (bytes, CPUs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.topology import Topology


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """One host: what it has, what is promised already, what it was found able to do."""

    name: str
    health: HostHealth
    administration: HostAdministration
    topology: Topology
    memory_bytes: int
    memory_promised_bytes: int
    disk_free_bytes: int
    #: CPUs claimed exclusively
    claimed_cpus: frozenset[int] = frozenset()
    #: vCPUs of shared and guaranteed machines promised on the shared CPUs
    shared_vcpus: int = 0
    #: capability → verdict; one that was never probed is absent
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    #: takes classes that it cannot honour fully, and says so
    best_effort: bool = False
    accel: str = "emulation"
    cells: frozenset[str] = frozenset()
    #: vCPUs per shared CPU that the host's owner allows
    overcommit_ratio: float = 8.0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def memory_free_bytes(self) -> int:
        return self.memory_bytes - self.memory_promised_bytes


@dataclass(frozen=True, slots=True)
class MachineWant:
    """One machine to place. `control_vcpus` are indexes that want a core of their own."""

    name: str
    service_class: ServiceClass
    vcpus: int
    memory_bytes: int
    disk_bytes: int
    control_vcpus: tuple[int, ...] = ()
    #: a core of its own or no placement at all
    strict: bool = False
    cell: str = ""
    #: memory the hypervisor needs beside the guest's own
    overhead_bytes: int = 192 * 2**20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pool at one moment."""

    hosts: tuple[HostSnapshot, ...]
