"""Millwright's settings: one typed object, read once, errors that name the variable."""

from .errors import SettingsError
from .settings import Settings, get_settings

__all__ = ["Settings", "SettingsError", "get_settings"]
