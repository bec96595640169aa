"""Django's registration of the portal."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "millwright.portal"
    label = "portal"
    verbose_name = "Portal"
