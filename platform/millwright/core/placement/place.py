"""Initial placement: filter, assign CPUs, score, choose; every host gets a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from millwright.core import pinning
from millwright.core.lifecycle import ServiceClass

from .filters import FILTERS
from .model import HostSnapshot, MachineWant, Snapshot
from .reasons import Reason

#: Weight of each part of the score. Honouring the class outweighs everything else together.
WEIGHTS: Mapping[str, float] = {
    "honoured": 100.0,
    "known": 50.0,
    "memory": 10.0,
    "cpu": 10.0,
    "spare_realtime": 5.0,
}


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """Why this host, or why not."""

    host: str
    reasons: tuple[Reason, ...] = ()
    score: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    #: what of the class the host would not honour, in words
    unmet: tuple[str, ...] = ()
    assignment: pinning.CpuAssignment | None = None
    #: PCI addresses of the cards that it would get there, with what goes with them
    cards: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.reasons

    def as_dict(self) -> dict[str, object]:
        """For the database and the pages."""
        return {
            "host": self.host,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "score": None if self.score is None else round(self.score, 2),
            "parts": {name: round(value, 3) for name, value in self.parts.items()},
            "notes": list(self.unmet),
        }


@dataclass(frozen=True, slots=True)
class Placement:
    """The plan for one machine: a host or none, and the verdict on every host."""

    want: MachineWant
    chosen: HostVerdict | None
    verdicts: tuple[HostVerdict, ...]
    #: the pool as it was read for this plan
    pool: Snapshot | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, object]:
        return {
            "chosen": self.chosen.host if self.chosen else None,
            "notes": list(self.chosen.unmet) if self.chosen else [],
            "hosts": [verdict.as_dict() for verdict in self.verdicts],
        }

    def explain(self) -> str:
        """Every refusal in one text, host by host."""
        return "; ".join(
            f"{verdict.host}: {', '.join(reason.message for reason in verdict.reasons)}"
            for verdict in self.verdicts
            if verdict.reasons
        )


def place(snapshot: Snapshot, want: MachineWant) -> Placement:
    """Choose the best host. Ties go to the first name, so that the same snapshot gives the same plan."""
    verdicts = [_judge(host, want) for host in sorted(snapshot.hosts, key=lambda host: host.name)]
    accepted = [verdict for verdict in verdicts if verdict.accepted]
    best = max(accepted, key=lambda verdict: verdict.score or 0.0, default=None)
    ordered = sorted(
        verdicts, key=lambda verdict: (not verdict.accepted, -(verdict.score or 0.0), verdict.host)
    )
    return Placement(want, best, tuple(ordered), snapshot)


def _judge(host: HostSnapshot, want: MachineWant) -> HostVerdict:
    reasons = tuple(reason for check in FILTERS if (reason := check(host, want)) is not None)
    if reasons:
        return HostVerdict(host.name, reasons)
    realtime = want.service_class is ServiceClass.REALTIME
    wants = [
        pinning.VcpuWant(index, control=realtime and index in want.control_vcpus)
        for index in range(want.vcpus)
    ]
    assignment = pinning.allocate(
        host.topology, wants, host.claimed_cpus, best_effort=host.best_effort and not want.strict
    )
    if assignment is None:
        raise AssertionError("a filter let a host pass that the allocator refuses")
    unmet = _unmet(host, want, assignment) if realtime else ()
    parts = _score(host, want, assignment, unmet)
    total = sum(WEIGHTS[name] * value for name, value in parts.items())
    cards = tuple(
        address
        for card in want.fitting(host.cards_free or ())[: want.gpus]
        for address in (card.address, *card.companions)
    )
    return HostVerdict(host.name, (), total, parts, unmet + _unknown(host, want), assignment, cards)


def _unknown(host: HostSnapshot, want: MachineWant) -> tuple[str, ...]:
    """What it needs and the host has not told whether it has."""
    asked = (
        (bool(want.hugepage_bytes), host.hugepages_free is None, "hugepages"),
        (bool(want.cpu_features), host.cpu_features is None, "CPU features"),
        (bool(want.storage_pool), host.storage_free is None, "storage pool"),
    )
    return tuple(
        f"not known whether the host has it: {name}"
        for wanted, told, name in asked
        if wanted and told
    )


def _unmet(
    host: HostSnapshot, want: MachineWant, assignment: pinning.CpuAssignment
) -> tuple[str, ...]:
    words = []
    if host.accel != "kvm":
        words.append("emulated: timing is not promised")
    if assignment.unmet:
        words.append(f"no core of its own for {len(assignment.unmet)} control vCPU")
    if not host.capabilities.get("fifo", False):
        words.append("no FIFO priority")
    if not host.capabilities.get("memory_lock", False):
        words.append("memory is not locked")
    return tuple(words)


def _score(
    host: HostSnapshot, want: MachineWant, assignment: pinning.CpuAssignment, unmet: tuple[str, ...]
) -> dict[str, float]:
    """Parts between 0 and 1, larger is better."""
    memory_after = host.memory_free_bytes - want.ordinary_bytes
    shared = max(1, host.most_vcpus)
    cores = len(host.topology.realtime)
    needs_core = want.service_class is ServiceClass.REALTIME and bool(want.control_vcpus)
    return {
        "honoured": 1.0 - min(1.0, 0.25 * len(unmet)) if needs_core else 1.0,
        # Where it is known that all is there comes before where it is not.
        "known": -0.25 * len(_unknown(host, want)),
        "memory": memory_after / host.memory_bytes if host.memory_bytes else 0.0,
        "cpu": 1.0 - min(1.0, (host.shared_vcpus + want.vcpus) / shared),
        # Machines that need no core leave hosts with many free ones to those that do.
        "spare_realtime": 0.0
        if needs_core or not cores
        else -1.0 * (cores - len(host.claimed_cpus)) / cores,
    }
