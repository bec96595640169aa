"""What rounds decided: what waits for a person and is under way, what became of earlier moves, the pool after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may, require
from millwright.balancing import consolidating, emptying, history, recommending, reporting
from millwright.balancing.filling import MOST_SPARE, HeatChange
from millwright.balancing.models import Balancer, BalanceRound, Recommendation, ResourcePool
from millwright.core.balancing import LEVELS

from . import calendar
from .base import WORDS, Bounded, attempt

#: Decisions on one page, and earlier ones below them.
A_PAGE, EARLIER = 20, 10


def _numbers(given: Any, names: Iterable[str] = recommending.BOUNDS) -> dict[str, int]:
    """What the form says in numbers; what is left out stays.

    Raises:
        ValidationError: one is no whole number.
    """
    found = {}
    for name in names:
        if not (text := given.get(name, "").strip()):
            continue
        if not text.isdecimal() or len(text) > 6:
            raise ValidationError({name: _("%(value)r: a whole number") % {"value": text}})
        found[name] = int(text)
    return found


def _levels() -> list[tuple[int, str]]:
    """The levels with what each does; in a whole sentence, since it is chosen by it."""
    words = {
        1: _("1: only mends rules that are broken"),
        2: _("2, conservative: hosts above %(most)s, where much is won"),
        3: _("3, moderate: hosts above %(most)s"),
        4: _("4, eager: hosts above %(most)s, and evens out"),
        5: _("5, aggressive: hosts above %(most)s, and evens out the finest"),
    }
    return [
        (number, words[number] % {"most": f"{level.threshold * 100:.0f} %"})
        for number, level in LEVELS.items()
    ]


#: Fields of the forms of this page that say themselves what is wrong with them.
_MARKED = {
    "mode": ("mode", "reason", *recommending.BOUNDS),
    "consolidation": ("mode", "begin", "end", "reason", *consolidating.BOUNDS),
}


def _change(request: HttpRequest, wrong: dict[str, list[str]]) -> bool:
    """Whether it was done; if not, a message says why, or `wrong` by field of the form."""
    user, verb = request.user, request.POST.get("verb", "")
    reason = request.POST.get("reason", "").strip()
    if verb == "mode":
        wanted = request.POST.get("mode", "")
        done = attempt(
            request,
            lambda: recommending.set_mode(user, wanted, reason=reason, **_numbers(request.POST)),
            _("Set."),
            WORDS,
            wrong,
            _MARKED[verb],
        )
    elif verb == "consolidation":
        given = {name: request.POST.get(name, "") for name in ("mode", "begin", "end")}
        done = attempt(
            request,
            lambda: consolidating.set_consolidation(
                user, reason=reason, **given, **_numbers(request.POST, consolidating.BOUNDS)
            ),
            _("Set."),
            WORDS,
            wrong,
            _MARKED[verb],
        )
    elif verb == "empty":
        done = attempt(request, lambda: _empty(request, reason), _("It is being emptied."), WORDS)
    elif verb in ("approve", "reject"):
        number = request.POST.get("pk", "")
        row = get_object_or_404(Recommendation, pk=int(number) if number.isdecimal() else 0)
        seen = request.POST.get("revision", "")
        done = attempt(
            request,
            lambda: recommending.decide(
                user,
                row,
                approve=verb == "approve",
                reason=reason,
                revision=int(seen[:9]) if seen.isdecimal() else None,
            ),
            _("Done."),
            WORDS,
        )
    else:
        return True
    return done is not None


def _empty(request: HttpRequest, reason: str) -> Any:
    """Empty a host for sleep, with the box ticked below the moves."""
    # Who may not is told that first, whatever the form holds.
    require(request.user, "pool")
    if "confirm" not in request.POST:
        raise ValidationError(_("Tick the box: these machines move."))
    return consolidating.approve(request.user, request.POST.get("host", ""), reason)


@login_required
def balancing(request: HttpRequest) -> HttpResponse:
    """What waits and what is under way; a person approves, rejects, and says what rounds do."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Balancing is for those who keep the pool."))
    wrong: dict[str, list[str]] = {}
    if request.method == "POST" and _change(request, wrong):
        return redirect("portal:balancing")
    live = recommending.entries().live()
    page = Paginator(live, A_PAGE).get_page(request.GET.get("page"))
    balancer = recommending.balancer()
    number = request.GET.get("look", "")
    look = None
    if number.isdecimal():
        look = recommending.entries(whole=False).filter(pk=int(number[:18])).first()
    changes: list[HeatChange] = []
    if look is not None or Recommendation.objects.filter(state="open").exists():
        changes = recommending.before_after(look)
    touched = [row for row in changes if row.touched]
    told = reporting.last()
    # What was typed and refused stands there again.
    refused = request.POST if request.method == "POST" else None
    shown = {name: str(getattr(balancer, name)) for name in ("mode", *recommending.BOUNDS)}
    if refused is not None and refused.get("verb") == "mode":
        shown |= {name: refused[name] for name in shown if name in refused}
        shown["reason"] = refused.get("reason", "")
    sleeping, going = consolidating.told(), emptying.current()
    sleep_shown = {
        name: str(getattr(sleeping, name))
        for name in ("mode", "begin", "end", *consolidating.BOUNDS)
    }
    if refused is not None and refused.get("verb") == "consolidation":
        sleep_shown |= {name: refused[name] for name in sleep_shown if name in refused}
        sleep_shown["reason"] = refused.get("reason", "")
    context = {
        "balancer": balancer,
        "shown": shown,
        "refused": refused,
        "idle": balancer.mode == "off" and not recommending.anything_balances(balancer),
        "modes": Balancer.MODES,
        "levels": _levels(),
        "bounds": recommending.BOUNDS,
        "next_round": recommending.next_round(),
        "spares": range(MOST_SPARE + 1),
        "calendar": calendar.shown(),
        "page_obj": page,
        "earlier": list(recommending.entries().ended()[:EARLIER]),
        "look": look,
        "changes": touched,
        "others": len(changes) - len(touched),
        "round": told,
        "reasons": reporting.reasons(told),
        "shadow": reporting.shadow_sums(timezone.now()),
        "sleeping": sleeping,
        "sleep_shown": sleep_shown,
        "wrong": wrong if request.POST.get("verb") == "mode" else {},
        "sleep_wrong": wrong if request.POST.get("verb") == "consolidation" else {},
        "sleep_answer": consolidating.answer(sleeping, going),
        "sleep_bounds": consolidating.BOUNDS,
        "emptying": emptying.progress(going) if going is not None else None,
        "emptied": emptying.earlier(),
    }
    status = 200 if refused is None else 422
    return render(request, "portal/balancing.html", context, status=status)


