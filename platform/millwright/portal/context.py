"""What every page shows."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from millwright import __version__
from millwright.accounts.permissions import may
from millwright.notifications.actions import unread
from millwright.settings import get_settings


def plant(request: HttpRequest) -> dict[str, object]:
    """Version and time zone for the page's foot, what the menu leads to, and how much is unread."""
    user = getattr(request, "user", None)
    return {
        "millwright_version": __version__,
        "plant_time_zone": get_settings().time_zone,
        "may_administer": user is not None and may(user, "administer"),
        # Counted only where a page shows it.
        "unread_notifications": SimpleLazyObject(
            lambda: unread(user) if user is not None and user.is_authenticated else 0
        ),
    }
