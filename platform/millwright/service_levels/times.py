"""How long provisioning and coming back after a host's loss took, each held against what was promised."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from millwright.core.sla import Interval as Span
from millwright.environments.models import Operation

from .models import Contract, Interval

#: An environment and when → the contract that held.
Held = Callable[[UUID, dt.datetime], Contract]


@dataclass(frozen=True, slots=True)
class Times:
    """How often it happened, how often within what was promised, and the longest. `promised`: of how many it was."""

    count: int = 0
    promised: int = 0
    within: int = 0
    longest: dt.timedelta | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """One provisioning or recovery."""

    environment: UUID
    at: dt.datetime
    length: dt.timedelta


def provisioned(environments: Sequence[UUID], span: Span) -> list[Ended]:
    """From approval to an environment that answers; those that ended in the span."""
    rows = (
        Operation.objects.provisioned()
        .filter(environment__in=environments, ended_at__gte=span.begin, ended_at__lt=span.end)
        .values_list("environment_id", "environment__request__decided_at", "ended_at")
    )
    return [Ended(key, end, end - begin) for key, begin, end in rows]


def recovered(environments: Sequence[UUID], span: Span) -> list[Ended]:
    """From a host's silence to a machine that is up; those that ended in the span."""
    rows = (
        Interval.objects.current()
        .touching(span)
        .after_host_loss()
        .filter(environment__in=environments, end__gte=span.begin, end__lt=span.end)
        .values_list("environment_id", "begin", "end")
    )
    return [Ended(key, end, end - begin) for key, begin, end in rows]


def held_against(found: Sequence[Ended], held: Held, field: str) -> Times:
    """`field`: the contract's limit in seconds, `provisioning_s` or `recovery_s`."""
    limits = [getattr(held(row.environment, row.at), field) for row in found]
    return Times(
        count=len(found),
        promised=sum(limit is not None for limit in limits),
        within=sum(
            limit is not None and row.length.total_seconds() <= limit
            for row, limit in zip(found, limits, strict=True)
        ),
        longest=max((row.length for row in found), default=None),
    )
