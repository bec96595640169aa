"""What every page shows."""

from django.http import HttpRequest

from millwright import __version__
from millwright.settings import get_settings


def plant(_request: HttpRequest) -> dict[str, object]:
    """Version and time zone for the page's foot."""
    return {"millwright_version": __version__, "plant_time_zone": get_settings().time_zone}
