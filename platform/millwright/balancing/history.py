"""What became of moves, and what rounds did: in a period, of a pool or a machine, of a mode, with an outcome."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from millwright.environments.models import Machine
from millwright.settings import get_settings

from .models import BalanceRound, Recommendation, ResourcePool
from .querysets import RecommendationQuerySet

#: Modes that move something, which shadow does not.
REAL = ("recommend", "automatic")
#: Modes to choose from; "real": all but shadow.
MODES = {
    "real": gettext_lazy("all but shadow"),
    "recommend": gettext_lazy("recommend"),
    "automatic": gettext_lazy("automatic"),
    "shadow": gettext_lazy("shadow"),
}
#: What a round came to.
ROUNDS = {
    "moves": gettext_lazy("moves were decided"),
    "nothing": gettext_lazy("nothing was decided"),
    "broken": gettext_lazy("something was not as it must be"),
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
#: Years that a history may be asked of: nothing overflows when a day or a zone is added.
_YEARS = range(1970, 9999)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted; empty: no matter. `since` is part of the period, `until` is not."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    pool: str = ""
    machine: str = ""
    mode: str = ""
    outcome: str = ""

    @property
    def anything(self) -> bool:
        return self != Asked()


def asked(given: Mapping[str, Any], outcomes: Mapping[str, Any] | None = None) -> Asked:
    """Read `from`, `to`, `pool`, `machine`, `mode` and `state` as people write them.

    Days and times are the plant's own unless they name a zone; a day in `to` counts whole. `outcomes`: what `state`
    may be.

    Raises:
        ValidationError: field by field what cannot be read or is not there.
    """
    words = {
        name: str(given.get(name, "") or "").strip()
        for name in ("from", "to", "pool", "machine", "mode", "state")
    }
    wrong: dict[str, str] = {}
    since, until = _moment("from", words, wrong), _moment("to", words, wrong)
    if since and until and since >= until:
        wrong["to"] = _("%(value)s: not before %(since)s, where the period begins") % {
            "value": words["to"],
            "since": words["from"],
        }
    for name, known in (("mode", MODES), ("state", outcomes)):
        if words[name] and known is not None and words[name] not in known:
            wrong[name] = _("%(value)r: one of %(known)s") % {
                "value": words[name],
                "known": ", ".join(known),
            }
    if words["pool"] and not ResourcePool.objects.filter(name=words["pool"]).exists():
        wrong["pool"] = _("no resource pool is named %(name)r") % {"name": words["pool"]}
    if words["machine"] and words["machine"].count("/") != 1:
        wrong["machine"] = _("%(value)r: written as environment/machine") % {
            "value": words["machine"]
        }
    if wrong:
        raise ValidationError(wrong)
    return Asked(since, until, words["pool"], words["machine"], words["mode"], words["state"])


def moves(
    rows: RecommendationQuerySet, wanted: Asked, *, whole: bool = False
) -> RecommendationQuerySet:
    """Those of the rows that are wanted, by when they were wanted first; a pool with those below it.

    `whole`: a row stands for its plan, which is wanted if one of its moves is of the machine or the pool.
    """
    if wanted.since:
        rows = rows.filter(created_at__gte=wanted.since)
    if wanted.until:
        rows = rows.filter(created_at__lt=wanted.until)
    if wanted.mode:
        rows = rows.filter(mode__in=REAL if wanted.mode == "real" else (wanted.mode,))
    of = Q()
    if wanted.machine:
        environment, _slash, name = wanted.machine.partition("/")
        # Names first: few machines, and of each an index of its moves.
        found = Machine.objects.filter(environment__name=environment, name=name)
        of &= Q(machine__in=list(found.values_list("pk", flat=True)))
    if wanted.pool:
        of &= Q(machine__pool__in=_with_those_below(wanted.pool))
    if whole and of:
        plans = Recommendation.objects.filter(of).exclude(plan=None).order_by()
        of |= Q(plan__in=list(plans.values_list("plan", flat=True).distinct()))
    return rows.filter(of)


def rounds(wanted: Asked) -> Any:
    """Rounds of the period, newest first; the mode is the plant's at that time."""
    rows = BalanceRound.objects.order_by("-at")
    if wanted.since:
        rows = rows.filter(at__gte=wanted.since)
    if wanted.until:
        rows = rows.filter(at__lt=wanted.until)
    if wanted.mode:
        rows = rows.filter(mode__in=REAL if wanted.mode == "real" else (wanted.mode,))
    if wanted.outcome == "moves":
        rows = rows.filter(moves__gt=0)
    elif wanted.outcome == "nothing":
        rows = rows.filter(moves=0)
    elif wanted.outcome == "broken":
        rows = rows.filter(broken__gt=0)
    return rows


def outcomes(*, ended: bool = False) -> dict[str, Any]:
    """States of moves with their words; `ended`: of those that are over."""
    live = RecommendationQuerySet.LIVE
    return {name: text for name, text in Recommendation.STATES if not (ended and name in live)}


def _moment(name: str, words: Mapping[str, str], wrong: dict[str, str]) -> dt.datetime | None:
    """A day or a time in the plant's zone; where it cannot be read the reason is noted."""
    text = words[name]
    if not text:
        return None
    whole = _DAY.fullmatch(text) is not None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.year not in _YEARS or len(text) < len("2026-05-04"):
        wrong[name] = _(
            "%(value)r: a day like 2026-05-04, or a time like 2026-05-04T06:00, from 1970 on"
        ) % {"value": text[:60]}
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=get_settings().plant_zone)
    return found + dt.timedelta(days=1) if whole and name == "to" else found


def _with_those_below(name: str) -> list[int]:
    """The pool's number and those of all pools below it. One query."""
    below: dict[int | None, list[int]] = {}
    found: list[int] = []
    for pk, parent, known in ResourcePool.objects.values_list("pk", "parent", "name"):
        below.setdefault(parent, []).append(pk)
        if known == name:
            found.append(pk)
    for pk in found:
        found.extend(below.get(pk, ()))
    return found
