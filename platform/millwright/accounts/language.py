"""The language in which a person reads: chosen once, it goes along to every browser and into letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _

from millwright.audit.actions import record

from .models import User


def known(code: str) -> bool:
    """Whether Millwright speaks it."""
    return code in dict(settings.LANGUAGES)


def language_of(user: Any) -> str:
    """The code of the language in which something is written to a person: the chosen one, else the plant's."""
    chosen = getattr(user, "language", "")
    return chosen if known(chosen) else settings.LANGUAGE_CODE


@transaction.atomic
def choose_language(actor: Any, code: str) -> None:
    """Set one's own language; empty: the browser's on pages, the plant's in letters.

    Raises:
        ValidationError: Millwright does not speak it.
    """
    if code and not known(code):
        raise ValidationError(
            {
                "language": _("%(value)r: the languages are %(all)s")
                % {"value": code, "all": ", ".join(dict(settings.LANGUAGES))}
            }
        )
    if code == actor.language:
        return
    User.objects.filter(pk=actor.pk).update(language=code)
    actor.language = code
    record(actor, "user.language", actor, language=code)


class OwnLanguageMiddleware:
    """Pages in the language that the person chose, whichever browser he sits at; after the one that knows who it is."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        chosen = getattr(request.user, "language", "")
        if chosen and chosen != translation.get_language() and known(chosen):
            translation.activate(chosen)
            request.LANGUAGE_CODE = chosen
        return self.get_response(request)