@login_required
def earlier(request: HttpRequest) -> HttpResponse:
    """What became of the moves that rounds decided, newest first; by period, pool, mode, outcome, machine and host."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Balancing is for those who keep the pool."))
    text = request.GET.get("q", "").strip()
    known = history.outcomes(ended=True)
    wanted, errors = _asked(request, known)
    rows: Any = recommending.entries().ended()
    if wanted is None:
        rows = rows.none()
    else:
        rows = history.moves(rows, wanted, whole=True)
        if wanted.outcome:
            rows = rows.became(wanted.outcome)
    if text:
        rows = rows.about(text)
    context = {
        "page_obj": Bounded(rows, A_PAGE).get_page(request.GET.get("page")),
        "text": text,
        "given": _given(request),
        "errors": errors,
        "modes": history.MODES.items(),
        "outcomes": known.items(),
        "pools": ResourcePool.objects.values_list("name", flat=True),
        "filtered": bool(text) or wanted is None or wanted.anything,
    }
    status = 200 if wanted is not None else 422
    return render(request, "portal/balancing_earlier.html", context, status=status)


@login_required
def rounds(request: HttpRequest) -> HttpResponse:
    """The rounds of the last 14 days: how many moves, how the pool stood, and why no more was done."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Balancing is for those who keep the pool."))
    wanted, errors = _asked(request, history.ROUNDS)
    rows = BalanceRound.objects.none() if wanted is None else history.rounds(wanted)
    page = Bounded(rows, A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page_obj": page,
        "told": [(row, reporting.reasons(row, texts=0)) for row in page],
        "given": _given(request),
        "errors": errors,
        "modes": history.MODES.items(),
        "outcomes": history.ROUNDS.items(),
        "filtered": wanted is None or wanted.anything,
    }
    status = 200 if wanted is not None else 422
    return render(request, "portal/balancing_rounds.html", context, status=status)


def _asked(
    request: HttpRequest, outcomes: Mapping[str, Any]
) -> tuple[history.Asked | None, dict[str, list[str]]]:
    """What the history is asked for; nothing, with the errors of each field, where it cannot be read."""
    try:
        return history.asked(request.GET, outcomes), {}
    except ValidationError as error:
        return None, error.message_dict


def _given(request: HttpRequest) -> dict[str, str]:
    """What was typed; `begin` and `end` are of the period, whose names are words of templates."""
    found = {
        name: request.GET.get(name, "").strip() for name in ("pool", "machine", "mode", "state")
    }
    return found | {"begin": request.GET.get("from", ""), "end": request.GET.get("to", "")}
