"""The doors by which measurements come in: what probes saw, and how many scans were late."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.core.lifecycle import MachineObserved
from millwright.core.sla.timeline import FAILING, OK, STALE
from millwright.environments.models import Machine, StateTransition

from .models import CycleCount, ProbeState

_KIND = re.compile(r"[a-z][a-z0-9]{0,9}")
#: A probe that says nothing for so long is no longer believed.
SILENT = dt.timedelta(seconds=90)


@transaction.atomic
def record_probe(
    machine: Machine | Any, kind: str, ok: bool, at: dt.datetime, detail: str = ""
) -> bool:
    """Take one answer of a probe from outside; returns whether it changed.

    The first and each other answer than before goes into the history of states (aspect `probe_<kind>`), from which the ledger is made; an
    answer as before only says that the probe still asks. Answers older than the last are ignored.

    Args:
        machine: the machine, or its key.
        kind: `modbus`, `opcua`, …: at most ten small letters and digits.
        at: when the answer was seen; without one, when it was asked for.

    Raises:
        ValidationError: kind or time.
    """
    if not _KIND.fullmatch(kind):
        raise ValidationError(
            {"kind": _("%(value)r: at most ten small letters and digits") % {"value": kind}}
        )
    if at.tzinfo is None:
        raise ValidationError({"at": _("%(value)s: a time needs a zone") % {"value": at}})
    row = machine if isinstance(machine, Machine) else Machine.objects.get(pk=machine)
    state = ProbeState.objects.select_for_update().filter(machine=row, kind=kind).first()
    if state is not None and at < state.last_at:
        return False
    same = state is not None and state.ok == ok and not state.stale
    # While the watcher cannot see it, that it still answers is news.
    confirms = (
        ok
        and row.observed == MachineObserved.UNKNOWN
        and row.observed_at is not None
        and (state is None or state.said_at is None or state.said_at <= row.observed_at <= at)
    )
    values = {"ok": ok, "last_at": at, "detail": detail[:300], "stale": False}
    if same and not confirms:
        ProbeState.objects.filter(machine=row, kind=kind).update(**values)
        return False
    if not same:
        values["since"] = at
    ProbeState.objects.update_or_create(machine=row, kind=kind, defaults={**values, "said_at": at})
    _say(row, kind, _word(state), OK if ok else FAILING, at, detail)
    return not same


def _word(state: ProbeState | None) -> str:
    if state is None:
        return ""
    return STALE if state.stale else OK if state.ok else FAILING


def _say(
    machine: Machine, kind: str, before: str, after: str, at: dt.datetime, detail: str
) -> None:
    StateTransition.objects.create(
        at=at,
        subject_type="machine",
        subject_id=str(machine.pk),
        subject_name=str(machine)[:120],
        aspect=f"probe_{kind}",
        before=before,
        after=after,
        cause=(detail or kind)[:300],
    )


def silent_probes(now: dt.datetime) -> int:
    """Probes that have not said anything for a while know nothing any more; returns how many fell silent."""
    late = ProbeState.objects.filter(stale=False, last_at__lt=now - SILENT).select_related(
        "machine__environment"
    )
    fell = 0
    for state in late[:500]:
        with transaction.atomic():
            locked = ProbeState.objects.select_for_update().get(pk=state.pk)
            if locked.stale or locked.last_at >= now - SILENT:
                continue
            ProbeState.objects.filter(pk=state.pk).update(stale=True, said_at=now)
            _say(state.machine, state.kind, _word(locked), STALE, now, "the probe says nothing")
            fell += 1
    return fell


@transaction.atomic
def record_cycle_fault(
    machine: Machine | Any,
    begin: dt.datetime,
    end: dt.datetime,
    *,
    scans: int,
    missed: int,
    longest_streak: int = 0,
    detail: str = "",
) -> CycleCount:
    """Take the scans of a span and how many of them began or ended late; a span without a late one counts too.

    The same machine and begin again changes nothing and returns what is there, so a job may repeat itself.

    Raises:
        ValidationError: the span has no length, or more scans are late than there were.
    """
    if begin.tzinfo is None or end.tzinfo is None or end <= begin:
        raise ValidationError(
            {"end": _("%(end)s: must lie after %(begin)s") % {"end": end, "begin": begin}}
        )
    if not 0 <= missed <= scans or not 0 <= longest_streak <= missed:
        raise ValidationError(
            {
                "missed": _("%(missed)s of %(scans)s, longest %(streak)s: no more than there were")
                % {"missed": missed, "scans": scans, "streak": longest_streak}
            }
        )
    row = machine if isinstance(machine, Machine) else Machine.objects.get(pk=machine)
    made, _created = CycleCount.objects.get_or_create(
        machine=row,
        begin=begin,
        defaults={
            "environment_id": row.environment_id,
            "end": end,
            "scans": scans,
            "missed": missed,
            "longest_streak": longest_streak,
            "detail": detail[:300],
        },
    )
    return made
