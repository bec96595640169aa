"""How full the pool is, kept: the active orchestrator computes it, requests read it.

A small plant is computed as it is asked. For a large one that would take seconds in a request: its heat,
what would be left after losses, and how many more of a size fit are computed beside it, again when
something changed and after `OLDEST`, and each answer says of when it is.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.utils import timezone

from millwright.audit.models import AuditEntry
from millwright.core.balancing import Capacity, Plant
from millwright.environments.models import Machine, StateTransition

from . import filling, measuring
from .models import Balancer, Picture
from .plant import read_plant

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: A plant with more machines on hosts than this is not computed in a request.
SMALL = 500
#: An answer is computed again after this, whatever happened; what was not asked for so long is forgotten.
OLDEST, FORGOTTEN = dt.timedelta(minutes=5), dt.timedelta(days=1)
#: After a change an answer stays at least so long, and so many times as long as it took to compute:
#: the orchestrator has other work.
YOUNGEST, TIMES = dt.timedelta(seconds=15), 5
#: The time of the last question is written down at most so often.
NOTED = dt.timedelta(minutes=10)
#: Kept whether or not somebody asks, of a large plant; of any plant where room for lost hosts is wanted.
ALWAYS = ("heat", "losses", "together", "wanted")
#: What the release before keeps in another shape, under a name that it alone reads: while an upgrade runs its placements
#: find none, or its own.
BEFORE, BEFORE_FITS = "used", "fits "
SPARE = "spare"
#: Hosts' load older than this tells a placement nothing.
STALE = 3 * OLDEST


@dataclass(frozen=True, slots=True)
class Kept(Generic[Answer]):
    """An answer and when the plant was as it says; neither: it is being computed.

    `error`: why the last try to compute it failed; an answer beside it is an earlier one.
    """

    value: Answer | None
    as_of: dt.datetime | None
    error: str = ""

    @property
    def computing(self) -> bool:
        """Whether it is worth waiting for."""
        return self.as_of is None and not self.error


class Pictures:
    """What one request asks of the pool; the plant is read once, and only where it is small."""

    @cached_property
    def large(self) -> bool:
        """Whether answers are read rather than computed. One query, whatever the size."""
        placed = Machine.objects.filter(host__isnull=False).order_by()
        return bool(placed.values_list("pk", flat=True)[SMALL : SMALL + 1])

    @cached_property
    def _plant(self) -> Plant:
        return read_plant()

    def heat(self) -> Kept[list[filling.Heat]]:
        """Every host's ratios."""
        return self._of(
            "heat",
            lambda: filling.heat(self._plant),
            lambda body: [filling.Heat(*row) for row in body],
        )

    def losses(self) -> Kept[list[filling.Loss]]:
        """What would find no room if a host died."""
        return self._of(
            "losses",
            lambda: filling.losses(self._plant),
            lambda body: [filling.Loss(host, *map(tuple, told)) for host, *told in body],
        )

    def together(self) -> Kept[filling.Losses]:
        """What would find no room if as many hosts died as the pool keeps to spare, or a failure domain."""
        return self._of("together", lambda: filling.together(self._plant), _losses)

    def fits(
        self, template: str, size: str, *, growth: float = 0.0, spare: int = 0
    ) -> Kept[Capacity]:
        """How many more of a template's size fit, so that any `spare` hosts may still die.

        Raises:
            ValidationError: no such template or size, or out of bounds.
        """
        filling.check(template, size, growth=growth, spare=spare)
        kept = self._of(
            f"room {template}/{size} {spare}",
            lambda: filling.fits(template, size, spare=spare, plant=self._plant),
            lambda body: Capacity(**body),
        )
        if kept.value is None or growth <= 0:
            return kept
        return replace(kept, value=replace(kept.value, days_left=kept.value.fits / growth))

    def _of(
        self, name: str, compute: Callable[[], Answer], made: Callable[[Any], Answer]
    ) -> Kept[Answer]:
        now = timezone.now()
        if not self.large:
            return Kept(compute(), now)
        row, _new = Picture.objects.get_or_create(name=name, defaults={"asked_at": now})
        if row.asked_at < now - NOTED:
            Picture.objects.filter(pk=row.pk).update(asked_at=now)
        if row.as_of is None:
            return Kept(None, None, row.error)
        return Kept(made(row.body), row.as_of, row.error)


