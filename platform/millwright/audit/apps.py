"""Django's registration of the app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "millwright.audit"
    label = "audit"
    default_auto_field = "django.db.models.BigAutoField"
