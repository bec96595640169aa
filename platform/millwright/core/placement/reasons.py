"""Why a host is refused: a code for programs, a sentence with the numbers for people."""

from __future__ import annotations

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