def used_lately(now: dt.datetime | None = None) -> dict[str, tuple[float, float]]:
    """By host the shared CPUs that its machines have used and waited for lately, and those that unmeasured ones are
    thought to want; who is not named holds nobody, or nothing is kept.

    For placements, which must not wait: of a small plant its samples are asked, of a large one what the orchestrator
    keeps. Three queries at most.
    """
    now = now or timezone.now()
    if not Pictures().large:
        return measuring.cpus_used_lately(now)
    kept = Picture.objects.filter(name="wanted", as_of__gt=now - STALE)
    body = kept.values_list("body", flat=True).first() or {}
    return {host: (measured, assumed) for host, (measured, assumed) in body.items()}


def picture_round(now: dt.datetime | None = None) -> int:
    """Compute what is due; returns how many answers were written. The plant is read at most once."""
    now = now or timezone.now()
    # Read before anything is written: a round in which nothing is to be done only reads.
    rows = list(Picture.objects.defer("body"))
    large = Pictures().large
    always = ALWAYS if large else ()
    if Balancer.objects.filter(spare_hosts__gt=0).exists():
        always = (*always, SPARE)
    gone = [row for row in rows if row.name not in always and (not large or _is_over(row, now))]
    if gone:
        Picture.objects.filter(pk__in=[row.pk for row in gone]).delete()
    if not always:
        return 0
    rows = [row for row in rows if row not in gone]
    for name in always:
        if all(row.name != name for row in rows):
            rows.append(Picture.objects.get_or_create(name=name, defaults={"asked_at": now})[0])
    mark = _mark()
    due = [row for row in rows if _is_due(row, mark, now)]
    if not due:
        return 0
    plant = read_plant(now)
    written = 0
    # What nobody has an answer of yet comes first, then what is fast.
    for row in sorted(due, key=lambda row: (row.tried_at is not None, row.seconds)):
        begun = time.perf_counter()
        tried: dict[str, Any] = {"tried_at": now, "mark": mark}
        try:
            tried |= {"body": _computed(row.name, plant), "as_of": now, "error": ""}
        except ValidationError:
            # A template that is offered no more: whoever asks again is told so before anything is kept.
            Picture.objects.filter(pk=row.pk).delete()
            continue
        except Exception as error:
            # The others go on. Kept, so that people are told and it is not tried again at once.
            log.exception("no picture of %s", row.name)
            tried["error"] = f"{type(error).__name__}: {error}"[:300]
        tried["seconds"] = time.perf_counter() - begun
        Picture.objects.filter(pk=row.pk).update(**tried)
        written += not tried["error"]
    return written


def _losses(body: dict[str, Any]) -> filling.Losses:
    rows = {
        name: tuple(
            filling.Together(
                **{
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in row.items()
                }
            )
            for row in body[name]
        )
        for name in ("worst", "domains_broken")
    }
    return filling.Losses(**body | rows)


def _is_over(row: Picture, now: dt.datetime) -> bool:
    return (
        row.name in (SPARE, BEFORE)
        or row.name.startswith(BEFORE_FITS)
        or (row.name not in ALWAYS and row.asked_at < now - FORGOTTEN)
    )


def _is_due(row: Picture, mark: str, now: dt.datetime) -> bool:
    if row.tried_at is None:
        return True
    age, rest = now - row.tried_at, TIMES * dt.timedelta(seconds=row.seconds)
    return age >= max(OLDEST, rest) or (row.mark != mark and age >= max(YOUNGEST, rest))


def _mark() -> str:
    """Another one after every change of a state and every act of a person. Two queries."""
    changed = StateTransition.objects.order_by("-pk").values_list("pk", flat=True).first()
    done = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first()
    return f"{changed} {done}"


def _computed(name: str, plant: Plant) -> Any:
    if name == SPARE:
        return asdict(filling.spare(plant))
    if name == "wanted":
        return measuring.cpus_used_lately(timezone.now())
    if name == "together":
        return asdict(filling.together(plant))
    if name == "heat":
        return [astuple(row) for row in filling.heat(plant)]
    if name == "losses":
        return [astuple(row) for row in filling.losses(plant)]
    _word, kind, spare = name.split(" ")
    template, _slash, size = kind.partition("/")
    return asdict(filling.fits(template, size, spare=int(spare), plant=plant))
