"""From what was seen of a machine to the intervals in which it was not up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    DOWN = "down"
    #: nobody could tell
    MISSING = "missing"


#: What the watcher saw → what that is. Everything else is down.
_UP = frozenset({"running", "migrating"})
_MISSING = frozenset({"unknown"})
#: Aspects of what is seen.
OBSERVED, SERVICE, PROBE = "observed", "service", "probe_"
BEGUN, ENDED = "begun", "ended"
#: A stale probe no longer asks.
OK, FAILING, STALE = "ok", "failing", "stale"


@dataclass(frozen=True, slots=True)
class Seen:
    """From `at` on, `aspect` is `value`: `observed` (the watcher), `probe_…` (the gateway), `service` (begun, ended)."""

    at: dt.datetime
    aspect: str
    value: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An interval in which it was not up; an end of None is open."""

    begin: dt.datetime
    end: dt.datetime | None
    kind: Kind
    why: str


@dataclass(slots=True)
class Track:
    """What is known of a machine at one moment."""

    observed: str = "absent"
    in_service: bool = False
    #: probe → why it fails
    failing: dict[str, str] = field(default_factory=dict)
    #: probes that answered since the watcher lost sight of it
    answered: set[str] = field(default_factory=set)
    why: str = ""

    def take(self, seen: Seen) -> None:
        """Learn one thing."""
        if seen.aspect == OBSERVED:
            if seen.value in _MISSING and self.observed not in _MISSING:
                self.answered.clear()
            self.observed, self.why = seen.value, seen.why
        elif seen.aspect == SERVICE:
            # The first begin counts: what was removed is never in service again.
            self.in_service = seen.value == BEGUN
        elif seen.aspect.startswith(PROBE):
            self.failing.pop(seen.aspect, None)
            self.answered.discard(seen.aspect)
            if seen.value == FAILING:
                self.failing[seen.aspect] = seen.why
            elif seen.value == OK:
                self.answered.add(seen.aspect)

    def kind(self) -> tuple[Kind | None, str]:
        """Down, missing, or neither; and why.

        A probe from outside overrules a machine that is said to run, and speaks for one that the watcher
        cannot see.
        """
        if not self.in_service:
            return None, ""
        if self.observed not in _UP and self.observed not in _MISSING:
            return Kind.DOWN, self.why or self.observed
        if self.failing:
            name = min(self.failing)
            return Kind.DOWN, self.failing[name] or name.replace("_", " ")
        if self.observed in _MISSING and not self.answered:
            return Kind.MISSING, self.why
        return None, ""


def fold(seen: Iterable[Seen], track: Track, begin: dt.datetime | None = None) -> list[Row]:
    """Intervals of `track` from `begin` on (None: from the first thing seen), in order, none overlapping.

    `seen` is in order of time. The last row may be open. What was lost from sight and is found down was
    down since it was lost.
    """
    rows: list[Row] = []
    kind, why = track.kind()
    since = begin
    for one in seen:
        track.take(one)
        after, reason = track.kind()
        if after is kind:
            continue
        if kind is Kind.MISSING and after is Kind.DOWN and since is not None:
            kind, why = after, reason
            if rows and rows[-1].kind is Kind.DOWN and rows[-1].end == since:
                # Down, lost from sight, still down: one interval.
                last = rows.pop()
                since, why = last.begin, last.why
            continue
        if kind is not None and since is not None and since < one.at:
            rows.append(Row(since, one.at, kind, why))
        kind, why, since = after, reason, one.at
    if kind is not None and since is not None:
        rows.append(Row(since, None, kind, why))
    return rows
