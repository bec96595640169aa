"""What every page shows."""

from django.http import HttpRequest

from millwright import __version__
from millwright.accounts.permissions import may
from millwright.settings import get_settings


def plant(request: HttpRequest) -> dict[str, object]:
    """Version and time zone for the page's foot; whether the menu leads to administration."""
    return {
        "millwright_version": __version__,
        "plant_time_zone": get_settings().time_zone,
        "may_administer": hasattr(request, "user") and may(request.user, "administer"),
    }
