"""Django's registration of the app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "millwright.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listen to entries and passwords."""
        from . import signals  # noqa: F401 - its receivers register themselves
