"""Why a host is refused: a code for programs, a sentence with the numbers for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    HOST_DOWN = "host_down"
    HOST_SUSPECT = "host_suspect"
    #: it sleeps, falls asleep or wakes: it can be woken
    HOST_ASLEEP = "host_asleep"
    HOST_CORDONED = "host_cordoned"
    HOST_DRAINING = "host_draining"
    HOST_MAINTENANCE = "host_maintenance"
    NO_MEMORY = "no_memory"
    NO_DISK = "no_disk"
    NO_CELL = "no_cell"
    NO_REALTIME_CORE = "no_realtime_core"
    NOT_KVM = "not_kvm"
    NO_FIFO = "no_fifo"
    NO_CPU = "no_cpu"
    NO_HUGEPAGES = "no_hugepages"
    NO_NUMA_NODE = "no_numa_node"
    NO_CPU_FEATURE = "no_cpu_feature"
    OTHER_CPU = "other_cpu"
    NO_STORAGE_POOL = "no_storage_pool"
    NO_GPU = "no_gpu"
    NO_VGPU = "no_vgpu"
    NO_BANDWIDTH = "no_bandwidth"
    NO_POOL_MEMORY = "no_pool_memory"


#: What is said of many hosts at once, behind their number.
IN_BRIEF: Mapping[ReasonCode, str] = {
    ReasonCode.HOST_DOWN: "down",
    ReasonCode.HOST_SUSPECT: "without an answer at the moment",
    ReasonCode.HOST_ASLEEP: "asleep, falling asleep or waking",
    ReasonCode.HOST_CORDONED: "cordoned",
    ReasonCode.HOST_DRAINING: "being drained, or emptied to sleep",
    ReasonCode.HOST_MAINTENANCE: "in maintenance",
    ReasonCode.NO_MEMORY: "too little memory free",
    ReasonCode.NO_DISK: "too little disk space free",
    ReasonCode.NO_CELL: "without a way into the cell",
    ReasonCode.NO_REALTIME_CORE: "too few realtime cores free",
    ReasonCode.NOT_KVM: "without KVM: timing cannot be promised",
    ReasonCode.NO_FIFO: "without FIFO priority for a vCPU",
    ReasonCode.NO_CPU: "too little room for vCPUs on the shared CPUs",
    ReasonCode.NO_HUGEPAGES: "too few hugepages free",
    ReasonCode.NO_NUMA_NODE: "no NUMA node with both the cores and the hugepages",
    ReasonCode.NO_CPU_FEATURE: "a CPU without all that is wanted",
    ReasonCode.OTHER_CPU: "another CPU than it was started with",
    ReasonCode.NO_STORAGE_POOL: "without the storage pool",
    ReasonCode.NO_GPU: "too few graphics cards free",
    ReasonCode.NO_VGPU: "too few vGPU instances free",
    ReasonCode.NO_BANDWIDTH: "too little network bandwidth free",
    ReasonCode.NO_POOL_MEMORY: "the memory limit of its resource pool is reached",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One refusal or one remark."""

    code: ReasonCode
    message: str
    #: numbers behind the sentence, in base units
    wanted: float | None = None
    available: float | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "code": str(self.code),
            "message": self.message,
            "wanted": self.wanted,
            "available": self.available,
        }
