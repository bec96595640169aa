"""Django's registration of the app."""

from django.apps import AppConfig


class EnvironmentsConfig(AppConfig):
    name = "millwright.environments"
    label = "environments"
    default_auto_field = "django.db.models.BigAutoField"
