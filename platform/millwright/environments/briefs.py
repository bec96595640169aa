"""What is said of many hosts at once (`core.placement.IN_BRIEF`), in the language of whoever reads it.

By code, and so not in the table of sentences: words as short as these are people's own reasons too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from millwright.core.placement import ReasonCode

BRIEFS: Mapping[ReasonCode, Any] = {
    ReasonCode.HOST_DOWN: _("down"),
    ReasonCode.HOST_SUSPECT: _("without an answer at the moment"),
    ReasonCode.HOST_ASLEEP: _("asleep, falling asleep or waking"),
    ReasonCode.HOST_CORDONED: _("cordoned"),
    ReasonCode.HOST_DRAINING: _("being drained, or emptied to sleep"),
    ReasonCode.HOST_MAINTENANCE: _("in maintenance"),
    ReasonCode.NO_MEMORY: _("too little memory free"),
    ReasonCode.NO_DISK: _("too little disk space free"),
    ReasonCode.NO_CELL: _("without a way into the cell"),
    ReasonCode.NO_REALTIME_CORE: _("too few realtime cores free"),
    ReasonCode.NOT_KVM: _("without KVM: timing cannot be promised"),
    ReasonCode.NO_FIFO: _("without FIFO priority for a vCPU"),
    ReasonCode.NO_CPU: _("too little room for vCPUs on the shared CPUs"),
    ReasonCode.NO_HUGEPAGES: _("too few hugepages free"),
    ReasonCode.NO_NUMA_NODE: _("no NUMA node with both the cores and the hugepages"),
    ReasonCode.NO_CPU_FEATURE: _("a CPU without all that is wanted"),
    ReasonCode.OTHER_CPU: _("another CPU than it was started with"),
    ReasonCode.NO_STORAGE_POOL: _("without the storage pool"),
    ReasonCode.NO_GPU: _("too few graphics cards free"),
    ReasonCode.NO_VGPU: _("too few vGPU instances free"),
    ReasonCode.NO_BANDWIDTH: _("too little network bandwidth free"),
    ReasonCode.NO_POOL_MEMORY: _("the memory limit of its resource pool is reached"),
}
