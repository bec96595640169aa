"""From what a host was found able to do to what a domain asks of it, and what is missing.

A host that cannot give something is not asked for it; the shortfall is returned so that the
machine and the pages can say it. Whether a shortfall is acceptable is placement's question.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from millwright.hypervisor.types import Accel, ProbeKind, ServiceClass

from .spec import Tuning

#: FIFO priority of a control vCPU: above ordinary tasks, below the kernel's own FIFO threads.
CONTROL_FIFO_PRIORITY = 1
#: cgroup CPU weights; 1024 is the kernel's ordinary one.
SHARES = {ServiceClass.GUARANTEED: 4096, ServiceClass.SHARED: 1024}


class Shortfall(StrEnum):
    """What a class asks for and a host cannot give. Values are stable codes."""

    EMULATED = "emulated"
    NO_FIFO = "no_fifo"
    NO_MEMORY_LOCK = "no_memory_lock"
    NO_HUGEPAGES = "no_hugepages"
    NO_ISOLATION = "no_isolation"
    NO_CPU_SHARES = "no_cpu_shares"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPlan:
    """What to ask of the host, how guests are executed, and what is missing."""

    accel: Accel
    tuning: Tuning
    shortfalls: tuple[Shortfall, ...]


def tune(
    service_class: ServiceClass,
    abilities: AbstractSet[ProbeKind],
    *,
    hugepage_bytes: int | None = None,
) -> TuningPlan:
    """Choose the tuning of a domain.

    Args:
        service_class: what was promised.
        abilities: the probes this host passed.
        hugepage_bytes: page size to use when hugepages were probed and are free there.
    """
    accel = Accel.KVM if ProbeKind.KVM in abilities else Accel.EMULATION
    if service_class is not ServiceClass.REALTIME:
        shares = SHARES[service_class] if ProbeKind.CGROUP_CPU in abilities else None
        missing = [Shortfall.EMULATED] if accel is Accel.EMULATION else []
        if shares is None and service_class is ServiceClass.GUARANTEED:
            missing.append(Shortfall.NO_CPU_SHARES)
        return TuningPlan(accel=accel, tuning=Tuning(cpu_shares=shares), shortfalls=tuple(missing))
    hugepages = hugepage_bytes if ProbeKind.HUGEPAGES in abilities else None
    wanted = (
        (accel is Accel.KVM, Shortfall.EMULATED),
        (ProbeKind.FIFO in abilities, Shortfall.NO_FIFO),
        (ProbeKind.MEMORY_LOCK in abilities, Shortfall.NO_MEMORY_LOCK),
        (hugepages is not None, Shortfall.NO_HUGEPAGES),
        (ProbeKind.ISOLATION in abilities, Shortfall.NO_ISOLATION),
    )
    return TuningPlan(
        accel=accel,
        tuning=Tuning(
            fifo_priority=CONTROL_FIFO_PRIORITY if ProbeKind.FIFO in abilities else None,
            locked_memory=ProbeKind.MEMORY_LOCK in abilities,
            hugepage_bytes=hugepages,
            no_shared_pages=True,
            balloon=False,
        ),
        shortfalls=tuple(code for given, code in wanted if not given),
    )
