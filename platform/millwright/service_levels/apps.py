"""Django's registration of the app."""

from django.apps import AppConfig


class ServiceLevelsConfig(AppConfig):
    name = "millwright.service_levels"
    label = "service_levels"
    default_auto_field = "django.db.models.BigAutoField"
