"""Django's registration of the app."""

from django.apps import AppConfig


class ShopfloorConfig(AppConfig):
    name = "millwright.shopfloor"
    label = "shopfloor"
    default_auto_field = "django.db.models.BigAutoField"
