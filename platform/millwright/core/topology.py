"""Hosts' processors as data: CPUs, NUMA nodes, SMT siblings, and what each CPU is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class CpuListError(ValueError):
    """A CPU list that cannot be read; names the text and the rule."""


def parse_cpu_list(text: str) -> frozenset[int]:
    """Read "0-3,8" as the kernel writes it; "" is the empty set.

    Raises:
        CpuListError: anything else.
    """
    cpus: set[int] = set()
    for part in text.replace(" ", "").split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            raise CpuListError(
                f"cpu list {text!r}: {part!r} is neither a number nor a range"
            ) from None
        if low < 0 or high < low:
            raise CpuListError(f"cpu list {text!r}: the range {part!r} runs backwards")
        cpus.update(range(low, high + 1))
    return frozenset(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """Write CPUs as the kernel does: "0-3,8"."""
    ordered = sorted(set(cpus))
    parts: list[str] = []
    index = 0
    while index < len(ordered):
        end = index
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[index]) if end == index else f"{ordered[index]}-{ordered[end]}")
        index = end + 1
    return ",".join(parts)


class CpuRole(StrEnum):
    """What a host's policy uses a CPU for."""

    HOUSEKEEPING = "housekeeping"
    REALTIME = "realtime"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Cpu:
    """One logical CPU. `siblings` are the CPUs of its core, itself included."""

    id: int
    node: int = 0
    socket: int = 0
    siblings: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Topology:
    """A host's CPUs and their roles. A CPU may both keep house and be shared."""

    cpus: tuple[Cpu, ...]
    housekeeping: frozenset[int]
    realtime: frozenset[int]
    shared: frozenset[int]
    #: cores that may be given whole, by their first CPU; and to each of their CPUs that first one. Made once:
    #: every placement asks every host of its pool
    whole_cores: Mapping[int, frozenset[int]] = field(init=False, repr=False, compare=False)
    first_of: Mapping[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cores = {
            cpu.siblings or frozenset({cpu.id}) for cpu in self.cpus if cpu.id in self.realtime
        }
        # A core counts only if all its SMT siblings are realtime CPUs: a shared sibling would steal cycles.
        whole = {min(core): core for core in cores if core <= self.realtime}
        object.__setattr__(self, "whole_cores", whole)
        first = {cpu: lead for lead, core in whole.items() for cpu in core}
        object.__setattr__(self, "first_of", first)

    @classmethod
    def build(
        cls, cpus: Iterable[Cpu], *, housekeeping: str = "", realtime: str = "", shared: str = ""
    ) -> Topology:
        """Make a topology from CPUs and a policy's lists.

        CPUs that no list names keep house, so that nothing is given away by omission.

        Raises:
            CpuListError: a list names a CPU that the host lacks, or realtime meets another role.
        """
        found = tuple(sorted(cpus, key=lambda cpu: cpu.id))
        there = frozenset(cpu.id for cpu in found)
        keep, fast, common = (parse_cpu_list(text) for text in (housekeeping, realtime, shared))
        for name, wanted in (("housekeeping", keep), ("realtime", fast), ("shared", common)):
            if missing := wanted - there:
                raise CpuListError(f"{name}_cpus: the host has no CPU {format_cpu_list(missing)}")
        if both := fast & (keep | common):
            raise CpuListError(f"realtime_cpus: CPU {format_cpu_list(both)} has another role too")
        keep = keep | (there - fast - common - keep)
        return cls(found, keep or common, fast, common or keep)

    def cpu(self, cpu_id: int) -> Cpu:
        return next(cpu for cpu in self.cpus if cpu.id == cpu_id)

    def core_of(self, cpu_id: int) -> frozenset[int]:
        """All CPUs of the core that this CPU belongs to."""
        return self.cpu(cpu_id).siblings or frozenset({cpu_id})

    def role(self, cpu_id: int) -> CpuRole:
        """The CPU's main role."""
        if cpu_id in self.realtime:
            return CpuRole.REALTIME
        return (
            CpuRole.SHARED
            if cpu_id in self.shared and cpu_id not in self.housekeeping
            else CpuRole.HOUSEKEEPING
        )
