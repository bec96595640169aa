"""Django's registration of the app."""

from django.apps import AppConfig


class BalancingConfig(AppConfig):
    name = "millwright.balancing"
    label = "balancing"
    default_auto_field = "django.db.models.BigAutoField"
