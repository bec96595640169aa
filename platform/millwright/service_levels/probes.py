"""The doors by which measurements come in: what probes saw, and how many scans were late."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.environments.models import Machine, StateTransition

from .models import CycleCount, ProbeState

_KIND = re.compile(r"[a-z][a-z0-9]{0,9}")
OK, FAILING = "ok", "failing"


@transaction.atomic
def record_probe(
    machine: Machine | Any, kind: str, ok: bool, at: dt.datetime, detail: str = ""
) -> bool:
    """Take one answer of a probe from outside; returns whether it changed.

    A change goes into the history of states (aspect `probe_<kind>`), from which the ledger is made; an
    answer as before only says that the probe still asks. Answers older than the last are ignored.

    Args:
        machine: the machine, or its key.
        kind: `modbus`, `opcua`, …: at most ten small letters and digits.
        at: when the answer was seen or the wait for it ended.

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
    if state is not None and state.ok == ok:
        ProbeState.objects.filter(pk=state.pk).update(last_at=at, detail=detail[:300])
        return False
    ProbeState.objects.update_or_create(
        machine=row,
        kind=kind,
        defaults={"ok": ok, "since": at, "last_at": at, "detail": detail[:300]},
    )
    # A first good answer changes nothing.
    if state is not None or not ok:
        StateTransition.objects.create(
            at=at,
            subject_type="machine",
            subject_id=str(row.pk),
            subject_name=str(row)[:120],
            aspect=f"probe_{kind}",
            before="" if state is None else OK if state.ok else FAILING,
            after=OK if ok else FAILING,
            cause=(detail or kind)[:300],
        )
    return state is not None or not ok


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
