"""The stored CPU assignment as the planner's object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millwright.core.pinning import CpuAssignment
from millwright.core.topology import parse_cpu_list


def read_assignment(data: Mapping[str, Any]) -> CpuAssignment | None:
    """What `millwright.core.pinning.describe` wrote; None if nothing was."""
    if not data:
        return None
    return CpuAssignment(
        {int(index): parse_cpu_list(cpus) for index, cpus in data["vcpus"].items()},
        parse_cpu_list(data["emulator"]),
        {int(index): parse_cpu_list(cpus) for index, cpus in data["claims"].items()},
        tuple(data.get("unmet", ())),
        frozenset(data.get("memory_nodes", ())),
    )
