"""Where a machine runs, by what both hosts of its move say. They are asked; nothing is assumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from millwright.hypervisor import DomainInfo, DomainState, Hypervisor, HypervisorError, JobInfo

from .ports import Clock


class Sight(StrEnum):
    """What one host says of the machine."""

    ABSENT = "absent"
    OFF = "off"
    RUNNING = "running"
    #: a guest that does not run now: paused, or one half of a migration
    HELD = "held"
    #: no answer
    SILENT = "silent"


class Verdict(StrEnum):
    """What both together mean."""

    ON_SOURCE = "on source"
    ON_DESTINATION = "on destination"
    IN_FLIGHT = "in flight"
    BOTH = "both"
    NEITHER = "neither"
    UNKNOWN = "unknown"


_SEEN = {
    DomainState.RUNNING: Sight.RUNNING,
    DomainState.PAUSED: Sight.HELD,
    DomainState.MIGRATING: Sight.HELD,
    DomainState.STOPPED: Sight.OFF,
    DomainState.CRASHED: Sight.OFF,
    DomainState.UNKNOWN: Sight.SILENT,
}
#: Between two questions a migration may end: a contradiction counts only when it lasts.
LOOKS, PAUSE_S = 3, 2.0


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The verdict with what it rests on."""

    verdict: Verdict
    source: Sight
    destination: Sight
    job: JobInfo | None = None


def judge(source: Sight, destination: Sight, *, job: bool) -> Verdict:
    """One running copy is trusted, whatever lies beside it; none or two are for a person."""
    if Sight.SILENT in (source, destination):
        return Verdict.UNKNOWN
    if source is destination is Sight.RUNNING:
        return Verdict.BOTH
    if job:
        return Verdict.IN_FLIGHT
    if source is Sight.RUNNING:
        return Verdict.ON_SOURCE
    if destination is Sight.RUNNING:
        return Verdict.ON_DESTINATION
    return Verdict.NEITHER


def sight(host: Hypervisor, machine: UUID) -> Sight:
    """What a host says; a host that does not answer is silent."""
    try:
        info = host.domain(machine, deadline_s=10.0)
    except HypervisorError as error:
        if error.retryable:
            return Sight.SILENT
        raise
    return seen(info)


def seen(info: DomainInfo | None) -> Sight:
    """What a host's answer means."""
    return Sight.ABSENT if info is None else _SEEN[info.state]


def look(source: Hypervisor, destination: Hypervisor, machine: UUID) -> Whereabouts:
    """Ask both hosts once."""
    here = sight(source, machine)
    job = None
    if here in (Sight.RUNNING, Sight.HELD):
        try:
            job = source.job(machine, deadline_s=10.0)
        except HypervisorError as error:
            # Gone between the two questions: it has just arrived over there.
            here = Sight.SILENT if error.retryable else Sight.ABSENT
    there = sight(destination, machine)
    return Whereabouts(judge(here, there, job=job is not None), here, there, job)


def settled(
    source: Hypervisor,
    destination: Hypervisor,
    machine: UUID,
    clock: Clock,
    alive: Callable[[], bool] = lambda: False,
) -> Whereabouts:
    """Ask until two contradictory or empty answers are no accident of timing.

    `alive` says that a migration of this process is still under way.
    """
    found = look(source, destination, machine)
    for _ in range(LOOKS - 1):
        if found.verdict not in (Verdict.BOTH, Verdict.NEITHER) or alive():
            break
        clock.sleep(PAUSE_S)
        found = look(source, destination, machine)
    return found
