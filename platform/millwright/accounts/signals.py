"""What follows from signing in and from choosing a password."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.signals import password_changed, password_set
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from millwright.audit.actions import record

from .models import User

log = logging.getLogger(__name__)

#: The action under which the entry of an emergency account stands in the audit trail.
BREAK_GLASS = "user.break_glass"


@receiver((password_changed, password_set))
def forget_that_it_was_temporary(sender: Any, user: User, **_kwargs: Any) -> None:
    """The person has a password that nobody else has seen."""
    if user.password_is_temporary:
        User.objects.filter(pk=user.pk).update(password_is_temporary=False)
        user.password_is_temporary = False
    record(user, "user.password_changed", user)


@receiver(user_logged_in)
def shout(sender: Any, user: User, **_kwargs: Any) -> None:
    """An emergency account's entry is in the trail, in the log and on every operator's home page."""
    if user.is_break_glass:
        record(user, BREAK_GLASS, user)
        log.critical("the emergency account %s has signed in", user.username)
