"""What the pages share: running an action and telling the person what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import ListView

from millwright.accounts.permissions import PermissionRefused
from millwright.core.lifecycle import LifecycleError


def error_lines(
    error: ValidationError, words: Mapping[str, Any] = MappingProxyType({})
) -> list[str]:
    """A validation error as lines "field: rule"; `words`: what people read for a field's name, "" for a rule that names it."""
    if hasattr(error, "error_dict"):
        return [
            f"{words.get(field, field)}: {text}" if words.get(field, field) else text
            for field, texts in error.message_dict.items()
            for text in texts
        ]
    return list(error.messages)


def refused(form: Any, error: ValidationError) -> None:
    """What an action says is wrong, at the form's fields."""
    for field, texts in error.message_dict.items():
        form.add_error(field if field in form.fields else None, texts)


#: Fields of the balancer's actions as people read them; what is "" is named by the rule itself.
WORDS: Mapping[str, Any] = {
    "host": "",
    "hosts": "",
    "state": "",
    "machine": "",
    "destination": "",
    "confirm_off": "",
    "fence": "",
    "approve": "",
    "initial_values": "",
    "reason": gettext_lazy("Reason"),
    "mode": gettext_lazy("Mode"),
    "spare_hosts": gettext_lazy("Hosts that may die"),
    "level": gettext_lazy("How boldly"),
    "max_moves": gettext_lazy("Moves of one round, at most"),
    "sustain_rounds": gettext_lazy("Rounds that an imbalance lasts"),
    "cooldown_rounds": gettext_lazy("Rounds of rest after a move"),
    "link_moves": gettext_lazy("Moves at once between two failure domains"),
    "headroom_percent": gettext_lazy("Kept free above what is expected, in percent"),
    "keep_awake": gettext_lazy("Hosts that stay awake"),
    "least_hours": gettext_lazy("Hours of sleep, at least"),
    "begin": gettext_lazy("May sleep from"),
    "end": gettext_lazy("to"),
    "revision": "",
    "until": gettext_lazy("Until"),
    "work_minutes": gettext_lazy("Minutes"),
}


def attempt(
    request: HttpRequest,
    change: Callable[[], Any],
    done: str = "",
    words: Mapping[str, Any] = MappingProxyType({}),
    wrong: dict[str, list[str]] | None = None,
    marked: Collection[str] | None = None,
) -> Any:
    """Run a change; success and refusal become messages. Returns the result, or None when refused.

    `words`: what people read for a field's name in a refusal, as `error_lines` has it. `wrong`: filled with what is
    refused of the fields `marked` (nothing: of any), where that is all, for a form that says it beside them.

    Raises:
        PermissionDenied: the person may not (a page of its own, not a message).
    """
    try:
        result = change()
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from None
    except ValidationError as error:
        found = error.message_dict if hasattr(error, "error_dict") else {}
        if wrong is not None and found and (marked is None or set(found) <= set(marked)):
            wrong.update(found)
            messages.error(request, _("Nothing was set: see the marked fields."))
        else:
            messages.error(request, "\n".join(error_lines(error, words)))
        return None
    except LifecycleError as error:
        messages.error(request, str(error))
        return None
    if done:
        messages.success(request, done)
    return result if result is not None else True


class Bounded(Paginator):
    """Counts up to `most` rows and offers no page behind them: nobody leafs through more.

    A count of everything costs the database as much as reading it, however few rows a page shows.
    """

    most = 10_000

    @cached_property
    def _counted(self) -> int:
        return int(self.object_list.order_by()[: self.most + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.most)

    @property
    def more(self) -> bool:
        """Whether there are rows behind the last page."""
        return self._counted > self.most


class Rows(LoginRequiredMixin, ListView):
    """A list of rows that the person may see, 50 a page."""

    paginate_by = 50
    rows: Any = None

    def get_queryset(self) -> Any:
        return self.rows.all().for_user(self.request.user)
