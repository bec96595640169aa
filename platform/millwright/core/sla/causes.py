"""Why something was down: the kinds of causes, which of them count, and what events alone say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    #: nobody has said yet, and no event explains it: in the queue
    UNKNOWN = "unknown"
    UNPLANNED = "unplanned"
    #: unplanned and shorter than the contract's limit
    SMALL_STOP = "small_stop"
    #: ordered by people: a stop, a restart, a lease that ended
    PLANNED = "planned"
    #: a program or configuration was taken over
    CHANGEOVER = "changeover"
    #: agreed not to count, by someone who may
    EXCLUDED = "excluded"
    #: it was up after all: a fault of the measurement, said so by someone who may
    VOID = "void"


#: Causes that use the budget whatever a contract says. PLANNED and CHANGEOVER do if the contract says so.
COUNTED = frozenset({Cause.UNKNOWN, Cause.UNPLANNED, Cause.SMALL_STOP})
ORDERED = frozenset({Cause.PLANNED, Cause.CHANGEOVER})


class Happened(StrEnum):
    """Kinds of events that explain an interval."""

    ORDERED_STOP = "ordered_stop"
    CHANGEOVER = "changeover"
    MOVE = "move"
    HOST = "host"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something happened from `begin` to `end` (None: still going on)."""

    happened: Happened
    begin: dt.datetime
    end: dt.datetime | None
    text: str = ""


#: An event explains what begins this long before its record (clocks, the order of looks) …
BEFORE = dt.timedelta(seconds=5)
#: … or after it ended: an observation follows the act by one look of the watcher.
AFTER = dt.timedelta(seconds=30)
#: A host's silence is noticed by a look and its limit of time; a probe of its machines may fail before.
NOTICED = dt.timedelta(seconds=15)

#: Happened → the cause it gives; earlier rows win.
_GIVES: tuple[tuple[Happened, Cause], ...] = (
    (Happened.ORDERED_STOP, Cause.PLANNED),
    (Happened.CHANGEOVER, Cause.CHANGEOVER),
    (Happened.HOST, Cause.UNPLANNED),
    (Happened.CRASH, Cause.UNPLANNED),
    (Happened.MOVE, Cause.UNPLANNED),
)


class Explained(NamedTuple):
    """What events say of an interval: its cause, they in words, and which kind of them it was; None: none."""

    cause: Cause
    why: str = ""
    by: Happened | None = None


def classify(
    begin: dt.datetime,
    end: dt.datetime | None,
    evidence: Iterable[Evidence],
    *,
    small_stop: dt.timedelta,
) -> Explained:
    """The cause that events give an interval, and these events in words.

    What was ordered is planned; a host's or a guest's end is unplanned; what nothing explains and is over
    within `small_stop` is a small stop; the rest is for people.
    """
    near = [
        row
        for row in evidence
        if row.begin - (NOTICED if row.happened is Happened.HOST else BEFORE) <= begin
        and (row.end is None or begin <= row.end + AFTER)
    ]
    told = [(cause, row) for happened, cause in _GIVES for row in near if row.happened is happened]
    if told:
        # All that says the same: a guest that crashed explains more than that its host was slow to tell.
        cause = told[0][0]
        same = [row for other, row in told if other is cause]
        texts = dict.fromkeys(row.text for row in same if row.text)
        kinds = {row.happened for row in same}
        by = Happened.CRASH if Happened.CRASH in kinds else same[0].happened
        return Explained(cause, "; ".join(texts), by)
    if end is not None and end - begin <= small_stop:
        return Explained(Cause.SMALL_STOP)
    return Explained(Cause.UNKNOWN)
