"""The history of states read into the ledger: as far as it goes, again after a crash, each row once.

What is new names the machines it is about. Each of them is folded again from the row that its news
touches, and the ledger is corrected where it says something else; so a round that died half way, or news
that were committed out of order, change nothing but what is wrong. What people have said stays.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from uuid import UUID

from django.db import transaction

from millwright.core.sla import Cause, Explained, Kind, Row, Seen, Track, classify, fold
from millwright.core.sla.timeline import BEGUN, ENDED, OBSERVED, PROBE, SERVICE
from millwright.environments.models import Environment, Machine, StateTransition

from .contracts import contract_at, contracts_of
from .evidence import evidence_of
from .measuring import mark_stale
from .models import Absence, Interval, LedgerCursor, ProbeState, ServiceSpan, Supersession

log = logging.getLogger(__name__)

#: Transactions may commit in another order than their keys: so many keys are looked over again.
WINDOW = 500
CHUNK = 2000
#: No round for longer than this: nobody has looked.
ABSENT = dt.timedelta(seconds=60)


def read_history(now: dt.datetime) -> int:
    """Read everything that is new; returns how many transitions were."""
    total = 0
    while True:
        found = _read_chunk(now)
        total += found
        if found < CHUNK:
            return total


def begin_rounds(now: dt.datetime) -> None:
    """Call when the orchestrator becomes active, before the first round: says since when nobody looked."""
    with transaction.atomic():
        cursor = _cursor()
        if cursor.stopped_at is not None:
            _absent(cursor.stopped_at, now, "the control plane was stopped", ordered=True)
            cursor.stopped_at = None
        elif cursor.round_at is not None and now - cursor.round_at > ABSENT:
            _absent(cursor.round_at, now, "the control plane did not look")
        cursor.round_at = now
        cursor.save(update_fields=["stopped_at", "round_at"])


def end_rounds(now: dt.datetime) -> None:
    """Call when people stop the orchestrator in order."""
    with transaction.atomic():
        cursor = _cursor()
        cursor.stopped_at = now
        cursor.save(update_fields=["stopped_at"])


def _absent(begin: dt.datetime, end: dt.datetime, why: str, *, ordered: bool = False) -> None:
    if begin >= end:
        return
    Absence.objects.create(begin=begin, end=end, why=why, ordered=ordered)
    mark_stale((key, begin) for key in ServiceSpan.objects.values_list("environment", flat=True))


def _cursor() -> LedgerCursor:
    LedgerCursor.objects.get_or_create(pk=1)
    return LedgerCursor.objects.select_for_update().get(pk=1)


@transaction.atomic
def _read_chunk(now: dt.datetime) -> int:
    cursor = _cursor()
    if cursor.round_at is not None and now - cursor.round_at > ABSENT:
        _absent(cursor.round_at, now, "the control plane did not look")
    rows = StateTransition.objects.filter(
        pk__gt=cursor.transition - WINDOW, subject_type__in=("machine", "environment")
    ).exclude(pk__in=cursor.seen)
    news = list(
        rows.order_by("pk").values_list("pk", "at", "subject_type", "subject_id", "after")[:CHUNK]
    )
    touched: dict[UUID, dt.datetime] = {}
    services: dict[UUID, list[tuple[dt.datetime, str]]] = defaultdict(list)
    for _pk, at, kind, subject, after in news:
        key = UUID(subject)
        if kind == "machine":
            touched[key] = min(at, touched.get(key, at))
        elif after in {"running", "removing", "removed"}:
            services[key].append((at, after))
    for environment, begin in _services(services).items():
        for key in Machine.objects.filter(environment=environment).values_list("pk", flat=True):
            touched[key] = min(begin, touched.get(key, begin))
    if touched:
        _fold_again(touched, now)
    seen = sorted({*cursor.seen, *(row[0] for row in news)})
    cursor.transition = max(cursor.transition, seen[-1] if seen else 0)
    cursor.seen = [key for key in seen if key > cursor.transition - WINDOW]
    cursor.round_at, cursor.stopped_at = now, None
    cursor.save()
    return len(news)


def _services(news: dict[UUID, list[tuple[dt.datetime, str]]]) -> dict[UUID, dt.datetime]:
    """Begin and end of service; returns those that changed, with the moment."""
    known = ServiceSpan.objects.in_bulk(list(news))
    present = set(Environment.objects.filter(pk__in=list(news)).values_list("pk", flat=True))
    changed = {}
    for key, states in news.items():
        span = known.get(key)
        if key not in present:
            continue
        for at, after in sorted(states):
            if after == "running":
                if span is None:
                    span = ServiceSpan(environment_id=key, begin=at)
                    changed[key] = at
            elif span is not None and span.end is None:
                span.end = at
                changed[key] = min(at, changed.get(key, at))
        if key in changed and span is not None:
            span.save()
    return changed


# --- folding --------------------------------------------------------------------------------------


def _fold_again(touched: dict[UUID, dt.datetime], now: dt.datetime) -> None:
    machines = {
        row.pk: row for row in Machine.objects.filter(pk__in=list(touched)).select_related("host")
    }
    environments = sorted({row.environment_id for row in machines.values()})
    spans = ServiceSpan.objects.in_bulk(environments)
    contracts = contracts_of(environments)
    probes: dict[UUID, list[str]] = defaultdict(list)
    for machine_id, kind in ProbeState.objects.filter(machine__in=list(machines)).values_list(
        "machine", "kind"
    ):
        probes[machine_id].append(f"{PROBE}{kind}")
    changes = []
    for key, machine in machines.items():
        span = spans.get(machine.environment_id)
        if span is None:
            continue
        writer = _Writer(machine, contracts[machine.environment_id], now)
        existing = list(
            Interval.objects.current()
            .filter(machine=machine)
            .exclude(end__lt=touched[key])
            .order_by("begin", "pk")
        )
        start = min([touched[key], *(row.begin for row in existing)])
        wanted = _wanted(machine, span, start, probes[key])
        if writer.correct(existing, wanted):
            changes.append((machine.environment_id, start))
    mark_stale(changes)


def _wanted(
    machine: Machine, span: ServiceSpan, start: dt.datetime, probes: list[str]
) -> list[Row]:
    """What the ledger ought to say of a machine from `start` on."""
    history = StateTransition.objects.filter(
        subject_type="machine", subject_id=str(machine.pk)
    ).order_by("at", "pk")
    track = Track(in_service=span.begin < start and (span.end is None or span.end >= start))
    before = []
    for aspect in (OBSERVED, *probes):
        last = history.filter(aspect=aspect, at__lt=start).last()
        if last is not None:
            before.append(last)
    # In the order in which they happened: whether a probe answered after the watcher lost sight counts.
    for row in sorted(before, key=lambda row: (row.at, row.pk)):
        track.take(Seen(row.at, row.aspect, row.after, row.cause))
    seen = [
        Seen(row.at, row.aspect, row.after, row.cause)
        for row in history.filter(at__gte=start)
        if row.aspect == OBSERVED or row.aspect.startswith(PROBE)
    ]
    if span.begin >= start:
        seen.append(Seen(span.begin, SERVICE, BEGUN))
    if span.end is not None and span.end >= start:
        seen.append(Seen(span.end, SERVICE, ENDED))
    seen.sort(key=lambda one: one.at)
    return fold(seen, track, start)


class _Writer:
    """Corrects one machine's rows."""

    def __init__(self, machine: Machine, contracts: list, now: dt.datetime) -> None:
        self._machine, self._contracts, self._now = machine, contracts, now

    def correct(self, existing: list[Interval], wanted: list[Row]) -> bool:
        """Make the rows say what is wanted; returns whether anything changed."""
        have = {row.begin: row for row in existing}
        changed = False
        for row in wanted:
            old = have.pop(row.begin, None)
            if old is None:
                if not self._said_by_people(existing, row):
                    self._write(row)
                    changed = True
            elif (old.end, old.kind) != (row.end, str(row.kind)):
                if old.end is not None and _by_people(old):
                    continue
                self._supersede(old, "closed" if old.end is None else "seen")
                self._write(row, old)
                changed = True
            elif old.cause == Cause.UNKNOWN and row.kind is Kind.DOWN and not _by_people(old):
                # What explains it may be noticed later than what it explains.
                found = self._classified(row)
                if found.cause is not Cause.UNKNOWN:
                    self._supersede(old, "seen")
                    self._write(row, old, found)
                    changed = True
        for old in have.values():
            # Without a like in what is wanted: it was seen wrong, unless people have had it in hand.
            if not _by_people(old):
                self._supersede(old, "withdrawn")
                changed = True
        return changed

    @staticmethod
    def _said_by_people(existing: list[Interval], row: Row) -> bool:
        return any(
            _by_people(old)
            and (old.end is None or old.end > row.begin)
            and (row.end is None or old.begin < row.end)
            for old in existing
        )

    def _supersede(self, row: Interval, verb: str) -> None:
        Supersession.objects.create(interval=row, verb=verb, at=self._now)

    def _classified(self, row: Row) -> Explained:
        """The cause that events give a row, and the event in words."""
        contract = contract_at(self._contracts, row.begin)
        return classify(
            row.begin,
            row.end,
            evidence_of(self._machine, row),
            small_stop=dt.timedelta(seconds=contract.small_stop_s),
        )

    def _write(self, row: Row, old: Interval | None = None, found: Explained | None = None) -> None:
        """Append a row, of the same incident as the old one. A cause that people gave stays."""
        host = self._machine.host.name if self._machine.host else ""
        why, cause, by = row.why, str(Cause.UNKNOWN), ""
        if old is not None and old.written_by_id is not None:
            cause, why, by = old.cause, old.why, old.explained_by
        elif row.kind is Kind.DOWN:
            told = found or self._classified(row)
            cause, by = str(told.cause), str(told.by or "")
            why = "; ".join(dict.fromkeys(filter(None, (why, told.why))))
        Interval.objects.create(
            environment_id=self._machine.environment_id,
            machine=self._machine,
            begin=row.begin,
            end=row.end,
            kind=str(row.kind),
            cause=cause,
            why=why[:300],
            explained_by=by,
            host=old.host if old is not None else host,
            verb="closed" if old is not None and old.end is None and row.end else "seen",
            reason=old.reason if old is not None else "",
            written_by=old.written_by if old is not None else None,
            written_at=self._now,
            **({"incident": old.incident} if old is not None else {}),
        )


def _by_people(row: Interval) -> bool:
    return row.written_by_id is not None
